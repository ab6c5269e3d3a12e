"""Where other implementations of this interface go wrong; each test is one such mistake.

By hand throughout: two samples, one feature, the numbers small enough to add up in one's head.
"""

import numpy as np
import pytest

from support import running
from support.abilities import Ability
from support.backends import assert_same
from support.oracle import Recorder
from support.running import rnn

X = [[[1], [2], [4]], [[10], [20], [40]]]
KEEP = [[1, 1, 0], [1, 0, 1]]
counted = pytest.mark.needs(Ability.CALLS)
unrolled = pytest.mark.parametrize("unroll", [False, True])


def running_sum(x_t, states):
    total = states[0] + x_t
    return total, [total]


@pytest.fixture
def x(backend):
    return backend.array(X, backend.float)


@pytest.fixture
def zero(backend):
    return backend.array([[0.0], [0.0]])


@pytest.fixture
def of_floats(backend):
    """Return what makes the array that is expected."""
    return lambda *values: np.array(values, backend.float)


@unrolled
def test_backwards_zeros_are_shown_where_the_reversed_mask_says(
    backend, x, zero, of_floats, unroll
):
    found = rnn(
        running_sum,
        x,
        [zero],
        go_backwards=True,
        mask=KEEP,
        unroll=unroll,
        zero_output_for_mask=True,
    )
    outputs = of_floats([[0], [2], [3]], [[40], [0], [50]])
    assert_same(backend, found, (outputs[:, -1], outputs, [of_floats([3], [50])]))


@unrolled
def test_nested_inputs_are_taken_apart_along_time_not_along_their_keys(
    backend, x, zero, of_floats, unroll
):
    step = Recorder(lambda x_t, states: (x_t["a"] - x_t["b"], states))
    outputs = rnn(step, {"a": x, "b": 2 * x}, [zero], unroll=unroll)[1]
    assert_same(backend, outputs, -of_floats(*X))
    assert step.inputs
    assert all(set(x_t) == {"a", "b"} for x_t in step.inputs)


@unrolled
@pytest.mark.parametrize("mask", [None, KEEP])
def test_nested_outputs_are_joined_leaf_by_leaf(backend, x, zero, of_floats, unroll, mask):
    def step(x_t, states):
        return {"plus": x_t, "minus": [-x_t]}, states

    last, outputs, _ = rnn(step, x, [zero], mask=mask, unroll=unroll)
    shown = of_floats(*X) if mask is None else of_floats([[1], [2], [2]], [[10], [10], [40]])
    assert_same(backend, outputs, {"plus": shown, "minus": [-shown]})
    assert_same(backend, last, {"plus": shown[:, -1], "minus": [-shown[:, -1]]})


@unrolled
def test_one_output_only_may_be_masked_to_zeros(backend, x, zero, of_floats, unroll):
    found = rnn(
        running_sum,
        x,
        [zero],
        mask=KEEP,
        unroll=unroll,
        zero_output_for_mask=True,
        return_all_outputs=False,
    )
    last = of_floats([0], [50])
    assert_same(backend, found, (last, last[:, None], [of_floats([3], [50])]))


@unrolled
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_lengths_count_rolled_or_unrolled_whatever_their_dtype(
    backend, x, zero, of_floats, unroll, dtype
):
    lengths = np.array([1, 2], dtype)
    if backend.supports(dtype):
        lengths = backend.arrays(lengths)
    found = rnn(running_sum, x, [zero], input_length=lengths, unroll=unroll)
    outputs = of_floats([[1], [1], [1]], [[10], [30], [30]])
    assert_same(backend, found, (outputs[:, -1], outputs, [outputs[:, -1]]))


@unrolled
def test_backwards_the_timesteps_beyond_every_length_are_padding_still(
    backend, x, zero, of_floats, unroll
):
    found = rnn(running_sum, x, [zero], go_backwards=True, input_length=[1, 2], unroll=unroll)
    outputs = of_floats([[0], [0], [1]], [[0], [20], [30]])
    assert_same(backend, found, (outputs[:, -1], outputs, [outputs[:, -1]]))


@unrolled
@pytest.mark.parametrize("go_backwards", [False, True])
def test_one_length_for_all_is_not_ignored(backend, x, zero, of_floats, unroll, go_backwards):
    found = rnn(running_sum, x, [zero], go_backwards=go_backwards, input_length=2, unroll=unroll)
    forwards, backwards = of_floats([[1], [3]], [[10], [30]]), of_floats([[2], [3]], [[20], [30]])
    outputs = backwards if go_backwards else forwards
    assert_same(backend, found, (outputs[:, -1], outputs, [outputs[:, -1]]))


@unrolled
@pytest.mark.parametrize("mask", [None, KEEP])
def test_constants_are_not_dropped(backend, x, zero, unroll, mask):
    step = Recorder(lambda x_t, states: (x_t, states[:1]))
    rnn(step, x, [zero], mask=mask, constants=["a", "b"], unroll=unroll)
    assert step.states
    assert all(states[1:] == ("a", "b") for states in step.states)


@unrolled
def test_zeros_for_masked_timesteps_are_not_ignored(backend, x, zero, of_floats, unroll):
    outputs = rnn(running_sum, x, [zero], mask=KEEP, unroll=unroll, zero_output_for_mask=True)[1]
    assert_same(backend, outputs, of_floats([[1], [3], [0]], [[10], [0], [50]]))


@unrolled
@pytest.mark.parametrize("mask", [None, [[1, 1, 1], [1, 1, 1]]])
def test_to_return_one_output_is_not_ignored(backend, x, zero, of_floats, unroll, mask):
    found = rnn(running_sum, x, [zero], mask=mask, unroll=unroll, return_all_outputs=False)
    last = of_floats([7], [70])
    assert_same(backend, found, (last, last[:, None], [last]))


@unrolled
def test_the_previous_output_is_not_the_first_state(backend, x, zero, of_floats, unroll):
    def step(x_t, states):
        count, total = states
        return total + x_t, [count + 1, total + x_t]

    count = backend.array([[100.0], [100.0]])
    found = rnn(step, x, [count, zero], mask=KEEP, unroll=unroll)
    outputs = of_floats([[1], [3], [3]], [[10], [10], [50]])
    states = [of_floats([102], [102]), of_floats([3], [50])]
    assert_same(backend, found, (outputs[:, -1], outputs, states))


@unrolled
@pytest.mark.parametrize("mask", [None, [[1, 1], [1, 0], [0, 1]]])
def test_time_first_there_are_as_many_timesteps_as_time(backend, zero, of_floats, unroll, mask):
    x = backend.array(np.swapaxes(X, 0, 1), backend.float)
    found = rnn(running_sum, x, [zero], mask=mask, unroll=unroll, time_major=True)
    whole, masked = [[[1], [10]], [[3], [30]], [[7], [70]]], [[[1], [10]], [[3], [10]], [[3], [50]]]
    outputs = of_floats(*(whole if mask is None else masked))
    assert_same(backend, found, (outputs[-1], outputs, [outputs[-1]]))


@unrolled
def test_backwards_time_is_reversed_and_not_the_leaves(backend, x, zero, of_floats, unroll):
    step = Recorder(lambda x_t, states: (x_t, states))
    outputs = rnn(step, (x, 2 * x, 3 * x), [zero], go_backwards=True, unroll=unroll)[1]
    reverse = of_floats(*X)[:, ::-1]
    assert_same(backend, outputs, (reverse, 2 * reverse, 3 * reverse))


@unrolled
@pytest.mark.parametrize("dtype", ["bool", "int32"])
@pytest.mark.parametrize("zero_output", [False, True])
def test_masking_makes_no_other_dtype(backend, x, unroll, dtype, zero_output):
    values = np.array([[1], [0]], dtype)
    state = backend.arrays(values)
    found = rnn(
        lambda x_t, states: (states[0], states),
        x,
        [state],
        mask=KEEP,
        unroll=unroll,
        zero_output_for_mask=zero_output,
    )
    outputs = np.repeat(values[:, None], 3, axis=1)
    if zero_output:
        outputs = outputs * np.array(KEEP, dtype)[..., None]
    assert_same(backend, found, (outputs[:, -1], outputs, [values]))


@unrolled
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_mask_of_another_length_is_refused(backend, x, zero, unroll, length):
    wording = "`mask` is an array of shape"
    with running.known_shapes(), pytest.raises(ValueError, match=wording):
        rnn(running_sum, x, [zero], mask=np.ones((2, length)), unroll=unroll)


@counted
@unrolled
@pytest.mark.parametrize("mask", [None, KEEP])
@pytest.mark.parametrize("all_outputs", [False, True])
def test_the_step_is_not_called_once_too_often(backend, x, zero, unroll, mask, all_outputs):
    step = Recorder(running_sum)
    rnn(step, x, [zero], mask=mask, unroll=unroll, return_all_outputs=all_outputs)
    assert len(step.inputs) == 3


# Step functions that remember something.


@counted
@unrolled
def test_a_counter_counts_timesteps(backend, x, zero, of_floats, unroll):
    count = 0

    def step(x_t, states):
        nonlocal count
        count += 1
        return 0 * x_t + count, states

    outputs = rnn(step, x, [zero], mask=[[1, 0, 1], [0, 0, 1]], unroll=unroll)[1]
    assert_same(backend, outputs, of_floats([[1], [1], [2]], [[0], [0], [2]]))
    assert count == 2


@counted
@unrolled
def test_a_random_generator_is_asked_once_for_each_timestep(backend, x, zero, unroll):
    rng = np.random.default_rng(7)
    noise = np.random.default_rng(7).standard_normal((3, 2, 1)).astype(backend.float)

    def step(x_t, states):
        return backend.arrays(rng.standard_normal((2, 1)).astype(backend.float)), states

    outputs = rnn(step, x, [zero], unroll=unroll)[1]
    assert_same(backend, outputs, np.swapaxes(noise, 0, 1), exact=True)


@counted
@unrolled
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_list_collects_one_entry_for_each_timestep_in_order(
    backend, x, zero, of_floats, unroll, go_backwards
):
    collected = []

    def step(x_t, states):
        collected.append(x_t)
        return x_t, states

    outputs = rnn(step, x, [zero], go_backwards=go_backwards, unroll=unroll)[1]
    inputs = of_floats(*X)[:, :: -1 if go_backwards else 1]
    assert_same(backend, outputs, inputs)
    assert_same(backend, collected, [inputs[:, t] for t in range(3)])
