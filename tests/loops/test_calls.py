"""How often, in which order and with what the step function is called."""

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import Backend, assert_same
from support.numbered_timesteps import SAMPLES, SOME, TIME, steps_called, timesteps_called
from support.oracle import halving, revealed, revealing
from support.running import rnn

counted = pytest.mark.needs(Ability.CALLS)
ALL_OPTIONS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"unroll": True},
        {"unroll": 2},
        {"return_all_outputs": False},
        {"zero_output_for_mask": True},
        {"time_major": True},
    ],
    ids=str,
)


@counted
@ALL_OPTIONS
def test_one_call_for_each_timestep_in_order(backend, options):
    assert timesteps_called(backend, **options) == [0, 1, 2, 3, 4]


@counted
@ALL_OPTIONS
def test_backwards_the_calls_come_from_last_to_first(backend, options):
    assert timesteps_called(backend, go_backwards=True, **options) == [4, 3, 2, 1, 0]


@counted
@ALL_OPTIONS
def test_no_call_where_every_sample_is_masked(backend, options):
    assert timesteps_called(backend, mask=SOME, **options) == [1, 3]


@counted
@ALL_OPTIONS
def test_backwards_no_call_where_every_sample_is_masked(backend, options):
    assert timesteps_called(backend, mask=SOME, go_backwards=True, **options) == [3, 1]


@pytest.mark.parametrize("go_backwards", [False, True])
@counted
@ALL_OPTIONS
def test_one_call_if_nothing_is_unmasked(backend, options, go_backwards):
    mask = np.zeros_like(SOME)
    calls = timesteps_called(backend, mask=mask, go_backwards=go_backwards, **options)
    assert calls == [TIME - 1 if go_backwards else 0]


@counted
@ALL_OPTIONS
def test_which_is_on_ones_if_the_step_treats_each_sample_on_its_own(backend, options):
    mask = np.zeros_like(SOME)
    (x_t,) = steps_called(backend, mask=mask, samplewise=True, **options).inputs
    assert_same(backend, x_t, np.ones((SAMPLES, 1), backend.float))
    (states,) = steps_called(backend, mask=mask, samplewise=True, **options).states
    assert_same(backend, states, (np.ones((SAMPLES, 1), backend.float),))


@counted
def test_no_call_beyond_the_longest_length(backend):
    assert timesteps_called(backend, input_length=[1, 3, 0]) == [0, 1, 2]


@counted
def test_backwards_no_call_before_the_longest_length(backend):
    assert timesteps_called(backend, input_length=[1, 3, 0], go_backwards=True) == [2, 1, 0]


@counted
@pytest.mark.parametrize(("go_backwards", "called"), [(False, [0, 1, 2]), (True, [2, 1, 0])])
def test_one_length_ends_the_calls_for_all(backend, go_backwards, called):
    assert timesteps_called(backend, input_length=3, go_backwards=go_backwards) == called


@counted
def test_the_mask_is_cut_to_one_length_as_well(backend):
    assert timesteps_called(backend, mask=SOME, input_length=3) == [1]


def test_the_first_call_is_given_the_first_timestep_and_the_initial_states(backend):
    x, state = backend.array([[[3.0], [4.0]]]), backend.array([[8.0]])
    outputs = rnn(revealing(halving), x, [state])[1]
    first, second = revealed(backend, outputs, np.ones((1, 2), bool)).values()
    x_t, state, new = (np.array([[n]], backend.float) for n in (3, 8, 7))
    assert_same(Backend.NUMPY, first, (x_t, (state,)))
    assert_same(Backend.NUMPY, second, (x_t + 1, (new,)))


@counted
def test_a_step_that_counts_counts_the_timesteps(backend):
    count = 0

    def step(x_t, states):
        nonlocal count
        count += 1
        return x_t * count, states

    outputs = rnn(step, backend.array([[[1.0], [1.0], [1.0]]]), [])[1]
    assert_same(backend, outputs, np.array([[[1], [2], [3]]], backend.float))
