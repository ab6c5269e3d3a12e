"""The plots of the page about performance."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from sections import GROUPS, LIBRARIES

Row = dict[str, Any]
COLOURS = {"numpy": "C0", "torch": "C1", "jax": "C2", "onnx": "C4"}
LOOK = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "svg.fonttype": "path",
    "svg.hashsalt": "arrayrnn",
}


def draw(rows: list[Row], folder: Path) -> None:
    """Draw all plots into a folder."""
    with mpl.rc_context(LOOK):
        for name, plot in (("ratios", ratios), ("ways", ways), ("matrices", matrices)):
            figure = plot(rows)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def ratios(rows: list[Row]) -> Figure:
    """Draw a dot for each comparison, in groups by what arrayrnn is held against."""
    groups = {name: [row for row in rows if takes(row)] for name, takes in GROUPS.items()}
    groups = {name: found for name, found in groups.items() if found}
    order = sorted(groups, key=lambda name: median(row["ratio"] for row in groups[name]))
    figure = Figure(figsize=(10, 0.42 * len(order) + 1.4), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(1e-3, 1, color="C2", alpha=0.07, lw=0)
    axes.axvline(1, color="0.3", lw=1)
    for place, name in enumerate(reversed(order)):
        for row in groups[name]:
            colour = COLOURS.get(row["on"], "0.4")
            axes.plot(row["ratio"], place, "o", color=colour, ms=7, alpha=0.6, mew=0)
    axes.set_yticks(range(len(order)), [label(*name) for name in reversed(order)])
    every = [row["ratio"] for found in groups.values() for row in found]
    axes.set(xscale="log", xlim=(0.7 * min(every), 1.4 * max(every)), ylim=(-0.6, len(order) - 0.4))
    ticks = [t for t in (0.01, 0.03, 0.1, 0.3, 1, 3, 10) if 0.7 * min(every) < t < 1.4 * max(every)]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time of arrayrnn / time of the other")
    for place, words, side in ((0.85, "← arrayrnn is faster", "right"), (1.15, "slower →", "left")):
        axes.text(place, len(order) - 0.45, words, ha=side, va="bottom", color="0.3")
    seen = [
        on for on in COLOURS if any(row["on"] == on for found in groups.values() for row in found)
    ]
    for on in seen:
        axes.plot([], [], "o", color=COLOURS[on], ms=7, alpha=0.6, mew=0, label=LIBRARIES[on])
    axes.legend(loc="upper right", frameon=False)
    return figure


def label(ours: str, other: str) -> str:
    """Return what a row of dots compares."""
    return f"{ours} against {other}".replace("`", "")


def ways(rows: list[Row]) -> Figure:
    """Draw what a timestep of the small step takes on NumPy arrays, by the number of timesteps."""
    times: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found = re.fullmatch(r"unmasked, 4 × ([\d,]+) × 4", row["case"])
        if row["test"] == "against_other_ways" and row["step"] == "small" and found:
            steps = int(found[1].replace(",", ""))
            times["compiled.rnn"][steps].append(1e3 * row["ours"] / steps)
            times[row["against"]][steps].append(1e3 * row["other"] / steps)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    names = {
        "eager": "rnn, eagerly",
        "jax.jit": "jax.jit around rnn",
        "onnx": "exported, in onnxruntime",
    }
    for way, by_steps in times.items():
        steps = sorted(by_steps)
        medians = [median(by_steps[n]) for n in steps]
        axes.plot(steps, medians, "o-", lw=2, label=names.get(way, way))
    axes.set(xscale="log", yscale="log", xlabel="timesteps", ylabel="time for each timestep [µs]")
    axes.legend(frameon=False)
    return figure


def matrices(rows: list[Row]) -> Figure:
    """Draw `linear_scan` of matrices against a loop by hand, by the size of the matrices."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color="0.3", lw=1)
    for on in ("numpy", "torch"):
        found = {
            int(row["case"].split()[-1]): row["ratio"]
            for row in rows
            if row["test"] == "matrices_against_a_loop_by_hand" and row["on"] == on
        }
        sizes = sorted(found)
        axes.plot(
            sizes, [found[n] for n in sizes], "o-", lw=2, color=COLOURS[on], label=LIBRARIES[on]
        )
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n} × {n}" for n in sizes])
        axes.minorticks_off()
    axes.set(ylim=(0, None), xlabel="matrices", ylabel="time / time of a loop by hand")
    axes.legend(frameon=False)
    return figure
