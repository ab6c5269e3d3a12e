"""Errors about what the step function returns at a later timestep than the first."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from support.refusals import (
    FEATURES,
    MASKED,
    SAMPLES,
    an_array,
    changing,
    echo,
    forget,
    made,
    times,
    timesteps,
    zeros,
)


@pytest.fixture
def refused_late(backend, refused_in_python):
    """Return `refused` over many timesteps; the error comes whenever it does."""
    return partial(refused_in_python, calls=None, inputs=timesteps(backend, times()[1]))


def partly(masked: bool) -> Any:
    """Return a mask with a partly masked timestep wherever there is a second sample, or none."""
    if not masked:
        return None
    mask = np.ones((SAMPLES, times()[1]), bool)
    mask[0, 1:] = False
    return mask


@pytest.mark.parametrize("returned", [None, (1, 2, 3), 4], ids=["None", "three", "number"])
@MASKED
def test_a_step_that_returns_no_pair_later(refused_late, returned, masked):
    refused_late(
        TypeError,
        "; expected a pair `(output, new_states)`.",
        step_function=changing(forget, lambda _, __: returned),
        mask=partly(masked),
    )


@pytest.mark.parametrize(("count", "returned"), [(0, "0 states"), (2, "2 states")], ids=str)
@MASKED
def test_a_step_that_returns_another_number_of_states_later(refused_late, count, returned, masked):
    refused_late(
        ValueError,
        f"`step_function` returned {returned} where `initial_states` has 1. Return one new state "
        "for each initial state.",
        step_function=changing(forget, lambda x_t, _: (x_t, [x_t] * count)),
        mask=partly(masked),
    )


@MASKED
def test_a_step_that_returns_a_state_of_another_structure_later(refused_late, masked):
    refused_late(
        ValueError,
        "`step_function` returned new_states of the structure ((*,),); expected that of "
        "`initial_states`, (*,) (* is an array).",
        step_function=changing(forget, lambda x_t, _: (x_t, [(x_t,)])),
        mask=partly(masked),
    )


@MASKED
def test_a_nested_state_of_another_structure_later(backend, refused_late, masked):
    refused_late(
        ValueError,
        "`step_function` returned new_states of the structure ({'b': *},); expected that of "
        "`initial_states`, ({'a': *},) (* is an array).",
        step_function=changing(
            lambda x_t, _: (x_t, [{"a": x_t}]), lambda x_t, _: (x_t, [{"b": x_t}])
        ),
        initial_states=[{"a": zeros(backend)}],
        mask=partly(masked),
    )


@pytest.mark.parametrize("shape", [(SAMPLES, 3), (SAMPLES, 1), (SAMPLES,)], ids=str)
@MASKED
def test_a_step_that_returns_a_state_of_another_shape_later(backend, refused_late, shape, masked):
    refused_late(
        ValueError,
        f"`step_function` returned `new_states[0]`, {an_array(backend, *shape)}; expected "
        "the shape of the initial state, (2, 4).",
        step_function=changing(forget, lambda x_t, _: (x_t, [made(x_t, *shape)])),
        mask=partly(masked),
    )


@MASKED
def test_a_step_that_returns_a_state_of_another_dtype_later(backend, refused_late, masked):
    refused_late(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES)}; expected the dtype of the initial state, int32.",
        step_function=changing(echo, forget),
        initial_states=[zeros(backend, dtype="int32")],
        mask=partly(masked),
    )


ENDS = pytest.mark.parametrize("back", [False, True], ids=["for good", "and back"])


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [(lambda x: (x, x), "(*, *)"), (lambda x: {"a": x}, "{'a': *}"), (lambda _: None, "None")],
    ids=["tuple", "dict", "None"],
)
@ENDS
@MASKED
def test_an_output_that_changes_its_structure(refused_late, wrap, structure, back, masked):
    refused_late(
        ValueError,
        f"`step_function` returned an output of the structure {structure}; expected that of the "
        "first timestep, * (* is an array).",
        step_function=changing(forget, lambda x_t, _: (wrap(x_t), [x_t]), back=back),
        mask=partly(masked),
    )


@pytest.mark.parametrize(
    "shape", [(SAMPLES, 3), (SAMPLES, 1), (SAMPLES,), (SAMPLES, 2, 2), ()], ids=str
)
@ENDS
def test_an_output_that_changes_its_shape(backend, refused_late, shape, back):
    refused_late(
        ValueError,
        f"`step_function` returned `output[1]`, {an_array(backend, *shape)}; expected the "
        "first timestep's shape, (2, 4).",
        step_function=changing(
            lambda x_t, states: ((x_t, x_t), states),
            lambda x_t, states: ((x_t, made(x_t, *shape)), states),
            back=back,
        ),
    )


def test_an_output_that_changes_its_shape_under_a_mask(backend, refused_late):
    refused_late(
        ValueError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, 3)}; expected "
        "the first timestep's shape, (2, 4).",
        step_function=changing(echo, lambda x_t, states: (made(x_t, SAMPLES, 3), states)),
        mask=partly(masked=True),
    )


def counted(x_t, states):
    return made(x_t, SAMPLES, FEATURES, dtype="int32"), states


@ENDS
def test_an_output_that_changes_its_dtype(backend, refused_late, back):
    refused_late(
        TypeError,
        "`step_function` returned `output`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected the first timestep's "
        f"dtype, {backend.float}.",
        step_function=changing(echo, counted, back=back),
    )


def test_an_output_that_changes_its_dtype_under_a_mask(backend, refused_late):
    refused_late(
        TypeError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, FEATURES)}; "
        "expected the first timestep's dtype, int32.",
        step_function=changing(counted, echo),
        mask=partly(masked=True),
    )


@pytest.mark.parametrize("later", [1.0, "abc"], ids=["number", "str"])
@MASKED
def test_an_output_that_is_no_array_later(refused_late, later, masked):
    refused_late(
        TypeError,
        f"`step_function` returned `output`, of type {type(later).__name__}; expected an array.",
        step_function=changing(forget, lambda x_t, _: (later, [x_t])),
        mask=partly(masked),
    )


def test_a_last_output_unlike_the_first_where_only_the_last_is_kept(backend, refused_late):
    refused_late(
        ValueError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, 3)}; expected "
        "the first timestep's shape, (2, 4).",
        step_function=changing(echo, lambda x_t, states: (made(x_t, SAMPLES, 3), states)),
        return_all_outputs=False,
    )
