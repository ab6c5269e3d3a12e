"""
Sensors with gaps
=================

Four loggers measure the temperature of the soil. They were buried on different days, and each has
lost readings, for hours or for days. A Kalman filter estimates the temperature at every hour. Where
a reading is missing, nothing is computed: a *mask* holds the states. The script makes the readings.
"""

import numpy as xp
from array_api_compat import array_namespace

from arrayrnn import pad_sequences, rnn

# %%
# Days of readings each hour, NaN where there is none.

rng = xp.random.default_rng(3)


def readings(days, depth):
    t = xp.arange(24.0 * days)
    wander = xp.cumsum(rng.normal(0, 0.12, t.size))
    truth = 12.0 + wander + 3.0 * xp.exp(-depth / 0.1) * xp.sin(2 * xp.pi * (t / 24 - depth))
    values = truth + rng.normal(0, 0.5, t.size)
    values[rng.random(t.size) < 0.25] = xp.nan
    for start in rng.integers(10, t.size - 40, 2):
        values[start : start + int(rng.integers(8, 36))] = xp.nan
    return truth, values


depths = [0.05, 0.1, 0.2, 0.4]  # metres
truths, series = zip(*map(readings, [12, 10, 8, 6], depths), strict=True)

# %%
# One reading. The temperature wanders, so its variance has grown with the hours since the reading
# before; then the reading pulls the estimate towards itself.

WANDER, NOISE = 0.25, 0.25  # variance of an hour's change, and of a reading


def update(inputs, states):
    reading, hours = inputs["reading"], inputs["hours"]
    level, variance = states
    variance = variance + WANDER * hours
    gain = variance / (variance + NOISE)
    level = level + gain * (reading - level)
    variance = variance * (1 - gain)
    return {"level": level, "variance": variance}, [level, variance]


# %%
# The loggers become one array, and a mask says which of its timesteps hold a reading. The hours
# since the last one are a recurrence as well.


def count(there, states):
    xp, (since,) = array_namespace(there), states
    since = since + 1.0
    return since, [xp.where(there, xp.zeros_like(since), since)]


padded, lengths = pad_sequences([values[:, None] for values in series], value=xp.nan)
there = ~xp.isnan(padded)
_, hours, _ = rnn(count, there, [xp.zeros((4, 1))])
level, variance = xp.full((4, 1), 12.0), xp.full((4, 1), 25.0)  # before the first reading
_, outputs, _ = rnn(
    update,
    {"reading": padded, "hours": hours},
    [level, variance],
    mask=there,
    initial_output={"level": level, "variance": variance},
    samplewise=True,
)

# %%
# At a masked timestep the output is the one before. The variance that is due there adds up the
# hours since then, so that the interval widens over a gap.

level = outputs["level"][..., 0]
since = xp.where(there, 0.0, hours)[..., 0]
spread = 1.645 * xp.sqrt(outputs["variance"][..., 0] + WANDER * since)  # 90 % of the values
within = [
    xp.mean(xp.abs(truth - level[k, : truth.size]) < spread[k, : truth.size])
    for k, truth in enumerate(truths)
]
print("truth within the interval:", ", ".join(f"{float(share):.0%}" for share in within))

# %%

import matplotlib.pyplot as plt

figure, rows = plt.subplots(4, 1, figsize=(9, 6.5), sharex=True, sharey=True)
for k, axes in enumerate(rows):
    days = xp.arange(lengths[k]) / 24
    middle, half = level[k, : lengths[k]], spread[k, : lengths[k]]
    axes.fill_between(days, middle - half, middle + half, color="C0", alpha=0.25, lw=0)
    axes.plot(days, middle, color="C0", lw=1.5)
    axes.plot(days, series[k], ".", color="0.3", ms=3)
    axes.set_title(f"{100 * depths[k]:.0f} cm deep", loc="right", y=0.8, fontsize=10)
rows[-1].set(xlabel="day", xlim=(0, 12))
figure.supylabel("temperature of the soil [°C]")

# %%
# Dots are readings, the line is the estimate, and the shade is the interval that holds the true
# temperature nine times out of ten, if the two variances are right. :doc:`/guide/masks` tells what
# a mask does, and what ``samplewise=True`` promises.
#
# On a GPU
# --------
#
# Write ``import cupy as xp``, and ``.get()`` behind what is drawn. A hundred thousand loggers take
# hardly longer there than four.
