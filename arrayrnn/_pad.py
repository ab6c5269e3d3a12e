"""`pad_sequences`: the public function."""

from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._axes import is_fixed, swap_time_and_samples
from arrayrnn._checks import arguments, ragged
from arrayrnn._operations import device_of, first_length, stack_joined
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Input, Namespace

__all__ = ["pad_sequences"]


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
        Whether time comes first in what is returned.
    value : bool, int, float or complex, default: 0
        What the padding is filled with, in the dtype of each array.

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
    time_major = arguments.switch(time_major, "time_major")
    arguments.sequence(sequences, "sequences", "Put a single sequence into a list.")
    if not sequences:
        raise ValueError("`sequences` is empty; expected at least one sequence.")
    first, nest = Nest.of(sequences[0])
    first_paths = nest.paths("sequences[0]")
    if not first:
        raise ValueError("`sequences[0]` is an empty nest; expected at least one array.")
    arguments.is_array(first[0], first_paths, 0)
    xp, device = array_api_compat.array_namespace(first[0]), device_of(first[0])
    rows, sizes = [], []
    for k, sequence in enumerate(sequences):
        paths, leaves = nest.paths(f"sequences[{k}]"), ragged.leaves_like(sequence, nest, k)
        ragged.sequence(leaves, paths)
        arguments.placed_alike(xp, leaves, paths, (first[0], first_paths, 0))
        ragged.alike(leaves, paths, first, first_paths)
        known = (leaf for leaf in leaves if is_fixed(leaf.shape[0]))
        size = first_length(xp, next(known, leaves[0]))
        if not (is_fixed(size) or array_api_compat.is_array_api_obj(size)):
            ragged.fail_unknown_time(leaves[0], paths[0])
        rows.append(leaves)
        sizes.append(size)
    fills = [ragged.fill(xp, value, leaf.dtype, first_paths[k]) for k, leaf in enumerate(first)]
    pad = _padded if all(map(is_fixed, sizes)) else _padded_at_run_time
    columns = zip(*rows, strict=True)
    padded = [pad(xp, column, sizes, fill) for column, fill in zip(columns, fills, strict=True)]
    if time_major:
        padded = [swap_time_and_samples(xp, array) for array in padded]
    return nest.build(padded), _joined(xp, sizes, device)


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
