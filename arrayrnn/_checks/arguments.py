"""What is wrong with an argument: which, what was expected, what came, what to do."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._checks.wording import describe, fail_library, fail_no_array, library
from arrayrnn._tree import Paths
from arrayrnn._typing import Array, Namespace


def step_function(value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"`step_function` is {describe(value)}; expected a callable "
            "`step_function(input_t, states) -> (output, new_states)`."
        )


def inputs(
    value: Any, leaves: Sequence[Any], paths: Paths, *, time_major: bool, unroll: Any
) -> tuple[int, int]:
    """Check the leaves of `inputs` and return their numbers of samples and timesteps."""
    if value is None:
        fail_no_array(value, "inputs")
    if not leaves:
        raise ValueError("`inputs` is an empty nest; expected at least one array.")
    axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        if leaf.ndim < 3:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected {axes}, at least 3 dimensions. "
                "Give one number per timestep a last axis of length 1."
            )
        _known_time(leaf.shape[0 if time_major else 1], paths, k, unroll)
        if tuple(leaf.shape[:2]) != tuple(leaves[0].shape[:2]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; "
                f"expected the same samples and time, {axes}, in every array of `inputs`."
            )
    first, second = leaves[0].shape[:2]
    time, samples = (first, second) if time_major else (second, first)
    if time == 0:
        raise ValueError(
            f"`{paths[0]}` is {describe(leaves[0])}, without timesteps; expected at least one."
        )
    return samples, time


def _known_time(time: Any, paths: Paths, k: int, unroll: Any) -> None:
    # Lazy arrays leave a length open as None or nan.
    if time is None or math.isnan(time):
        reason = "`unroll=True`" if unroll is True else "a Python loop"
        raise ValueError(
            f"`{paths[k]}` has an unknown number of timesteps ({time}); {reason} needs a fixed one."
        )


def unroll(value: Any) -> None:
    if isinstance(value, bool):
        return
    try:
        factor = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`unroll` is {describe(value)}; expected a bool or an integer of at least 1."
        ) from None
    if factor < 1:
        raise ValueError(f"`unroll` is {factor}; expected a bool or an integer of at least 1.")


def progress(value: Any) -> None:
    if not (value is None or isinstance(value, bool) or callable(value)):
        raise TypeError(
            f"`progress` is {describe(value)}; expected True for a bar, or a callable "
            "`progress(timesteps_done, timesteps_in_all)`."
        )


def sequence(value: Any, name: str, hint: str) -> None:
    if not isinstance(value, list | tuple):
        raise TypeError(f"`{name}` is {describe(value)}; expected a list or tuple. {hint}")


def constants(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    sequence(value, "constants", "Put a single one into a list.")
    return tuple(value)


def is_array(leaf: Any, paths: Paths, k: int) -> None:
    if not array_api_compat.is_array_api_obj(leaf):
        fail_no_array(leaf, paths[k])


def placed_alike(
    xp: Namespace, leaves: Sequence[Array], paths: Paths, first: Array, inputs: Paths
) -> None:
    """Check that all leaves are arrays of the library and on the device of `first`, an input."""
    expected = array_api_compat.device(first)
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        own_xp = array_api_compat.array_namespace(leaf)
        if own_xp is not xp:
            fail_library(paths[k], own_xp, xp, inputs[0])
        device = array_api_compat.device(leaf)
        if device != expected and (refusal := _refusal_to_mix(xp, leaf, first)) is not None:
            raise ValueError(
                f"`{paths[k]}` is on device {device}, `{inputs[0]}` on {expected}, and "
                f"{library(xp)} does not compute across them. Move one of them."
            ) from refusal


def _refusal_to_mix(xp: Namespace, *arrays: Any) -> Exception | None:
    """Return the exception of the library if it does not compute with both of two arrays."""
    # Some libraries accept a 0-d array from another device, so the rank has to stay.
    few = [a if a.ndim == 0 else xp.reshape(a[(slice(0, 1),) * a.ndim], (-1,)) for a in arrays]
    try:
        xp.logical_or(*(xp.astype(a, xp.bool) for a in few))
    except Exception as error:  # each library has one of its own for this
        return error
    return None
