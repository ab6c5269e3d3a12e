"""`initial_output` and `input_length` as one integer: parts of a sequence."""

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import assert_same
from support.oracle import draw, halving, recurrence
from support.running import rnn

KEEP = np.array(
    [
        [1, 1, 0, 1, 0, 1, 1],
        [0, 0, 0, 0, 0, 1, 1],
        [1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 1],
    ],
    dtype=bool,
)
SAMPLES, TIME = KEEP.shape


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4), (1, 1, 2, 3)], ids=str)
def test_pieces_give_what_one_run_gives(backend, masked, go_backwards, zero_output, sizes):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    keep = KEEP if masked else np.ones_like(KEEP)
    expected = recurrence(
        halving, x, [state], keep, go_backwards=go_backwards, zero_output=zero_output
    )
    ends = np.cumsum(sizes)
    pieces = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    last, states, found = None, backend.arrays([state]), []
    for piece in reversed(pieces) if go_backwards else pieces:
        last, outputs, states = rnn(
            halving,
            backend.arrays(x[:, piece]),
            states,
            mask=keep[:, piece] if masked else None,
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output,
            initial_output=last,
        )
        found.append(outputs)
    outputs = backend.xp.concat(found, axis=1)
    assert_same(backend, (last, outputs, states), expected, exact=True)


def test_without_an_unmasked_timestep_the_initial_output_and_the_states_remain(backend):
    x = draw(backend, 2, 3, 1)
    found = rnn(
        halving,
        backend.arrays(x),
        [backend.array([[1.0], [2.0]])],
        mask=np.zeros((2, 3)),
        initial_output=backend.array([[7.0], [8.0]]),
    )
    outputs = np.array([[[7]] * 3, [[8]] * 3], backend.float)
    states = [np.array([[1], [2]], backend.float)]
    assert_same(backend, found, (outputs[:, -1], outputs, states), exact=True)


def test_the_initial_output_has_the_nest_of_the_output(backend):
    def step(x_t, states):
        return {"z": x_t, "a": [x_t[:, 0]]}, states

    given = {"z": backend.array([[7.0], [8.0]]), "a": [backend.array([5.0, 6.0])]}
    mask = np.array([[0, 1], [0, 0]])
    x, state = backend.array([[[1.0], [2.0]], [[3.0], [4.0]]]), backend.array([[0.0], [0.0]])
    outputs = rnn(step, x, [state], mask=mask, initial_output=given)[1]
    expected = {
        "z": np.array([[[7], [2]], [[8], [8]]], backend.float),
        "a": [np.array([[5, 2], [6, 6]], backend.float)],
    }
    assert_same(backend, outputs, expected)


def test_the_initial_output_is_not_shown_where_nothing_is_masked(backend):
    given = backend.array([[7.0], [8.0]])
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), initial_output=given)
    assert_same(backend, found, recurrence(halving, x, [state]), exact=True)


class Index:
    """Nothing but an integer."""

    def __index__(self):
        return 3


@pytest.mark.parametrize(
    "length", [3, np.int64(3), np.uint8(3), np.array(3), Index()], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
def test_with_one_length_nothing_beyond_exists(backend, length, go_backwards, masked, time_major):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    keep = KEEP if masked else np.ones_like(KEEP)
    last, outputs, states = recurrence(
        halving, x[:, :3], [state], keep[:, :3], go_backwards=go_backwards
    )
    x, mask = (np.swapaxes(x, 0, 1), keep.T) if time_major else (x, keep)
    found = rnn(
        halving,
        backend.arrays(x),
        backend.arrays([state]),
        mask=mask if masked else None,
        go_backwards=go_backwards,
        input_length=length,
        time_major=time_major,
    )
    outputs = np.swapaxes(outputs, 0, 1) if time_major else outputs
    assert_same(backend, found, (last, outputs, states), exact=True)


@pytest.mark.needs(Ability.VALUES)
def test_one_length_may_be_an_array_without_axes(backend):
    length = backend.xp.asarray(2, device=backend.device)
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), input_length=length)
    assert_same(backend, found, recurrence(halving, x[:, :2], [state]), exact=True)


@pytest.mark.parametrize("length", [1, 3])
def test_one_length_may_be_the_first_timestep_or_all(backend, length):
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), input_length=length)
    assert_same(backend, found, recurrence(halving, x[:, :length], [state]), exact=True)
