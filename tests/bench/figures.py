"""The figures of a run, in a JSON file that docs/performance/page.py makes a page of."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = (
    "arrayrnn", "array-api-compat", "dask", "jax", "keras", "ndonnx", "numba", "numpy",
    "onnxruntime", "torch",
)  # fmt: skip
IDENTITY = ("topic", "test", "against", "on", "step", "case", "threads")


class Row(NamedTuple):
    """A figure of arrayrnn's, what it is held against, and their ratio."""

    topic: str  # the module of the test
    test: str
    name: str  # what it is held against, the library, the step and the case, two spaces apart
    ours: float
    other: float
    unit: str
    rounds: int
    ratio: float
    target: str = ""
    quartiles: tuple[float, float] | None = None  # of the ratios of the pairs

    def parts(self) -> dict[str, str]:
        """Return what the name consists of."""
        parts = [part.strip() for part in self.name.split("  ") if part.strip()]
        return dict(zip(("against", "on", "step", "case"), parts, strict=True))

    def as_dict(self, threads: int) -> dict[str, Any]:
        """Return what is written of a row."""
        return {**self._asdict(), **self.parts(), "threads": threads}


def machine() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "processor": _of("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _of("/proc/meminfo", "MemTotal"),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is installed of the packages that are measured."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _of(file: str, key: str) -> str:
    """Return what a file of the kernel says of a key."""
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def write(file: Path, rows: list[dict[str, Any]], device: str = "") -> None:
    """Put rows into a file, in the place of those of the same identity.

    A file holds the figures of one machine and of one set of versions, apart from those of a GPU.
    """
    new = {"machine": machine(), "device": device, "versions": versions()}
    old = json.loads(file.read_text()) if file.exists() else {**new, "rows": []}
    if {key: old[key] for key in new} != new:
        raise SystemExit(f"{file} holds figures of another machine or other versions: delete it")
    held = {tuple(row[key] for key in IDENTITY): row for row in [*old["rows"], *rows]}
    date = datetime.now(UTC).date().isoformat()
    head = json.dumps({**new, "date": date}, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = (json.dumps(row, ensure_ascii=False) for row in held.values())
    separated = ",\n  ".join(lines)
    file.write_text(f'{head},\n "rows": [\n  {separated}\n ]\n}}\n')
