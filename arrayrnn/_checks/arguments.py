"""What is wrong with an argument: which, what was expected, what came, what to do."""

from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._axes import agree, is_fixed, is_open
from arrayrnn._checks.wording import (
    Caller,
    describe,
    dtype_name,
    fail_library,
    fail_no_array,
    library,
)
from arrayrnn._foreign import refusal
from arrayrnn._host import index
from arrayrnn._operations import device_of
from arrayrnn._tree import Paths
from arrayrnn._typing import Array, Namespace


def step_function(value: Any, caller: Caller) -> None:
    if not callable(value):
        name = caller.function
        raise TypeError(
            f"`{name}` is {describe(value)}; expected a callable "
            f"`{name}({caller.takes}) -> {caller.returns}`."
        )


def switch(value: Any, name: str) -> bool:
    """Check an argument that is True or False, and return it."""
    if isinstance(value, bool) or _is_bool_of_numpy(value):
        return bool(value)
    came = repr(value) if isinstance(value, int | float | str) else describe(value)
    hint = ""
    if name == "go_backwards" and (is_listed(value) or array_api_compat.is_array_api_obj(value)):
        hint = " A mask is passed as `mask=`, lengths as `input_length=`."
    raise TypeError(f"`{name}` is {came}; expected True or False.{hint}")


def _is_bool_of_numpy(value: Any) -> bool:
    is_number = array_api_compat.is_numpy_array(value) and value.ndim == 0
    return is_number and dtype_name(value.dtype) == "bool"


def is_listed(value: Any) -> bool:
    """Tell whether values come in a list, or in something that is as good as one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def inputs(
    value: Any, leaves: Sequence[Any], paths: Paths, name: str, *, time_major: bool
) -> tuple[Any, Any]:
    """Check the leaves of `inputs` and return their numbers of samples and timesteps."""
    samples, time = over_time(value, leaves, paths, name, time_major=time_major, least_rank=3)
    if time == 0:
        raise ValueError(
            f"`{paths[0]}` is {describe(leaves[0])}, without timesteps; expected at least one."
        )
    return samples, time


def over_time(
    value: Any,
    leaves: Sequence[Any],
    paths: Paths,
    name: str,
    *,
    time_major: bool,
    least_rank: int = 2,
) -> tuple[Any, Any]:
    """Check the leaves of an argument; return their numbers of samples and timesteps."""
    if value is None:
        fail_no_array(value, name)
    if not leaves:
        raise ValueError(f"`{name}` is an empty nest; expected at least one array.")
    axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        if leaf.ndim < least_rank:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected {axes}, at least {least_rank} "
                f"dimensions.{_missing_axis(value, leaf, time_major) if least_rank == 3 else ''}"
            )
        if not agree(leaf.shape[:2], leaves[0].shape[:2]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; "
                f"expected the same samples and time, {axes}, in every array of `{name}`."
            )
    first, second = (known([leaf.shape[axis] for leaf in leaves]) for axis in (0, 1))
    return (second, first) if time_major else (first, second)


def _missing_axis(value: Any, leaf: Array, time_major: bool) -> str:
    """Say how an array of fewer than three dimensions, or a list of such, may have been meant."""
    if isinstance(value, list | tuple):
        return (
            " A list is a nest, whose arrays go side by side. If these are sequences, one for each "
            "sample, pass what `pad_sequences` makes of them, or, if they are equally long, "
            "`stack`."
        )
    if leaf.ndim < 2:
        return " For one number at each timestep of one sample: `x[None, :, None]`."
    samples = "x[:, None]" if time_major else "x[None]"
    return (
        f" If it is one sample, (time, features): `{samples}`. If it is one number for each sample "
        "and timestep: `x[..., None]`."
    )


def xs(leaves: Sequence[Any], paths: Paths, length: Any) -> Any:
    """Check the leaves of the `xs` of a scan and return the number of steps."""
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        if leaf.ndim < 1:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected (time, ...), at least 1 dimension. "
                "What is the same at all steps belongs into `init`, or is closed over."
            )
        if not agree(leaf.shape[:1], leaves[0].shape[:1]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; "
                "expected the same length of the first axis in every array of `xs`."
            )
    time: Any = known([leaf.shape[0] for leaf in leaves]) if leaves else None
    if length is not None:
        try:
            number = index(length)
        except TypeError:
            raise TypeError(
                f"`length` is {describe(length)}; expected an integer whose value is known."
            ) from None
        if leaves and not agree((number,), (time,)):
            raise ValueError(
                f"`length` is {number}, and `{paths[0]}` is {describe(leaves[0])}; expected "
                f"{time}, the length of its first axis, or no `length`."
            )
        time = number
    elif not leaves:
        raise ValueError("`xs` holds no array and `length` is not given; expected one of them.")
    if is_fixed(time) and time < 1:
        where = f"`length` is {time}" if not leaves else f"`{paths[0]}` is {describe(leaves[0])}"
        raise ValueError(f"{where}; expected at least one step.")
    return time


def known(lengths: Sequence[Any]) -> Any:
    """Return a length of which lazy arrays may leave some open."""
    return next((n for n in lengths if not is_open(n)), lengths[0])


def known_time(time: Any, caller: Caller, *, unroll: Any) -> None:
    if not is_fixed(time):
        reason = "`unroll=True`" if unroll is True else "a Python loop"
        raise ValueError(
            f"`{caller.inputs}` has an unknown number of timesteps ({time}); {reason} needs a "
            "fixed one."
        )


def unroll(value: Any) -> bool | int:
    """Check whether, or by how many timesteps, to unroll, and return it."""
    if isinstance(value, bool) or _is_bool_of_numpy(value):
        return bool(value)
    return _positive(value, "unroll", "a bool or an integer of at least 1")


def checkpoint(value: Any) -> int | None:
    """Check the number of timesteps between two kept states, and return it."""
    if value is None:
        return None
    return _positive(value, "checkpoint", "None or an integer of at least 1")


def _positive(value: Any, name: str, expected: str) -> int:
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"`{name}` is {describe(value)}; expected {expected}.")
    if number < 1:
        raise ValueError(f"`{name}` is {number}; expected {expected}.")
    return number


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
    if not array_api_compat.is_array_api_obj(leaf) or refusal(leaf) is not None:
        fail_no_array(leaf, paths[k])


def placed_alike(
    xp: Namespace, leaves: Sequence[Array], paths: Paths, first: tuple[Array, Paths, int]
) -> None:
    """Check that all leaves are arrays of the library and on the device of the first argument."""
    model, its_paths, at = first
    expected = device_of(model)
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        if type(leaf) is not type(model):  # asking each for its namespace takes a while
            own_xp = array_api_compat.array_namespace(leaf)
            if own_xp is not xp:
                fail_library(paths[k], own_xp, xp, its_paths[at])
        device = device_of(leaf)
        if device != expected and (refused := _refusal_to_mix(xp, leaf, model)) is not None:
            raise ValueError(
                f"`{paths[k]}` is on device {device}, `{its_paths[at]}` on {expected}, and "
                f"{library(xp)} does not compute across them. Move one of them."
            ) from refused


def _refusal_to_mix(xp: Namespace, *arrays: Any) -> Exception | None:
    """Return the exception of the library if it does not compute with both of two arrays."""
    # Some libraries accept a 0-d array from another device, so the rank has to stay.
    few = [a if a.ndim == 0 else xp.reshape(a[(slice(0, 1),) * a.ndim], (-1,)) for a in arrays]
    try:
        xp.logical_or(*(xp.astype(a, xp.bool) for a in few))
    except Exception as error:  # each library has one of its own for this
        return error
    return None
