"""Errors about `initial_states` and `constants`."""

import numpy as np
import pytest

from support.backends import assert_same
from support.refusals import FEATURES, LIMITS, SAMPLES, TIME, an_array, echo, timesteps, zeros
from support.running import rnn


@pytest.mark.parametrize(
    ("states", "came"),
    [(None, "None"), (0.0, "of type float"), ({"h": 0.0}, "of type dict")],
    ids=["None", "number", "dict"],
)
def test_initial_states_that_are_no_sequence(refused, states, came):
    refused(
        TypeError, f"`initial_states` is {came}; expected a list or tuple.", initial_states=states
    )


@pytest.mark.parametrize(
    ("state", "where"),
    [("abc", "initial_states[0]"), ({"a": (0.0, "abc")}, "initial_states[0]['a'][1]")],
    ids=["state", "in a nest"],
)
def test_a_state_that_is_no_array(refused, state, where):
    refused(TypeError, f"`{where}` is of type str; expected an array.", initial_states=[state])


def test_a_bare_array_as_constants(backend, refused):
    refused(
        TypeError,
        f"`constants` is {an_array(backend, SAMPLES, FEATURES)}; expected a list or tuple. Put a "
        "single one into a list.",
        constants=zeros(backend),
    )


@pytest.mark.parametrize("constants", [{"a": 1}, "abc", 3], ids=["dict", "str", "int"])
def test_constants_that_are_no_sequence(refused, constants):
    refused(
        TypeError,
        f"`constants` is of type {type(constants).__name__}; expected a list or tuple.",
        constants=constants,
    )


STATES_WITHOUT_SAMPLES = pytest.mark.parametrize(
    "shape", [(), (1,), (1, FEATURES), (SAMPLES + 1, FEATURES)], ids=str
)


@STATES_WITHOUT_SAMPLES
@LIMITS
def test_a_state_without_samples_under_a_mask(backend, refused, shape, limit):
    refused(
        ValueError,
        f"`initial_states[1]['k']` is {an_array(backend, *shape)}; under a mask or lengths "
        "expected (samples, ...) with samples = 2, since a masked sample keeps its own state. "
        "Broadcast the state to all samples.",
        step_function=echo,
        initial_states=[zeros(backend), {"k": backend.array(np.zeros(shape))}],
        **limit,
    )


@LIMITS
def test_a_python_number_as_state_under_a_mask(backend, refused, limit):
    refused(
        ValueError,
        f"`initial_states[0]` is {an_array(backend)}; under a mask or lengths expected (samples, "
        "...) with samples = 2",
        step_function=echo,
        initial_states=[0.0],
        **limit,
    )


@STATES_WITHOUT_SAMPLES
@pytest.mark.parametrize("input_length", [None, 2])
def test_a_state_without_samples_is_fine_without_a_mask(backend, shape, input_length):
    state = backend.array(np.ones(shape))
    _, _, states = rnn(echo, timesteps(backend, TIME), [state], input_length=input_length)
    assert_same(backend, states, [np.ones(shape, backend.float)])
