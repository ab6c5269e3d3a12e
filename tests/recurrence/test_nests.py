"""Nests: what the step sees of inputs and states, and what comes back."""

from collections import OrderedDict, deque
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import Recorder, draw, revealed, revealing
from support.running import rnn


class Pair(NamedTuple):
    left: Any
    right: Any


NESTS = {
    "array": lambda a, b: a,
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"z": a, "a": b},
    "namedtuple": Pair,
    "ordered": lambda a, b: OrderedDict(z=a, a=b),
    "deque": lambda a, b: deque([a, b]),
    "nested": lambda a, b: {"z": [a, (b,)], "a": Pair({"n": b}, a)},
}
each_nest = pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS.keys())


def key_orders(tree):
    """Return the keys of all dicts in a nest, in their order."""
    if isinstance(tree, dict):
        return [list(tree), *map(key_orders, tree.values())]
    return [*map(key_orders, tree)] if isinstance(tree, list | tuple) else []


@each_nest
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_step_sees_each_timestep_in_the_nest_of_the_inputs(
    backend, nest, go_backwards, time_major, masked
):
    a, b = draw(backend, 2, 3, 4), draw(backend, 2, 3, 1, 2)
    inputs = nest(*[np.swapaxes(x, 0, 1) if time_major else x for x in (a, b)])
    step = Recorder(lambda x_t, states: (x_t, states))
    outputs = rnn(
        step,
        backend.arrays(inputs),
        [backend.array([[0.0], [0.0]])],
        go_backwards=go_backwards,
        time_major=time_major,
        mask=np.ones((3, 2) if time_major else (2, 3)) if masked else None,
    )[1]
    order = [2, 1, 0] if go_backwards else [0, 1, 2]
    a, b = (x[:, order].swapaxes(0, 1) if time_major else x[:, order] for x in (a, b))
    assert_same(backend, outputs, nest(a, b), exact=True)
    for x_t in step.inputs:
        assert optree.tree_structure(x_t) == optree.tree_structure(inputs)
        assert key_orders(x_t) == key_orders(inputs)


@each_nest
@pytest.mark.parametrize("time_axis", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("all_outputs", [False, True])
def test_outputs_have_the_nest_that_the_step_returns(backend, nest, time_axis, masked, all_outputs):
    x = draw(backend, 2, 3, 1)
    keep = np.array([[1, 1, 1], [1, 0, 0]], dtype=bool) if masked else np.ones((2, 3), bool)

    def step(x_t, states):
        return nest(x_t[:, 0], 2 * x_t), states

    last, outputs, _ = rnn(
        step,
        backend.arrays(np.swapaxes(x, 0, 1) if time_axis == 0 else x),
        [backend.array([[0.0], [0.0]])],
        mask=(keep.T if time_axis == 0 else keep) if masked else None,
        time_major=time_axis == 0,
        return_all_outputs=all_outputs,
    )
    shown = np.where(keep[..., None], x, x[:, :1])
    expected_last = nest(shown[:, -1, 0], 2 * shown[:, -1])
    assert_same(backend, last, expected_last, exact=True)
    shown = shown if all_outputs else shown[:, -1:]
    shown = np.swapaxes(shown, 0, 1) if time_axis == 0 else shown
    assert_same(backend, outputs, nest(shown[..., 0], 2 * shown), exact=True)
    assert key_orders(last) == key_orders(outputs) == key_orders(expected_last)


@each_nest
@pytest.mark.parametrize("masked", [False, True])
def test_states_keep_their_containers_in_the_step_and_in_the_result(backend, nest, masked):
    a, b = draw(backend, 2, 1), draw(backend, 2, 3)

    def advance(x_t, states):
        first, second = states
        return x_t, [optree.tree_map(lambda leaf: leaf + x_t, first), second]

    x = backend.array([[[1.0], [2.0]], [[4.0], [8.0]]])
    keep = np.array([[1, 1], [1, 0 if masked else 1]], dtype=bool)
    states = [nest(a, b), [nest(b, a)]]
    step, initial = revealing(advance), backend.arrays(states)
    _, outputs, new_states = rnn(step, x, initial, mask=keep if masked else None)
    (_, first), (_, second) = revealed(backend, outputs, keep).values()

    seen = np.array([[1], [4]], backend.float)
    total = np.array([[3], [4 if masked else 12]], backend.float)
    assert_same(Backend.NUMPY, first, (nest(a, b), [nest(b, a)]), exact=True)
    assert key_orders(first) == key_orders(second) == key_orders(states)
    assert_same(Backend.NUMPY, second[0], nest(a + seen, b + seen), exact=True)
    assert_same(backend, new_states, [nest(a + total, b + total), [nest(b, a)]], exact=True)
    assert key_orders(new_states) == key_orders(states)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("outer", [list, tuple])
@pytest.mark.parametrize("inner", [list, tuple, lambda pair: Pair(*pair)])
@pytest.mark.parametrize("initial", [list, tuple, lambda pair: Pair(*pair)])
def test_lists_and_tuples_are_interchangeable_in_what_a_step_returns(
    backend, masked, outer, inner, initial
):
    one = np.array([[1], [1]], backend.float)

    def advance(x_t, states):
        left, right = states[0]
        return x_t, outer([inner([left + x_t, right - x_t]), states[1]])

    step = Recorder(advance)
    x = backend.array([[[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]]])
    mask = np.array([[1, 1, 1], [1, 0, 1]]) if masked else None
    new_states = rnn(step, x, backend.arrays([initial([one, one]), one]), mask=mask)[2]
    container = type(initial([one, one]))
    assert {type(states[0]) for states in step.states} == {container}
    total = np.array([[6], [4 if masked else 6]], backend.float)
    assert_same(backend, new_states, [initial([one + total, one - total]), one], exact=True)


@pytest.mark.needs(Ability.CALLS)
def test_an_output_that_alternates_between_list_and_tuple_is_that_of_the_first_timestep(backend):
    containers = iter([tuple, list, tuple])
    x = backend.array([[[1.0], [2.0], [3.0]]])

    def step(x_t, states):
        return next(containers)([x_t, -x_t]), states

    outputs = rnn(step, x, [])[1]
    values = np.array([[[1], [2], [3]]], backend.float)
    assert_same(backend, outputs, (values, -values))


def test_a_dict_of_states_may_come_back_in_another_order_of_keys(backend):
    zero = np.array([[0.0]], backend.float)

    def step(x_t, states):
        (both,) = states
        assert list(both) == ["z", "a"]
        return x_t, [{"a": both["a"] - x_t, "z": both["z"] + x_t}]

    x = backend.array([[[1.0], [2.0]]])
    new_states = rnn(step, x, backend.arrays([{"z": zero, "a": zero}]))[2]
    assert_same(backend, new_states, [{"z": zero + 3, "a": zero - 3}])
    assert list(new_states[0]) == ["z", "a"]


def test_a_namedtuple_of_states_counts_as_the_tuple_that_it_is(backend):
    one = np.array([[1]], backend.float)
    step = Recorder(lambda x_t, states: (x_t, Pair(states[0] + x_t, states[1])))
    x = backend.array([[[1.0], [2.0]]])
    new_states = rnn(step, x, backend.arrays(Pair(one, one)), constants=["c"])[2]
    assert_same(backend, new_states, [one + 3, one])
    assert {type(states) for states in step.states} == {tuple}
    assert {states[2:] for states in step.states} == {("c",)}
