"""Errors about what the step function returns: a pair, the output, the new states."""

import numpy as np
import pytest

from support.backends import assert_same
from support.refusals import (
    FEATURES,
    LIMITS,
    MASK,
    SAMPLES,
    TIME,
    an_array,
    echo,
    first_note,
    made,
    notes,
    timesteps,
    zeros,
)
from support.running import rnn

# ---------------------------------------------------------------------------------- the pair


@pytest.mark.parametrize("returned", ["None", "array", "1", "3", "dict", "str"])
def test_a_step_that_returns_no_pair(backend, refused, returned):
    def step(x_t, states):
        return {
            "None": None,
            "array": x_t,
            "1": (x_t,),
            "3": (x_t, x_t, states),
            "dict": {"output": x_t, "new_states": states},
            "str": "ab",
        }[returned]

    error = refused(TypeError, "`step_function` returned ", calls=1, step_function=step)
    assert str(error).endswith("; expected a pair `(output, new_states)`.")
    assert notes(error) == [first_note(backend, 3)]


def test_a_step_that_returns_an_array_in_place_of_a_pair_is_told_its_shape(backend, refused):
    refused(
        TypeError,
        f"`step_function` returned {an_array(backend, SAMPLES, FEATURES)}; expected a pair",
        calls=1,
        step_function=lambda x_t, _: x_t,
    )


# ---------------------------------------------------------------------------------- the output


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_an_output_of_rank_0(backend, refused, masked):
    error = refused(
        ValueError,
        f"`step_function` returned `output['k']`, {an_array(backend)}; expected (samples, "
        "...), at least 1 dimension.",
        calls=1,
        step_function=lambda x_t, states: ({"k": made(x_t)}, states),
        mask=MASK if masked else None,
    )
    assert notes(error) == [first_note(backend, 3)]


OUTPUTS_WITHOUT_SAMPLES = pytest.mark.parametrize("shape", [(1,), (1, FEATURES), (3,)], ids=str)


@OUTPUTS_WITHOUT_SAMPLES
@LIMITS
def test_an_output_without_samples_under_a_mask(backend, refused, shape, limit):
    refused(
        ValueError,
        f"`step_function` returned `output[1]`, {an_array(backend, *shape)}; under a mask "
        "or lengths expected (samples, ...) with samples = 2.",
        calls=1,
        step_function=lambda x_t, states: ((x_t, made(x_t, *shape)), states),
        **limit,
    )


@OUTPUTS_WITHOUT_SAMPLES
def test_an_output_without_samples_is_fine_without_a_mask(backend, shape):
    last, _, _ = rnn(
        lambda x_t, states: (made(x_t, *shape), states),
        timesteps(backend, TIME),
        [zeros(backend)],
    )
    assert_same(backend, last, np.zeros(shape, backend.float))


@pytest.mark.parametrize(
    ("output", "where", "came"),
    [
        (1.0, "output", "float"),
        ("abc", "output", "str"),
        ([1.0, 2.0], "output[0]", "float"),
        ({"a": "abc"}, "output['a']", "str"),
    ],
    ids=["number", "str", "list of numbers", "dict"],
)
def test_an_output_that_is_no_array(refused, output, where, came):
    refused(
        TypeError,
        f"`step_function` returned `{where}`, of type {came}; expected an array.",
        calls=1,
        step_function=lambda _, states: (output, states),
    )


# ---------------------------------------------------------------------------------- the states


@pytest.mark.parametrize(
    ("count", "returned"), [(0, "0 states"), (1, "1 state"), (3, "3 states")], ids=str
)
def test_a_step_that_returns_another_number_of_states(backend, refused, count, returned):
    refused(
        ValueError,
        f"`step_function` returned {returned} where `initial_states` has 2. Return one new state "
        "for each initial state.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [x_t] * count),
        initial_states=[zeros(backend), zeros(backend)],
    )


def test_a_step_that_returns_the_constants_as_states(backend, refused):
    refused(
        ValueError,
        "`step_function` returned 2 states where `initial_states` has 1.",
        calls=1,
        step_function=echo,
        constants=[zeros(backend)],
    )


@pytest.mark.parametrize(
    "wrap",
    [lambda state: state, lambda _: None, lambda state: {"h": state}, lambda state: iter([state])],
    ids=["bare array", "None", "dict", "iterator"],
)
def test_a_step_whose_states_are_no_sequence(refused, wrap):
    error = refused(
        ValueError,
        "`step_function` returned `new_states`, ",
        calls=1,
        step_function=lambda x_t, _: (x_t, wrap(x_t)),
    )
    assert str(error).endswith(
        "; expected a list or tuple of length 1, one new state for each initial state."
    )


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [
        (lambda _: None, "(None,)"),
        (lambda state: (state,), "((*,),)"),
        (lambda state: {"b": state}, "({'b': *},)"),
    ],
    ids=["None", "tuple", "other key"],
)
def test_a_step_that_returns_a_state_of_another_structure(backend, refused, wrap, structure):
    refused(
        ValueError,
        f"`step_function` returned new_states of the structure {structure}; expected that of "
        "`initial_states`, ({'a': *},) (* is an array).",
        calls=1,
        step_function=lambda x_t, _: (x_t, [wrap(x_t)]),
        initial_states=[{"a": zeros(backend)}],
    )


@pytest.mark.parametrize("shape", [(), (SAMPLES, 1), (1, FEATURES), (SAMPLES,)], ids=str)
def test_a_step_that_returns_a_state_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`step_function` returned `new_states[0]['a']`, {an_array(backend, *shape)}; "
        "expected the shape of the initial state, (2, 4).",
        calls=1,
        step_function=lambda x_t, _: (x_t, [{"a": made(x_t, *shape)}]),
        initial_states=[{"a": zeros(backend)}],
    )


def test_a_step_that_returns_a_state_of_another_dtype(backend, refused):
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected the dtype of the initial "
        f"state, {backend.float}. Cast the state in the step, or give `initial_states` the dtype "
        "that the step computes.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [made(x_t, SAMPLES, FEATURES, dtype="int32")]),
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_that_returns_a_state_of_half_precision_is_told_of_autocast(backend, refused, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype=dtype)}; expected the dtype of the initial "
        "state, float32. If this is mixed precision (autocast), cast the state back in the "
        "step, or disable autocast around the call.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [made(x_t, SAMPLES, FEATURES, dtype=dtype)]),
        initial_states=[zeros(backend, dtype="float32")],
    )


def test_a_step_that_returns_a_state_that_is_no_array(refused):
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, of type float; expected an array.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [1.0]),
    )
