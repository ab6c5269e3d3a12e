"""Whatever the nests, ranks, dtypes, masks and options: each sample comes out as if run alone.

With `samplewise=True`, even where padding is garbage.
"""

import dataclasses

import numpy as np
import optree
import pytest
from hypothesis import assume

from support.abilities import Ability
from support.backends import assert_same
from support.drawn_calls import most_unrolled, property_of_calls, to_numpy
from support.running import rnn


@property_of_calls
def test_each_sample_comes_out_as_if_run_alone(backend, call):
    assert_same(backend, call.run(backend), call.expected(), exact=True)


@pytest.mark.needs(Ability.CALLS)
@property_of_calls
def test_the_step_is_called_once_for_each_timestep_that_some_sample_sees(backend, call):
    assume(call.samples)
    called = 0

    def step(x_t, states):
        nonlocal called
        called += 1
        return call.step(x_t, states)

    dataclasses.replace(call, step=step).run(backend)
    assert called == max(1, call.kept.any(axis=0).sum())


@property_of_calls
def test_pieces_give_what_one_run_gives(backend, call):
    call = call.over_all_timesteps(return_all_outputs=True)
    expected = to_numpy(backend, call.run(backend))
    cut = call.time // 2
    times = [piece for piece in (range(cut), range(cut, call.time)) if piece]
    last, outputs, states = call.options["initial_output"], [], call.initial_states
    for piece in reversed(times) if call.options["go_backwards"] else times:
        part = dataclasses.replace(call.at(piece), initial_states=states)
        results = part.with_options(initial_output=last).run(backend)
        last, piece_outputs, states = to_numpy(backend, results)
        outputs.append(piece_outputs)
    axis = 0 if call.options["time_major"] else 1
    joined = optree.tree_map(lambda *leaves: np.concatenate(leaves, axis=axis), *outputs)
    assert_same(backend, backend.arrays((last, joined, states)), expected, exact=True)


@property_of_calls
def test_how_the_loop_runs_changes_nothing(backend, call):
    expected = to_numpy(backend, call.run(backend))
    for change in (
        {"unroll": True},
        {"unroll": 3},
        {"unroll": False},
        {"samplewise": True},
        {"checkpoint": 3},
    ):
        if change.get("unroll") is True and call.time > most_unrolled(backend):
            continue
        assert_same(backend, call.run(backend, **change), expected, exact=True)


@property_of_calls
def test_time_major_is_a_transposition(backend, call):
    call = call.with_options(time_major=False)
    last, outputs, states = to_numpy(backend, call.run(backend))
    expected = last, optree.tree_map(lambda leaf: leaf.swapaxes(0, 1), outputs), states
    assert_same(backend, call.with_options(time_major=True).run(backend), expected, exact=True)


@property_of_calls
def test_going_backwards_is_going_over_flipped_inputs_and_mask(backend, call):
    call = call.over_all_timesteps(go_backwards=False)
    if call.options["input_length"] is not None:
        call = call.with_options(input_length=None)
    flipped = call.at(range(call.time)[::-1])
    expected = to_numpy(backend, flipped.run(backend))
    assert_same(backend, call.run(backend, go_backwards=True), expected, exact=True)


@property_of_calls
def test_arguments_are_never_written_to(backend, call):
    inputs, initial_states, options = call.arguments(backend)
    arrays = inputs, initial_states, options["initial_output"]
    before = optree.tree_map(np.copy, to_numpy(backend, arrays))
    rnn(call.step, inputs, initial_states, **options)
    assert_same(backend, arrays, before, exact=True)
