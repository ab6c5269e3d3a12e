"""Make the page about performance of what `nox -s bench` measured.

    python docs/performance/page.py

reads `figures.json`, and `gpu.json` where `tests/bench/on_gpu.py` has written it, and writes
`docs/performance.md` and its plots. The build of the site does the same. No figure stands here.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from sections import GROUPS, LIBRARIES, SECTIONS, Section

HERE = Path(__file__).parent
Row = dict[str, Any]
COLUMNS = {"against": "against", "on": "library", "step": "step", "case": "case"}


def write(docs: Path = HERE.parent) -> None:
    """Write the page and its plots."""
    from plots import draw  # needs matplotlib

    run = json.loads((HERE / "figures.json").read_text())
    on_gpu = HERE / "gpu.json"
    gpu = json.loads(on_gpu.read_text()) if on_gpu.exists() else None
    (docs / "performance.md").write_text(page(run, gpu))
    draw(run["rows"], HERE)


def page(run: dict[str, Any], gpu: dict[str, Any] | None = None) -> str:
    """Return the text of the page."""
    parts = ["# Performance", *summary(run["rows"]), READ, PLOT, conditions(run)]
    left = list(run["rows"])
    for section in SECTIONS:
        rows = [row for row in left if section.takes(row)]
        left = [row for row in left if row not in rows]
        if rows:
            parts += [f"## {section.title}", section.text, *tables(section, rows)]
    if left:
        names = "\n".join(f"{row['topic']}, {row['test']}: {row['name']}" for row in left)
        raise ValueError(f"No section of the page takes these figures:\n{names}")
    parts += ["## On a GPU", *on_gpu(gpu), "## What the steps are", STEPS]
    return "\n\n".join(parts) + "\n"


READ = "In parentheses stands the time of the first as a part of the time of the second. All of this is on a CPU."
PLOT = """![A dot for each comparison, at the time that arrayrnn takes relative to the other](performance/ratios.svg)"""
STEPS = """* *small* is a step of two operations on arrays (samples, time, features) = (4, time, 4).
* *lstm* is an LSTM on (32, time, 64) with 128 units, where no other shape is given; LSTMs have twice as many units
  as features.
* *by hand* is the loop that one would write: slice, call the step, append, `stack`; under a mask the loop selects
  output and states with `where` at each timestep.
* *masked* is a right-padded mask with lengths drawn uniformly from [time / 10, time].

A ratio is the median of the ratios of pairs of calls, taken in turns; below 1 arrayrnn is faster. Times are medians.
Ratios in **bold** miss their target. The other may run the same pairs at another ratio of times than the ratio of
the two medians says, since the machine does other things meanwhile."""


def conditions(run: dict[str, Any]) -> str:
    """Say where and with what the figures were measured."""
    machine, versions = run["machine"], run["versions"]
    memory = round(int(machine["memory"].split()[0]) / 2**20) if machine["memory"] else None
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    cores = f"{machine['cores']} cores" + (f" and {memory} GiB of memory" if memory else "")
    return (
        f"Measured on {run['date']} by `nox -s bench`: {machine['processor']}, {cores} of a shared virtual "
        f"machine that did other work as well, {machine['system']}, Python {machine['python']}; {listed}. "
        "One thread, two for the cells; no gradients, unless a row says so. What the words in the tables "
        "mean stands [at the end](#what-the-steps-are)."
    )


def summary(rows: list[Row]) -> Iterator[str]:
    """Say in a sentence each where arrayrnn is faster, and where it is slower."""
    faster, even, slower = [], [], []
    for (ours, other), takes in GROUPS.items():
        ratios = sorted(row["ratio"] for row in rows if takes(row))
        if ratios:
            middle = median(ratios)
            kind = faster if middle < 0.95 else even if middle <= 1.05 else slower
            kind.append(
                (
                    middle,
                    ours,
                    other,
                    " to ".join(dict.fromkeys(map(shown, (ratios[0], ratios[-1])))),
                )
            )
    first = compared("faster than", "than", sorted(faster))
    yield f"{first}; {compared('about as fast as', 'as', sorted(even))}." if even else f"{first}."
    if slower:
        yield f"{compared('slower than', 'than', sorted(slower, reverse=True))}."


def compared(is_than: str, than: str, found: list[tuple[float, str, str, str]]) -> str:
    """Say what is compared, the verb with the first only."""
    parts = [
        f"{ours} {f'is {is_than}' if k == 0 else than} {other} ({ratios})"
        for k, (_, ours, other, ratios) in enumerate(found)
    ]
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def tables(section: Section, rows: list[Row]) -> Iterator[str]:
    """Yield a table, or one for each test if the section asks for that."""
    if section.plot:
        yield section.plot
    for test in dict.fromkeys(row["test"] for row in rows) if section.apart else [None]:
        some = [row for row in rows if test in (None, row["test"])]
        if test:
            yield f"*{titled(test)}*"
        yield table(some)


def table(rows: list[Row]) -> str:
    """Return a table of figures, without columns in which nothing differs."""
    known = [key for key in COLUMNS if len({row[key] for row in rows}) > 1] or ["case"]
    has_targets = any(row["target"] for row in rows)
    head = [COLUMNS[key] for key in known] + [
        "arrayrnn",
        "other",
        "ratio",
        *["target"][:has_targets],
    ]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [words(row[key]) for key in known]
        cells += [
            quantity(row["ours"], row["unit"]),
            quantity(row["other"], row["unit"]),
            ratio(row),
        ]
        lines.append(cells + ([row["target"].replace("<=", "≤")] if has_targets else []))
    same = [words(rows[0][key]) for key in COLUMNS if key not in known]
    caption = f"All rows: {', '.join(same)}.\n\n" if same else ""
    return caption + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words(text: str) -> str:
    """Return a name as it is written, and what a function is called in words."""
    return LIBRARIES.get(text, text.replace("_", " "))


def titled(test: str) -> str:
    """Return the name of a test as a title."""
    title = " ".join(words(word) for word in test.split("_"))
    return title[0].upper() + title[1:]


def ratio(row: Row) -> str:
    """Return a ratio, in bold if it misses its target."""
    return f"**{shown(row['ratio'])}**" if misses(row) else shown(row["ratio"])


def misses(row: Row) -> bool:
    """Say whether a row has a target for its ratio and misses it."""
    bound = re.fullmatch(r"(?:<|<=|≤) (\d+(?:\.\d+)?)", row["target"])
    return bound is not None and row["ratio"] > float(bound[1])


def shown(number: float) -> str:
    """Return a number with as many digits as mean something."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 3 else f"{number:.2f}"


def quantity(number: float, unit: str) -> str:
    """Return a number with three digits, and its unit."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return (
        f"{number:,.{digits}f} {unit.replace('/step', ' a timestep').replace('/call', ' a call')}"
    )


def on_gpu(gpu: dict[str, Any] | None) -> Iterator[str]:
    """Yield what was measured on a GPU, or that nothing was."""
    command = "`python tests/bench/on_gpu.py --figures docs/performance/gpu.json`"
    if gpu is None:
        yield (
            "Loops by hand, `rnn`, CUDA graphs, `compiled.rnn`, `lax.scan` and cuDNN's LSTM have not been measured "
            f"against one another on a GPU with this version. {command} does it, and this page shows the result."
        )
        return
    yield f"Measured on {gpu['date']} on {gpu['device']}, by {command}."
    yield table(gpu["rows"])


if __name__ == "__main__":
    write()
