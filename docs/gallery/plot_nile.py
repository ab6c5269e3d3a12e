r"""
The level of the Nile
=====================

A hundred years of the Nile at Aswan: a wandering level, which each year's flow shows inexactly::

    flow[t]      = level[t] + irregular[t],    irregular ~ N(0, irregular variance)
    level[t + 1] = level[t] + change[t],       change    ~ N(0, level variance)

A Kalman filter follows the level if it knows the two variances. Which ones make the flows most
likely? Each sample of :func:`arrayrnn.rnn` is one pair of variances, so that one call filters with
a whole grid of them. The published variances are those of Durbin and Koopman, *Time Series Analysis
by State Space Methods* (2012); their log-likelihood, from the second year on, is from Fulton,
*Estimating Time Series Models by State Space Methods in Python*.
"""

import math
from typing import NamedTuple

import numpy as xp
from array_api_compat import array_namespace

from arrayrnn import rnn

# Of the years 1871 to 1970, in 10^8 cubic metres: a data set of R, and of many books.
# fmt: off
FLOWS = [
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960,
    1180, 799, 958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694,
    940, 833, 701, 916, 692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764,
    821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865, 845, 944, 984, 897, 822,
    1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050, 918,
    986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
]
# fmt: on
PUBLISHED = {"irregular variance": 15099.0, "level variance": 1469.1, "log-likelihood": -632.5377}
# Of the level before the first flow. Fulton's figure belongs to this variance, the book's to an
# infinite one, which moves the result to 15098.5, 1469.2, -632.5456.
VAGUE = 1e6
POINTS = 25  # along each side of a grid
CALLS = 6  # from call to call, the spacing of the grid shrinks to a sixth

# %%
# One year of the filter, in the letters of the book. The states are the expected level and its
# variance, and the two variances of the model: they belong to a sample, so they travel as states
# that never change.


class Filtered(NamedTuple):
    log_likelihood: object
    level: object
    variance: object


def kalman_step(y, states):
    xp, (a, p, irregular, level) = array_namespace(y), states
    v = y - a  # the innovation: how far the flow is from what was expected
    f = p + irregular  # its variance
    k = p / f  # the gain: how much of it the level takes over
    log_likelihood = -0.5 * (math.log(2 * math.pi) + xp.log(f) + v**2 / f)
    a = a + k * v
    p = p * (1 - k)
    return Filtered(log_likelihood, a, p), [a, p + level, irregular, level]


# %%
# All years, for all pairs of variances. The output is a tuple of three, and so are all outputs,
# each ``(samples, time, 1)``. The flows, the same for all samples, are broadcast and not copied.


def kalman_filter(flows, irregular, level):
    xp = array_namespace(flows)
    inputs = xp.broadcast_to(flows[None, :, None], (irregular.shape[0], flows.shape[0], 1))
    start = [xp.zeros_like(irregular), xp.full_like(irregular, VAGUE), irregular, level]
    _, filtered, _ = rnn(kalman_step, inputs, start)
    return filtered


# %%
# The search: each grid is a finer one around the best pair of the grid before.


def grid(irregular, level, reach):
    ticks = xp.linspace(-reach, reach, POINTS, dtype=xp.float64)
    across, along = (xp.reshape(x, (-1, 1)) for x in xp.meshgrid(ticks, ticks, indexing="ij"))
    return irregular * xp.exp(across), level * xp.exp(along)


def fit(flows):
    irregular = level = float(xp.var(flows)) / 100
    # At first from a ten-thousandth of the variance of the flows to all of it.
    reach = math.log(100)
    surfaces = []
    for _ in range(CALLS):
        irregulars, levels = grid(irregular, level, reach)
        filtered = kalman_filter(flows, irregulars, levels)
        totals = xp.sum(filtered.log_likelihood[:, 1:, 0], axis=1)
        best = int(xp.argmax(totals))
        surfaces.append((irregulars[:, 0], levels[:, 0], totals))
        irregular, level = float(irregulars[best, 0]), float(levels[best, 0])
        reach *= 4 / (POINTS - 1)  # twice the spacing of this grid
    found = dict(zip(PUBLISHED, (irregular, level, float(totals[best])), strict=True))
    return found, Filtered(*(leaf[best, :, 0] for leaf in filtered)), surfaces


flows = xp.asarray(FLOWS, dtype=xp.float64)
found, filtered, surfaces = fit(flows)

print(f"{'found':>30}{'published':>13}{'difference':>13}")
for name, published in PUBLISHED.items():
    print(f"{name:<18}{found[name]:>12.4f}{published:>13.4f}{found[name] / published - 1:>+z13.3%}")

# %%
# The first grid shows the whole surface of the likelihood: all pairs whose logarithm is within 2 of
# the best, say, explain the flows nearly as well.

import matplotlib.pyplot as plt
import numpy as np

level, variance = np.asarray(filtered.level), np.asarray(filtered.variance)
half = 1.6449 * np.sqrt(variance)  # 5 % are left out on either side

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2))
years = range(1871, 1971)
left.fill_between(years, level - half, level + half, color="C0", alpha=0.2, lw=0)
left.plot(years, np.asarray(flows), "o", color="0.45", ms=3.5)
left.plot(years, level, color="C0", lw=2)
left.annotate("observed flow", (1896, 1290), color="0.35")
left.annotate("filtered level and\nits 90 % interval", (1934, 1230), color="C0")
left.set(xlabel="year", ylabel="flow of the Nile at Aswan [$10^8$ m$^3$ a year]")

across, along, totals = (np.asarray(x).reshape(POINTS, POINTS) for x in surfaces[0])
below = totals - found["log-likelihood"]
levels = [-60, -30, -15, -8, -4, -2, -1, 0]
drawn = right.contourf(across, along, below, levels=levels, cmap="Blues", extend="min")
figure.colorbar(drawn, ax=right, label="log-likelihood, below its maximum")
for values, name, mark in ((found, "found", "C1o"), (PUBLISHED, "published", "k+")):
    right.plot(*list(values.values())[:2], mark, ms=11, mew=1.5, label=name)
right.set(xscale="log", yscale="log", xlabel="irregular variance", ylabel="level variance")
right.legend(loc="lower left")

# %%
# On a GPU
# --------
#
# Write ``import cupy as xp`` in place of ``import numpy as xp``, and ``cupy.asnumpy`` in place of
# ``np.asarray`` in the figure. All that is used of ``xp`` is in the array API standard, so
# ``array_api_compat.torch`` or ``jax.numpy`` (with 64 bits enabled) serve as well. A call of 625
# small filters does not need a GPU; :func:`arrayrnn.compiled.rnn` in place of ``rnn`` makes one
# compiled program of all years.
