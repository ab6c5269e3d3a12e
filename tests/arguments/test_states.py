"""`initial_states` and `constants`: every form in which they may be given."""

import numpy as np
import pytest

from support.backends import assert_same
from support.oracle import Recorder
from support.running import rnn

ONES = [[[1.0], [1.0], [1.0]], [[1.0], [1.0], [1.0]]]
KEEP = np.array([[1, 1, 1], [0, 1, 0]])


def hold(x_t, states):
    return x_t, states


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("constants", [None, [], ["a", 2], ("a", 2)])
def test_the_step_is_given_one_tuple_of_states_and_then_constants(backend, container, constants):
    a, b = np.array([[1], [2]], backend.float), np.array([[3], [4]], backend.float)
    step = Recorder(lambda x_t, states: (states[:2], states[:2]))
    states = container(backend.arrays([a, b]))
    outputs = rnn(step, backend.array(ONES), states, constants=constants)[1]
    assert_same(backend, outputs, tuple(np.stack([state] * 3, axis=1) for state in (a, b)))
    assert step.states
    for states in step.states:
        assert type(states) is tuple
        assert states[2:] == (() if constants is None else ("a", 2)[: len(constants)])


@pytest.mark.parametrize("masked", [False, True])
def test_constants_of_any_kind_reach_every_call_unchanged(backend, masked):
    constants = ["text", None, {"b": 1, "a": [2]}, object(), False, 3.5, len, np.arange(3)]
    step = Recorder(lambda x_t, states: (x_t, states[:1]))
    state = backend.array([[0.0], [0.0]])
    mask = KEEP if masked else None
    rnn(step, backend.array(ONES), [state], mask=mask, constants=constants)
    assert step.states
    for states in step.states:
        assert len(states) == 1 + len(constants)
        for given, constant in zip(states[1:], constants, strict=True):
            if backend.is_compiled and isinstance(constant, np.ndarray):
                assert given.shape == constant.shape  # traced
                continue
            # A nest may come as a copy, since there may be lazy arrays in it.
            assert given is constant or (type(given) is dict and given == constant)


@pytest.mark.parametrize("masked", [False, True])
def test_arrays_among_the_constants_reach_every_call(backend, masked):
    constants = [np.array([[5]], backend.float), {"n": [np.array([2, 3], "int32")]}]

    def step(x_t, states):
        state, factor, nest = states
        (numbers,) = nest["n"]
        return (x_t * factor, state[:, 0] + numbers), [state]

    state = backend.array([[1], [2]], "int32")
    mask = np.ones((2, 3)) if masked else None
    constants = backend.arrays(constants)
    outputs = rnn(step, backend.array(ONES), [state], mask=mask, constants=constants)[1]
    expected = np.full((2, 3, 1), 5, backend.float), np.array([[3] * 3, [5] * 3], "int32")
    assert_same(backend, outputs, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_a_bare_array_is_one_state(backend, masked):
    step = Recorder(lambda x_t, states: (states[0], [states[0] + x_t]))
    state = np.array([[5], [7]], backend.float)
    mask = [[1, 1, 1], [1, 1, 0]] if masked else None
    found = rnn(step, backend.array(ONES), backend.arrays(state), mask=mask)
    last = np.array([[7], [8 if masked else 9]], backend.float)
    outputs = np.stack([state, state + 1, last], axis=1)
    new_states = [state + np.array([[3], [2 if masked else 3]], backend.float)]
    assert_same(backend, found, (last, outputs, new_states))
    assert step.states
    assert all(len(states) == 1 for states in step.states)


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("constants", [None, ["c"]])
def test_there_may_be_no_state(backend, container, constants):
    step = Recorder(lambda x_t, states: (2 * x_t, []))
    outputs, new_states = rnn(step, backend.array(ONES), container(), constants=constants)[1:]
    assert_same(backend, outputs, np.full((2, 3, 1), 2, backend.float))
    assert new_states == []
    assert type(new_states) is list
    assert step.states
    assert all(states == tuple(constants or ()) for states in step.states)


@pytest.mark.parametrize("first", ["float32", "float64"])
def test_a_python_float_takes_the_dtype_of_the_first_floating_input(backend, first):
    if not backend.supports("float64"):
        pytest.skip("the device has one floating dtype only")
    second = {"float32": "float64", "float64": "float32"}[first]
    x = tuple(backend.array(np.ones((2, 3, 1)), dtype) for dtype in ("int32", first, second))
    step = Recorder(lambda x_t, states: (x_t, states))
    new_states = rnn(step, x, [0.5])[2]
    assert {backend.name_of(state.dtype) for (state,) in step.states} == {first}
    assert_same(backend, new_states, [np.array(0.5, first)])


def test_a_python_float_beside_inputs_without_floats_takes_the_default_dtype(backend):
    default = backend.xp.__array_namespace_info__().default_dtypes(device=backend.device)
    x = backend.array(np.ones((2, 3, 1)), "int32")
    expected = np.array(0.5, backend.name_of(default["real floating"]))
    assert_same(backend, rnn(hold, x, [0.5])[2], [expected])


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_python_ints_and_bools_take_the_default_dtypes(backend, dtype):
    x = backend.array(np.ones((2, 3, 1)), dtype)
    new_states = rnn(hold, x, [7, True, False])[2]
    assert_same(backend, new_states, [np.array(7, backend.int), np.array(True), np.array(False)])


def test_python_numbers_may_be_anywhere_in_a_state(backend):
    new_states = rnn(hold, backend.array(ONES), [{"n": 1, "flags": (True, [0.5])}])[2]
    expected = {
        "n": np.array(1, backend.int),
        "flags": (np.array(True), [np.array(0.5, backend.float)]),
    }
    assert_same(backend, new_states, [expected])


def test_python_numbers_are_arrays_to_the_step(backend):
    def step(x_t, states):
        count, factor = states
        return x_t * factor, [count + 1, factor * 2]

    outputs, new_states = rnn(step, backend.array(ONES), [0, 1.0])[1:]
    assert_same(backend, outputs, np.array([[[1], [2], [4]]] * 2, backend.float))
    assert_same(backend, new_states, [np.array(3, backend.int), np.array(8, backend.float)])


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int8", "int64", "bool"])
def test_a_numpy_scalar_is_an_array_of_its_own_dtype(name):
    x = np.ones((2, 3, 1), np.float32)
    scalar = np.dtype(name).type(1)
    (state,) = rnn(hold, x, [scalar])[2]
    assert state.dtype == name
    assert state == 1


def test_a_numpy_scalar_belongs_to_numpy(backend):
    if backend.library == "numpy":
        pytest.skip("beside NumPy arrays it is at home")
    with pytest.raises(TypeError, match=r"`initial_states\[0\]` is an array of numpy"):
        rnn(hold, backend.array(ONES), [np.float64(0.5)])
