"""Whatever padding is made of, results are as without it: equal, finite and free of warnings."""

import numpy as np
import pytest

from arrayrnn import rnn
from backends import assert_same
from oracle import recurrence

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


def logarithm(xp):
    def step(x_t, states):
        total = states[0] + xp.log(x_t)
        return total, [total]

    return step


def root(xp):
    def step(x_t, states):
        total = states[0] + xp.sqrt(x_t)
        return -total, [total]

    return step


def direction(xp):
    def step(x_t, states):
        total = states[0] + x_t / xp.abs(x_t)
        return total, [total]

    return step


def growth(xp):
    def step(x_t, states):
        total = states[0] + xp.exp(x_t)
        return total, [total]

    return step


def log_change(xp):
    def step(x_t, states):
        return xp.log(xp.abs(x_t - states[0])), [x_t]

    return step


def share(xp):
    def step(x_t, states):
        (remaining,) = states
        return x_t / remaining, [remaining - 1]

    return step


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
@pytest.mark.parametrize("step_of", [logarithm, root, direction, growth, log_change, share])
def test_padding_never_reaches_the_step(backend, step_of, padding, keep, go_backwards):
    keep = np.array(keep, dtype=bool)
    values = np.random.default_rng(0).permutation(SAMPLES * TIME).reshape(SAMPLES, TIME, 1)
    x = (0.5 + values / 10).astype(backend.float)
    # `share` counts down to zero, which is where samples without any timestep begin.
    state = keep.sum(axis=1, keepdims=True).astype(backend.float)
    if step_of is log_change:
        state = state + x.max() + 1
    expected = recurrence(step_of(np), x, [state], keep, go_backwards=go_backwards)
    dirty = padded(x, keep, padding, go_backwards=go_backwards)
    inputs, states = backend.arrays((dirty, [state]))
    found = rnn(step_of(backend.xp), inputs, states, mask=keep, go_backwards=go_backwards)
    assert_same(backend, found, expected)
    last, outputs, states = found
    for array in (last, outputs, *states):
        assert np.isfinite(backend.numpy(array)).all()


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("padding", [np.nan, 0.0])
@pytest.mark.parametrize("step_of", [logarithm, share])
def test_nor_does_it_beyond_the_length_of_a_sample(backend, step_of, padding, go_backwards):
    lengths = [3, 0, 5, 1]
    keep = np.arange(TIME) < np.array(lengths)[:, None]
    x = (1 + np.arange(20) / 10).reshape(4, TIME, 1).astype(backend.float)
    state = keep.sum(axis=1, keepdims=True).astype(backend.float)
    expected = recurrence(step_of(np), x, [state], keep, go_backwards=go_backwards)
    dirty = padded(x, keep, padding, go_backwards=go_backwards)
    inputs, states = backend.arrays((dirty, [state]))
    found = rnn(
        step_of(backend.xp), inputs, states, input_length=lengths, go_backwards=go_backwards
    )
    assert_same(backend, found, expected)


@pytest.mark.parametrize("padding", [-1, 10**6])
def test_a_token_that_is_none_is_never_looked_up(backend, padding):
    tokens = np.array([[[2], [0], [0]], [[1], [2], [1]]])
    keep = np.array([[1, 0, 0], [1, 1, 1]], dtype=bool)
    table = np.array([[1, 2], [4, 8], [16, 32]], backend.float)

    def step_of(take, table):
        def step(x_t, states):
            total = states[0] + take(table, x_t[:, 0], axis=0)
            return total, [total]

        return step

    seen = []

    def take(table, index, axis):
        seen.extend(backend.numpy(index).tolist())
        return backend.xp.take(table, index, axis=axis)

    state = np.zeros((2, 2), backend.float)
    expected = recurrence(step_of(np.take, table), tokens, [state], keep)
    dirty = backend.array(np.where(keep[..., None], tokens, padding))
    step = step_of(take, backend.arrays(table))
    found = rnn(step, dirty, backend.arrays([state]), mask=keep)
    assert_same(backend, found, expected, exact=True)
    assert set(seen) <= {0, 1, 2}
