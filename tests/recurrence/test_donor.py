"""What the step function is given for a masked sample.

It is the input that is there and the states that were held, as for any other sample; with the
promise that samples are treated each on its own, the donor's input and initial states.
"""

import numpy as np
import pytest

from support.backends import Backend, assert_same
from support.oracle import draw, revealed, revealing
from support.running import rnn

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


def hold(x_t, states):
    return x_t, states


def assert_given(given, expected):
    """Compare what was revealed."""
    assert_same(Backend.NUMPY, given, expected, exact=True)


@pytest.fixture
def one_donor(backend):
    """Run where all samples have the same donor."""
    if backend.library == "dask":
        pytest.skip("each block has a donor of its own: see tests/loops/test_dask.py")


# ---------------------------------------------------------------------------------- no promise


@directions
@each_mask
@pytest.mark.parametrize("time_major", [False, True])
def test_a_masked_sample_is_given_its_own_input_and_the_states_that_it_holds(
    backend, keep, forwards, backwards, go_backwards, time_major
):
    keep = np.array(keep, dtype=bool)
    x = draw(backend, 3, 4, 2)
    now = [np.array([[10], [20], [30]], backend.int), draw(backend, 3, 2) + 0.5]
    order = {"go_backwards": go_backwards, "time_major": time_major}
    outputs = rnn(
        revealing(advance),
        backend.arrays(np.swapaxes(x, 0, 1) if time_major else x),
        backend.arrays(now),
        mask=keep.T if time_major else keep,
        **order,
    )[1]
    for t, given in revealed(backend, outputs, keep, **order).items():
        assert_given(given, (x[:, t], tuple(now)))
        rows, after = keep[:, t, None], advance(x[:, t], now)[1]
        now = [np.where(rows, new, old) for new, old in zip(after, now, strict=True)]


@directions
def test_so_it_is_for_every_leaf_of_inputs_and_states(backend, go_backwards):
    x = {"z": draw(backend, 2, 3, 1), "a": [draw(backend, 2, 3, 2, 3).astype("int32")]}
    state = [draw(backend, 2, 2, 2), draw(backend, 2)]
    keep = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)
    inputs, states = backend.arrays((x, [state]))
    outputs = rnn(revealing(hold), inputs, states, mask=keep, go_backwards=go_backwards)[1]
    for t, given in revealed(backend, outputs, keep, go_backwards=go_backwards).items():
        assert_given(given, ({"z": x["z"][:, t], "a": [x["a"][0][:, t]]}, (state,)))


@directions
def test_so_it_is_beyond_the_length_of_a_sample(backend, go_backwards):
    x, now = draw(backend, 3, 4, 1), draw(backend, 3, 1)
    lengths = np.array([0, 1, 3])
    keep = np.arange(4) < lengths[:, None]
    inputs, states = backend.arrays((x, [now]))
    options = {"go_backwards": go_backwards}
    step = revealing(lambda x_t, states: (x_t, [states[0] + x_t]))
    outputs = rnn(step, inputs, states, input_length=lengths, **options)[1]
    for t, given in revealed(backend, outputs, keep, **options).items():
        assert_given(given, (x[:, t], (now,)))
        now = np.where(keep[:, t, None], now + x[:, t], now)


@directions
def test_so_it_is_in_a_long_run_of_timesteps_with_the_same_mask(backend, go_backwards):
    x, now = draw(backend, 2, 150, 1) % 2, draw(backend, 2, 1)
    keep = np.array([[0], [1]], dtype=bool) & np.ones((2, 150), dtype=bool)
    keep[:, 100:] = ~keep[:, 100:]
    step = revealing(lambda x_t, states: (x_t, [states[0] + x_t]))
    inputs, states = backend.arrays((x, [now]))
    outputs = rnn(step, inputs, states, mask=keep, go_backwards=go_backwards)[1]
    for t, given in revealed(backend, outputs, keep, go_backwards=go_backwards).items():
        assert_given(given, (x[:, t], (now,)))
        now = np.where(keep[:, t, None], now + x[:, t], now)


@pytest.mark.parametrize("samplewise", [False, True])
def test_constants_are_those_of_all_samples_whatever_is_masked(backend, samplewise):
    constant = np.array([[1], [2]], backend.float)
    keep = np.array([[0, 1], [1, 0]], dtype=bool)
    x, state = backend.array([[[1.0], [1.0]], [[1.0], [1.0]]]), backend.array([[0.0], [0.0]])
    step = revealing(lambda x_t, states: (x_t, states[:1]))
    options = {"mask": keep, "constants": [backend.arrays(constant)], "samplewise": samplewise}
    outputs = rnn(step, x, [state], **options)[1]
    for _, states in revealed(backend, outputs, keep).values():
        assert_given(states[1], constant)


# ---------------------------------------------------------------------------------- samplewise


@directions
@each_mask
@pytest.mark.parametrize("time_major", [False, True])
def test_a_masked_sample_is_given_the_input_and_the_initial_states_of_the_donor(
    backend, one_donor, keep, forwards, backwards, go_backwards, time_major
):
    keep = np.array(keep, dtype=bool)
    donor, when = backwards if go_backwards else forwards
    x = draw(backend, 3, 4, 2)
    initial = [np.array([[10], [20], [30]], backend.int), draw(backend, 3, 2) + 0.5]
    order = {"go_backwards": go_backwards, "time_major": time_major}
    outputs = rnn(
        revealing(advance),
        backend.arrays(np.swapaxes(x, 0, 1) if time_major else x),
        backend.arrays(initial),
        mask=keep.T if time_major else keep,
        samplewise=True,
        **order,
    )[1]

    now = initial
    for t, (given, states) in revealed(backend, outputs, keep, **order).items():
        rows = keep[:, t, None]
        assert_given(given, np.where(rows, x[:, t], x[donor, when]))
        expected = [np.where(rows, s, first[donor]) for s, first in zip(now, initial, strict=True)]
        assert_given(states, tuple(expected))
        after = advance(x[:, t], now)[1]
        now = [np.where(rows, new, old) for new, old in zip(after, now, strict=True)]


@directions
def test_every_leaf_of_inputs_and_states_comes_from_the_donor(backend, one_donor, go_backwards):
    x = {"z": draw(backend, 2, 3, 1), "a": [draw(backend, 2, 3, 2, 3).astype("int32")]}
    state = [draw(backend, 2, 2, 2), draw(backend, 2)]
    keep = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)
    inputs, states = backend.arrays((x, [state]))
    options = {"mask": keep, "samplewise": True, "go_backwards": go_backwards}
    outputs = rnn(revealing(hold), inputs, states, **options)[1]
    given = revealed(backend, outputs, keep, go_backwards=go_backwards)
    donor, when = (0, 2) if go_backwards else (1, 0)
    for t, masked in [(0, 0), (2, 1)]:
        z, a = x["z"][:, t].copy(), x["a"][0][:, t].copy()
        z[masked], a[masked] = x["z"][donor, when], x["a"][0][donor, when]
        rows = [leaf.copy() for leaf in state]
        for leaf in rows:
            leaf[masked] = leaf[donor].copy()
        assert_given(given[t], ({"z": z, "a": [a]}, (rows,)))


@directions
def test_under_lengths_the_donor_is_the_same(backend, one_donor, go_backwards):
    x, state = draw(backend, 3, 4, 1), draw(backend, 3, 1)
    lengths = np.array([0, 1, 3])
    keep = np.arange(4) < lengths[:, None]
    inputs, states = backend.arrays((x, [state]))
    options = {"go_backwards": go_backwards}
    how = {"input_length": lengths, "samplewise": True}
    outputs = rnn(revealing(hold), inputs, states, **how, **options)[1]
    donor, when = (2, 2) if go_backwards else (1, 0)
    for t, given in revealed(backend, outputs, keep, **options).items():
        rows = keep[:, t, None]
        expected = np.where(rows, x[:, t], x[donor, when]), (np.where(rows, state, state[donor]),)
        assert_given(given, expected)


@directions
def test_the_donor_stays_the_same_however_long_ago_it_was(backend, one_donor, go_backwards):
    x = draw(backend, 2, 150, 1)
    keep = np.zeros((2, 150), dtype=bool)
    keep[1, [3, 146]] = keep[0, [74, 75]] = True
    state = backend.array([[1.0], [2.0]])
    options = {"mask": keep, "samplewise": True, "go_backwards": go_backwards}
    outputs = rnn(revealing(hold), backend.arrays(x), [state], **options)[1]
    donor = x[1, 146 if go_backwards else 3]
    given = revealed(backend, outputs, keep, go_backwards=go_backwards)
    assert [*given] == ([146, 75, 74, 3] if go_backwards else [3, 74, 75, 146])
    for t, (given_t, _) in given.items():
        assert_given(given_t, np.where(keep[:, t, None], x[:, t], donor))


@directions
def test_nothing_is_replaced_where_no_sample_is_masked(backend, one_donor, go_backwards):
    x, state = draw(backend, 2, 3, 1), draw(backend, 2, 1)
    keep = np.array([[0, 1, 0], [1, 1, 1]], dtype=bool)
    inputs, states = backend.arrays((x, [state]))
    options = {"mask": keep, "samplewise": True, "go_backwards": go_backwards}
    outputs = rnn(revealing(hold), inputs, states, **options)[1]
    given = revealed(backend, outputs, keep, go_backwards=go_backwards)
    assert_given(given[1], (x[:, 1], (state,)))
