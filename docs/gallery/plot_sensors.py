"""
Sensors with gaps
=================

Four loggers measure the temperature of the soil every hour, each at a depth of its own. They were
buried and dug up on different days, and all have lost readings, for hours or for days. A Kalman
filter estimates the temperature at every hour, with an interval that widens while nothing is read.
The script makes the readings, so that the true temperature is known.
"""

import numpy as np
import numpy as xp
from array_api_compat import array_namespace

from arrayrnn import pad_sequences, rnn, unpad_sequences

# %%
# The readings of each logger, NaN where one is lost. The swing of day and night fades with depth,
# and comes later. The weather adds a random walk.

rng = np.random.default_rng(7)
LOGGERS = [(0.05, 0, 9), (0.1, 2, 11), (0.2, 1, 6), (0.4, 5, 9)]  # depth in metres, first day, days
DAMPING = 0.1  # metres: the swing is smaller there by a factor of e, and later by 24 h / 2π


def measure(depth, first, days):
    t = 24.0 * first + np.arange(24 * days)
    swing = 4.0 * np.exp(-depth / DAMPING) * np.sin(2 * np.pi * t / 24 - depth / DAMPING)
    truth = 12.0 + swing + np.cumsum(rng.normal(0.0, 0.12, t.size))
    readings = truth + rng.normal(0.0, 0.5, t.size)
    readings[rng.random(t.size) < 0.2] = np.nan
    for start in (t.size * rng.uniform([0.15, 0.6], [0.35, 0.75])).astype(int):
        readings[start : start + rng.integers(12, 36)] = np.nan
    return t / 24, truth, readings


measured = [measure(*logger) for logger in LOGGERS]

# %%
# One reading. The temperature has wandered since the reading before, so that its variance has grown
# by as much for each hour; the gain says how far the estimate moves towards the new reading.

WANDER, NOISE = 0.2, 0.25  # variances: of the change in an hour, and of a reading


def update(inputs, states):
    level, variance = states
    variance = variance + WANDER * inputs["hours"]
    gain = variance / (variance + NOISE)
    level = level + gain * (inputs["reading"] - level)
    variance = variance * (1 - gain)
    return {"level": level, "variance": variance}, [level, variance]


# %%
# The hours since the last reading are a recurrence, too: they go up by one, and back to zero.


def count(is_there, states):
    xp, hours = array_namespace(is_there), states[0] + 1.0
    return hours, [xp.where(is_there, 0.0, hours)]


# %%
# All loggers in one array. The padding is NaN as well, so that one mask covers gaps and ends. A
# logger without a reading waits: its states stay, its output is the one before. With
# ``samplewise=True`` the step never sees a NaN.

sequences = [xp.asarray(readings)[:, None] for _, _, readings in measured]
padded, lengths = pad_sequences(sequences, value=float("nan"))
is_there = ~xp.isnan(padded)
zeros = xp.zeros_like(padded[:, 0])
_, hours, _ = rnn(count, is_there, [zeros])

start = {"level": zeros + 12.0, "variance": zeros + 25.0}  # before the first reading
inputs = {"reading": padded, "hours": hours}
_, outputs, _ = rnn(
    update, inputs, [*start.values()], mask=is_there, initial_output=start, samplewise=True
)

# %%
# In a gap, the variance is the one after the last reading, and what the hours since have added.

variance = outputs["variance"] + WANDER * xp.where(is_there, 0.0, hours)
half = 1.6449 * xp.sqrt(variance)  # 5 % are left out on either side
estimates = unpad_sequences((outputs["level"][..., 0], half[..., 0]), lengths)

results = []
for (depth, *_), (t, truth, values), estimate in zip(LOGGERS, measured, estimates, strict=True):
    level, half = (np.asarray(x) for x in estimate)
    results.append((f"{100 * depth:.0f} cm deep", t, truth, values, level, half))
    within, lost = np.mean(np.abs(truth - level) < half), np.mean(np.isnan(values))
    print(f"{100 * depth:2.0f} cm: {lost:.0%} lost; truth within the 90 % interval: {within:.0%}")

# %%
# In a gap, the estimate stays where it was. The random walk knows of no day and night: near the
# surface, the truth can leave the interval for that reason.

import matplotlib.pyplot as plt

figure, rows = plt.subplots(4, 1, figsize=(9, 6.5), sharex=True, sharey=True, layout="constrained")
for axes, (name, t, truth, values, level, half) in zip(rows, results, strict=True):
    axes.fill_between(t, level - half, level + half, color="C0", alpha=0.25, lw=0)
    axes.plot(t, level, color="C0", lw=2)
    axes.plot(t, truth, color="C1", lw=1.2)
    axes.plot(t, values, ".", color="0.25", ms=3.5)
    axes.set_title(name, loc="left", x=0.01, y=0.78, fontsize="medium")
axes.set(xlabel="day", xlim=(0, 14), ylim=(2, 22), yticks=(5, 12, 19))
figure.supylabel("temperature of the soil [°C]", fontsize="medium")
labels = ["90 % interval", "estimate", "truth", "reading"]
figure.legend(labels, loc="outside upper center", ncols=4, frameon=False)

# %%
# :doc:`/guide/masks` says what a mask does, and what ``samplewise=True`` promises.
#
# On a GPU
# --------
#
# Write ``import cupy as xp`` in place of ``import numpy as xp``, and ``cupy.asnumpy`` in place of
# ``np.asarray``. All that is used of ``xp`` is in the array API standard.
