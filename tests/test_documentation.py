"""The documentation's examples print what they say."""

import doctest
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optree
import pytest

import arrayrnn
from arrayrnn import compiled
from support import abilities
from support.abilities import Ability, lacking
from support.backends import assert_same
from support.running import rnn

ROOT = Path(__file__).parent.parent


def test_the_readme_prints_what_it_says():
    # Fenced code keeps its closing line apart by an empty one, which ends the expected output.
    failed, attempted = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert attempted >= 6
    assert failed == 0


@pytest.mark.parametrize(
    ("page", "libraries", "least"),
    [("recipes.md", ["torch", "jax"], 20), ("associative_scan.md", ["torch"], 40)],
    ids=["recipes", "associative_scan"],
)
def test_the_recipes_print_what_they_say(page, libraries, least):
    text, *of_one = re.split(r"<!-- (torch|jax) -->", (ROOT / "docs" / page).read_text())
    assert of_one[::2] == libraries
    for library, recipe in zip(libraries, of_one[1::2], strict=True):
        text += recipe if find_spec(library) is not None else ""
    test = doctest.DocTestParser().get_doctest(text, {}, page, None, 0)
    assert len(test.examples) >= least
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_page_about_cells_prints_what_it_says():
    failed, attempted = doctest.testfile(str(ROOT / "docs/cells.md"), module_relative=False)
    assert attempted >= 10
    assert failed == 0


def test_the_table_of_versions_says_what_is_promised_and_tested():
    _, _, section = (ROOT / "docs/backends.md").read_text().partition("\n## Versions\n")
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
    "discounted": lambda own: (((own["x"], own["t"]), [own["h"]]), {}),
    "cell": lambda own: ((own["x"], [own["h"], own["h"]]), {}),
    "doubled": lambda own: ((own["x"], [own["h"]]), {"input_length": [2, 4]}),
    "decoder": lambda own: (((own["targets"], own["given"]), [own["h"]]), {}),
    "total": lambda own: (((own["x"], own["starts"]), [own["h"]]), {}),
    "attend": lambda own: (
        (own["x"], [own["h"], own["memory"], own["there"]]),
        {"input_length": [4, 0], "samplewise": True},
    ),
    "dropping": lambda own: ((own["x"], [own["h"], own["dropout"]]), {"input_length": [4, 2]}),
    "summed": lambda own: ((own["x"], [own["h"]]), {}),
    "halve": lambda own: ((own["x"], [own["h"]]), {}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_steps_of_the_recipes_run_on_every_library(backend, name):
    own = {}
    page, *_ = (ROOT / "docs/recipes.md").read_text().partition("<!-- torch -->")
    exec("".join(example.source for example in doctest.DocTestParser().get_examples(page)), own)
    arguments, options = RECIPES[name](own)
    expected = arrayrnn.rnn(own[name], *cast(backend, arguments), **options)
    found = rnn(own[name], *backend.arrays(cast(backend, arguments)), **options)
    assert_same(backend, found, expected)


def cast(backend, nest):
    """Return NumPy arrays with floats of the dtype of the library."""
    dtypes = {np.dtype(float): backend.float}
    return optree.tree_map(lambda leaf: leaf.astype(dtypes.get(leaf.dtype, leaf.dtype)), nest)


def test_the_page_about_semantics_prints_what_it_says():
    page = (ROOT / "docs" / "semantics.md").read_text()
    everywhere, mark, on_torch = page.partition("<!-- torch -->")
    assert mark
    examples = everywhere + (on_torch if find_spec("torch") is not None else "")
    test = doctest.DocTestParser().get_doctest(examples, {}, "semantics.md", None, 0)
    assert len(test.examples) >= 12
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_the_page_about_compiled_prints_what_it_says():
    page = ROOT / "docs" / "compiled.md"
    compiled.cache_clear()  # its reader has compiled nothing yet
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert attempted >= 9
    assert failed == 0


def test_what_a_library_cannot_do_is_what_tests_are_skipped_for():
    assert {*lacking()} == {str(ability) for ability in Ability}
    files = {*Path(__file__).parent.rglob("*.py")} - {Path(abilities.__file__)}
    tests = "".join(file.read_text() for file in files)
    for ability in Ability:
        assert lacking()[str(ability)], ability
        assert f"Ability.{ability.name}" in tests, ability
