"""The documentation's examples print what they say.

A page is Markdown or reStructuredText. From a line ``<!-- needs: torch jax -->`` (or ``.. needs:
torch jax``) to the next such line, which may name nothing, it is read only where all these are
installed. The session of NumPy runs every page; that of another library those with such a part.
"""

import doctest
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optree
import pytest

import arrayrnn
from arrayrnn import compiled
from support import abilities
from support.abilities import Ability, lacking
from support.backends import Backend, assert_same
from support.running import rnn

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = {"_build", "auto_gallery", "generated", "performance.md"}
MARK = re.compile(r"^(?:<!-- needs:(.*)-->|\.\. needs:(.*))$", re.MULTILINE)
NEEDS = {
    *("cupy", "dask", "jax", "keras", "matplotlib", "onnx", "pandas", "safetensors", "scipy"),
    *("sklearn", "tf_keras", "torch"),
}
# What stands for several modules.
MODULES = {"onnx": ("ndonnx", "onnx", "onnxruntime")}
# What one part of a page has to need for these backends to run the page.
CONCERNED = {
    Backend.NUMPY: set(),
    Backend.TORCH: {"torch"},
    Backend.TORCH_COMPILED: {"jax", "torch"},
    Backend.JAX: {"jax"},
    Backend.DASK: {"dask"},
    Backend.ONNX: {"onnx"},
    Backend.CUPY: {"cupy"},
}


def pages() -> Iterator[Path]:
    """Return all files with examples."""
    yield ROOT / "README.md"
    for file in sorted(DOCS.rglob("*")):
        ours = file.suffix in (".md", ".rst") and not GENERATED & {*file.relative_to(DOCS).parts}
        if ours and ">>> " in file.read_text():
            yield file


def parts(page: Path) -> Iterator[tuple[set[str], str]]:
    """Return the parts of a page, each with what it needs."""
    start, needed = 0, set()
    text = page.read_text()
    for mark in MARK.finditer(text):
        yield needed, text[start : mark.start()]
        start, needed = mark.start(), {*(mark[1] or mark[2] or "").split()}
    yield needed, text[start:]


def is_installed(needed: set[str]) -> bool:
    modules = (module for name in needed for module in MODULES.get(name, (name,)))
    return all(find_spec(module) is not None for module in modules)


def is_run_by(backend: Backend, page: Path) -> bool:
    concerned = CONCERNED.get(backend)
    return concerned is not None and any(
        concerned <= needed and is_installed(needed)
        for needed, part in parts(page)
        if ">>> " in part
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        names = metafunc.config.getoption("--backend") or ["numpy"]
        backends = [backend for name in names for backend in Backend.asked_for(name)]
        found = [
            pytest.param(page, id=str(page.relative_to(ROOT)))
            for page in pages()
            if any(is_run_by(backend, page) for backend in backends)
        ]
        nothing = pytest.param(None, marks=pytest.mark.skip("no page needs this library"))
        metafunc.parametrize("page", found or [nothing])


def examples(page: Path, *, everywhere: bool = False) -> doctest.DocTest:
    """Return the examples that can be run here, or those that need nothing."""
    kept = (
        # What is left out keeps its lines, so that a failure names the right one.
        part if (not needed if everywhere else is_installed(needed)) else "\n" * part.count("\n")
        for needed, part in parts(page)
    )
    return doctest.DocTestParser().get_doctest("".join(kept), {}, page.name, str(page), 0)


@pytest.fixture
def _as_for_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a page write files, show figures to nobody, and find JAX as it comes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    config = sys.modules["jax"].config if "jax" in sys.modules else None
    wide = config is not None and config.jax_enable_x64
    if wide:
        config.update("jax_enable_x64", False)
    yield
    if wide:
        config.update("jax_enable_x64", True)


@pytest.mark.usefixtures("_as_for_a_reader")
def test_a_page_prints_what_it_says(page):
    for needed, _ in parts(page):
        assert needed <= NEEDS
    if "compiled" in page.read_text() and find_spec("jax") is not None:
        compiled.cache_clear()  # its reader has compiled nothing yet
    failed, attempted = doctest.DocTestRunner().run(examples(page))
    assert attempted > 0
    assert failed == 0


def test_the_table_of_versions_says_what_is_promised_and_tested():
    _, _, section = (DOCS / "libraries.md").read_text().partition("\n## Versions\n")
    rows = [line.split("|")[2:5] for line in section.strip().split("\n\n")[0].splitlines()[2:]]
    lowest, older, newer = (
        {*re.findall(r"\d[\d.]*", " ".join(c))} for c in zip(*rows, strict=True)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    bounds = [re.split(r"\[\w+\]>=|>=", bound) for bound in sum(extras, project["dependencies"])]
    promised = [bound for bound in bounds if len(bound) == 2]
    assert lowest == {version for _, version in promised}
    pins = re.findall(r"^([\w-]+)==([\d.]+)(?:; (.*))?$", PINS.read_text(), re.MULTILINE)
    for found, marker in ((older, 'python_version < "3.12"'), (newer, 'python_version >= "3.12"')):
        named = {version for name, version, of in pins if name in dict(promised) and of == marker}
        assert named <= found
        assert found <= {version for name, version, of in pins if of in ("", marker)}


PINS = ROOT / "tests/constraints.txt"
RECIPES = {
    "discounted": ("recipes", lambda own: (((own["x"], own["t"]), [own["h"]]), {})),
    "decoder": ("recipes", lambda own: (((own["targets"], own["given"]), [own["h"]]), {})),
    "total": ("recipes", lambda own: (((own["x"], own["starts"]), [own["h"]]), {})),
    "cell": ("states", lambda own: ((own["x"], [own["h"], own["h"]]), {})),
    "doubled": ("states", lambda own: ((own["x"], [own["h"]]), {"input_length": [2, 4]})),
    "attend": (
        "constants",
        lambda own: (
            (own["x"], [own["h"], own["memory"], own["there"]]),
            {"input_length": [4, 0], "samplewise": True},
        ),
    ),
    "dropping": (
        "constants",
        lambda own: ((own["x"], [own["h"], own["dropout"]]), {"input_length": [4, 2]}),
    ),
    "summed": ("streams", lambda own: ((own["x"], [own["h"]]), {})),
    "halve": ("streams", lambda own: ((own["x"], [own["h"]]), {})),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_steps_of_the_recipes_run_on_every_library(backend, name):
    page, arguments_of = RECIPES[name]
    own = defined_by(page)
    arguments, options = arguments_of(own)
    expected = arrayrnn.rnn(own[name], *cast(backend, arguments), **options)
    found = rnn(own[name], *backend.arrays(cast(backend, arguments)), **options)
    assert_same(backend, found, expected)


@cache
def defined_by(page):
    """Return what the examples of a page of the guide define that need nothing."""
    test = examples(DOCS / f"guide/{page}.md", everywhere=True)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    return test.globs


def cast(backend, nest):
    """Return NumPy arrays with floats of the dtype of the library."""
    dtypes = {np.dtype(float): backend.float}
    return optree.tree_map(lambda leaf: leaf.astype(dtypes.get(leaf.dtype, leaf.dtype)), nest)


def test_what_a_library_cannot_do_is_what_tests_are_skipped_for():
    assert {*lacking()} == {str(ability) for ability in Ability}
    files = {*Path(__file__).parent.rglob("*.py")} - {Path(abilities.__file__)}
    tests = "".join(file.read_text() for file in files)
    for ability in Ability:
        assert lacking()[str(ability)], ability
        assert f"Ability.{ability.name}" in tests, ability
