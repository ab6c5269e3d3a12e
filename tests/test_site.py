"""The site shows everything, and the check of its links finds broken ones."""

import re
import subprocess
import sys
from pathlib import Path

import arrayrnn
from arrayrnn import cells, compiled

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_reference_lists_every_public_name():
    listed = re.findall(r"^   ([\w.]+)$", (DOCS / "reference/index.rst").read_text(), re.MULTILINE)
    public = {name for name in arrayrnn.__all__ if name != "__version__"}
    public |= {f"cells.{name}" for name in cells.__all__}
    public |= {f"compiled.{name}" for name in compiled.__all__}
    assert len(listed) == len(set(listed))
    assert set(listed) == public


def test_every_script_of_the_gallery_has_its_place_and_says_what_to_change_for_a_gpu():
    source = (DOCS / "_extensions/gallery_order.py").read_text()
    placed = re.findall(r'^    "(\w+)",$', source, re.MULTILINE)
    scripts = {file.stem.removeprefix("plot_"): file for file in DOCS.glob("gallery/*.py")}
    assert {*placed} == {*scripts}
    for file in scripts.values():
        assert "GPU" in file.read_text(), file.name


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<h1 id="top-of-it">x</h1><a href="#top-of-it"></a><a href="https://example.org/none"></a>'
        '<a href="other.html#here"></a><a href="other.html#there"></a><img src="none.png">'
    )
    (tmp_path / "other.html").write_text('<p id="here"><a href="index.html"></a></p>')
    command = [sys.executable, str(DOCS / "links.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "index.html: none.png does not exist",
        "index.html: other.html#there has no such anchor",
        "2 pages, 2 broken links",
    ]
