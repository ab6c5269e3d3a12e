"""The public surface, the layers of the package, and what it keeps away from."""

import ast
import pydoc
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import arrayrnn
from arrayrnn import cells

PACKAGE = Path(arrayrnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LIBRARIES = {"cupy", "dask", "dpnp", "jax", "ndonnx", "numpy", "spox", "tensorflow", "torch"}
# Rooms that may import one another only downwards; those of one layer do not know each other.
LAYERS = [
    {"_typing"},
    {"_libraries"},
    {"_recurrence"},
    {"_arguments", "_loops"},
    {"_combining"},
    {"verbs"},
    {"compiled"},
    {"cells"},
]
NAMES_LIBRARIES = (
    "_combining/",
    "_libraries/",
    "_loops/",
    "cells/_files.py",
    "cells/_from_",
    "cells/_fused.py",
    "cells/_jitted.py",
    "compiled/",
)
MOST_PARAMETERS = 8


def name_of(file):
    return file.relative_to(PACKAGE).as_posix()


def room_of(module):
    """Return the room of a module of the package, given by its dotted name."""
    first = module.removeprefix("arrayrnn").removeprefix(".").partition(".")[0]
    rooms = {room for layer in LAYERS for room in layer}
    return first if first in rooms else "verbs"


@cache
def tree_of(file):
    return ast.parse(file.read_text())


def imported_by(file):
    """Return the dotted names that a file imports, wherever it does."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "arrayrnn":
            yield from (f"arrayrnn.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_public_names():
    functions = ["associative_scan", "bidirectional", "linear_scan", "pad_sequences"]
    functions += ["reverse_sequence", "rnn", "scan", "unpad_sequences"]
    assert sorted(arrayrnn.__all__) == ["StepFunction", "Stream", "__version__", *functions]
    assert all(hasattr(arrayrnn, name) for name in arrayrnn.__all__)


def test_the_public_names_of_cells():
    kinds = ["GRU", "LSTM", "SimpleRNN"]
    functions = ["from_keras", "from_onnx", "from_torch", "load", "run", "save", "to"]
    assert sorted(cells.__all__) == [*kinds, *functions]
    assert all(hasattr(cells, name) for name in cells.__all__)


def test_help_shows_the_functions_first():
    description, _, _ = pydoc.plain(pydoc.render_doc(arrayrnn)).partition("PACKAGE CONTENTS")
    shown = description.replace(",", " ").split()
    functions = {name for name in arrayrnn.__all__ if name[0].islower()} | {"Stream"}
    assert functions <= {*shown}


def test_importing_it_imports_no_array_library():
    assert not LIBRARIES & imported_with("arrayrnn")


def test_importing_cells_imports_nothing_but_numpy():
    others = LIBRARIES | {"keras", "onnx", "safetensors"}
    assert others & imported_with("arrayrnn.cells") == {"numpy"}


def imported_with(module):
    """Return the packages that have been imported once a module has."""
    code = f"import sys, {module}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in shown.stdout.split()}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_array_libraries_are_imported_in_few_rooms(file):
    # Type checkers need NumPy's name; nothing is imported for it.
    for_types = {
        node
        for branch in ast.walk(tree_of(file))
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    imported = set()
    for node in set(ast.walk(tree_of(file))) - for_types:
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    assert name_of(file).startswith(NAMES_LIBRARIES) or not LIBRARIES & imported


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_rooms_import_only_from_layers_below(file):
    level = {room: k for k, layer in enumerate(LAYERS) for room in layer}
    own = room_of(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    for module in imported_by(file):
        if module.partition(".")[0] == "arrayrnn":
            other = room_of(module)
            assert other == own or level[other] < level[own], module


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_public_functions_take_many_parameters(file):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for node in ast.walk(tree_of(file)):
        if isinstance(node, functions):
            arguments = node.args
            count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])
            name = getattr(node, "name", "lambda")
            is_public = name in (*arrayrnn.__all__, *cells.__all__)
            is_stream = name_of(file) == "_stream.py" and name == "__init__"
            assert count <= MOST_PARAMETERS or is_public or is_stream, name
