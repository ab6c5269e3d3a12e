"""Errors about `mask`."""

import re

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import assert_same
from support.refusals import (
    FEATURES,
    MASK,
    SAMPLES,
    TIME,
    add,
    an_array,
    echo,
    forget,
    timesteps,
    zeros,
)
from support.running import rnn


@pytest.mark.parametrize("states", [[], ()], ids=["list", "tuple"])
def test_a_mask_without_states(backend, refused, states):
    refused(
        ValueError,
        "`mask` is given and `initial_states` is empty; expected at least one state, which "
        "masked samples keep. Without states, select from the outputs.",
        step_function=echo,
        initial_states=states,
        mask=backend.array(MASK),
    )


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (TIME,),
        (TIME, SAMPLES),
        (SAMPLES, TIME - 1),
        (SAMPLES, TIME + 1),
        (1, TIME),
        (SAMPLES, 1),
        (SAMPLES, TIME, 2),
        (SAMPLES, TIME, 0),
        (SAMPLES, TIME, 1, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("of_the_host", [False, True], ids=["own", "host"])
def test_a_mask_of_another_shape(backend, refused, shape, of_the_host):
    mask = np.ones(shape, bool)
    refused(
        ValueError,
        f"`mask` is {an_array(backend, *shape, dtype='bool')}; expected (samples, time) = (2, 3), "
        "or (2, 3, 1).",
        mask=mask if of_the_host else backend.array(mask),
    )


def test_a_mask_of_another_shape_time_major(backend, refused):
    refused(
        ValueError,
        f"`mask` is {an_array(backend, 2, 3, dtype='bool')}; expected (time, samples) = (3, 2), or "
        "(3, 2, 1).",
        inputs=zeros(backend, TIME, SAMPLES, FEATURES),
        mask=backend.array(MASK),
        time_major=True,
    )


def test_a_mask_beside_a_shorter_input_length_still_has_all_timesteps(backend, refused):
    refused(
        ValueError,
        f"`mask` is {an_array(backend, 2, 2, dtype='bool')}; expected (samples, time) = (2, 3)",
        mask=backend.array(MASK[:, :2]),
        input_length=2,
    )


@pytest.mark.parametrize(
    "of_the_host",
    [pytest.param(False, marks=pytest.mark.needs(Ability.COMPLEX)), True],
    ids=["own", "host"],
)
def test_a_complex_mask(backend, refused, of_the_host):
    mask = MASK.astype("complex64")
    refused(
        TypeError,
        f"`mask` is {an_array(backend, 2, 3, dtype='complex64')}; expected a bool or real dtype.",
        mask=mask if of_the_host else backend.array(mask),
    )


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("of_the_host", [False, True], ids=["own", "host"])
def test_a_real_mask_is_fine(backend, dtype, of_the_host):
    mask = (MASK * 2).astype(dtype)
    given = mask if of_the_host else backend.array(mask, dtype)
    last, _, _ = rnn(add, timesteps(backend, TIME), [zeros(backend)], mask=given)
    expected = np.asarray([[4, 6, 8, 10], [48, 51, 54, 57]], backend.float)
    assert_same(backend, last, expected)


@pytest.mark.parametrize(
    "mask",
    [[[1, 1], [1, 1, 1]], [[1, [1], 1], [1, 1, 1]], [[[1], [1], [1, 2]], [[1], [1], [1]]]],
    ids=["rows", "entries", "last axis"],
)
def test_a_ragged_mask(refused, mask):
    error = refused(ValueError, "`mask` is a ragged list", mask=mask)
    assert str(error).endswith("; expected rows of equal length.")


@pytest.mark.parametrize(
    "mask", ["abc", True, {"a": 1}, add], ids=["str", "bool", "dict", "function"]
)
def test_a_mask_that_is_no_array(refused, mask):
    refused(TypeError, f"`mask` is of type {type(mask).__name__}; expected an array.", mask=mask)


@pytest.mark.parametrize("mask", [[["a"] * 3] * 2, [[None] * 3] * 2], ids=["str", "None"])
def test_a_mask_of_no_numbers(refused, mask):
    refused(TypeError, "; expected a bool or real dtype.", mask=mask)


def test_a_list_of_more_than_numbers_as_mask(backend):
    class Unreadable:
        def __array__(self, *args, **kwargs):
            raise TypeError("implicit conversion is not allowed")

    x, h = timesteps(backend, TIME), zeros(backend)
    wording = (
        "`mask` is a list that holds more than numbers; expected numbers only. Stack a list of "
        "arrays into one."
    )
    with pytest.raises(TypeError, match=re.escape(wording)):
        rnn(forget, x, [h], mask=[Unreadable(), Unreadable()])
