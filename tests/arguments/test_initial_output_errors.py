"""Errors about `initial_output`, most of which show beside the first output."""

import numpy as np
import pytest

from support.refusals import FEATURES, MASK, SAMPLES, TIME, an_array, zeros


@pytest.mark.parametrize("shape", [(), (1, FEATURES), (SAMPLES, 3), (SAMPLES, TIME, 4)], ids=str)
def test_an_initial_output_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, *shape)}; expected it like the output of "
        f"`step_function`, {an_array(backend, SAMPLES, FEATURES)}.",
        calls=1,
        initial_output=backend.array(np.zeros(shape)),
    )


def test_an_initial_output_of_another_dtype(backend, refused):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected it "
        f"like the output of `step_function`, {an_array(backend, SAMPLES, FEATURES)}.",
        calls=1,
        initial_output=zeros(backend, dtype="int32"),
    )


def test_a_leaf_of_initial_output_unlike_the_output_is_named(backend, refused):
    refused(
        ValueError,
        f"`initial_output[1]['k']` is {an_array(backend, SAMPLES, 3)}; expected it like the output",
        calls=1,
        step_function=lambda x_t, states: ((x_t, {"k": x_t}), states),
        initial_output=(zeros(backend), {"k": zeros(backend, SAMPLES, 3)}),
    )


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [
        (lambda leaf: [leaf], "[*]"),
        (lambda leaf: (leaf, leaf), "(*, *)"),
        (lambda leaf: {"a": leaf}, "{'a': *}"),
    ],
    ids=["list", "tuple", "dict"],
)
def test_an_initial_output_of_another_structure(backend, refused, wrap, structure):
    refused(
        ValueError,
        f"`initial_output` is of the structure {structure}; expected that of the output of "
        "`step_function`, * (* is an array).",
        calls=1,
        initial_output=wrap(zeros(backend)),
    )


def test_an_initial_output_that_is_no_array(refused):
    refused(
        TypeError,
        "`initial_output` is of type float; expected an array.",
        initial_output=0.0,
    )


def test_an_initial_output_is_checked_even_if_never_needed(backend, refused):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, SAMPLES, 3)}; expected it like the output",
        calls=1,
        initial_output=zeros(backend, SAMPLES, 3),
        mask=MASK,
        zero_output_for_mask=True,
    )
