"""
Spiking neurons, compiled
=========================

A thousand neurons that excite and inhibit one another, after E. M. Izhikevich, *Simple Model of
Spiking Neurons* (2003): two equations for each, and a rule that resets a neuron when it fires. Out
of noise, rhythms arise. A simulation is a recurrence like any other; this one runs on NumPy arrays
as one compiled program.
"""

from statistics import median
from time import perf_counter

import numpy as np

import arrayrnn
from arrayrnn import compiled

EXCITATORY, INHIBITORY, MILLISECONDS = 800, 200, 1_000
NEURONS = EXCITATORY + INHIBITORY

# %%
# One millisecond. ``v`` is the voltage of each neuron, ``u`` its recovery. The weights are a matrix
# of the synapses; what has fired adds its column to the current. Two halves of a step keep the
# voltage stable.


def network(a, b, c, d, synapses):
    def millisecond(noise, states):
        v, u = states
        fired = v >= 30.0
        spikes = np.where(fired, 1.0, 0.0)
        v, u = np.where(fired, c, v), np.where(fired, u + d, u)
        current = noise + spikes @ synapses
        for _ in range(2):
            v = v + 0.5 * (0.04 * v**2 + 5.0 * v + 140.0 - u + current)
        u = u + a * (b * v - u)
        return {"fired": fired, "v": v}, [v, u]

    return millisecond


# %%
# The parameters differ from neuron to neuron, as in the paper: excitatory ones are between regular
# spiking and chattering, inhibitory ones between fast and slow.

rng = np.random.default_rng(0)
excited, inhibited = rng.random(EXCITATORY), rng.random(INHIBITORY)
a = np.concatenate([np.full(EXCITATORY, 0.02), 0.02 + 0.08 * inhibited])
b = np.concatenate([np.full(EXCITATORY, 0.2), 0.25 - 0.05 * inhibited])
c = np.concatenate([-65.0 + 15.0 * excited**2, np.full(INHIBITORY, -65.0)])
d = np.concatenate([8.0 - 6.0 * excited**2, np.full(INHIBITORY, 2.0)])
synapses = rng.random((NEURONS, NEURONS))
synapses[:EXCITATORY] *= 0.5
synapses[EXCITATORY:] *= -1.0
strength = np.concatenate([np.full(EXCITATORY, 5.0), np.full(INHIBITORY, 2.0)])
noise = strength * rng.normal(size=(1, MILLISECONDS, NEURONS))  # drawn before the call
v = np.full((1, NEURONS), -65.0)
arguments = network(a, b, c, d, synapses), noise, [v, b * v]

# %%
# The same call, eagerly and compiled. The first call compiles, so it is not timed.


def timed(rnn):
    begin = perf_counter()
    _, outputs, _ = rnn(*arguments)
    return perf_counter() - begin, outputs


eager, _ = timed(arrayrnn.rnn)
first, outputs = timed(compiled.rnn)
later = median(timed(compiled.rnn)[0] for _ in range(3))
print(f"eager    {1e3 * eager:5.0f} ms")
print(f"compiled {1e3 * later:5.0f} ms, {eager / later:.1f} times as fast")
print(f"compiled {1e3 * first:5.0f} ms for the first call")

fired = outputs["fired"][0]  # (time, neurons)
print(f"{fired.sum() / NEURONS:.1f} spikes of each neuron in a second")

# %%

import matplotlib.pyplot as plt

figure, (raster, rate) = plt.subplots(2, 1, figsize=(9, 5.5), height_ratios=(3, 1), sharex=True)
for kind, colour, name in (
    (slice(None, EXCITATORY), "C0", "excitatory"),
    (slice(EXCITATORY, None), "C3", "inhibitory"),
):
    t, neuron = np.nonzero(fired[:, kind])
    first = kind.start or 0
    raster.plot(t, neuron + first, ".", color=colour, ms=2.4, mew=0)
    share = 100 * fired[:, kind].mean(axis=1)
    rate.plot(np.convolve(share, np.full(5, 0.2), mode="same"), color=colour, lw=1.5, label=name)
raster.set(ylabel="neuron", ylim=(0, NEURONS), xlim=(0, MILLISECONDS))
rate.set(xlabel="time [ms]", ylabel="firing [% a ms]", ylim=(0, None))
rate.legend(loc="upper right", ncols=2, frameon=False)

# %%
# At first all fire together, about ten times a second; then faster waves set in, and go.
#
# On a GPU
# --------
#
# Write ``import cupy as np`` for the arrays and the step, with JAX for CUDA installed, and call
# ``compiled.rnn`` as it is; ``.get()`` brings ``fired`` to the plot. What a step may do is told in
# :doc:`/guide/compiled`.
