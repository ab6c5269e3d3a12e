"""The page about performance shows what was measured, and nothing else."""

import json
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "performance"
RUN = json.loads((FOLDER / "figures.json").read_text())


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import page

    yield page
    for name in ("page", "sections"):
        sys.modules.pop(name, None)


def row(**changed):
    return {**RUN["rows"][0], **changed}


def test_every_figure_is_in_a_table(page):
    text = page.page(RUN)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(RUN["rows"]) > 150
    for figure in RUN["rows"]:
        times = [page.quantity(figure[whose], figure["unit"]) for whose in ("ours", "other")]
        shown = [*times, page.ratio(figure)]
        assert any(row[k : k + 3] == shown for row in rows for k in range(len(row))), figure["name"]
        assert page.words(figure["case"]) in text


def test_a_figure_that_no_section_takes_is_an_error(page):
    other = {**RUN, "rows": [*RUN["rows"], row(topic="magic", name="by hand  numpy  small  x")]}
    with pytest.raises(ValueError, match=r"No section of the page takes these figures:\nmagic"):
        page.page(other)


def test_every_section_has_figures(page):
    for section in page.SECTIONS:
        assert any(section.takes(figure) for figure in RUN["rows"]), section.title


def test_no_figure_is_typed_by_hand():
    for file in FOLDER.glob("*.py"):
        in_words = re.findall(r'"""(.*?)"""', file.read_text(), re.DOTALL)
        for text in in_words:
            assert not re.search(r"\d\.\d|\d ?(ms|µs|%)|\d times", text), text


@pytest.mark.parametrize(
    ("target", "ratio", "misses"),
    [("≤ 0.95", 0.94, False), ("≤ 0.95", 0.96, True), ("< 1", 1.2, True), ("1 if flat", 9, False)],
)
def test_targets_that_are_missed_are_bold(page, target, ratio, misses):
    assert page.misses(row(target=target, ratio=ratio)) is misses
    assert page.ratio(row(target=target, ratio=ratio)).startswith("**") is misses


def test_the_first_sentences_say_where_it_is_faster_and_where_slower(page):
    by_hand = {"topic": "speed", "test": "against_a_loop_by_hand", "against": "by hand"}
    short = {"topic": "short_calls", "against": "Keras", "test": "against_keras", "unit": "µs/call"}
    faster, slower = page.summary([row(**by_hand, ratio=0.5), row(**short, ratio=4.0)])
    assert faster == "`rnn` is faster than a loop by hand (0.50)."
    assert slower == "`rnn` is slower than Keras 3's loop over one timestep or ten (4.0)."


def test_without_figures_of_a_gpu_the_page_says_so(page):
    assert "have not been measured" in page.page(RUN)
    rows = [row(topic="gpu", case="measured there")]
    text = page.page(RUN, {"date": "2026-01-02", "device": "a GPU of ours", "rows": rows})
    assert "have not been measured" not in text
    assert "on a GPU of ours" in text
    assert "measured there" in text


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parents[1] / "tests" / "bench")
    import figures

    yield figures
    sys.modules.pop("figures", None)


def measured(figures, ratio, name="by hand  numpy  small  unmasked"):
    return figures.Row("speed", "a_test", name, 1.0, 2.0, "ms", 7, ratio).as_dict(threads=1)


def test_a_figure_takes_the_place_of_the_one_before(figures, tmp_path):
    file, other = tmp_path / "figures.json", "by hand  numpy  small  masked"
    figures.write(file, [measured(figures, 0.5), measured(figures, 0.6, other)])
    figures.write(file, [measured(figures, 0.7)])
    rows = json.loads(file.read_text())["rows"]
    assert [(row["case"], row["ratio"]) for row in rows] == [("unmasked", 0.7), ("masked", 0.6)]


def test_figures_of_two_machines_are_not_mixed(figures, tmp_path, monkeypatch):
    file = tmp_path / "figures.json"
    figures.write(file, [measured(figures, 0.5)])
    monkeypatch.setattr(figures, "machine", lambda: {"processor": "another"})
    with pytest.raises(SystemExit, match="another machine or other versions: delete it"):
        figures.write(file, [measured(figures, 0.7)])


def test_a_name_that_lacks_a_part_is_an_error(figures):
    with pytest.raises(ValueError, match="zip"):
        measured(figures, 0.5, "by hand  numpy")
