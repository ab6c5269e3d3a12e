"""The gallery's script about the Nile finds what is published, with every array library."""

import re
from importlib.util import find_spec

import numpy as np
import pytest
from array_api_compat import array_namespace, device

from arrayrnn import compiled
from support import running
from support.abilities import Ability
from support.gallery import GALLERY, computed

FLOWS = computed("nile")["flows"]
# Durbin and Koopman (2012), and the log-likelihood that Fulton finds for their variances.
IRREGULAR, LEVEL, LOG_LIKELIHOOD = 15099.0, 1469.1, -632.5377


@pytest.fixture
def nile(monkeypatch):
    """Return the names of the script, run on NumPy, whose functions call the loop under test."""
    names = computed("nile")
    monkeypatch.setitem(names, "rnn", running.rnn)
    return names


def on(backend, rnn="from support.running import rnn"):
    """Run the script on another library, as it tells its readers to do."""
    library = f"import {backend.xp.__name__} as xp"
    return computed("nile", {"import numpy as xp": library, "from arrayrnn import rnn": rnn})


def assert_as_published(printed):
    rows = dict(re.findall(r"^(\w[\w -]*?) {2,}(\S+) +\S+ +\S+$", printed, re.MULTILINE))
    assert float(rows["irregular variance"]) == pytest.approx(IRREGULAR, rel=0.005)
    assert float(rows["level variance"]) == pytest.approx(LEVEL, rel=0.005)
    assert float(rows["log-likelihood"]) == pytest.approx(LOG_LIKELIHOOD, abs=0.001)


def test_the_script_prints_what_it_finds_beside_what_is_published(capsys):
    found = computed("nile")["found"]
    printed = capsys.readouterr().out
    assert_as_published(printed)
    for value in (IRREGULAR, LEVEL, LOG_LIKELIHOOD, *found.values()):
        assert f"{value:.4f}" in printed.split()


@pytest.mark.needs(Ability.FEEDBACK)
def test_every_library_prints_the_same_figures(backend, capsys):
    computed("nile")
    expected = capsys.readouterr().out
    names = on(backend)
    assert capsys.readouterr().out == expected
    assert all(array_namespace(leaf) is backend.xp for leaf in names["filtered"])


@pytest.mark.needs(Ability.FEEDBACK)
def test_compiled_it_prints_the_same_figures(backend, capsys):
    pytest.importorskip("jax", reason="JAX is not installed")
    if backend.library not in ("numpy", "torch", "cupy"):
        pytest.skip(f"arrayrnn.compiled takes no arrays of {backend.library}")
    computed("nile")
    expected = capsys.readouterr().out
    compiled.cache_clear()
    names = on(backend, "from arrayrnn.compiled import rnn")
    assert capsys.readouterr().out == expected
    # One program for all grids.
    assert compiled.cache_info()[:2] == (names["CALLS"] - 1, 1)


def test_the_filter_agrees_with_the_published_levels_and_their_variances(nile, backend):
    candidate = [backend.array([[variance]]) for variance in (IRREGULAR, LEVEL)]
    filtered = nile["kalman_filter"](backend.array(FLOWS), *candidate)
    for leaf in filtered:
        assert array_namespace(leaf) is backend.xp
        assert device(leaf) == backend.device
        assert leaf.shape == (1, 100, 1)
    log_likelihood, level, variance = (backend.numpy(leaf)[0, :, 0] for leaf in filtered)
    rel = {"float64": 1e-6, "float32": 1e-4}[backend.float]
    assert log_likelihood[1:].sum() == pytest.approx(-632.537695, rel=rel)
    assert [level[0], level[-1]] == pytest.approx([1103.34, 798.37], rel=rel)
    assert [variance[0], variance[-1]] == pytest.approx([14874.41, 4032.16], rel=rel)


def test_with_a_diffuse_level_the_result_is_that_of_exact_diffuse_initialisation(nile, monkeypatch):
    monkeypatch.setitem(nile, "VAGUE", 1e12)
    found, _, _ = nile["fit"](FLOWS)
    assert list(found.values()) == pytest.approx([15098.52, 1469.18, -632.5456], rel=1e-4)
    assert found["log-likelihood"] == pytest.approx(-632.5456, abs=1e-4)


def test_one_call_filters_a_whole_grid_without_copying_the_flows(nile, monkeypatch):
    calls = []

    def rnn(step_function, inputs, *arguments, **options):
        calls.append((inputs.shape, inputs.strides[0]))
        return original(step_function, inputs, *arguments, **options)

    original = nile["rnn"]
    monkeypatch.setitem(nile, "rnn", rnn)
    nile["fit"](FLOWS)
    assert calls == [((nile["POINTS"] ** 2, 100, 1), 0)] * nile["CALLS"]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_figure_shows_the_flows_the_level_its_interval_and_the_likelihood():
    import matplotlib as mpl

    mpl.use("agg")
    names = {"__name__": "__main__"}
    exec((GALLERY / "plot_nile.py").read_text(), names)
    left, right = names["left"], names["right"]
    assert "m$^3$" in left.get_ylabel()
    observed, level = (line.get_ydata() for line in left.lines)
    np.testing.assert_array_equal(observed, FLOWS)
    band = left.collections[0].get_datalim(left.transData)
    assert band.ymin < min(level) < max(level) < band.ymax
    found, published = (line.get_xydata()[0] for line in right.lines)
    np.testing.assert_allclose(found, published, rtol=0.005)
    np.testing.assert_allclose(published, [IRREGULAR, LEVEL])
