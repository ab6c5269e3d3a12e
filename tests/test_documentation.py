"""The documentation's examples print what they say."""

import doctest
from pathlib import Path

from abilities import Ability, lacking

ROOT = Path(__file__).parent.parent


def test_the_readme_prints_what_it_says():
    # Fenced code keeps its closing line apart by an empty one, which ends the expected output.
    failed, attempted = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert attempted >= 6
    assert failed == 0


def test_what_a_library_cannot_do_is_what_tests_are_skipped_for():
    assert {*lacking()} == {str(ability) for ability in Ability}
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    for ability in Ability:
        assert lacking()[str(ability)], ability
        assert f"Ability.{ability.name}" in tests, ability
