"""
A rainfall-runoff model, calibrated by its gradient
===================================================

A catchment as three buckets: soil that takes up rain and gives it back to the air, and a quick and
a slow store that drain into the river. Four numbers say how. They are found from the flow of the
river, by following the gradient through two years of days: in ``jax.jit`` the loop is one
``lax.scan``, and JAX differentiates it. The script makes its own weather and, from hidden numbers,
its own river.
"""

import jax
import jax.numpy as jnp
import numpy as np

from arrayrnn import rnn

# %%
# One day of a catchment, in millimetres of water. The wetter the soil, the larger the part of the
# rain that runs off; the stores lose the same part of their water each day. The last state holds
# the parameters, which belong to a sample and never change.


def day(weather, states):
    rain, evaporation = weather
    soil, quick, slow, parameters = states
    wetness = soil / parameters["capacity"]
    runoff = rain * wetness ** parameters["shape"]
    soil = soil + rain - runoff - evaporation * wetness
    soil = jnp.clip(soil, 1e-3, parameters["capacity"])
    quick, slow = quick + 0.5 * runoff, slow + 0.5 * runoff
    out_of_quick, out_of_slow = quick * parameters["quick"], slow * parameters["slow"]
    flow = out_of_quick + out_of_slow
    return flow, [soil, quick - out_of_quick, slow - out_of_slow, parameters]


@jax.jit
def river(weather, parameters):
    empty = jnp.zeros_like(parameters["capacity"])
    states = [0.5 * parameters["capacity"], empty, empty, parameters]
    _, flow, _ = rnn(day, weather, states, samplewise=True, unroll=4)
    return flow[..., 0]


# %%
# The weather of three years, the hidden parameters, and the flow, which is measured inexactly.

rng = np.random.default_rng(6)
t = np.arange(3 * 365)
is_wet = rng.random(t.size) < 0.32 + 0.12 * np.cos(2 * np.pi * t / 365)
rain = np.where(is_wet, rng.gamma(0.8, 9.0, t.size), 0.0)
evaporation = 2.2 - 1.8 * np.cos(2 * np.pi * t / 365)
hidden = {"capacity": 180.0, "shape": 2.2, "quick": 0.35, "slow": 0.02}
GUESSES = 8


def for_samples(array, samples=GUESSES):
    return jnp.broadcast_to(jnp.asarray(array, jnp.float32)[None, :, None], (samples, t.size, 1))


weather = for_samples(rain), for_samples(evaporation)
truth = {name: jnp.full((1, 1), value) for name, value in hidden.items()}
measured = river(tuple(x[:1] for x in weather), truth)[0] * np.exp(0.1 * rng.normal(size=t.size))
CALIBRATED = slice(180, 2 * 365)  # the first half year fills the stores

# %%
# Eight guesses, each a sample, are improved side by side. The search is on a scale without bounds:
# logarithms, or for parts between 0 and 1 the logarithm of the odds.


def on_scale(free):
    bounded = {"quick", "slow"}
    return {k: jax.nn.sigmoid(v) if k in bounded else jnp.exp(v) for k, v in free.items()}


def squared_errors(free):
    errors = jnp.log(river(weather, on_scale(free)) + 0.1) - jnp.log(measured + 0.1)
    return jnp.mean(errors[:, CALIBRATED] ** 2, axis=1)


@jax.jit
def improved(free, mean, square, k):
    slope = jax.grad(lambda free: jnp.sum(squared_errors(free)))(free)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)  # Adam (Kingma and Ba, 2015)
    square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g**2, square, slope)
    scale = jnp.sqrt(1 - 0.99**k) / (1 - 0.9**k)
    move = jax.tree.map(lambda m, s: 0.15 * scale * m / (jnp.sqrt(s) + 1e-8), mean, square)
    return jax.tree.map(jnp.subtract, free, move), mean, square


center = {"capacity": 5.0, "shape": 0.3, "quick": 0.0, "slow": -3.0}
free = {
    k: jnp.asarray(c + rng.normal(0, 0.7, (GUESSES, 1)), jnp.float32) for k, c in center.items()
}
mean = square = jax.tree.map(jnp.zeros_like, free)
path = [on_scale(free)]
for k in range(1, 91):
    free, mean, square = improved(free, mean, square, float(k))
    path.append(on_scale(free))

best = int(jnp.argmin(squared_errors(free)))
simulated = river(weather, on_scale(free))[best]
for name, value in hidden.items():
    print(f"{name:<9} {float(path[-1][name][best, 0]):8.3f}, hidden {value:8.3f}")


def efficiency(days):
    """Return the efficiency of Nash and Sutcliffe: 1 is perfect, 0 as good as the mean."""
    error = jnp.sum((simulated - measured)[days] ** 2)
    return float(1 - error / jnp.sum((measured[days] - jnp.mean(measured[days])) ** 2))


VALIDATED = slice(2 * 365, None)
print(f"efficiency: {efficiency(CALIBRATED):.3f} calibrated, {efficiency(VALIDATED):.3f} validated")

# %%

import matplotlib.pyplot as plt

figure, axes = plt.subplot_mosaic([["flow"] * 4, [*hidden]], figsize=(10, 6), height_ratios=(3, 2))
shown = slice(365, None)
flow, years = axes["flow"], t[shown] / 365
flow.plot(years, measured[shown], ".", color="0.5", ms=3, label="measured")
flow.plot(years, simulated[shown], color="C0", lw=1.5, label="calibrated model")
flow.axvspan(2, 3, color="C1", alpha=0.12, lw=0)
flow.text(2.5, 0.9 * float(measured.max()), "held back for validation", color="C1", ha="center")
flow.set(
    xlabel="year", ylabel="flow [mm a day]", xlim=(1, 3), ylim=(0, 1.7 * float(measured.max()))
)
flow.legend(loc="center left", frameon=False)
above = flow.twinx()
above.bar(years, rain[shown], width=1 / 365, color="C9", alpha=0.7)
above.set(ylim=(3.5 * rain.max(), 0), ylabel="rain [mm a day]")
above.spines["right"].set_visible(True)
for name, value in hidden.items():
    guesses = np.asarray([step[name][:, 0] for step in path])
    axes[name].plot(guesses, color="C0", lw=1, alpha=0.6)
    axes[name].axhline(value, color="k", ls=":", lw=1.5)
    axes[name].set(title=name, xlabel="steps of the search", yscale="log")
    axes[name].set_yticks([value], [f"{value:g}"])
    axes[name].minorticks_off()

# %%
# Dotted lines are the hidden parameters, which the search has never seen.
#
# On a GPU
# --------
#
# Nothing changes: where JAX is installed with CUDA, its arrays are on the GPU. The step uses
# ``jnp`` since the search is JAX's; with ``array_namespace`` in its place it runs on NumPy, and on
# PyTorch, whose autograd goes through :func:`arrayrnn.rnn` as well: :doc:`/guide/gradients`.
