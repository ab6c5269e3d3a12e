"""
An echo-state network forecasts chaos
=====================================

The equation of Mackey and Glass (1977) describes how blood cells regenerate, with a delay that
makes it chaotic. An echo-state network (Jaeger and Haas, *Harnessing Nonlinearity*, 2004) learns to
forecast it: a large random network that is never trained, and a linear readout that is. Eight such
networks run side by side, as the samples.
"""

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import numpy as xp

from arrayrnn import rnn, scan

NETWORKS, UNITS = 8, 200
WARM_UP, TRAINED, FORECAST = 200, 2_000, 1_000
DELAY, FINE = 17, 10  # of the equation, in units of time; and small steps in one unit

# %%
# The series is a :func:`arrayrnn.scan` without inputs, which carries the last ``DELAY`` units of
# time, oldest first. It runs twice at once: the second time, the past is off by next to nothing.


def mackey_glass(past, _):
    xp = array_namespace(past)
    old, now = past[:1, :], past[-1:, :]
    now = now + (0.2 * old / (1 + old**10) - 0.1 * now) / FINE
    return xp.concat([past[1:, :], now]), now[0, :]


known = WARM_UP + TRAINED
past = 1.2 + xp.asarray(np.asarray([0.0, 1e-12]) * np.ones((DELAY * FINE, 1)))
_, both = scan(mackey_glass, past, None, length=FINE * (known + FORECAST))
series = xp.tanh(both[::FINE, 0] - 1)

# %%
# A network: the units mix through fixed random weights, hear the input, and leak. Each sample has
# weights of its own, a state that the step hands on as it came.


def reservoir(u_t, states):
    h, weights = states
    xp = array_namespace(u_t)
    mixed = xp.matmul(weights["recurrent"], h[..., None])[..., 0]
    h = 0.4 * h + 0.6 * xp.tanh(mixed + weights["input"] * u_t + 0.1)
    return h, [h, weights]


# %%
# Echoes fade, just about, if the largest eigenvalue of the weights is near 1.

rng = np.random.default_rng(0)
shape = (NETWORKS, UNITS, UNITS)
recurrent = rng.normal(size=shape) * (rng.random(shape) < 0.05)
recurrent *= 1.1 / np.max(np.abs(np.linalg.eigvals(recurrent)), axis=1)[:, None, None]
weights = {"recurrent": recurrent, "input": rng.uniform(-1, 1, (NETWORKS, UNITS))}
weights = {name: xp.asarray(values) for name, values in weights.items()}
inputs = xp.broadcast_to(series[None, :known, None], (NETWORKS, known, 1))
start = [xp.zeros_like(weights["input"]), weights]
_, h, states = rnn(reservoir, inputs[:, :-1, :], start)

# %%
# Training is one ridge regression for each network, from its state to the value that comes next.

h, target = h[:, WARM_UP:, :], inputs[:, WARM_UP + 1 :, :]
transposed = xp.matrix_transpose(h)
ridge = 1e-7 * xp.asarray(np.eye(UNITS))
readout = xp.linalg.solve(transposed @ h + ridge, transposed @ target)

# %%
# The forecast: from here on, each network hears what it has said itself.


def on_its_own(carry, _):
    u, states = carry
    h, states = reservoir(u, states)
    u = (h[:, None, :] @ readout)[:, 0, :]
    return (u, states), u[:, 0]


_, forecasts = scan(on_its_own, (inputs[:, -1, :], states), None, length=FORECAST)

# %%
# How long the forecasts hold; and how fast the two solutions of the equation part, since no small
# error can be expected to grow more slowly.

both, series, forecasts = (np.asarray(x) for x in (both[::FINE], series, forecasts))
truth = series[known:, None]
errors = np.abs(forecasts - truth)  # (time, networks)
held = sorted(int(np.argmax(error > 0.1)) for error in errors.T if np.max(error) > 0.1)
print(f"off by 0.1: {len(held)} of {NETWORKS} networks, after", *held, "units of time")

apart = np.log10(np.abs(both[:, 1] - both[:, 0]))
rate, _ = np.polyfit(np.arange(apart.size), apart, 1)
print(f"two solutions are ten times as far apart every {1 / rate:.0f} units of time")

# %%
# Errors are drawn as their root mean square over 50 units of time, about one swing of the series.
# The dashed line has the slope of the two solutions, and starts among the errors.

import matplotlib.pyplot as plt

WINDOW = 50
squares = np.lib.stride_tricks.sliding_window_view(errors**2, WINDOW, axis=0)
smooth = np.sqrt(squares.mean(axis=-1))
middle = np.arange(len(smooth)) + WINDOW / 2
law = np.exp(np.log(smooth[0]).mean()) * 10 ** (rate * (middle - middle[0]))

figure, (above, below) = plt.subplots(
    2, 1, figsize=(9, 5.5), height_ratios=(3, 2), sharex=True, layout="constrained"
)
t = np.arange(-150, FORECAST)
above.plot(t[150:], forecasts, color="C1", lw=2, alpha=0.35)
above.plot(t, series[known - 150 :], color="k", lw=1)
above.axvline(0, color="0.5", lw=1, ls=":")
above.text(-8, 0.45, "training", ha="right")
above.text(8, 0.45, "eight networks on their own", color="C1")
above.text(420, 0.45, "the equation")
above.plot(held, np.full(len(held), -0.68), "^", color="C3", ms=7, alpha=0.7)
above.text(held[0] - 15, -0.72, "off by 0.1", color="C3", ha="right")
above.set(ylabel="series", ylim=(-0.75, 0.55), yticks=(-0.5, 0, 0.5))
below.semilogy(middle, smooth, color="C1", lw=1.2, alpha=0.6)
below.semilogy(middle, law, color="k", lw=1.5, ls="--")
below.text(640, 2e-3, "distance of two solutions")
below.set(xlabel="units of time", ylabel="error", xlim=(-150, FORECAST))

# %%
# On a GPU
# --------
#
# Import ``cupy`` from ``array_api_compat`` in place of ``numpy``, and write ``cupy.asnumpy`` in
# place of ``np.asarray`` where the results are read. The weights are drawn and scaled by NumPy.
