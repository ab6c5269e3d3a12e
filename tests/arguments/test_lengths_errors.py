"""Errors about `input_length`, one for all samples or one for each."""

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import assert_same
from support.refusals import FEATURES, MASK, TIME, an_array, echo, timesteps, zeros
from support.running import rnn


@pytest.mark.parametrize("length", [-1, 0, TIME + 1, np.int32(9), 2**70], ids=repr)
def test_an_input_length_out_of_range(refused, length):
    refused(
        ValueError,
        f"`input_length` is {length}; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=length,
    )


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("length", [0, TIME + 1])
def test_an_input_length_out_of_range_as_a_0d_array(backend, refused, length):
    refused(
        ValueError,
        f"`input_length` is {length}; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=backend.array(np.asarray(length)),
    )


def test_an_input_length_out_of_range_beside_a_mask(backend, refused):
    refused(
        ValueError,
        "`input_length` is 4; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=4,
        mask=backend.array(MASK),
    )


@pytest.mark.parametrize("kind", ["Python", "NumPy", "0-d", "0-d on the host"])
@pytest.mark.parametrize("value", [True, False])
def test_a_bool_as_input_length(backend, refused, kind, value):
    given = {
        "Python": value,
        "NumPy": np.bool_(value),
        "0-d": backend.array(np.asarray(value)),
        "0-d on the host": np.asarray(value),
    }[kind]
    came = "of type bool" if kind == "Python" else an_array(backend, dtype="bool")
    refused(
        TypeError,
        f"`input_length` is {came}; expected an integer whose value is known, or one "
        "integer for each sample.",
        input_length=given,
    )


@pytest.mark.parametrize(
    ("length", "came"),
    [
        (2.0, "of type float"),
        ("2", "of type str"),
        ({0: 1, 1: 2}, "of type dict"),
        (np.float32(2), "an array of shape () and dtype float32"),
    ],
    ids=["float", "str", "dict", "NumPy float"],
)
def test_an_input_length_that_is_no_integer(refused, length, came):
    refused(
        TypeError,
        f"`input_length` is {came}; expected an integer whose value is known, or one "
        "integer for each sample.",
        input_length=length,
    )


def test_a_0d_float_array_as_input_length(backend, refused):
    refused(
        TypeError,
        f"`input_length` is {an_array(backend)}; expected an integer whose value is known, or "
        "one integer for each sample.",
        input_length=backend.array(np.asarray(2.0)),
    )


@pytest.mark.parametrize(("lengths", "sample"), [([2, 4], 1), ([-1, 4], 0)], ids=str)
@pytest.mark.parametrize(
    "kind", [pytest.param("own", marks=pytest.mark.needs(Ability.VALUES)), "host", "list", "tuple"]
)
def test_lengths_out_of_range(backend, refused, lengths, sample, kind):
    given = {"own": backend.array, "host": np.asarray, "list": list, "tuple": tuple}[kind](lengths)
    refused(
        ValueError,
        f"`input_length[{sample}]` is {lengths[sample]}; expected 0 <= length <= 3, the timesteps "
        "of `inputs`.",
        input_length=given,
    )


@pytest.mark.parametrize("lengths", [[0, 0], [0, 3], [3, 3]], ids=str)
def test_lengths_from_zero_to_all_timesteps_are_fine(backend, lengths):
    last, _, _ = rnn(echo, timesteps(backend, TIME), [zeros(backend)], input_length=lengths)
    host = backend.numpy(timesteps(backend, TIME))
    ends = [x[n - 1] if n else np.zeros(FEATURES) for x, n in zip(host, lengths, strict=True)]
    assert_same(backend, last, np.stack(ends).astype(backend.float))


@pytest.mark.parametrize("dtype", ["float32", "bool"])
@pytest.mark.parametrize("kind", ["own", "host", "list"])
def test_lengths_that_are_no_integers(backend, refused, dtype, kind):
    host = np.asarray([1, 2], dtype)
    given = {"own": backend.array(host), "host": host, "list": host.tolist()}[kind]
    came = "float64" if kind == "list" and dtype == "float32" else dtype
    refused(
        TypeError,
        f"`input_length` is {an_array(backend, 2, dtype=came)}; expected an integer dtype.",
        input_length=given,
    )


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2), (2, 1), (2, 3)], ids=str)
def test_lengths_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`input_length` is {an_array(backend, *shape, dtype='int32')}; expected one length for "
        "each sample, shape (2,).",
        input_length=backend.array(np.ones(shape, "int32")),
    )


def test_ragged_lengths(refused):
    error = refused(ValueError, "`input_length` is a ragged list", input_length=[2, [3]])
    assert str(error).endswith("; expected rows of equal length.")


def test_lengths_without_states_are_fine(backend):
    _, outputs, states = rnn(echo, timesteps(backend, TIME), [], input_length=[3, 3])
    assert_same(backend, outputs, backend.numpy(timesteps(backend, TIME)), exact=True)
    assert states == []
