"""
An echo-state network forecasts chaos
=====================================

The Mackey–Glass equation describes how blood cells regenerate, with a delay that makes it chaotic.
An echo-state network (Jaeger and Haas, *Harnessing Nonlinearity*, 2004) learns to forecast it: a
large random network that is never trained, and a linear readout that is. Eight such networks run
side by side, as the samples.
"""

import numpy as xp
from array_api_compat import array_namespace

from arrayrnn import rnn, scan

NETWORKS, UNITS, WARM_UP, TRAINED, FORECAST = 8, 200, 200, 2_000, 1_200
DELAY, FINE = 17, 10  # of the equation; and small steps for each timestep

# %%
# The series itself is a :func:`arrayrnn.scan` without inputs. What it carries is all of the last
# ``DELAY`` units of time, oldest first.


def mackey_glass(past, _):
    xp = array_namespace(past)
    old, now = past[:1], past[-1:]
    now = now + (0.2 * old / (1 + old**10) - 0.1 * now) / FINE
    return xp.concat([past[1:], now]), now[0]


small_steps = FINE * (WARM_UP + TRAINED + FORECAST)
_, fine = scan(mackey_glass, xp.full(DELAY * FINE, 1.2), None, length=small_steps)
series = xp.tanh(fine[::FINE] - 1)

# %%
# A network: the state mixes through fixed random weights, and leaks. Each sample has weights of its
# own, which it carries as a state that the step hands on as it came.

rng = xp.random.default_rng(0)
recurrent = rng.normal(size=(NETWORKS, UNITS, UNITS)) * (
    rng.random((NETWORKS, UNITS, UNITS)) < 0.05
)
recurrent *= 1.1 / xp.max(xp.abs(xp.linalg.eigvals(recurrent)), axis=1)[:, None, None]
weights = {"recurrent": recurrent, "input": rng.uniform(-1, 1, (NETWORKS, UNITS))}


def reservoir(u_t, states):
    h, weights = states
    xp = array_namespace(u_t)
    mixed = (weights["recurrent"] @ h[..., None])[..., 0]
    h = 0.4 * h + 0.6 * xp.tanh(mixed + weights["input"] * u_t + 0.1)
    return h, [h, weights]


def repeated(values):
    return xp.broadcast_to(values[None, :, None], (NETWORKS, values.shape[0], 1))


known = WARM_UP + TRAINED
start = [xp.zeros((NETWORKS, UNITS)), weights]
_, h, states = rnn(reservoir, repeated(series[: known - 1]), start)

# %%
# Training is one ridge regression for each network: from its state to the value that comes next.

h, targets = h[:, WARM_UP:], series[WARM_UP + 1 : known, None]
transposed = xp.matrix_transpose(h)
readout = xp.linalg.solve(transposed @ h + 1e-7 * xp.eye(UNITS), transposed @ targets)

# %%
# The forecast: from here on, each network hears what it has said itself.


def on_its_own(carry, _):
    u, states = carry
    h, states = reservoir(u, states)
    u = (h[:, None, :] @ readout)[:, 0]
    return (u, states), u[:, 0]


last = repeated(series[known - 1 : known])[:, 0]
_, forecasts = scan(on_its_own, (last, states), None, length=FORECAST)  # (time, networks)
truth = series[known:]
errors = xp.abs(forecasts - truth[:, None])
is_off = xp.concat([errors > 0.1, xp.ones((1, NETWORKS), dtype=bool)])
print("timesteps until a network is off by 0.1:", sorted(int(n) for n in xp.argmax(is_off, axis=0)))

# %%

import matplotlib.pyplot as plt

figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.5), height_ratios=(3, 2), sharex=True)
t = xp.arange(-150, FORECAST)
above.plot(t, series[known - 150 :], color="k", lw=1.5, label="the equation")
above.plot(t[150:], forecasts, color="C1", lw=0.8, alpha=0.6)
above.plot([], [], color="C1", label="eight networks on their own")
above.axvline(0, color="0.5", lw=1, ls=":")
above.annotate("trained", (-6, 0.42), ha="right")
above.annotate("forecast", (6, 0.42))
above.set(ylabel="series", ylim=(-0.75, 0.55))
above.legend(loc="lower left", ncols=2, frameon=False)
below.semilogy(t[150:], errors, color="C1", lw=0.6, alpha=0.4)
below.semilogy(t[150:], xp.median(errors, axis=1), color="C3", lw=2)
below.set(xlabel="timestep", ylabel="error", ylim=(1e-6, 3), xlim=(-150, FORECAST))

# %%
# The error grows by the same factor again and again: that is chaos, and no forecast escapes it.
#
# On a GPU
# --------
#
# Write ``import cupy as xp``, and ``.get()`` behind what is drawn. NumPy alone has ``eigvals`` of
# matrices that are not symmetric: scale the weights there.
