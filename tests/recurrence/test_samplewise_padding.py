"""With `samplewise=True`, whatever padding is made of, results are as without it.

They are equal, finite and free of warnings. Without that promise a step sees the padding.
"""

import numpy as np
import pytest
from array_api_compat import array_namespace

from support.backends import assert_same
from support.oracle import halving, recurrence, revealed, revealing
from support.running import rnn

KEEPS = {
    "left, right, middle, all": [
        [0, 0, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 1],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [1, 1, 1, 1, 1],
    ],
    "rests of all": [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 1, 0, 1, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 1, 0, 1, 0],
    ],
}
SAMPLES, TIME = 6, 5


# Each is harmless on positive numbers that never repeat, and harmful on some padding.


def logarithm(x_t, states):
    total = states[0] + array_namespace(x_t).log(x_t)
    return total, [total]


def root(x_t, states):
    total = states[0] + array_namespace(x_t).sqrt(x_t)
    return -total, [total]


def direction(x_t, states):
    total = states[0] + x_t / array_namespace(x_t).abs(x_t)
    return total, [total]


def growth(x_t, states):
    total = states[0] + array_namespace(x_t).exp(x_t)
    return total, [total]


def log_change(x_t, states):
    xp = array_namespace(x_t)
    return xp.log(xp.abs(x_t - states[0])), [x_t]


def share(x_t, states):
    (remaining,) = states
    return x_t / remaining, [remaining - 1]


def padded(x, keep, padding, *, go_backwards):
    """Return `x` with padding wherever it is masked."""
    if padding != "the last one seen":
        return np.where(keep[..., None], x, np.asarray(padding, x.dtype))
    x = x.copy()
    steps = range(TIME - 1)[::-1] if go_backwards else range(1, TIME)
    before = 1 if go_backwards else -1
    for t in steps:
        x[:, t] = np.where(keep[:, t, None], x[:, t], x[:, t + before])
    return x


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("padding", [np.nan, 0.0, -1.0, 1e30, np.inf, "the last one seen"])
@pytest.mark.parametrize("step", [logarithm, root, direction, growth, log_change, share])
def test_padding_never_reaches_the_step(backend, step, padding, keep, go_backwards):
    keep = np.array(keep, dtype=bool)
    values = np.random.default_rng(0).permutation(SAMPLES * TIME).reshape(SAMPLES, TIME, 1)
    x = (0.5 + values / 10).astype(backend.float)
    # `share` counts down to zero, which is where samples without any timestep begin.
    state = keep.sum(axis=1, keepdims=True).astype(backend.float)
    if step is log_change:
        state = state + x.max() + 1
    expected = recurrence(step, x, [state], keep, go_backwards=go_backwards)
    dirty = padded(x, keep, padding, go_backwards=go_backwards)
    inputs, states = backend.arrays((dirty, [state]))
    options = {"samplewise": True, "go_backwards": go_backwards}
    found = rnn(step, inputs, states, mask=keep, **options)
    assert_same(backend, found, expected)
    last, outputs, states = found
    for array in (last, outputs, *states):
        assert np.isfinite(backend.numpy(array)).all()


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("padding", [np.nan, 0.0])
@pytest.mark.parametrize("step", [logarithm, share])
def test_nor_does_it_beyond_the_length_of_a_sample(backend, step, padding, go_backwards):
    lengths = [3, 0, 5, 1]
    keep = np.arange(TIME) < np.array(lengths)[:, None]
    x = (1 + np.arange(20) / 10).reshape(4, TIME, 1).astype(backend.float)
    state = keep.sum(axis=1, keepdims=True).astype(backend.float)
    expected = recurrence(step, x, [state], keep, go_backwards=go_backwards)
    dirty = padded(x, keep, padding, go_backwards=go_backwards)
    inputs, states = backend.arrays((dirty, [state]))
    options = {"samplewise": True, "go_backwards": go_backwards}
    found = rnn(step, inputs, states, input_length=lengths, **options)
    assert_same(backend, found, expected)


@pytest.mark.parametrize("padding", [-1, 10**6])
def test_a_token_that_is_none_is_never_looked_up(backend, padding):
    tokens = np.array([[[2], [0], [0]], [[1], [2], [1]]], backend.int)
    keep = np.array([[1, 0, 0], [1, 1, 1]], dtype=bool)
    table = np.array([[1, 2], [4, 8], [16, 32]], backend.float)

    def step(x_t, states):
        total, table = states
        total = total + array_namespace(x_t).take(table, x_t[:, 0], axis=0)
        return total, [total]

    state = np.zeros((2, 2), backend.float)
    expected = recurrence(lambda x_t, states: step(x_t, (*states, table)), tokens, [state], keep)
    arguments = backend.arrays(
        (np.where(keep[..., None], tokens, padding).astype(backend.int), [state])
    )
    options = {"mask": keep, "constants": [backend.arrays(table)], "samplewise": True}
    assert_same(backend, rnn(step, *arguments, **options), expected, exact=True)
    if backend.library == "dask":
        return  # a block may leave samples out, and what is revealed is of all samples
    outputs = rnn(revealing(step), *arguments, **options)[1]
    for looked_up, _ in revealed(backend, outputs, keep).values():
        assert {*looked_up.flat} <= {0, 1, 2}


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e30])
def test_without_the_promise_results_of_a_harmless_step_are_as_without_padding(
    backend, padding, keep, go_backwards
):
    keep = np.array(keep, dtype=bool)
    x = np.arange(SAMPLES * TIME).reshape(SAMPLES, TIME, 1).astype(backend.float)
    state = np.ones((SAMPLES, 1), backend.float)
    expected = recurrence(halving, x, [state], keep, go_backwards=go_backwards)
    dirty = padded(x, keep, padding, go_backwards=go_backwards)
    inputs, states = backend.arrays((dirty, [state]))
    found = rnn(halving, inputs, states, mask=keep, go_backwards=go_backwards)
    assert_same(backend, found, expected, exact=True)


def test_without_the_promise_the_step_sees_the_padding(backend):
    keep = np.array([[1, 0], [1, 1]], dtype=bool)
    x = np.where(keep[..., None], 1.0, 99.0).astype(backend.float)
    inputs, states = backend.arrays((x, [np.zeros((2, 1), backend.float)]))
    outputs = rnn(revealing(halving), inputs, states, mask=keep)[1]
    given = revealed(backend, outputs, keep)
    assert given[1][0].tolist() == [[99], [1]]
