"""The example of the Nile finds what is published, and the same with every array library."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from array_api_compat import array_namespace, device

from arrayrnn import compiled
from support import running
from support.abilities import Ability

SCRIPT = Path(__file__).parent.parent / "docs" / "examples" / "nile.py"
FLOWS = np.loadtxt(SCRIPT.with_suffix(".csv"), delimiter=",", skiprows=1)[:, 1]
# Durbin and Koopman (2012), and the log-likelihood that Fulton finds for their variances.
IRREGULAR, LEVEL, LOG_LIKELIHOOD = 15099.0, 1469.1, -632.5377


@pytest.fixture
def nile():
    spec = spec_from_file_location("nile", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.rnn = running.rnn
    return module


@pytest.fixture
def stub(tmp_path):
    """Put a module in the place of an installed or missing one, for `run`."""

    def stub(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        return tmp_path

    return stub


def run(*arguments, stubs=None):
    """Run the script as its reader does."""
    paths = filter(None, [stubs and str(stubs), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def assert_as_published(printed):
    rows = dict(re.findall(r"^(\w[\w -]*?) {2,}(\S+) +\S+ +\S+$", printed, re.MULTILINE))
    assert float(rows["irregular variance"]) == pytest.approx(IRREGULAR, rel=0.005)
    assert float(rows["level variance"]) == pytest.approx(LEVEL, rel=0.005)
    assert float(rows["log-likelihood"]) == pytest.approx(LOG_LIKELIHOOD, abs=0.001)


def test_the_script_prints_what_it_finds_beside_what_is_published():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert_as_published(done.stdout)
    assert {"15099.0", "1469.1", "-632.5377"} <= set(done.stdout.split())


def test_without_options_the_script_needs_none_of_the_optional_packages(stub):
    for name in ("array_api_strict", "cupy", "dpnp", "jax", "matplotlib", "torch"):
        stubs = stub(name, "raise ImportError")
    done = run(stubs=stubs)
    assert (done.returncode, done.stderr) == (0, "")
    assert_as_published(done.stdout)


@pytest.mark.needs(Ability.FEEDBACK)
def test_every_library_prints_the_same_figures(nile, backend, capsys):
    nile.main([])
    expected = capsys.readouterr().out
    assert_as_published(expected)
    nile.main(["--backend", backend.library])
    assert capsys.readouterr().out == expected.replace("numpy", backend.library)


@pytest.mark.needs(Ability.FEEDBACK)
def test_compiled_it_prints_the_same_figures(nile, backend, capsys):
    pytest.importorskip("jax", reason="JAX is not installed")
    if backend.library not in nile.COMPILED:
        pytest.skip(f"arrayrnn.compiled takes no arrays of {backend.library}")
    nile.main(["--backend", backend.library])
    expected = capsys.readouterr().out
    compiled.cache_clear()
    nile.main(["--backend", backend.library, "--compiled"])
    assert capsys.readouterr().out == expected
    # One program for all grids.
    assert compiled.cache_info()[:2] == (nile.CALLS - 1, 1)


def test_a_missing_jax_is_an_error_of_one_line(stub):
    done = run("--compiled", stubs=stub("jax", "raise ImportError('not here')"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nile.py: `arrayrnn.compiled` needs JAX")
    assert done.stderr.count("\n") == 1


def test_compiled_arrays_of_another_library_are_a_usage_error():
    done = run("--backend", "dask", "--compiled")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--compiled takes arrays of numpy, torch, cupy" in done.stderr


@pytest.mark.needs(Ability.FEEDBACK)
def test_the_option_chooses_the_library(nile, backend):
    chosen = nile.to_backend([1120.0, 1160.0], backend.library)
    assert array_namespace(chosen) is backend.xp
    assert chosen.dtype == backend.xp.float64


def test_the_filter_agrees_with_the_published_levels_and_their_variances(nile, backend):
    candidate = [backend.array([[variance]]) for variance in (IRREGULAR, LEVEL)]
    filtered = nile.kalman_filter(backend.array(FLOWS), *candidate)
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
    monkeypatch.setattr(nile, "VAGUE", 1e12)
    found, _ = nile.fit(FLOWS)
    assert list(found.values()) == pytest.approx([15098.52, 1469.18, -632.5456], rel=1e-4)
    assert found["log-likelihood"] == pytest.approx(-632.5456, abs=1e-4)


def test_one_call_filters_a_whole_grid_without_copying_the_flows(nile, monkeypatch):
    calls = []

    def rnn(step_function, inputs, *arguments, **options):
        calls.append((inputs.shape, inputs.strides[0]))
        return original(step_function, inputs, *arguments, **options)

    original = nile.rnn
    monkeypatch.setattr(nile, "rnn", rnn)
    nile.fit(FLOWS)
    assert calls == [((nile.POINTS**2, 100, 1), 0)] * nile.CALLS


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("dpnp", "raise ImportError('not here\\nand more')", "not here"),
        ("torch", "raise OSError", "OSError()"),
        ("cupy", "def __getattr__(name):\n    raise RuntimeError('no device')", "no device"),
    ],
    ids=["missing", "broken", "without a device"],
)
def test_a_library_that_cannot_be_used_is_an_error_of_one_line(stub, name, code, reason):
    done = run("--backend", name, stubs=stub(name, code))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"nile.py: cannot use {name}: {reason}\n"


def test_an_unknown_library_is_a_usage_error_that_names_the_known_ones():
    done = run("--backend", "abacus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice: 'abacus'" in done.stderr
    assert "numpy" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_plot_shows_the_flows_the_level_and_its_interval(nile, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))
    )
    file = tmp_path / "nile.png"
    nile.main(["--plot", str(file)])
    assert file.read_bytes().startswith(b"\x89PNG")
    (axes,) = saved[0].axes
    assert "year" in axes.get_xlabel()
    assert "m$^3$" in axes.get_ylabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["observed flow", "filtered level", "its 90 % interval"]
    observed, level = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(observed, FLOWS)
    band = axes.collections[0].get_datalim(axes.transData)
    assert band.ymin < min(level) < max(level) < band.ymax


def test_a_missing_matplotlib_is_an_error_of_one_line(stub, tmp_path):
    file = tmp_path / "nile.png"
    done = run("--plot", str(file), stubs=stub("matplotlib", "raise ImportError('not here')"))
    assert done.returncode == 1
    assert done.stderr == "nile.py: --plot needs matplotlib: not here\n"
    assert not file.exists()
