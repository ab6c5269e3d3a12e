"""What the step function is given for a masked sample: the donor's input and initial states."""

import numpy as np
import pytest

from arrayrnn import rnn
from backends import assert_same
from oracle import Recorder, draw

# For each, the donor forwards and backwards: its sample and timestep.
MASKS = {
    "right padding": ([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], (0, 0), (0, 2)),
    "left padding": ([[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]], (2, 1), (0, 3)),
    "gaps": ([[0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]], (1, 0), (0, 3)),
    "rests": ([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]], (1, 1), (2, 2)),
    "one": ([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], (1, 2), (1, 2)),
}
each_mask = pytest.mark.parametrize(("keep", "forwards", "backwards"), MASKS.values(), ids=MASKS)
directions = pytest.mark.parametrize("go_backwards", [False, True])


def advance(x_t, states):
    count, level = states
    return level, [count + 1, 0.5 * level + x_t]


@directions
@each_mask
@pytest.mark.parametrize("time_major", [False, True])
def test_a_masked_sample_is_given_the_input_and_the_initial_states_of_the_donor(
    backend, keep, forwards, backwards, go_backwards, time_major
):
    keep = np.array(keep, dtype=bool)
    donor, when = backwards if go_backwards else forwards
    x = draw(backend, 3, 4, 2)
    initial = [np.array([[10], [20], [30]], backend.int), draw(backend, 3, 2) + 0.5]
    step = Recorder(advance)
    rnn(
        step,
        backend.arrays(np.swapaxes(x, 0, 1) if time_major else x),
        backend.arrays(initial),
        go_backwards=go_backwards,
        mask=keep.T if time_major else keep,
        time_major=time_major,
    )

    now, calls = initial, iter(zip(step.inputs, step.states, strict=True))
    for t in reversed(range(4)) if go_backwards else range(4):
        if not keep[:, t].any():
            continue
        rows = keep[:, t, None]
        given, states = next(calls)
        assert_same(backend, given, np.where(rows, x[:, t], x[donor, when]), exact=True)
        expected = [np.where(rows, s, first[donor]) for s, first in zip(now, initial, strict=True)]
        assert_same(backend, states, tuple(expected), exact=True)
        after = advance(x[:, t], now)[1]
        now = [np.where(rows, new, old) for new, old in zip(after, now, strict=True)]
    assert next(calls, None) is None


@directions
def test_every_leaf_of_inputs_and_states_comes_from_the_donor(backend, go_backwards):
    x = {"z": draw(backend, 2, 3, 1), "a": [draw(backend, 2, 3, 2, 3).astype("int32")]}
    state = [draw(backend, 2, 2, 2), draw(backend, 2)]
    keep = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)
    step = Recorder(lambda x_t, states: (x_t["z"], states))
    rnn(step, backend.arrays(x), backend.arrays([state]), mask=keep, go_backwards=go_backwards)
    donor, when = (0, 2) if go_backwards else (1, 0)
    t = 2 - when  # of the other partly masked timestep
    for call, at in [(0, when), (2, t)]:
        masked = 0 if at == 0 else 1
        z, a = x["z"][:, at].copy(), x["a"][0][:, at].copy()
        z[masked], a[masked] = x["z"][donor, when], x["a"][0][donor, when]
        assert_same(backend, step.inputs[call], {"z": z, "a": [a]}, exact=True)
        rows = [leaf.copy() for leaf in state]
        for leaf in rows:
            leaf[masked] = leaf[donor].copy()
        assert_same(backend, step.states[call], (rows,), exact=True)


@directions
def test_under_lengths_the_donor_is_the_same(backend, go_backwards):
    x, state = draw(backend, 3, 4, 1), draw(backend, 3, 1)
    step = Recorder(lambda x_t, states: (x_t, states))
    inputs, states = backend.arrays((x, [state]))
    rnn(step, inputs, states, input_length=[0, 1, 3], go_backwards=go_backwards)
    donor, when = (2, 2) if go_backwards else (1, 0)
    for call, t in enumerate([2, 1, 0] if go_backwards else [0, 1, 2]):
        rows = np.array([[False], [t < 1], [True]])
        given = np.where(rows, x[:, t], x[donor, when])
        assert_same(backend, step.inputs[call], given, exact=True)
        given = np.where(rows, state, state[donor])
        assert_same(backend, step.states[call], (given,), exact=True)


@directions
def test_the_donor_stays_the_same_however_long_ago_it_was(backend, go_backwards):
    x = draw(backend, 2, 150, 1)
    keep = np.zeros((2, 150), dtype=bool)
    keep[1, [3, 146]] = keep[0, [74, 75]] = True
    step = Recorder(lambda x_t, states: (x_t, states))
    state = backend.array([[1.0], [2.0]])
    rnn(step, backend.arrays(x), [state], mask=keep, go_backwards=go_backwards)
    donor = x[1, 146 if go_backwards else 3]
    called = [146, 75, 74, 3] if go_backwards else [3, 74, 75, 146]
    for t, given in zip(called, step.inputs, strict=True):
        expected = np.where(keep[:, t, None], x[:, t], donor)
        assert_same(backend, given, expected, exact=True)


@directions
def test_nothing_is_replaced_where_no_sample_is_masked(backend, go_backwards):
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1)
    step = Recorder(lambda x_t, states: (x_t, states))
    keep = np.array([[0, 1, 0], [1, 1, 1]])
    inputs, states = backend.arrays((x, [state]))
    rnn(step, inputs, states, mask=keep, go_backwards=go_backwards)
    assert_same(backend, (step.inputs[1], step.states[1]), (x[:, 1], (state,)), exact=True)


def test_constants_are_those_of_all_samples_whatever_is_masked(backend):
    constant = backend.array([[1.0], [2.0]])
    step = Recorder(lambda x_t, states: (x_t + states[1], states[:1]))
    x, state = backend.array([[[1.0], [1.0]], [[1.0], [1.0]]]), backend.array([[0.0], [0.0]])
    rnn(step, x, [state], mask=[[0, 1], [1, 0]], constants=[constant])
    assert all(states[1] is constant for states in step.states)
