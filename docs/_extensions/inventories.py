"""Links into the documentation of other projects, for a build without a network.

Sphinx looks up the pages of another project in its `objects.inv`, which it downloads.
`inventories.toml` lists instead what is linked to here, and an `objects.inv` is
made of these names.
"""

import tomllib
import zlib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

NAMES = Path(__file__).with_suffix(".toml")
KINDS = {"functions": "py:function", "classes": "py:class", "modules": "py:module"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Give `sphinx.ext.intersphinx` its projects before it looks for them."""
    app.connect("config-inited", add_projects, priority=400)
    return {"parallel_read_safe": True}


def add_projects(app: Sphinx, config: Config) -> None:
    """Write an inventory of each project, and tell Sphinx where it is."""
    folder = Path(app.doctreedir) / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    for project, known in tomllib.loads(NAMES.read_text()).items():
        file = folder / f"{project}.inv"
        file.write_bytes(inventory(project, known))
        config.intersphinx_mapping[project] = (known["url"], str(file))


def inventory(project: str, known: dict[str, Any]) -> bytes:
    """Return an `objects.inv`: https://sphobjinv.readthedocs.io/en/stable/syntax.html ."""
    lines = [
        f"{name} {kind} 1 {known['page'].format(name=name)} -"
        for key, kind in KINDS.items()
        for name in known.get(key, [])
    ]
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    return head.encode() + zlib.compress("\n".join([*lines, ""]).encode())
