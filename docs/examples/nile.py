"""The level of the Nile: a Kalman filter as a step function, a grid of models as its samples.

The yearly flow of the Nile at Aswan is the sum of a wandering level and the year's irregular part:

    flow[t]      = level[t] + irregular[t],    irregular ~ N(0, irregular variance)
    level[t + 1] = level[t] + change[t],       change    ~ N(0, level variance)

The script searches for the two variances that make the flows most likely. Each sample of `rnn` is
one pair of variances, so one call filters a whole grid; each next grid is a finer one around the
best pair, until the best is found. The published variances are from Durbin and Koopman, *Time
Series Analysis by State Space Methods* (2012); their log-likelihood, from the second year on, is
from Fulton, *Estimating Time Series Models by State Space Methods in Python*.

    python nile.py                    # NumPy
    python nile.py --backend torch    # another array library, the same figures
    python nile.py --compiled         # the filter compiled, the same figures
    python nile.py --plot nile.png    # the flows, the filtered level and its interval
"""

import argparse
import csv
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from arrayrnn import compiled, rnn

Array = Any  # of any library that implements the array API standard

BACKENDS = ("numpy", "torch", "jax", "dask", "cupy", "dpnp", "strict")
COMPILED = ("numpy", "torch", "cupy")
MODULES = {"dask": "dask.array", "jax": "jax.numpy", "strict": "array_api_strict"}
PUBLISHED = {"irregular variance": 15099.0, "level variance": 1469.1, "log-likelihood": -632.5377}
# Variance of the level before the first flow, of which next to nothing is known. Fulton's figure
# belongs to this variance; the book's figures belong to an infinite one, which moves the result to
# 15098.5, 1469.2, -632.5456.
VAGUE = 1e6
POINTS = 25  # along each side of a grid
CALLS = 6  # the spacing shrinks to a sixth from call to call, in the end to 0.005 %
QUANTILE = 1.6449  # of the normal distribution: 5 % are left out on either side


class Filtered(NamedTuple):
    """Results of the filter: `(samples, 1)` from one step, `(samples, time, 1)` from all steps."""

    log_likelihood: Array
    level: Array
    variance: Array


def kalman_step(y: Array, states: tuple[Array, ...]) -> tuple[Filtered, list[Array]]:
    """One year of the Kalman filter, in the letters of the book."""
    a, p, irregular, level = states
    xp = array_namespace(y)
    v = y - a  # the innovation
    f = p + irregular  # its variance
    k = p / f  # the gain
    log_likelihood = -0.5 * (math.log(2 * math.pi) + xp.log(f) + v**2 / f)
    a = a + k * v
    p = p * (1 - k)
    return Filtered(log_likelihood, a, p), [a, p + level]


def kalman_filter(
    flows: Array, irregular: Array, level: Array, is_compiled: bool = False
) -> Filtered:
    """Filter the same flows under every pair of variances, given as two arrays `(samples, 1)`."""
    xp, run = array_namespace(flows), compiled.rnn if is_compiled else rnn
    inputs = xp.broadcast_to(flows[None, :, None], (irregular.shape[0], flows.shape[0], 1))
    start = [xp.zeros_like(irregular), xp.full_like(irregular, VAGUE)]
    _, filtered, _ = run(kalman_step, inputs, start, constants=[irregular, level])
    return filtered


def fit(flows: Array, is_compiled: bool = False) -> tuple[dict[str, float], Filtered]:
    """Find the most likely variances, and filter the flows under them."""
    xp = array_namespace(flows)
    ticks = xp.linspace(-1.0, 1.0, POINTS, dtype=flows.dtype, device=device(flows))
    across, along = (xp.reshape(x, (-1, 1)) for x in xp.meshgrid(ticks, ticks, indexing="ij"))
    # The first grid reaches from a ten-thousandth of the variance of the flows to all of it.
    irregular = level = float(xp.var(flows)) / 100
    reach = math.log(100)
    for _ in range(CALLS):
        irregulars, levels = irregular * xp.exp(reach * across), level * xp.exp(reach * along)
        filtered = kalman_filter(flows, irregulars, levels, is_compiled)
        totals = xp.sum(filtered.log_likelihood[:, 1:, 0], axis=1)
        best = int(xp.argmax(totals))
        irregular, level = float(irregulars[best, 0]), float(levels[best, 0])
        reach *= 4 / (POINTS - 1)  # twice the spacing of this grid
    found = dict(zip(PUBLISHED, (irregular, level, float(totals[best])), strict=True))
    return found, Filtered(*(leaf[best, :, 0] for leaf in filtered))


def to_backend(values: list[float], backend: str) -> Array:
    """Make a float64 array of the chosen library, which only this function knows by name."""
    try:
        if backend == "jax":
            import_module("jax").config.update("jax_enable_x64", True)
        xp = import_module(MODULES.get(backend, backend))
        return xp.asarray(values, dtype=xp.float64)
    except Exception as error:  # not installed, no driver, no device: each library has its own
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise SystemExit(f"nile.py: cannot use {backend}: {reason}") from None


def plot(file: Path, flows: dict[int, float], *lines: list[float]) -> None:
    """Draw the flow of each year, the level, and the lower and upper end of its interval."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit(f"nile.py: --plot needs matplotlib: {error}") from None
    years, (level, low, high) = list(flows), lines
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(years, list(flows.values()), "o", color="0.45", ms=3.5, label="observed flow")
    axes.plot(years, level, color="C0", label="filtered level")
    axes.fill_between(years, low, high, color="C0", alpha=0.2, lw=0, label="its 90 % interval")
    axes.set(title="The Nile at Aswan", xlabel="year", ylabel="yearly flow [$10^8$ m$^3$]")
    axes.legend()
    figure.savefig(file, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the model to the flows; print the results beside the published figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, default="numpy", help="default: %(default)s")
    parser.add_argument("--compiled", action="store_true", help="compile the filter with JAX")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the filtered level")
    options = parser.parse_args(arguments)
    if options.compiled and options.backend not in COMPILED:
        parser.error(f"--compiled takes arrays of {', '.join(COMPILED)}")

    with Path(__file__).with_name("nile.csv").open(newline="") as file:
        flows = {int(row["year"]): float(row["volume"]) for row in csv.DictReader(file)}
    try:
        found, filtered = fit(to_backend(list(flows.values()), options.backend), options.compiled)
    except ImportError as error:
        raise SystemExit(f"nile.py: {error}") from None
    level = [float(filtered.level[t]) for t in range(len(flows))]
    half = [QUANTILE * math.sqrt(filtered.variance[t]) for t in range(len(flows))]
    low, high = ([x + sign * h for x, h in zip(level, half, strict=True)] for sign in (-1, 1))

    print(f"data     Nile at Aswan, {min(flows)}-{max(flows)}: yearly flows in 10^8 m^3")
    print(f"model    local level: {CALLS * POINTS**2} pairs of variances filtered in {CALLS} calls")
    print(f"library  {options.backend}\n\n{'found':>30}{'published':>13}{'difference':>13}")
    for name, published in PUBLISHED.items():
        value, digits = found[name], 4 if name == "log-likelihood" else 1
        figures = f"{value:>12.{digits}f}{published:>13.{digits}f}{value / published - 1:>+z13.2%}"
        print(f"{name:<18}{figures}")
    print(
        f"\nlevel in {max(flows)}: {level[-1]:.1f}, 90 % interval {low[-1]:.1f} to {high[-1]:.1f}"
    )
    if options.plot:
        plot(options.plot, flows, level, low, high)


if __name__ == "__main__":
    main()
