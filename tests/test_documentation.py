"""The documentation's examples print what they say."""

import doctest
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_prints_what_it_says():
    # Fenced code keeps its closing line apart by an empty one, which ends the expected output.
    failed, attempted = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert attempted >= 6
    assert failed == 0
