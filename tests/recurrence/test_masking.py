"""What a mask does: what is held, what is shown, and along which axis."""

import numpy as np
import pytest

from support.backends import assert_same
from support.oracle import draw, halving, recurrence
from support.running import rnn

KEEP = np.array([[1, 1, 0, 1, 0], [0, 1, 0, 1, 1], [1, 1, 0, 0, 1]], dtype=bool)
SAMPLES, TIME = KEEP.shape
directions = pytest.mark.parametrize("go_backwards", [False, True])


def test_a_masked_sample_holds_its_state_and_shows_its_previous_output(backend):
    def step(x_t, states):
        total = states[0] + x_t
        return 10 * total, [total]

    x = backend.array([[[1], [2], [4]], [[1], [2], [4]], [[1], [2], [4]]], backend.float)
    mask = [[1, 0, 1], [1, 1, 0], [0, 1, 0]]
    found = rnn(step, x, [backend.array([[0.0], [0.0], [0.5]])], mask=mask)
    outputs = [[[10], [10], [50]], [[10], [30], [30]], [[0], [25], [25]]]
    outputs = np.array(outputs, backend.float)
    states = [np.array([[5], [3], [2.5]], backend.float)]
    assert_same(backend, found, (outputs[:, -1], outputs, states), exact=True)


def test_or_it_shows_zeros_while_it_holds_its_state(backend):
    def step(x_t, states):
        total = states[0] + x_t
        return 10 * total, [total]

    x = backend.array([[[1], [2], [4]], [[1], [2], [4]], [[1], [2], [4]]], backend.float)
    mask = [[1, 0, 1], [1, 1, 0], [0, 1, 0]]
    state = backend.array([[0.0], [0.0], [0.5]])
    found = rnn(step, x, [state], mask=mask, zero_output_for_mask=True)
    outputs = [[[10], [0], [50]], [[10], [30], [0]], [[0], [25], [0]]]
    outputs = np.array(outputs, backend.float)
    states = [np.array([[5], [3], [2.5]], backend.float)]
    assert_same(backend, found, (outputs[:, -1], outputs, states), exact=True)


@directions
@pytest.mark.parametrize("zero_output", [False, True])
def test_no_state_is_ever_taken_for_the_output(backend, go_backwards, zero_output):
    # The first state has the shape and dtype of the output, and is something else.
    def step(x_t, states):
        decoy, total = states
        total = total + x_t
        return total, [decoy - 1, total]

    x, total = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    decoy = np.full((SAMPLES, 2), 1000, backend.float)
    options = {"go_backwards": go_backwards}
    expected = recurrence(step, x, [decoy, total], KEEP, zero_output=zero_output, **options)
    options["zero_output_for_mask"] = zero_output
    inputs, states = backend.arrays((x, [decoy, total]))
    found = rnn(step, inputs, states, mask=KEEP, **options)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_selected_away_leaves_no_trace_were_it_infinite_or_nan(backend, value):
    x = backend.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    state = backend.array([[value], [value]])
    mask = np.array([[1, 1], [0, 1]])
    found = rnn(lambda x_t, states: (-x_t, [x_t]), x, [state], mask=mask, initial_output=state)
    outputs = np.array([[[-1], [-2]], [[value], [-4]]], backend.float)
    assert_same(backend, found, (outputs[:, 1], outputs, [-outputs[:, 1]]), exact=True)


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("all_outputs", [False, True])
@pytest.mark.parametrize("masked_at_the_end", [[0], [0, 1, 2]], ids=str)
def test_the_last_output_is_that_of_the_last_timestep_masked_or_not(
    backend, zero_output, all_outputs, masked_at_the_end
):
    keep = np.ones_like(KEEP)
    keep[masked_at_the_end, -1] = False
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    last, outputs, states = recurrence(halving, x, [state], keep, zero_output=zero_output)
    found = rnn(
        halving,
        backend.arrays(x),
        backend.arrays([state]),
        mask=keep,
        zero_output_for_mask=zero_output,
        return_all_outputs=all_outputs,
    )
    outputs = outputs if all_outputs else last[:, None]
    assert_same(backend, found, (last, outputs, states), exact=True)
    # Zeros or the output of the timestep before, and the states of that one.
    assert (last[0] == 0).all() == zero_output
    assert (states[0] != 0).any()


@directions
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("all_outputs", [False, True])
def test_if_all_is_masked_outputs_are_zeros_and_states_are_held(
    backend, go_backwards, zero_output, all_outputs
):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    found = rnn(
        lambda x_t, states: (x_t + 1, [states[0] + x_t]),
        backend.arrays(x),
        backend.arrays([state]),
        mask=np.zeros_like(KEEP),
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output,
        return_all_outputs=all_outputs,
    )
    zeros = np.zeros((SAMPLES, TIME if all_outputs else 1, 2), backend.float)
    assert_same(backend, found, (zeros[:, -1], zeros, [state]), exact=True)


@pytest.mark.parametrize("zero_output", [False, True])
def test_before_the_first_timestep_comes_the_initial_output_unless_zeros_are_shown(
    backend, zero_output
):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    initial = np.full((SAMPLES, 2), 9, backend.float)
    options = {"zero_output": zero_output, "initial_output": initial}
    expected = recurrence(halving, x, [state], KEEP, **options)
    inputs, states, initial = backend.arrays((x, [state], initial))
    found = rnn(
        halving,
        inputs,
        states,
        mask=KEEP,
        zero_output_for_mask=zero_output,
        initial_output=initial,
    )
    assert_same(backend, found, expected, exact=True)


@directions
@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_states_and_outputs_of_any_rank_are_selected_by_sample(backend, rank, go_backwards):
    # Every axis is as long as that of the samples: the wrong alignment would broadcast.
    shape = (SAMPLES,) * rank
    x, state = draw(backend, SAMPLES, TIME, *shape), draw(backend, *shape)

    def step(x_t, states):
        for _ in range(x_t.ndim - states[0].ndim):
            x_t = x_t[..., 0]
        total = states[0] + x_t
        return 2 * total, [total]

    expected = recurrence(step, x, [state], KEEP, go_backwards=go_backwards)
    inputs, states = backend.arrays((x, [state]))
    found = rnn(step, inputs, states, mask=backend.arrays(KEEP), go_backwards=go_backwards)
    assert_same(backend, found, expected, exact=True)


@directions
def test_the_states_of_a_convolutional_lstm(backend, go_backwards):
    # As many samples as rows, columns and channels.
    shape = (SAMPLES, SAMPLES, SAMPLES, SAMPLES)
    x = draw(backend, SAMPLES, TIME, *shape[1:])
    h, c = draw(backend, *shape), draw(backend, *shape) + 1

    def step(x_t, states):
        h, c = states
        c = 0.5 * c + x_t - h
        return c - 1, [c - 1, c]

    expected = recurrence(step, x, [h, c], KEEP, go_backwards=go_backwards)
    inputs, states = backend.arrays((x, [h, c]))
    found = rnn(step, inputs, states, mask=backend.arrays(KEEP), go_backwards=go_backwards)
    assert_same(backend, found, expected, exact=True)
