"""Errors about `inputs`."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from support.backends import Backend
from support.refusals import FEATURES, SAMPLES, TIME, an_array, timesteps, zeros


class Pair(NamedTuple):
    first: Any
    second: Any


@pytest.mark.parametrize(
    ("shape", "cure"),
    [
        ((), "For one number at each timestep of one sample: `x[None, :, None]`."),
        ((TIME,), "For one number at each timestep of one sample: `x[None, :, None]`."),
        (
            (SAMPLES, TIME),
            (
                "If it is one sample, (time, features): `x[None]`. If it is one number for each "
                "sample and timestep: `x[..., None]`."
            ),
        ),
    ],
    ids=["0", "1", "2"],
)
def test_inputs_of_fewer_than_three_dimensions(backend, refused, shape, cure):
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, *shape)}; expected (samples, time, ...), at least 3 "
        f"dimensions. {cure}",
        inputs=backend.array(np.zeros(shape)),
    )


def test_inputs_of_fewer_than_three_dimensions_time_major(backend, refused):
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, TIME, SAMPLES)}; expected (time, samples, ...), at least "
        "3 dimensions. If it is one sample, (time, features): `x[:, None]`. If it is one number "
        "for each sample and timestep: `x[..., None]`.",
        inputs=zeros(backend, TIME, SAMPLES),
        time_major=True,
    )


def test_a_list_of_sequences_in_place_of_inputs(backend, refused):
    refused(
        ValueError,
        "A list is a nest, whose arrays go side by side. If these are sequences, one for each "
        "sample, pass what `pad_sequences` makes of them, or, if they are equally long, `stack`.",
        inputs=[zeros(backend, TIME, FEATURES), zeros(backend, 2, FEATURES)],
    )


def test_nested_lists_in_place_of_inputs(refused):
    refused(
        TypeError,
        "`inputs[0][0][0]` is of type float; expected an array. Make one of numbers and nested "
        "lists first, by `asarray`.",
        inputs=[[[1.0], [2.0]]],
    )


def test_a_leaf_of_inputs_of_fewer_than_three_dimensions_is_named(backend, refused):
    flat = zeros(backend, SAMPLES, TIME)
    refused(
        ValueError,
        f"`inputs[1]['k']` is {an_array(backend, SAMPLES, TIME)}; expected (samples, time, ...)",
        inputs=(timesteps(backend, TIME), {"k": flat}),
    )


def test_a_field_of_a_namedtuple_is_named(backend, refused):
    flat = zeros(backend, SAMPLES, TIME)
    refused(
        ValueError,
        f"`inputs.second` is {an_array(backend, SAMPLES, TIME)}; expected (samples, time, ...)",
        inputs=Pair(timesteps(backend, TIME), flat),
    )


@pytest.mark.parametrize(
    ("inputs", "where", "came"),
    [
        (None, "inputs", "None"),
        (1.0, "inputs", "of type float"),
        ("abc", "inputs", "of type str"),
        (range(3), "inputs", "of type range"),
        ([1.0, 2.0], "inputs[0]", "of type float"),
        ([[[1.0], [2.0]]], "inputs[0][0][0]", "of type float"),
        ({"a": "abc"}, "inputs['a']", "of type str"),
    ],
    ids=["None", "number", "str", "range", "list of numbers", "nested list", "dict"],
)
def test_inputs_that_are_no_arrays(refused, inputs, where, came):
    refused(TypeError, f"`{where}` is {came}; expected an array.", inputs=inputs)


def test_a_number_beside_an_array_in_inputs(backend, refused):
    refused(
        TypeError,
        "`inputs[1]` is of type float; expected an array.",
        inputs=(timesteps(backend, TIME), 1.0),
    )


@pytest.mark.parametrize("inputs", [(), {}, ([], {})], ids=str)
def test_inputs_that_are_an_empty_nest(refused, inputs):
    refused(ValueError, "`inputs` is an empty nest; expected at least one array.", inputs=inputs)


@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
def test_inputs_without_timesteps(backend, refused, time_major):
    shape = (0, SAMPLES, FEATURES) if time_major else (SAMPLES, 0, FEATURES)
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, *shape)}, without timesteps; expected at least one.",
        inputs=zeros(backend, *shape),
        time_major=time_major,
    )


def test_a_leaf_of_inputs_without_timesteps_is_named(backend, refused):
    refused(
        ValueError,
        f"`inputs['a']` is {an_array(backend, SAMPLES, 0, 1)}, without timesteps",
        inputs={"a": zeros(backend, SAMPLES, 0, 1)},
    )


@pytest.mark.parametrize(
    "shape", [(SAMPLES, TIME + 1, 1), (SAMPLES + 1, TIME, 1)], ids=["time", "samples"]
)
def test_leaves_of_inputs_that_disagree(backend, refused, shape):
    refused(
        ValueError,
        f"`inputs['b']` is {an_array(backend, *shape)}, `inputs['a']` is "
        f"{an_array(backend, SAMPLES, TIME, FEATURES)}; expected the same samples and time, "
        "(samples, time, ...), in every array of `inputs`.",
        inputs={"a": timesteps(backend, TIME), "b": zeros(backend, *shape)},
    )


def test_leaves_of_inputs_that_disagree_time_major(backend, refused):
    refused(
        ValueError,
        "expected the same samples and time, (time, samples, ...), in every array of `inputs`.",
        inputs=(zeros(backend, 3, 2, 1), zeros(backend, 4, 2, 1)),
        time_major=True,
    )


@pytest.mark.parametrize("time", [None, float("nan")], ids=["None", "nan"])
@pytest.mark.parametrize(
    ("unroll", "reason"),
    [(True, "`unroll=True`"), (False, "a Python loop")],
    ids=["unrolled", "rolled"],
)
def test_an_unknown_number_of_timesteps(backend, refused, time, unroll, reason):
    if backend is not Backend.NUMPY:
        pytest.skip("only a subclass of NumPy's array can pretend not to know its shape")

    class Unknown(np.ndarray):
        @property
        def shape(self):
            return SAMPLES, time, FEATURES

    refused(
        ValueError,
        f"`inputs` has an unknown number of timesteps ({time}); {reason} needs a fixed one.",
        inputs=timesteps(backend, TIME).view(Unknown),
        unroll=unroll,
    )
