"""Exceptions in the step function, and about what it returns, say at which timestep they came."""

from typing import Any

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import Backend
from support.refusals import (
    FEATURES,
    LATE,
    LONG,
    MASK,
    MASKED,
    SAMPLES,
    changing,
    first_note,
    forget,
    made,
    note,
    notes,
    times,
    timesteps,
    zeros,
)


def called_with(backend: Backend, samples: int = SAMPLES) -> str:
    """Return what an exception of the step's own tells of its arguments."""
    like = f"({samples}, {FEATURES}) {backend.float}"
    return f" `step_function` was called with input_t {like}; states: {like}."


class OwnError(Exception):
    """What a step function of the tests raises."""


def failing(call: int, error: Exception) -> Any:
    """Return a step that raises at a call, counted from 0."""
    count = -1

    def step(x_t, states):
        nonlocal count
        count += 1
        if count == call:
            raise error
        return x_t, [x_t]

    return step


@pytest.mark.parametrize(
    "error",
    [
        OwnError("own"),
        KeyError("own"),
        ValueError("own"),
        TypeError("own"),
        AttributeError("own"),
        StopIteration("own"),
        RuntimeError("own"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("call", [0, 1])
@MASKED
def test_the_steps_own_exception_comes_through_with_a_note(
    backend, refused_in_python, error, call, masked
):
    raised = refused_in_python(
        type(error),
        "own",
        calls=call + 1,
        step_function=failing(call, raises := type(error)("own")),
        mask=MASK if masked else None,
    )
    assert raised is raises
    assert notes(raised) == [note(call, 3) + called_with(backend)]


@MASKED
def test_the_note_where_all_timesteps_are_one(backend, refused, masked):
    raised = refused(
        OwnError,
        "own",
        calls=1,
        step_function=failing(0, OwnError("own")),
        mask=MASK if masked else None,
    )
    assert notes(raised) == [first_note(backend, 3) + called_with(backend)]


def test_the_note_comes_behind_the_exceptions_own(backend, refused_in_python):
    error = OwnError("own")
    error.add_note("mine")
    raised = refused_in_python(OwnError, "own", calls=1, step_function=failing(0, error))
    assert raised.__notes__[0] == "mine"
    assert notes(raised) == [note(0, 3) + called_with(backend)]


def test_the_note_deep_in_a_long_sequence(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=LATE + 1,
        step_function=failing(LATE, OwnError("own")),
        inputs=timesteps(backend, LONG),
    )
    assert notes(raised) == [note(70, 100) + called_with(backend)]


def test_the_note_going_backwards(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=LATE + 1,
        step_function=failing(LATE, OwnError("own")),
        inputs=timesteps(backend, LONG),
        go_backwards=True,
    )
    assert notes(raised) == [note(29, 100, backwards=True) + called_with(backend)]


def test_the_note_counts_masked_timesteps(backend, refused_in_python):
    mask = np.ones((SAMPLES, LONG), bool)
    mask[:, :40] = False
    mask[0, 50:] = False
    raised = refused_in_python(
        OwnError,
        "own",
        calls=31,
        step_function=failing(30, OwnError("own")),
        inputs=timesteps(backend, LONG),
        mask=mask,
    )
    assert notes(raised) == [note(70, 100) + called_with(backend)]


def test_the_note_counts_masked_timesteps_going_backwards(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=1,
        step_function=failing(0, OwnError("own")),
        mask=np.asarray([[True, False, False], [True, True, False]]),
        go_backwards=True,
    )
    assert notes(raised) == [note(1, 3, backwards=True) + called_with(backend)]


def test_the_note_under_an_input_length(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=2,
        step_function=failing(1, OwnError("own")),
        input_length=2,
        go_backwards=True,
    )
    assert notes(raised) == [note(0, 2, backwards=True) + called_with(backend)]


def test_the_note_time_major(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=2,
        step_function=failing(1, OwnError("own")),
        inputs=zeros(backend, 5, SAMPLES, FEATURES),
        time_major=True,
    )
    assert notes(raised) == [note(1, 5) + called_with(backend)]


def test_the_note_is_on_what_is_wrong_with_a_returned_pair(backend, refused_in_python):
    error = refused_in_python(
        TypeError,
        "`step_function` returned None",
        calls=times()[0] + 1,
        step_function=changing(forget, lambda _, __: None),
        inputs=timesteps(backend, times()[1]),
    )
    assert notes(error) == [note(*times())]


def test_a_late_wrong_number_of_states_is_told_rather_than_what_the_next_step_makes_of_it(
    refused_in_python,
):
    def step(x_t, states):
        (h,) = states
        calls.append(h)
        return x_t, [x_t] * (2 if len(calls) == 2 else 1)

    calls = []
    error = refused_in_python(
        ValueError, "`step_function` returned 2 states", calls=2, step_function=step
    )
    assert notes(error) == [note(1, 3)]


def test_a_late_state_of_another_shape_is_told_if_the_next_step_fails_on_it(
    backend, refused_in_python
):
    def step(x_t, states):
        calls.append(x_t)
        h = states[0] + x_t
        return h, [made(x_t, SAMPLES, 3) if len(calls) == 2 else h]

    calls = []
    refused_in_python(
        ValueError,
        "expected the shape of the initial state, (2, 4).",
        calls=3,
        step_function=step,
    )


@pytest.mark.parametrize("go_backwards", [False, True])
def test_an_output_found_wrong_at_the_end_is_told_by_its_timestep(refused_in_python, go_backwards):
    def step(x_t, states):
        calls.append(x_t)
        return ([x_t] if len(calls) == 2 else x_t), states

    calls = []
    error = refused_in_python(
        ValueError,
        "returned an output of the structure",
        calls=3,
        step_function=step,
        go_backwards=go_backwards,
    )
    assert notes(error) == [note(1, 3, backwards=go_backwards)]


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("wrong", [lambda x_t: [x_t], lambda _: None], ids=["list", "None"])
def test_a_wrong_last_output_is_found_without_the_others(refused_in_python, wrong, masked):
    def step(x_t, states):
        calls.append(x_t)
        return (wrong(x_t) if len(calls) == 3 else x_t), states

    calls = []
    error = refused_in_python(
        ValueError,
        "expected that of the first timestep, *",
        calls=3,
        step_function=step,
        mask=MASK if masked else None,
        return_all_outputs=False,
    )
    assert notes(error) == [note(2, 3)]


@pytest.mark.parametrize("fails", [False, True], ids=["the last", "one before a failing call"])
def test_a_wrong_state_is_told_by_the_timestep_that_returned_it(refused_in_python, fails):
    def step(x_t, states):
        calls.append(x_t)
        if len(calls) == 3 and fails:
            raise OwnError
        wrong = len(calls) == (2 if fails else 3)
        return x_t, [states[0][:, :1] if wrong else states[0]]

    calls = []
    error = refused_in_python(
        ValueError, "expected the shape of the initial state", calls=3, step_function=step
    )
    assert notes(error) == [note(1 if fails else 2, 3)]


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_wrong_state_before_masked_timesteps_is_told_likewise(
    backend, refused_in_python, go_backwards
):
    def step(x_t, states):
        calls.append(x_t)
        return x_t, [states[0][:, :1] if len(calls) == 3 else states[0]]

    calls, times = [], [*range(LONG)][:: -1 if go_backwards else 1]
    mask = np.zeros((SAMPLES, LONG), bool)
    mask[:, times[:3]] = True  # of the first block only
    error = refused_in_python(
        ValueError,
        "expected the shape of the initial state",
        calls=3,
        step_function=step,
        inputs=timesteps(backend, LONG),
        mask=mask,
        go_backwards=go_backwards,
    )
    assert notes(error) == [note(times[2], LONG, backwards=go_backwards)]
