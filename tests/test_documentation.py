"""The documentation's examples print what they say."""

import doctest
from importlib.util import find_spec
from pathlib import Path

import pytest

from abilities import Ability, lacking
from arrayrnn import compiled

ROOT = Path(__file__).parent.parent


def test_the_readme_prints_what_it_says():
    # Fenced code keeps its closing line apart by an empty one, which ends the expected output.
    failed, attempted = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert attempted >= 6
    assert failed == 0


def test_the_recipes_print_what_they_say():
    failed, attempted = doctest.testfile(str(ROOT / "docs/recipes.md"), module_relative=False)
    assert attempted >= 20
    assert failed == 0


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
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    for ability in Ability:
        assert lacking()[str(ability)], ability
        assert f"Ability.{ability.name}" in tests, ability
