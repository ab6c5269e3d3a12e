"""
A sequence larger than memory
=============================

Two thousand microphones record for three hours, and we want to know how loud each was, and when:
an envelope that rises fast and falls slowly, which is a recurrence. The recording does not have to
fit into memory. Dask makes, filters and forgets it block by block; :func:`arrayrnn.rnn` hands the
states from each block to the next.
"""

import threading
import time

import dask
import dask.array as da
import numpy as np
import psutil
from array_api_compat import array_namespace

from arrayrnn import rnn

MICROPHONES, HOURS, BLOCK = 2_000, 3, 1_000
TIMESTEPS = HOURS * 3_600 * 30  # 30 values a second

# %%
# One timestep of an envelope: upwards the level follows at once, downwards only by a thousandth.


def envelope(x_t, states):
    (level,) = states
    level = array_namespace(x_t).maximum(abs(x_t), 0.999 * level)
    return level, [level]


# %%
# The recording is lazy: noise that swells and fades, (time, samples, 1) in its order of axes. Each
# block has 1,000 timesteps of all microphones.

numbers = da.random.default_rng(0)
shape, chunks = (TIMESTEPS, MICROPHONES, 1), (BLOCK, MICROPHONES, 1)
noise = numbers.random(shape, chunks=chunks, dtype=np.float32) - np.float32(0.5)
clock = da.linspace(0, 8 * np.pi, TIMESTEPS, chunks=BLOCK, dtype=np.float32)
recording = noise * (1.2 + da.sin(clock))[:, None, None]

start = [da.zeros((MICROPHONES, 1), chunks=(MICROPHONES, 1), dtype=np.float32)]
_, levels, _ = rnn(envelope, recording, start, time_major=True)
loudness = levels[..., 0].mean(axis=1)  # of all microphones, at each timestep
print(f"recording: {recording.nbytes / 2**30:.1f} GiB, never held as a whole")

# %%
# While Dask computes, in threads, another thread reads how much memory the process has in use.

process, readings, is_done = psutil.Process(), [], threading.Event()


def watch():
    while not is_done.wait(0.05):
        readings.append((time.perf_counter() - begin, process.memory_info().rss / 2**30))


before = process.memory_info().rss / 2**30
begin = time.perf_counter()
watcher = threading.Thread(target=watch)
watcher.start()
with dask.config.set(scheduler="threads", num_workers=2):
    found = loudness.compute()
is_done.set()
watcher.join()
seconds, memory = np.asarray(readings).T
print(f"memory: {before:.2f} GiB before, {memory.max():.2f} GiB at most")

# %%

import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
size = recording.nbytes / 2**30
left.fill_between(seconds, memory, before, color="C0", alpha=0.3, lw=0)
left.plot(seconds, memory, color="C0", lw=2)
left.axhline(size, color="C3", lw=2)
left.annotate(
    "the recording", (0.5 * seconds[-1], size), (0, 6), color="C3", textcoords="offset points"
)
left.annotate(
    "memory of the process",
    (0.5 * seconds[-1], memory.max()),
    (0, 6),
    color="C0",
    textcoords="offset points",
)
left.set(
    xlabel="time of computing [s]", ylabel="memory [GiB]", ylim=(0, 1.15 * size), xlim=(0, None)
)
right.plot(np.linspace(0, HOURS, TIMESTEPS), found, color="C0", lw=2)
right.set(
    xlabel="time of the recording [h]", ylabel="loudness, mean of all microphones", ylim=(0, None)
)

# %%
# A longer recording takes longer, and no more memory: raise ``TIMESTEPS`` until it exceeds what you
# have. :doc:`/guide/dask` says how chunks are handled.
#
# On a GPU
# --------
#
# Blocks may be arrays of CuPy: ``da.random.default_rng(cupy.random.default_rng(0))`` draws them on
# the GPU, ``da.zeros(…, like=cupy.empty(()))`` makes such states, and ``found`` comes back as an
# array of CuPy.
