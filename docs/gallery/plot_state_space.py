"""
A state-space layer that remembers
==================================

Sixteen numbers that hold the last two seconds of a signal: a linear system whose state is the
recent past as a sum of Legendre polynomials (Voelker, Kajić and Eliasmith, *Legendre Memory Units*,
2019). State-space layers of neural networks are made of such systems. They are linear, so that no
loop over time is needed.
"""

from time import perf_counter

import numpy as np
from array_api_compat import array_namespace
from scipy.linalg import expm
from scipy.special import eval_legendre

from arrayrnn import associative_scan, linear_scan, rnn

ORDER, WINDOW, DT, TIMESTEPS = 16, 2.0, 0.005, 8_000  # WINDOW and DT in seconds

# %%
# The system in continuous time, ``WINDOW * dh/dt = A h + B u``, and then from one timestep to the
# next, ``h[t] = step @ h[t - 1] + gain * u[t]``.

i, j = np.indices((ORDER, ORDER))
A = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
B = (2 * np.arange(ORDER) + 1) * (-1.0) ** np.arange(ORDER)
step = expm(A * DT / WINDOW)
gain = np.linalg.solve(A, (step - np.eye(ORDER)) @ B)

# %%
# In the basis of its eigenvectors the matrix is sixteen complex numbers, one for each part of the
# state. ``linear_scan`` takes them as factors.

factors, basis = np.linalg.eig(step)
gain_in_basis = np.linalg.solve(basis, gain)

rng = np.random.default_rng(2)
t = DT * np.arange(TIMESTEPS)
waves = rng.uniform(0.1, 1.2, 9)[:, None], rng.uniform(0, 2 * np.pi, 9)[:, None]
signal = np.sin(2 * np.pi * waves[0] * t + waves[1]).mean(axis=0)
u = signal[None, :, None]  # (samples, time, features)


def remembered(u):
    h = linear_scan(factors[None, None], u * gain_in_basis)
    return (h @ basis.T).real


# %%
# The same by :func:`arrayrnn.associative_scan`, which shows how it works: two timesteps in a row
# are one, with the product of their factors. And by :func:`arrayrnn.rnn`, one after the other.


def in_a_row(first, second):
    (a, x), (b, y) = first, second
    return b * a, b * x + y


def by_pairs(u):
    x = u * gain_in_basis
    _, h = associative_scan(in_a_row, (np.broadcast_to(factors, x.shape), x), axis=1)
    return (h @ basis.T).real


def by_loop(u):
    def timestep(u_t, states):
        h = states[0] @ array_namespace(u_t).asarray(step.T) + u_t * gain
        return h, [h]

    return rnn(timestep, u, [np.zeros((1, ORDER))])[1]


expected = by_loop(u)
for way in (by_loop, by_pairs, remembered):
    begin = perf_counter()
    result = way(u)
    took = 1e3 * (perf_counter() - begin)
    difference = np.max(np.abs(result - expected))
    print(f"{way.__name__:<11} {took:6.1f} ms, differs from the loop by {difference:.0e}")
state = remembered(u)[0]

# %%
# What the state holds: the signal at a moment of the window before, by a sum of polynomials.

ago = np.linspace(0, WINDOW, 200)
polynomials = np.stack([eval_legendre(n, 2 * ago / WINDOW - 1) for n in range(ORDER)])
recalled = state @ polynomials  # (time, ago)

# %%

import matplotlib.pyplot as plt

figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.5), height_ratios=(3, 2), sharex=True)
above.plot(t, signal, color="0.75", lw=5, solid_capstyle="round")
for k, moment in enumerate((6.0, 9.5, 13.0, 16.5)):
    now = round(moment / DT)
    above.plot(t[now] - ago, recalled[now], color=f"C{k}", lw=2)
    above.plot(t[now], signal[now], "o", color=f"C{k}")
    below.axvline(t[now], color=f"C{k}", lw=2)
above.set(xlim=(3, 18), ylabel="signal")
largest = np.max(np.abs(state))
below.pcolormesh(t, np.arange(ORDER), state.T, cmap="RdBu_r", vmin=-largest, vmax=largest)
below.set(xlabel="time [s]", ylabel="state", yticks=(0, 5, 10, 15))

# %%
# Grey is the signal. Each coloured line is what the sixteen numbers of the state, below, tell at
# the dot of the two seconds before it. :doc:`/guide/associative_scan` has a layer of such systems,
# and says when a loop is faster.
#
# On a GPU
# --------
#
# Make ``factors``, ``basis``, ``gain_in_basis`` and ``u`` arrays of CuPy, by ``cupy.asarray``. A
# loop launches some operations for each timestep there; the scans launch some tens for all.
