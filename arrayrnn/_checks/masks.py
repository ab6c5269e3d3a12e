"""What is wrong with a mask or lengths."""

from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._axes import agree, is_fixed
from arrayrnn._checks.arguments import is_listed
from arrayrnn._checks.wording import Caller, describe, dtype_name
from arrayrnn._host import index, to_numpy
from arrayrnn._tree import Nest, Paths
from arrayrnn._typing import Array, Namespace


def rectangular(values: Sequence[Any], name: str) -> Any:
    """Return a nested list as an array of the host."""
    try:
        return to_numpy(values)
    except ValueError as error:
        raise ValueError(f"`{name}` is a ragged list; expected rows of equal length.") from error
    except (RuntimeError, TypeError) as error:
        raise TypeError(
            f"`{name}` is a list that holds more than numbers; expected numbers only. Stack a list "
            "of arrays into one."
        ) from error


def mask(xp: Namespace, mask: Any, samples: Any, time: Any, *, time_major: bool) -> None:
    if not xp.isdtype(mask.dtype, ("bool", "real floating", "integral")):
        raise TypeError(f"`mask` is {describe(mask)}; expected a bool or real dtype.")
    expected = (time, samples) if time_major else (samples, time)
    if not (agree(mask.shape, expected) or agree(mask.shape, (*expected, 1))):
        axes = "(time, samples)" if time_major else "(samples, time)"
        raise ValueError(
            f"`mask` is {describe(mask)}; expected {axes} = {expected}, or {(*expected, 1)}."
        )


def moved(mask: Any, device: Any, inputs: str = "inputs") -> Any:
    try:
        return array_api_compat.to_device(mask, device)
    except Exception as error:  # each library has one of its own for this
        raise ValueError(
            f"`mask` or `input_length` is on device {array_api_compat.device(mask)} and cannot be "
            f"moved to {device}, where `{inputs}` is."
        ) from error


def states_to_mask(nest: Nest, caller: Caller) -> None:
    if nest.spec.num_children == 0:
        raise ValueError(
            f"`mask` is given and `{caller.initial_states}` is empty; expected at least one state, "
            "which masked samples keep. Without states, select from the outputs."
        )


def states_under_mask(leaves: Sequence[Array], paths: Paths, samples: Any) -> None:
    for k, leaf in enumerate(leaves):
        if leaf.ndim < 1 or not agree(leaf.shape[:1], (samples,)):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; under a mask or lengths expected "
                f"(samples, ...) with samples = {samples}, since a masked sample keeps its own "
                "state. Broadcast the state to all samples."
            )


def length(value: Any, time: Any, inputs: str = "inputs") -> int | None:
    """Return `input_length` as an integer, or None if there is one for each sample, or none."""
    if value is None or is_listed(value):
        return None
    if array_api_compat.is_array_api_obj(value) and value.ndim > 0:
        return None
    try:
        if isinstance(value, bool) or dtype_name(getattr(value, "dtype", "")).startswith("bool"):
            raise TypeError("a bool is no length")
        number = index(value)
    # What a library raises for an array that is no integer, or whose value is not known now.
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"`input_length` is {describe(value)}; expected an integer whose value is known, or "
            "one integer for each sample."
        ) from error
    if number < 1 or (is_fixed(time) and number > time):
        raise ValueError(
            f"`input_length` is {number}; expected 1 <= input_length <= {time}, the timesteps of "
            f"`{inputs}`."
        )
    return number


def lengths(
    xp: Namespace,
    lengths: Any,
    samples: Any,
    time: Any,
    name: str = "input_length",
    inputs: str = "inputs",
) -> None:
    if not xp.isdtype(lengths.dtype, "integral"):
        raise TypeError(f"`{name}` is {describe(lengths)}; expected an integer dtype.")
    if not agree(lengths.shape, (samples,)):
        raise ValueError(
            f"`{name}` is {describe(lengths)}; expected one length for each sample, shape "
            f"{(samples,)}."
        )
    if isinstance(time, float):  # nan, as Dask has it
        raise ValueError(
            f"`{name}` is given for `{inputs}` with an unknown number of timesteps; expected a "
            "known one, or a `mask`. Call `compute_chunk_sizes()` of the inputs first."
        )


def places(leaves: Sequence[Array], paths: Paths, samples: Any, time: Any) -> None:
    """Refuse to move timesteps about where a lazy array does not know how many its chunks hold."""
    # nan, as Dask has it. `samples` is None if it does not matter.
    if isinstance(time, float) or isinstance(samples, float):
        raise ValueError(
            f"`{paths[0]}` is {describe(leaves[0])}, with chunks of unknown lengths; expected "
            "known ones. Call its `compute_chunk_sizes()` first."
        )


def length_values(
    values: Any, time: Any, name: str = "input_length", inputs: str = "inputs"
) -> None:
    for sample, value in enumerate(values.tolist()):
        if value < 0 or (is_fixed(time) and value > time):
            raise ValueError(
                f"`{name}[{sample}]` is {value}; expected 0 <= length <= {time}, the "
                f"timesteps of `{inputs}`."
            )
