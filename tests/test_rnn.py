"""What `rnn` returns: values, order, layout, for every option that is not about masking."""

import itertools
import weakref

import numpy as np
import pytest
from array_api_compat import array_namespace

from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import draw, halving, recurrence
from support.running import rnn

KEEP = np.array([[1, 1, 0, 1, 0], [0, 1, 0, 1, 1], [1, 1, 0, 0, 1]], dtype=bool)


def running_sum(x_t, states):
    total = states[0] + x_t
    return -total, [total]


@pytest.fixture
def by_hand(backend):
    """Return two samples of three timesteps, and a state."""
    return backend.array([[[1], [2], [3]], [[10], [20], [40]]], backend.float), backend.array(
        [[0.0], [100.0]]
    )


def test_every_timestep_gives_an_output_and_the_states_of_the_next(backend, by_hand):
    x, zero = by_hand
    outputs = np.array([[[-1], [-3], [-6]], [[-110], [-130], [-170]]], backend.float)
    states = [np.array([[6], [170]], backend.float)]
    assert_same(backend, rnn(running_sum, x, [zero]), (outputs[:, 2], outputs, states), exact=True)


def test_backwards_the_outputs_come_in_the_order_computed(backend, by_hand):
    x, zero = by_hand
    outputs = np.array([[[-3], [-5], [-6]], [[-140], [-160], [-170]]], backend.float)
    states = [np.array([[6], [170]], backend.float)]
    found = rnn(running_sum, x, [zero], go_backwards=True)
    assert_same(backend, found, (outputs[:, 2], outputs, states), exact=True)


def test_the_new_states_are_a_list(backend, by_hand):
    x, zero = by_hand

    def step(x_t, states):
        return x_t, (x_t, states[1])

    assert type(rnn(step, x, (zero, zero))[2]) is list


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("go_backwards", "time_major", "zero_output", "all_outputs"),
    [*itertools.product([False, True], repeat=4)],
)
def test_all_options_work_together(
    backend, masked, go_backwards, time_major, zero_output, all_outputs
):
    x, state = draw(backend, 3, 5, 2), draw(backend, 3, 2)
    last, outputs, states = recurrence(
        halving,
        x,
        [state],
        KEEP if masked else None,
        go_backwards=go_backwards,
        zero_output=zero_output,
    )
    outputs = outputs if all_outputs else last[:, None]

    def laid_out(array):
        return np.swapaxes(array, 0, 1) if time_major else array

    found = rnn(
        halving,
        backend.arrays(laid_out(x)),
        backend.arrays([state]),
        mask=backend.arrays(laid_out(KEEP)) if masked else None,
        go_backwards=go_backwards,
        time_major=time_major,
        zero_output_for_mask=zero_output,
        return_all_outputs=all_outputs,
    )
    assert_same(backend, found, (last, laid_out(outputs), states), exact=True)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("features", [(), (3,), (3, 1), (2, 1, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_an_output_may_have_any_rank_and_need_not_resemble_a_state(
    backend, time_major, features, masked
):
    x = draw(backend, 2, 4, 3)
    keep = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], dtype=bool)
    weights = draw(backend, *features)

    def step(x_t, states):
        total, weights = states
        xp = array_namespace(x_t)
        total = total + xp.sum(x_t, axis=1)
        return xp.reshape(total, (-1,) + (1,) * len(features)) * weights, [total]

    state = draw(backend, 2)
    last, outputs, states = recurrence(
        lambda x_t, states: step(x_t, (*states, weights)), x, [state], keep if masked else None
    )
    assert outputs.shape == (2, 4, *features)
    found = rnn(
        step,
        backend.arrays(np.swapaxes(x, 0, 1) if time_major else x),
        backend.arrays([state]),
        mask=(keep.T if time_major else keep) if masked else None,
        constants=backend.arrays([weights]),
        time_major=time_major,
    )
    outputs = np.swapaxes(outputs, 0, 1) if time_major else outputs
    assert_same(backend, found, (last, outputs, states), exact=True)


def test_without_a_mask_a_state_may_have_any_shape(backend, by_hand):
    x, _ = by_hand

    def step(x_t, states):
        count, pair = states
        return x_t * count, [count + 1.0, pair + count]

    found = rnn(step, x, [backend.array(1.0), backend.array([[[0.5]], [[1.5]], [[2.5]]])])
    outputs = np.array([[[1], [4], [9]], [[10], [40], [120]]], backend.float)
    states = [np.array(4, backend.float), np.array([[[6.5]], [[7.5]], [[8.5]]], backend.float)]
    assert_same(backend, found, (outputs[:, 2], outputs, states), exact=True)


@pytest.mark.needs(Ability.CALLS)
@pytest.mark.parametrize("all_outputs", [False, True])
def test_without_all_outputs_memory_does_not_grow_with_time(backend, all_outputs):
    made, alive = [], []
    if backend.library == "dpnp":
        pytest.skip("dpnp has no weak references to its arrays")

    def step(x_t, states):
        output = x_t + 1.0
        made.append(weakref.ref(output))
        alive.append(sum(output() is not None for output in made))
        return output, states

    rnn(step, backend.array(np.ones((1, 40, 1))), [], return_all_outputs=all_outputs)
    # The comparison with True shows that this measures something. Of the first two outputs there
    # may be copies in their place: a step could return one buffer again and again.
    assert alive[-1] >= 38 if all_outputs else max(alive) <= 3


@pytest.mark.parametrize("unroll", [False, True, 1, 3, np.int64(2)])
@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("progress", [None, False, lambda done, total: None])
def test_how_the_loop_runs_changes_no_result(backend, unroll, samplewise, progress):
    x, state = draw(backend, 3, 5, 2), draw(backend, 3, 2)
    found = rnn(
        halving,
        backend.arrays(x),
        backend.arrays([state]),
        mask=KEEP,
        unroll=unroll,
        samplewise=samplewise,
        progress=progress,
    )
    assert_same(backend, found, recurrence(halving, x, [state], KEEP), exact=True)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("checkpoint", [1, np.int64(2), 100])
def test_what_is_kept_for_gradients_changes_no_result(backend, unroll, checkpoint):
    x, state = draw(backend, 3, 5, 2), draw(backend, 3, 2)
    arrays, how = backend.arrays((x, [state])), {"unroll": unroll, "checkpoint": checkpoint}
    found = rnn(halving, *arrays, mask=KEEP, **how)
    assert_same(backend, found, recurrence(halving, x, [state], KEEP), exact=True)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("time", [1, 2, 16, 17, 64, 65, 130])
def test_any_number_of_timesteps(backend, time, go_backwards):
    x = draw(backend, 2, time, 1)
    total = np.cumsum(x[:, ::-1] if go_backwards else x, axis=1, dtype=backend.float)
    found = rnn(
        running_sum,
        backend.arrays(x),
        [backend.array(np.zeros((2, 1)))],
        go_backwards=go_backwards,
    )
    assert_same(backend, found, (-total[:, -1], -total, [total[:, -1]]), exact=True)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_timesteps_that_are_all_partly_or_not_masked_in_any_sequence(backend, go_backwards):
    x = draw(backend, 2, 200, 1)
    keep = np.ones((2, 200), dtype=bool)
    keep[:, 64:128] = False  # nothing for longer than what is unstacked at a time
    keep[1, 150:] = False
    keep[:, 170:180] = False
    total = np.cumsum(np.where(keep[..., None], x, 0)[:, :: -1 if go_backwards else 1], axis=1)
    total = total.astype(backend.float)
    found = rnn(
        running_sum,
        backend.arrays(x),
        [backend.array(np.zeros((2, 1)))],
        mask=keep,
        go_backwards=go_backwards,
    )
    assert_same(backend, found, (-total[:, -1], -total, [total[:, -1]]), exact=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_timesteps_of_many_elements(backend, masked, go_backwards):
    x, state = draw(backend, 3, 5, 20, 30), draw(backend, 3, 20, 30)
    keep = KEEP if masked else None
    found = rnn(
        halving, backend.arrays(x), backend.arrays([state]), mask=keep, go_backwards=go_backwards
    )
    expected = recurrence(halving, x, [state], keep, go_backwards=go_backwards)
    assert_same(backend, found, expected, exact=True)


def test_thousands_of_timesteps(backend):
    # JAX compiles for minutes what joins ten thousand arrays.
    x = draw(backend, 1, 257 if backend is Backend.JAX else 10_001, 1)
    total = np.cumsum(x, axis=1, dtype=backend.float)
    found = rnn(running_sum, backend.arrays(x), [backend.array([[0.0]])])
    assert_same(backend, found, (-total[:, -1], -total, [total[:, -1]]), exact=True)


@pytest.mark.parametrize(
    "options", [{}, {"mask": np.ones((0, 3))}, {"input_length": np.zeros(0, int)}]
)
def test_no_samples(backend, options):
    x = backend.array(np.zeros((0, 3, 2)))
    found = rnn(halving, x, [backend.array(np.zeros((0, 2)))], **options)
    none = np.zeros((0, 2), backend.float)
    assert_same(backend, found, (none, np.zeros((0, 3, 2), backend.float), [none]))
