"""How often, in which order and with what the step function is called."""

import sys

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import Recorder, draw, halving, revealed, revealing
from support.running import rnn

counted = pytest.mark.needs(Ability.CALLS)
reported = pytest.mark.needs(Ability.PROGRESS)

TIME = 5
SOME = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]], dtype=bool)
SAMPLES = len(SOME)
ALL_OPTIONS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"unroll": True},
        {"unroll": 2},
        {"return_all_outputs": False},
        {"zero_output_for_mask": True},
        {"time_major": True},
    ],
    ids=str,
)


def timesteps_called(backend, **options):
    """Return the numbers of the timesteps for which the step is called, in order."""
    # All samples hold the number of the timestep, masked or not.
    return [int(backend.numpy(x_t)[0, 0]) for x_t in steps_called(backend, **options).inputs]


def steps_called(backend, *, mask=None, go_backwards=False, time_major=False, **options):
    """Return the step with what it was called on."""
    x = np.broadcast_to(np.arange(TIME, dtype=backend.float)[:, None], (SAMPLES, TIME, 1))
    if time_major:
        x, mask = np.swapaxes(x, 0, 1), None if mask is None else mask.T
    step = Recorder(halving)
    rnn(
        step,
        backend.array(x),
        [backend.array(np.zeros((SAMPLES, 1)))],
        mask=mask,
        go_backwards=go_backwards,
        time_major=time_major,
        **options,
    )
    return step


@counted
@ALL_OPTIONS
def test_one_call_for_each_timestep_in_order(backend, options):
    assert timesteps_called(backend, **options) == [0, 1, 2, 3, 4]


@counted
@ALL_OPTIONS
def test_backwards_the_calls_come_from_last_to_first(backend, options):
    assert timesteps_called(backend, go_backwards=True, **options) == [4, 3, 2, 1, 0]


@counted
@ALL_OPTIONS
def test_no_call_where_every_sample_is_masked(backend, options):
    assert timesteps_called(backend, mask=SOME, **options) == [1, 3]


@counted
@ALL_OPTIONS
def test_backwards_no_call_where_every_sample_is_masked(backend, options):
    assert timesteps_called(backend, mask=SOME, go_backwards=True, **options) == [3, 1]


@pytest.mark.parametrize("go_backwards", [False, True])
@counted
@ALL_OPTIONS
def test_one_call_if_nothing_is_unmasked(backend, options, go_backwards):
    mask = np.zeros_like(SOME)
    calls = timesteps_called(backend, mask=mask, go_backwards=go_backwards, **options)
    assert calls == [TIME - 1 if go_backwards else 0]


@counted
@ALL_OPTIONS
def test_which_is_on_ones_if_the_step_treats_each_sample_on_its_own(backend, options):
    mask = np.zeros_like(SOME)
    (x_t,) = steps_called(backend, mask=mask, samplewise=True, **options).inputs
    assert_same(backend, x_t, np.ones((SAMPLES, 1), backend.float))
    (states,) = steps_called(backend, mask=mask, samplewise=True, **options).states
    assert_same(backend, states, (np.ones((SAMPLES, 1), backend.float),))


@counted
def test_no_call_beyond_the_longest_length(backend):
    assert timesteps_called(backend, input_length=[1, 3, 0]) == [0, 1, 2]


@counted
def test_backwards_no_call_before_the_longest_length(backend):
    assert timesteps_called(backend, input_length=[1, 3, 0], go_backwards=True) == [2, 1, 0]


@counted
@pytest.mark.parametrize(("go_backwards", "called"), [(False, [0, 1, 2]), (True, [2, 1, 0])])
def test_one_length_ends_the_calls_for_all(backend, go_backwards, called):
    assert timesteps_called(backend, input_length=3, go_backwards=go_backwards) == called


@counted
def test_the_mask_is_cut_to_one_length_as_well(backend):
    assert timesteps_called(backend, mask=SOME, input_length=3) == [1]


def test_the_first_call_is_given_the_first_timestep_and_the_initial_states(backend):
    x, state = backend.array([[[3.0], [4.0]]]), backend.array([[8.0]])
    outputs = rnn(revealing(halving), x, [state])[1]
    first, second = revealed(backend, outputs, np.ones((1, 2), bool)).values()
    x_t, state, new = (np.array([[n]], backend.float) for n in (3, 8, 7))
    assert_same(Backend.NUMPY, first, (x_t, (state,)))
    assert_same(Backend.NUMPY, second, (x_t + 1, (new,)))


@counted
def test_a_step_that_counts_counts_the_timesteps(backend):
    count = 0

    def step(x_t, states):
        nonlocal count
        count += 1
        return x_t * count, states

    outputs = rnn(step, backend.array([[[1.0], [1.0], [1.0]]]), [])[1]
    assert_same(backend, outputs, np.array([[[1], [2], [3]]], backend.float))


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


def test_progress_is_reported_whatever_else_constants_hold(backend):
    reports = []

    def step(x_t, states):
        return x_t * states[1], states[:1]

    x, h = backend.arrays((draw(backend, 2, 3, 1), [draw(backend, 2, 1)]))
    constants = [2.0, "text", np.ones(1)]
    rnn(step, x, h, constants=constants, progress=lambda *report: reports.append(report))
    if not backend.is_traced:
        assert reports == [(1, 3), (2, 3), (3, 3)]
