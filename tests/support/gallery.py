"""The computation of a script of the gallery: what comes before its figure."""

from pathlib import Path

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
FIGURE = "\nimport matplotlib.pyplot as plt\n"


def computed(name, replaced=(), **given):
    """Run the script up to its figure, and return its names.

    Lines are `replaced`, as the script tells its readers to do; some names may be `given`.
    """
    file = GALLERY / f"plot_{name}.py"
    code, mark, _ = file.read_text().partition(FIGURE)
    assert mark, f"{file.name} has no line{FIGURE}"
    for line, other in dict(replaced).items():
        assert code.count(f"\n{line}\n") == 1, line
        code = code.replace(f"\n{line}\n", f"\n{other}\n")
    names = {"__name__": "__main__", **given}
    exec(compile(code, str(file), "exec"), names)
    return names
