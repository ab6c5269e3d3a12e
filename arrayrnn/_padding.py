"""`pad_sequences`, `unpad_sequences`: from sequences of different lengths to arrays, and back."""

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._arguments.masks import read_sample_lengths
from arrayrnn._arguments.reading import read_over_time
from arrayrnn._libraries.foreign import in_native_order
from arrayrnn._libraries.operations import (
    device_of,
    first_length,
    namespace_of,
    stack_joined,
    swap_time_and_samples,
)
from arrayrnn._libraries.torch import never_compiled
from arrayrnn._loops.blocks import unstacked
from arrayrnn._recurrence.axes import agree, is_fixed, is_open
from arrayrnn._recurrence.errors import (
    came,
    describe,
    dtype_name,
    expect_arrays,
    expect_axes,
    expect_together,
)
from arrayrnn._recurrence.nests import Named, NestMismatchError
from arrayrnn._recurrence.options import expect_sequence, read_switch
from arrayrnn._typing import Array, Input, Namespace, Output


def pad_sequences(
    sequences: Sequence[Input], *, time_major: bool = False, value: complex = 0
) -> tuple[Input, Any]:
    """Lay sequences of different lengths side by side, padded at their ends to the longest.

    Parameters
    ----------
    sequences : list or tuple of arrays, or of nests of arrays
        At least one. Each ``(time, *features)``, of any length, zero included, and of any features
        and dtype, which all sequences share. The arrays of a nest have the same length.
    time_major : bool, default: False
        Whether time comes first in the result.
    value : bool, int, float or complex, default: 0
        Number that fills the padding, in the dtype of each array.

    Returns
    -------
    inputs : array or nest of arrays
        ``(samples, time, *features)``, or ``(time, samples, *features)``; dtypes are kept.
    lengths : array
        ``(samples,)``, of the library's default integer dtype: the `input_length` of `rnn`.

    Raises
    ------
    TypeError
        If there is no list of arrays; if libraries or dtypes differ; if `value` is no number.
    ValueError
        If there is no sequence; if nests, features or devices differ; if the arrays of a nest
        disagree on their length, or it is unknown; if a dtype cannot hold `value`.

    See Also
    --------
    unpad_sequences : The way back.

    Notes
    -----
    After ``torch.nn.utils.rnn.pad_sequence``
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.pad_sequence.html).

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import pad_sequences
    >>> inputs, lengths = pad_sequences([np.asarray([1, 2, 3]), np.asarray([4])], value=-1)
    >>> inputs
    array([[ 1,  2,  3],
           [ 4, -1, -1]])
    >>> lengths
    array([3, 1])
    """
    time_major = read_switch(time_major, "time_major")
    expect_sequence(sequences, "sequences", "Put a single sequence into a list.")
    if not sequences:
        raise ValueError("`sequences` is empty; expected at least one sequence.")
    first = Named.of(sequences[0], "sequences[0]")
    if not first.leaves:
        raise ValueError("`sequences[0]` is an empty nest; expected at least one array.")
    expect_arrays(first)
    xp, device = namespace_of(first.leaves[0]), device_of(first.leaves[0])
    rows, sizes = [], []
    for k, sequence in enumerate(sequences):
        named = _read_sequence(xp, sequence, k, first)
        rows.append(named.leaves)
        sizes.append(_read_size(xp, named))
    fills = [_read_fill(xp, value, first, k) for k in range(len(first.leaves))]
    pad = _padded if all(map(is_fixed, sizes)) else _padded_at_run_time
    columns = zip(*rows, strict=True)
    padded = [pad(xp, column, sizes, fill) for column, fill in zip(columns, fills, strict=True)]
    if time_major:
        padded = [swap_time_and_samples(xp, array) for array in padded]
    return first.nest.build(padded), _joined(xp, sizes, device)


@never_compiled
def unpad_sequences(outputs: Output, lengths: Any, *, time_major: bool = False) -> list[Output]:
    """Take sequences of different lengths out of an array that they were padded to.

    Parameters
    ----------
    outputs : array or nest of arrays
        ``(samples, time, *features)``, of any features and dtype.
    lengths : array or list of ints
        ``(samples,)``: how many of its first timesteps each sample keeps. Their values have to be
        known: they decide about shapes.
    time_major : bool, default: False
        `outputs` are ``(time, samples, *features)``.

    Returns
    -------
    sequences : list
        For each sample an array ``(length, *features)``, or the nest of such.

    Raises
    ------
    TypeError
        If something is no array or of another library; if `lengths` are no integers, or traced or
        lazy.
    ValueError
        If shapes disagree, or a length is out of range.

    See Also
    --------
    pad_sequences : The way here.
    reverse_sequence : Sequences backwards, the padding still behind. Outputs of `rnn` with
        `go_backwards` begin with the padding: flip their time first.

    Notes
    -----
    After ``torch.nn.utils.rnn.unpad_sequence``
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.unpad_sequence.html).

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import unpad_sequences
    >>> unpad_sequences(np.asarray([[1, 2, 3], [4, 0, 0]]), [3, 1])
    [array([1, 2, 3]), array([4])]
    """
    time_major = read_switch(time_major, "time_major")
    named = Named.of(outputs, "outputs")
    axes = read_over_time(outputs, named, time_major=time_major)
    xp = namespace_of(named.leaves[0])
    expect_together(named, xp, named)
    if not is_fixed(axes.samples) or isinstance(axes.time, float):  # nan, as Dask has it
        raise ValueError(
            f"{came(named, 0)}; expected known numbers of samples and timesteps. On Dask, call its "
            "`compute_chunk_sizes()` first."
        )
    _, lengths, values = read_sample_lengths(xp, lengths, axes, "lengths")
    if values is None:
        raise TypeError(
            f"`lengths` is {describe(lengths)}, whose values are not known now: it is traced or "
            "lazy. The shapes of what is returned depend on them; expected a list or an array with "
            "values, which a compiled function has to be given as constants."
        )
    sizes = values.tolist()
    arrays = [swap_time_and_samples(xp, x) if time_major else x for x in named.leaves]
    columns = [
        [row[:n, ...] for row, n in zip(unstacked(xp, array, axes.samples), sizes, strict=True)]
        for array in arrays
    ]
    return [named.nest.build(row) for row in zip(*columns, strict=True)]


def _read_sequence(xp: Namespace, sequence: Any, k: int, first: Named) -> Named:
    """Take the `k`-th of the sequences apart, and compare it with the first."""
    name = f"sequences[{k}]"
    try:
        leaves = tuple(map(in_native_order, first.nest.flatten(sequence)))
    except NestMismatchError:
        raise ValueError(
            f"`{name}` is of another structure than `sequences[0]`; expected nests of one "
            "structure in all sequences."
        ) from None
    named = Named(leaves, first.nest, name)
    expect_axes(named, "(time, ...)", ("time",), 1)
    expect_together(named, xp, first)
    for i, (leaf, model) in enumerate(zip(leaves, first.leaves, strict=True)):
        if leaf.dtype != model.dtype:
            raise TypeError(
                f"{came(named, i)}; expected the dtype of `{first.path(i)}`, "
                f"{dtype_name(model.dtype)}. Cast one of them."
            )
        if any(map(is_open, leaf.shape[1:])) or not agree(leaf.shape[1:], model.shape[1:]):
            raise ValueError(
                f"{came(named, i)}, {came(first, i)}; expected (time, ...) of known lengths in all "
                "axes but the first, and the same."
            )
    return named


def _read_size(xp: Namespace, named: Named) -> Any:
    """Return the number of timesteps of a sequence; an array if it is known at run time."""
    leaves = named.leaves
    size = first_length(xp, next((x for x in leaves if is_fixed(x.shape[0])), leaves[0]))
    if not (is_fixed(size) or array_api_compat.is_array_api_obj(size)):
        raise ValueError(
            f"{came(named, 0)}, a sequence of unknown length; expected a known one. On Dask, call "
            "its `compute_chunk_sizes()` first."
        )
    return size


def _read_fill(xp: Namespace, value: Any, named: Named, k: int) -> Any:
    """Return `value` as the Python number that the `k`-th array holds for it."""
    dtype = named.leaves[k].dtype
    if array_api_compat.is_numpy_array(value) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, int | float | complex):
        raise TypeError(f"`value` is {describe(value)}; expected a number.")
    number = _as_held(xp, value, dtype)
    if number is None:
        raise ValueError(
            f"`value` is {value}, which {dtype_name(dtype)}, the dtype of `{named.path(k)}`, "
            "cannot hold; expected a number that every array can be padded with. Pad the arrays "
            "apart, or cast them first."
        )
    return number


def _as_held(xp: Namespace, value: Any, dtype: Any) -> Any:
    """Return the number that an array of `dtype` holds for `value`, None if there is none."""
    if xp.isdtype(dtype, "bool"):
        return bool(value) if value in (0, 1) else None
    if xp.isdtype(dtype, "complex floating"):
        parts, largest = (value.real, value.imag), float(xp.finfo(dtype).max)
        return complex(value) if all(_within(part, largest) for part in parts) else None
    if isinstance(value, complex):
        return None
    if xp.isdtype(dtype, "integral"):
        info = xp.iinfo(dtype)
        # NaN is not between them, and infinity neither.
        return int(value) if info.min <= value <= info.max and value == int(value) else None
    if xp.isdtype(dtype, "real floating"):
        return float(value) if _within(value, float(xp.finfo(dtype).max)) else None
    return value  # a dtype beyond the standard, of which the library has to know


def _within(value: float, largest: float) -> bool:
    """Tell whether a number does not overflow; NaN and infinities do not."""
    return abs(value) == math.inf or not abs(value) > largest


def _padded(xp: Namespace, column: Sequence[Array], sizes: Sequence[int], fill: Any) -> Array:
    """Return arrays side by side, padded to the longest."""
    longest, device = max(sizes), device_of(column[0])
    shape = (longest - min(sizes), *column[0].shape[1:])
    filler = xp.full(shape, fill, dtype=column[0].dtype, device=device)
    parts = [
        (array,) if size == longest else (array, filler[: longest - size, ...])
        for array, size in zip(column, sizes, strict=True)
    ]
    return stack_joined(xp, parts, longest)


def _padded_at_run_time(
    xp: Namespace, column: Sequence[Array], sizes: Sequence[Any], fill: Any
) -> Array:
    """Return arrays side by side, padded to the longest, where lengths are arrays as well."""
    device = device_of(column[0])
    shape = (1, *column[0].shape[1:])
    row = xp.full(shape, fill, dtype=column[0].dtype, device=device)
    steps = xp.arange(xp.max(_joined(xp, sizes, device)), device=device)
    return xp.stack(
        [
            xp.take(xp.concat([array, row]), xp.minimum(steps, xp.asarray(size)), axis=0)
            for array, size in zip(column, sizes, strict=True)
        ]
    )


def _joined(xp: Namespace, sizes: Sequence[Any], device: Any) -> Any:
    """Return lengths as one array."""
    if all(map(is_fixed, sizes)):
        return xp.asarray(sizes, device=device)
    return xp.stack([xp.asarray(size) for size in sizes])
