"""What is wrong with an argument: which, what was expected, what came, what to do."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._checks.wording import describe, fail_library, is_array, library
from arrayrnn._typing import Array, Namespace


def step_function(value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"`step_function` is {describe(value)}; expected a callable "
            "`step_function(input_t, states) -> (output, new_states)`."
        )


def inputs(
    value: Any, leaves: Sequence[Any], paths: Sequence[str], *, time_major: bool, unroll: Any
) -> tuple[int, int]:
    """Check the leaves of `inputs` and return their numbers of samples and timesteps."""
    if value is None:
        is_array(value, "inputs")
    if not leaves:
        raise ValueError("`inputs` is an empty nest; expected at least one array.")
    axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
    for leaf, path in zip(leaves, paths, strict=True):
        is_array(leaf, path)
        if leaf.ndim < 3:
            raise ValueError(
                f"`{path}` is {describe(leaf)}; expected {axes}, at least 3 dimensions. "
                "Give one number per timestep a last axis of length 1."
            )
        _known_time(leaf.shape[0 if time_major else 1], path, unroll)
    first = tuple(leaves[0].shape[:2])
    for leaf, path in zip(leaves, paths, strict=True):
        if tuple(leaf.shape[:2]) != first:
            raise ValueError(
                f"`{path}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; expected "
                f"the same samples and time, {axes}, in every array of `inputs`."
            )
    time, samples = first if time_major else first[::-1]
    if time == 0:
        raise ValueError(
            f"`{paths[0]}` is {describe(leaves[0])}, without timesteps; expected at least one."
        )
    return samples, time


def _known_time(time: Any, path: str, unroll: Any) -> None:
    # Lazy arrays leave a length open as None or nan.
    if time is None or math.isnan(time):
        reason = "`unroll=True`" if unroll is True else "a Python loop"
        raise ValueError(
            f"`{path}` has an unknown number of timesteps ({time}); {reason} needs a fixed one."
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


def placed_alike(xp: Namespace, leaves: Sequence[Array], paths: Sequence[str]) -> None:
    """Check that all leaves are of the library and on the device of the first."""
    for leaf, path in zip(leaves, paths, strict=True):
        one_library(leaf, path, xp, paths[0])
        _one_device(xp, leaf, path, leaves[0], paths[0])


def one_library(leaf: Array, where: str, xp: Namespace, first_where: str = "inputs") -> None:
    own_xp = array_api_compat.array_namespace(leaf)
    if own_xp is not xp:
        fail_library(where, own_xp, xp, first_where)


def _one_device(xp: Namespace, leaf: Any, where: str, first: Any, first_where: str) -> None:
    """Refuse two devices if the library itself refuses to compute with both."""
    device, expected = array_api_compat.device(leaf), array_api_compat.device(first)
    if device == expected:
        return
    try:
        xp.logical_or(*(xp.astype(_few(xp, array), xp.bool) for array in (leaf, first)))
    # Each library has an exception of its own for this.
    except Exception as error:
        raise ValueError(
            f"`{where}` is on device {device}, `{first_where}` on {expected}, and "
            f"{library(xp)} does not compute across them. Move one of them."
        ) from error


def _few(xp: Namespace, array: Any) -> Any:
    # Some libraries accept a 0-d array from another device, so its rank has to stay.
    return array if array.ndim == 0 else xp.reshape(array[(slice(0, 1),) * array.ndim], (-1,))
