"""Errors about arrays of two libraries, or on two devices, in one call."""

from importlib.util import find_spec
from typing import Any

import array_api_compat
import numpy as np
import pytest

from support.backends import Backend
from support.refusals import FEATURES, SAMPLES, TIME, echo, timesteps, zeros

# What the messages call the libraries.
NAMES = {
    "dask": "dask.array",
    "jax": "jax.numpy",
    "onnx": "ndonnx",
    "strict": "array_api_strict",
}


def foreign(backend: Backend, *shape: int, host: bool = True) -> tuple[Any, str]:
    """Return zeros of another library, NumPy's if `host`, and the name of that library."""
    if host and backend.library != "numpy":
        return np.zeros(shape), "numpy"
    if backend.library != "strict" and find_spec("array_api_strict"):
        return zeros(Backend.STRICT, *shape), "array_api_strict"
    if backend.library != "torch" and find_spec("torch"):
        return zeros(Backend.TORCH, *shape), "torch"
    return pytest.skip("needs array-api-strict or torch beside the library tested")


def own_name(backend: Backend) -> str:
    """Return how messages call the library."""
    return NAMES.get(backend.library, backend.library)


def test_inputs_of_two_libraries(backend, refused):
    other, name = foreign(backend, SAMPLES, TIME, 1)
    refused(
        TypeError,
        f"`inputs['b']` is an array of {name}, `inputs['a']` of {own_name(backend)}; expected "
        "arrays of one library. Convert one of them.",
        inputs={"a": timesteps(backend, TIME), "b": other},
    )


def test_a_state_of_another_library(backend, refused):
    other, name = foreign(backend, SAMPLES, FEATURES)
    refused(
        TypeError,
        f"`initial_states[1]['k']` is an array of {name}, `inputs` of {own_name(backend)}; "
        "expected arrays of one library. Convert one of them.",
        step_function=echo,
        initial_states=[zeros(backend), {"k": other}],
    )


@pytest.mark.parametrize("argument", ["mask", "input_length"])
def test_a_mask_or_lengths_of_another_library_that_is_not_numpy(backend, refused, argument):
    other, name = foreign(backend, SAMPLES, TIME, host=False)
    refused(
        TypeError,
        f"`{argument}` is an array of {name}, `inputs` of {own_name(backend)}; expected arrays of "
        "one library. Convert one of them.",
        **{argument: other},
    )


def test_an_initial_output_of_another_library(backend, refused):
    other, name = foreign(backend, SAMPLES, FEATURES)
    refused(
        TypeError,
        f"`initial_output['k']` is an array of {name}, `inputs` of {own_name(backend)}; expected "
        "arrays of one library. Convert one of them.",
        initial_output={"k": other},
    )


@pytest.mark.parametrize("part", ["output", "new_states[0]"])
def test_a_step_that_returns_an_array_of_another_library(backend, refused, part):
    lazy = backend is Backend.DASK  # whose steps are given NumPy arrays
    # Compiled steps may return what they make of arrays of the caller's library.
    other, name = foreign(backend, SAMPLES, FEATURES, host=not (lazy or backend.is_compiled))
    error = refused(
        TypeError,
        f"`step_function` returned `{part}`, an array of shape (2, 4) and dtype ",
        calls=1,
        step_function=lambda x_t, states: (other, states) if part == "output" else (x_t, [other]),
    )
    own = "numpy" if lazy else own_name(backend) + " (compiled)" * backend.is_compiled
    expected = f", of {name}; expected an array of {own}, like what it is given."
    assert str(error).endswith(expected)


def elsewhere(backend: Backend, *shape: int) -> Any:
    """Return zeros on a device that the library refuses to mix with that of the backend."""
    if backend.library == "strict":
        other = Backend.STRICT_DEVICE1
        if backend is other:
            other = Backend.STRICT_DEVICE2
        dtype = backend.dtype(backend.float)
        return backend.xp.zeros(shape, dtype=dtype, device=other.device)
    if backend.library == "torch":
        return backend.xp.zeros(shape, dtype=backend.xp.float64, device="meta")
    return pytest.skip(f"{backend.library} has one device here")


def apart(backend: Backend, other: Any, where: str, inputs: str = "inputs") -> str:
    """Return the message about `other`, at `where`."""
    return (
        f"`{where}` is on device {array_api_compat.device(other)}, `{inputs}` on "
        f"{backend.device}, and {own_name(backend)} does not compute across them. Move one of them."
    )


@pytest.mark.parametrize("shape", [(SAMPLES, FEATURES), (1,), ()], ids=str)
def test_a_state_on_another_device(backend, refused, shape):
    other = elsewhere(backend, *shape)
    refused(ValueError, apart(backend, other, "initial_states[0]"), initial_states=[other])


def test_inputs_on_two_devices(backend, refused):
    other = elsewhere(backend, SAMPLES, TIME, 1)
    refused(
        ValueError,
        apart(backend, other, "inputs[1]", "inputs[0]"),
        inputs=(timesteps(backend, TIME), other),
    )


@pytest.mark.parametrize("argument", ["mask", "input_length"])
def test_a_mask_whose_values_cannot_be_moved(backend, refused, argument):
    if backend.library != "torch":
        pytest.skip("only PyTorch has arrays without values")
    shape = (SAMPLES, TIME) if argument == "mask" else (SAMPLES,)
    dtype = backend.xp.bool if argument == "mask" else backend.xp.int64
    empty = backend.xp.zeros(shape, dtype=dtype, device="meta")
    refused(
        ValueError,
        f"`mask` or `input_length` is on device meta and cannot be moved to {backend.device}",
        **{argument: empty},
    )


def test_an_initial_output_on_another_device(backend, refused):
    other = elsewhere(backend, SAMPLES, FEATURES)
    refused(ValueError, apart(backend, other, "initial_output"), initial_output=other)


def test_the_librarys_own_refusal_to_mix_devices_is_the_cause(backend, refused):
    other = elsewhere(backend, SAMPLES, FEATURES)
    error = refused(ValueError, "Move one of them.", initial_states=[other])
    assert error.__cause__ is not None
