"""Masks and lengths: read, checked, and brought to booleans ``(time, samples)``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import array_api_compat

from arrayrnn._libraries import host
from arrayrnn._libraries.foreign import refusal
from arrayrnn._libraries.operations import (
    device_of,
    namespace_of,
    swap_time_and_samples,
    timesteps,
)
from arrayrnn._recurrence.axes import agree, is_fixed
from arrayrnn._recurrence.errors import (
    describe,
    dtype_name,
    fail_library,
    fail_no_array,
    is_listed,
)
from arrayrnn._typing import Array, Namespace


class Axes(NamedTuple):
    """Numbers of samples and timesteps of an argument, and its name."""

    samples: Any
    time: Any
    name: str


def read_mask(xp: Namespace, mask: Any, axes: Axes, *, time_major: bool) -> tuple[Namespace, Array]:
    """Return a mask as booleans ``(time, samples)``, and the namespace that it came from."""
    own_xp, mask = read_array(xp, mask, "mask", axes.name)
    if not own_xp.isdtype(mask.dtype, ("bool", "real floating", "integral")):
        raise TypeError(f"`mask` is {describe(mask)}; expected a bool or real dtype.")
    samples, time, _ = axes
    expected = (time, samples) if time_major else (samples, time)
    if not (agree(mask.shape, expected) or agree(mask.shape, (*expected, 1))):
        shown = "(time, samples)" if time_major else "(samples, time)"
        raise ValueError(
            f"`mask` is {describe(mask)}; expected {shown} = {expected}, or {(*expected, 1)}."
        )
    mask = mask if mask.ndim == 2 else mask[:, :, 0]
    mask = mask if time_major else swap_time_and_samples(own_xp, mask)
    return own_xp, own_xp.astype(mask, own_xp.bool, copy=False)


def read_length(value: Any, time: Any, inputs: str) -> int | None:
    """Return `input_length` as an integer; None if there is one for each sample, or none."""
    if value is None or is_listed(value):
        return None
    if array_api_compat.is_array_api_obj(value) and value.ndim > 0:
        return None
    try:
        if isinstance(value, bool) or dtype_name(getattr(value, "dtype", "")).startswith("bool"):
            raise TypeError("a bool is no length")
        number = host.index(value)
    # Libraries raise these for an array that is no integer, or whose value is not known now.
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


def read_lengths(
    xp: Namespace, lengths: Any, axes: Axes, time_first: Array
) -> tuple[Namespace, Array]:
    """Return booleans ``(time, samples)``, True at the first ``lengths[s]`` timesteps.

    `time_first` is an array of the argument that `axes` tell of.
    """
    own_xp, lengths, values = read_sample_lengths(xp, lengths, axes, "input_length")
    if values is not None:
        own_xp, lengths = namespace_of(values), values
    if own_xp is not xp and not is_fixed(axes.time):
        own_xp, lengths = xp, xp.asarray(lengths, device=device_of(time_first))
    steps = timesteps(own_xp, axes.time, time_first, device=device_of(lengths))
    # Needs no clamping: below 0 nothing is kept, above `time` everything.
    lengths = own_xp.expand_dims(own_xp.astype(lengths, steps.dtype), axis=0)
    return own_xp, own_xp.expand_dims(steps, axis=1) < lengths


def read_sample_lengths(
    xp: Namespace, lengths: Any, axes: Axes, name: str
) -> tuple[Namespace, Array, Any]:
    """Return one length for each sample, its namespace, and the values if they can be read."""
    own_xp, lengths = read_array(xp, lengths, name, axes.name)
    samples, time, inputs = axes
    if not own_xp.isdtype(lengths.dtype, "integral"):
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
    values = host.read(own_xp, lengths)
    for sample, value in enumerate(() if values is None else values.tolist()):
        if value < 0 or (is_fixed(time) and value > time):
            raise ValueError(
                f"`{name}[{sample}]` is {value}; expected 0 <= length <= {time}, the "
                f"timesteps of `{inputs}`."
            )
    return own_xp, lengths, values


def read_array(xp: Namespace, values: Any, name: str, inputs: str) -> tuple[Namespace, Any]:
    """Return an argument that may come from the host as an array, and its namespace."""
    if is_listed(values):
        values = _rectangular(values, name)
    values = host.undisguised(values)
    if not array_api_compat.is_array_api_obj(values) or refusal(values) is not None:
        fail_no_array(values, name)
    own_xp = namespace_of(values)
    if own_xp is not xp and not array_api_compat.is_numpy_namespace(own_xp):
        fail_library(name, own_xp, xp, inputs)
    return own_xp, values


def _rectangular(values: Sequence[Any], name: str) -> Any:
    """Return a nested list as an array of the host."""
    try:
        return host.to_numpy(values)
    except ValueError as error:
        raise ValueError(f"`{name}` is a ragged list; expected rows of equal length.") from error
    except (RuntimeError, TypeError) as error:
        raise TypeError(
            f"`{name}` is a list that holds more than numbers; expected numbers only. Stack a list "
            "of arrays into one."
        ) from error
