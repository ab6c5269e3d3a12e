"""`input_length` as one length for each sample."""

from collections import deque

import numpy as np
import pytest

from support.backends import assert_same
from support.oracle import draw, halving, recurrence
from support.running import rnn

LENGTHS = [3, 0, 5, 1]
SAMPLES, TIME = 4, 5
KEEP = np.arange(TIME) < np.array(LENGTHS)[:, None]
directions = pytest.mark.parametrize("go_backwards", [False, True])
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def assert_masks(backend, lengths, *, keep=KEEP, **options):
    """Assert that `lengths` keep what `keep` says."""
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    last, outputs, states = recurrence(
        halving,
        x,
        [state],
        keep,
        go_backwards=options.get("go_backwards", False),
        zero_output=options.get("zero_output_for_mask", False),
    )
    if options.get("time_major"):
        x, outputs = np.swapaxes(x, 0, 1), np.swapaxes(outputs, 0, 1)
    inputs, initial_states = backend.arrays((x, [state]))
    found = rnn(halving, inputs, initial_states, input_length=lengths, **options)
    assert_same(backend, found, (last, outputs, states), exact=True)


@directions
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_a_sample_is_masked_beyond_its_length(
    backend, go_backwards, time_major, zero_output, unroll
):
    assert_masks(
        backend,
        backend.array(LENGTHS),
        go_backwards=go_backwards,
        time_major=time_major,
        zero_output_for_mask=zero_output,
        unroll=unroll,
    )


@directions
@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "numpy"])
def test_lengths_may_come_from_the_host(backend, form, go_backwards):
    assert_masks(backend, form(LENGTHS), go_backwards=go_backwards)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("own", [False, True])
def test_lengths_may_be_of_any_integer_dtype(backend, dtype, own):
    if own and not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    lengths = np.array(LENGTHS, dtype)
    assert_masks(backend, backend.arrays(lengths) if own else lengths)


@directions
def test_the_longest_length_may_be_shorter_than_time(backend, go_backwards):
    lengths = [2, 1, 2, 0]
    keep = np.arange(TIME) < np.array(lengths)[:, None]
    assert_masks(backend, lengths, keep=keep, go_backwards=go_backwards)


@directions
def test_all_lengths_may_be_all_of_time(backend, go_backwards):
    assert_masks(backend, [TIME] * SAMPLES, keep=np.ones_like(KEEP), go_backwards=go_backwards)


def test_all_lengths_may_be_zero(backend):
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1) + 1
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), input_length=[0, 0])
    zeros = np.zeros((2, 3, 1), backend.float)
    assert_same(backend, found, (zeros[:, 0], zeros, [state]), exact=True)


def test_more_timesteps_than_small_integers_can_count(backend):
    x, state = draw(backend, 2, 300, 1), draw(backend, 2, 1)
    lengths = np.array([255, 1], np.uint8)
    keep = np.arange(300) < lengths.astype(int)[:, None]

    def step(x_t, states):
        total = states[0] + x_t
        return total, [total]

    expected = recurrence(step, x, [state], keep)
    inputs, states, lengths = backend.arrays((x, [state], lengths))
    assert_same(backend, rnn(step, inputs, states, input_length=lengths), expected, exact=True)


def test_lengths_need_no_state(backend):
    x = backend.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    _, outputs, states = rnn(lambda x_t, states: (x_t, ()), x, [], input_length=[2, 1])
    assert_same(backend, outputs, np.array([[[1], [2]], [[3], [3]]], backend.float))
    assert states == []


@directions
@pytest.mark.parametrize("lengths", [[1, 1, 1, 1], [0, 0, 0, 0], LENGTHS], ids=str)
def test_a_mask_wins_over_lengths(backend, lengths, go_backwards):
    mask = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)
    assert_masks(backend, lengths, keep=mask, mask=mask, go_backwards=go_backwards)


@pytest.mark.parametrize("lengths", [range(1, 4), deque([1, 2, 3]), (1, 2, 3)], ids=repr)
def test_any_sequence_of_ints_will_do(backend, lengths):
    x, h = draw(backend, 3, 4, 1), draw(backend, 3, 1)
    expected = recurrence(halving, x, [h], np.arange(4) < np.asarray([[1], [2], [3]]))
    inputs, states = backend.arrays((x, [h]))
    assert_same(backend, rnn(halving, inputs, states, input_length=lengths), expected, exact=True)


@pytest.mark.parametrize("lengths", [[], (), range(0)], ids=repr)
def test_no_samples_have_no_lengths(backend, lengths):
    x, h = np.zeros((0, 5, 3), backend.float), np.zeros((0, 3), backend.float)
    inputs, states = backend.arrays((x, [h]))
    found = rnn(halving, inputs, states, input_length=lengths)
    assert_same(backend, found, (h, x, [h]))
