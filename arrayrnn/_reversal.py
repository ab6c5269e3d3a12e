"""`reverse_sequence`: each sample's own timesteps reversed, the padding left in its place."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

from arrayrnn._arguments.masks import Axes, read_length, read_lengths, read_mask
from arrayrnn._arguments.reading import read_over_time
from arrayrnn._libraries.operations import (
    device_of,
    namespace_of,
    swap_time_and_samples,
    take_timesteps,
    timesteps,
)
from arrayrnn._recurrence.errors import came, expect_together
from arrayrnn._recurrence.mask import placed
from arrayrnn._recurrence.nests import Named
from arrayrnn._recurrence.options import read_switch
from arrayrnn._typing import Array, Input, Namespace


def reverse_sequence(
    x: Input,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    mask: Any = None,
    *,
    time_major: bool = False,
) -> Input:
    """Reverse the timesteps of each sample among themselves, and leave the padding in its place.

    Parameters
    ----------
    x : array or nest of arrays
        ``(samples, time, *features)``, of any features and dtype.
    input_length : int, or array or list of ints, optional
        One for each sample, ``(samples,)``: its first ``input_length[s]`` timesteps are reversed;
        ignored if there is a `mask`. An integer: only so many first timesteps are looked at, and
        the rest stays, whatever the `mask` says of it.
    mask : array or nested list, optional
        ``(samples, time)`` or ``(samples, time, 1)``, of bool or any real dtype: where it is False
        or zero, `x` stays as it is; the other timesteps, wherever they are, change places.
    time_major : bool, default: False
        `x` and `mask` have time first.

    Returns
    -------
    reversed : array or nest of arrays
        Like `x`. Without lengths and a mask, all timesteps are reversed.

    Raises
    ------
    ValueError
        If an argument has another structure, shape, length or range than described; if devices
        cannot be mixed.
    TypeError
        If something is no array or of another library, or lengths are no integers.

    See Also
    --------
    rnn : Its ``go_backwards`` needs no reversed inputs.

    Notes
    -----
    After ``tf.reverse_sequence``
    (https://www.tensorflow.org/api_docs/python/tf/reverse_sequence), which has lengths only.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import reverse_sequence
    >>> x = np.asarray([[1, 2, 3, 4], [5, 6, 0, 0]])
    >>> reverse_sequence(x, [4, 2])
    array([[4, 3, 2, 1],
           [6, 5, 0, 0]])
    >>> reverse_sequence(x, mask=[[0, 1, 1, 1], [1, 0, 0, 1]])
    array([[1, 4, 3, 2],
           [0, 6, 0, 5]])
    """
    time_major = read_switch(time_major, "time_major")
    named = Named.of(x, "x")
    axes = read_over_time(x, named, time_major=time_major)
    leaves, time, axis = named.leaves, axes.time, 0 if time_major else 1
    xp = namespace_of(leaves[0])
    expect_together(named, xp, named)
    length = read_length(input_length, time, "x")
    cut = length is not None and length != time
    keep = None
    if mask is not None:
        keep = read_mask(xp, mask, axes, time_major=time_major)
    elif input_length is not None and length is None:
        first = leaves[0] if time_major else swap_time_and_samples(xp, leaves[0])
        keep = read_lengths(xp, input_length, axes, first)
    _expect_known_places(named, axes, has_mask=keep is not None)

    before = (slice(None),) * axis
    parts = [leaf[(*before, slice(None, length), ...)] for leaf in leaves] if cut else [*leaves]
    if keep is None:
        parts = [xp.flip(part, axis=axis) for part in parts]
    else:
        own_xp, kept = keep
        kept = kept[:length, ...] if cut else kept
        kept = placed(xp, own_xp, kept, device_of(leaves[0]), "x")
        places = _mirrored(xp, kept, from_the_start=mask is None)
        parts = [take_timesteps(xp, part, places, axis) for part in parts]
    if cut:
        rest = [leaf[(*before, slice(length, None), ...)] for leaf in leaves]
        parts = [xp.concat(pair, axis=axis) for pair in zip(parts, rest, strict=True)]
    return named.nest.build(parts)


def _expect_known_places(named: Named, axes: Axes, *, has_mask: bool) -> None:
    """Refuse to move timesteps about where a lazy array does not know how many its chunks hold."""
    # Dask gives nan for an unknown length.
    if isinstance(axes.time, float) or (has_mask and isinstance(axes.samples, float)):
        raise ValueError(
            f"{came(named, 0)}, with chunks of unknown lengths; expected known ones. Call its "
            "`compute_chunk_sizes()` first."
        )


def _mirrored(xp: Namespace, keep: Array, *, from_the_start: bool) -> Array:
    """Return for each timestep ``(time, samples)`` the one that takes its place.

    `from_the_start` says that the kept timesteps are the first ones of each sample.
    """
    steps = timesteps(xp, keep.shape[0], keep, device=device_of(keep))
    dtype, steps = steps.dtype, xp.expand_dims(steps, axis=1)
    ones = xp.astype(keep, dtype)
    earlier = xp.cumulative_sum(ones, axis=0, dtype=dtype) - ones  # kept timesteps
    if from_the_start:
        last = xp.sum(ones, axis=0, keepdims=True, dtype=dtype) - 1
        return xp.where(keep, last - earlier, steps)
    # The kept timesteps, the last one first. Anything behind them is never asked for.
    latest = xp.sort(xp.where(keep, steps, -xp.ones_like(steps)), axis=0, descending=True)
    return xp.where(keep, take_timesteps(xp, latest, earlier, 0), steps)
