"""What is reported of progress, by a bar or to a callable, and when."""

import sys

import numpy as np
import pytest

from support.abilities import Ability
from support.numbered_timesteps import SOME, TIME, timesteps_called
from support.oracle import draw, halving
from support.refusals import add, timesteps, zeros
from support.running import rnn

reported = pytest.mark.needs(Ability.PROGRESS)


@reported
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("mask", [None, SOME, np.zeros_like(SOME)], ids=["no", "some", "all"])
def test_progress_is_reported_after_each_timestep_masked_or_not(backend, mask, go_backwards):
    reports = []
    timesteps_called(
        backend, mask=mask, go_backwards=go_backwards, progress=lambda *r: reports.append(r)
    )
    assert reports == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@reported
def test_progress_is_reported_between_the_calls_of_the_step(backend):
    events = []

    def step(x_t, states):
        events.append("step")
        return x_t, states

    x = backend.array([[[1.0], [2.0]]])
    rnn(step, x, [], progress=lambda done, total: events.append((done, total)))
    assert events == ["step", (1, 2), "step", (2, 2)]


@reported
def test_progress_counts_to_the_length_if_there_is_one_for_all(backend):
    reports = []
    timesteps_called(backend, input_length=2, progress=lambda *report: reports.append(report))
    assert reports == [(1, 2), (2, 2)]


@reported
def test_progress_true_shows_a_bar(backend, capsys):
    timesteps_called(backend, progress=True)
    bar = capsys.readouterr().err
    assert f"{TIME}/{TIME}" in bar
    assert "100%" in bar


@pytest.mark.parametrize("progress", [None, False])
def test_without_progress_nothing_is_shown(backend, capsys, progress):
    rnn(halving, backend.array([[[3.0], [4.0]]]), [backend.array([[8.0]])], progress=progress)
    assert capsys.readouterr() == ("", "")


@reported
def test_a_bar_without_tqdm_is_an_error_that_says_so(backend, monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"`progress=True` needs tqdm"):
        timesteps_called(backend, progress=True)


@reported
def test_a_callable_needs_no_tqdm(backend, monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(timesteps_called(backend, progress=lambda done, total: None)) == TIME


@reported
def test_a_progress_bar_without_tqdm(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    error = refused(
        ImportError,
        "`progress=True` needs tqdm, which is not installed: python -m pip install "
        "'arrayrnn[progress]'. Or pass a callable.",
        progress=True,
    )
    assert isinstance(error.__cause__, ImportError)


@reported
def test_a_progress_callable_needs_no_tqdm(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    seen = []
    rnn(add, timesteps(backend, 3), [zeros(backend)], progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_progress_is_reported_whatever_else_constants_hold(backend):
    reports = []

    def step(x_t, states):
        return x_t * states[1], states[:1]

    x, h = backend.arrays((draw(backend, 2, 3, 1), [draw(backend, 2, 1)]))
    constants = [2.0, "text", np.ones(1)]
    rnn(step, x, h, constants=constants, progress=lambda *report: reports.append(report))
    if not backend.is_traced:
        assert reports == [(1, 3), (2, 3), (3, 3)]
