"""What not every library can do: the table in docs/libraries.md, by which tests are skipped.

A test that needs an ability is marked with it, ``@pytest.mark.needs(Ability.CALLS)``, and skipped
on the backends that lack it, the ability being the reason.
"""

import enum
from collections.abc import Iterator
from pathlib import Path

from support.backends import Backend

__all__ = ["Ability"]

TABLE = Path(__file__).parents[2] / "docs" / "libraries.md"
# The columns of the table.
COLUMNS = {
    "JAX in `jit`": (Backend.JAX_JIT,),
    "Dask": (Backend.DASK,),
    "ONNX": (Backend.ONNX,),
    "`compiled`": (
        Backend.NUMPY_COMPILED,
        Backend.TORCH_COMPILED,
        Backend.TORCH_CUDA_COMPILED,
        Backend.CUPY_COMPILED,
    ),
}


class Ability(enum.Enum):
    """What a test may need, in the words of the table."""

    CALLS = "calls of the step that are counted, or remember something"
    CLOSURES = "arrays of the library that the step closes over"
    COMPLEX = "complex numbers"
    LATER = "steps that do something else at a later timestep, unrolled"
    FEEDBACK = "results that decide, in Python, on what is computed next"
    PROGRESS = "reports of progress"
    UINT64 = "unsigned integers of 64 bits, masked"
    VALUES = "values of arrays, before results are computed"

    def __str__(self) -> str:
        return self.value

    def is_lacked_by(self, backend: Backend) -> bool:
        return backend in lacking()[self.value]


def lacking() -> dict[str, set[Backend]]:
    """Return the rows of the table: each ability, and the backends that lack it."""
    return dict(_rows())


def _rows() -> Iterator[tuple[str, set[Backend]]]:
    _, _, section = TABLE.read_text().partition("\n## What a library cannot do\n")
    section, _, _ = section.partition("\n## ")
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in lines]
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        lacking = (backends for name, backends in COLUMNS.items() if cells[name] == "no")
        yield row[0], set().union(*lacking)
