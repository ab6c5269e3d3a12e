"""The public surface, and what the package keeps away from."""

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import arrayrnn

PACKAGE = Path(arrayrnn.__file__).parent
LIBRARIES = {"cupy", "dask", "dpnp", "jax", "ndonnx", "numpy", "spox", "tensorflow", "torch"}
# The files that are about libraries, and those of what is built on one.
NAMING = {
    *(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("compiled/_[!_]*.py")),
    "_foreign.py",
    "_host.py",
    "_memory.py",
    "_onnx.py",
    "_operations.py",
    "_packing.py",
    "_recomputation.py",
    "loops/dask.py",
    "loops/jax.py",
    "loops/onnx.py",
}


def test_the_public_names():
    functions = ["bidirectional", "pad_sequences", "reverse_sequence", "rnn", "scan"]
    functions += ["unpad_sequences"]
    assert sorted(arrayrnn.__all__) == ["StepFunction", "Stream", "__version__", *functions]
    assert all(hasattr(arrayrnn, name) for name in arrayrnn.__all__)


def test_help_shows_the_functions_first():
    description, _, _ = pydoc.plain(pydoc.render_doc(arrayrnn)).partition("PACKAGE CONTENTS")
    shown = description.replace(",", " ").split()
    functions = {name for name in arrayrnn.__all__ if name[0].islower()} | {"Stream"}
    assert functions <= {*shown}


def test_importing_it_imports_no_array_library():
    code = "import sys, arrayrnn; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not LIBRARIES & {name.partition(".")[0] for name in shown.stdout.split()}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_array_libraries_are_imported_where_they_are_named_alone(file):
    tree = ast.parse(file.read_text())
    # Type checkers need NumPy's name; nothing is imported for it.
    for_types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    imported = set()
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    assert file.relative_to(PACKAGE).as_posix() in NAMING or not LIBRARIES & imported
