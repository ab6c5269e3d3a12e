"""Operations of the inner loop that a library spells better than its compatible namespace.

One of the few files that name array libraries: each case says why it is there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import array_api_compat

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._typing import Array, Namespace

__all__ = [
    "device_of",
    "first_length",
    "first_true",
    "is_spread",
    "join_features",
    "repeated",
    "row_at",
    "runs_any_shape",
    "split",
    "stack_joined",
    "take_timesteps",
    "timesteps",
    "unstack_of",
    "where_of",
]


def device_of(array: Any) -> Any:
    """Return where to put what is made for an array: its device, or None if that is left open."""
    device = array_api_compat.device(array)
    if array_api_compat.is_jax_array(array):
        import jax

        # JAX then puts it wherever it is needed. A sharding would fit arrays of the same rank only.
        is_settled = isinstance(device, jax.Device) and getattr(array, "committed", True)
        return device if is_settled else None
    return device


def is_spread(array: Any) -> bool:
    """Tell whether an array lies on several devices, so that not every shape can be made of it."""
    if not array_api_compat.is_jax_array(array):
        return False
    import jax

    return not isinstance(array, jax.core.Tracer) and len(array.devices()) > 1


def repeated(xp: Namespace, row: Array, like: Any) -> Array:
    """Return a row once for each row of an array, if they have to lie on the same devices."""
    sharding = _explicit_sharding(like)
    if sharding is None:
        return row
    import jax

    return jax.sharding.reshard(xp.broadcast_to(row, like.shape), sharding)


def _explicit_sharding(array: Any) -> Any:
    """Return how rows are split over the devices of a mesh, if operations have to know that."""
    import jax

    sharding = jax.typeof(array).sharding if hasattr(jax, "typeof") else None
    return sharding if any(getattr(sharding, "spec", ())[:1]) else None


def where_of(xp: Namespace) -> Callable[[Array, Array, Array], Array]:
    """Return ``where`` for two arrays of one dtype."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's finds out the common dtype first, for a tenth of a masked timestep.
        import torch

        return torch.where
    return xp.where


def unstack_of(xp: Namespace) -> Callable[[Any], Sequence[Array]]:
    """Return ``unstack`` along the first axis."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's goes through `moveaxis`, for which torch.func.vmap has no rule.
        return lambda array: array.unbind(0)
    return partial(xp.unstack, axis=0)


def split(xp: Namespace, array: Any, sizes: Sequence[int]) -> Sequence[Array]:
    """Cut an array along its first axis into parts of `sizes`."""
    if array_api_compat.is_torch_namespace(xp):
        # In backward each slice would be as dear as the whole.
        parts: Sequence[Array] = array.split([*sizes])
        return parts
    ends = [*accumulate(sizes)]
    return [array[end - size : end, ...] for size, end in zip(sizes, ends, strict=True)]


def runs_any_shape(xp: Namespace) -> bool:
    """Tell whether an operation costs nothing more the first time it meets arrays of a shape."""
    return not (
        array_api_compat.is_jax_namespace(xp)  # compiles it
        or array_api_compat.is_dask_namespace(xp)  # both make graphs, which would grow
        or array_api_compat.is_ndonnx_namespace(xp)
    )


def first_length(xp: Namespace, array: Any) -> Any:
    """Return the length of the first axis; an array if it is known at run time."""
    length = array.shape[0]
    if not isinstance(length, int) and array_api_compat.is_ndonnx_namespace(xp):
        length = array.dynamic_shape[0]
    return length


def timesteps(xp: Namespace, time: Any, like: Any, *, device: Any) -> Array:
    """Return 0, 1, … `time` - 1; `like` is an array with so many in its first axis."""
    if not isinstance(time, int) and array_api_compat.is_ndonnx_namespace(xp):
        time = like.dynamic_shape[0]  # known at run time
    return xp.arange(time, device=device)


def first_true(xp: Namespace, flags: Array, *, from_the_end: bool = False) -> Array:
    """Return the index of the first True in 1-D `flags`, as an array ``(1,)``; any, if none is."""
    if array_api_compat.is_ndonnx_namespace(xp):
        # `min` and `max` are a hundred times dearer to trace. One more, since there may be none.
        counts = xp.astype(xp.concat([flags, xp.zeros(1, dtype=xp.bool)]), xp.int64)
        if from_the_end:
            counts = xp.cumulative_sum(counts)  # is largest from the last True on
        return xp.argmax(counts, keepdims=True)
    index = timesteps(xp, flags.shape[0], flags, device=device_of(flags))
    if array_api_compat.is_jax_namespace(xp):
        # XLA takes three times as long to compile what is below.
        if from_the_end:
            return index[-1:] - xp.argmax(xp.flip(flags), keepdims=True)
        return xp.argmax(flags, keepdims=True)
    # Not by `argmax`, which the standard has for numbers only.
    if from_the_end:
        return xp.max(xp.where(flags, index, xp.zeros_like(index)), axis=0, keepdims=True)
    return xp.min(xp.where(flags, index, index[-1:]), axis=0, keepdims=True)


def row_at(xp: Namespace, array: Any, index: Any) -> Array:
    """Return ``array[index[0] : index[0] + 1]``; `index` is within the first axis."""
    if array_api_compat.is_jax_namespace(xp):
        # `take` looks for an index that is out of bounds, which costs compilation.
        import jax

        if (sharding := _explicit_sharding(array)) is not None:
            # What is split has no slice of one.
            spec = jax.sharding.PartitionSpec(None, *sharding.spec[1:])
            array = jax.sharding.reshard(array, sharding.update(spec=spec))
        return jax.lax.dynamic_slice_in_dim(array, index[0], 1)
    if array_api_compat.is_ndonnx_namespace(xp):
        from arrayrnn import _onnx

        return xp.asarray(_onnx.row_at(array, index))
    return xp.take(array, index, axis=0)


def join_features(xp: Namespace, one: Array, other: Array) -> Array:
    """Join along the last axis two arrays that agree in all others."""
    if array_api_compat.is_dask_namespace(xp):
        import dask.array as da

        # `concat` refuses chunks of unknown lengths.
        return da.concatenate([one, other], axis=-1, allow_unknown_chunksizes=True)
    return xp.concat([one, other], axis=-1)


def stack_joined(xp: Namespace, rows: Sequence[Sequence[Array]], length: int) -> Array:
    """Return, side by side, what becomes an array of `length` if its parts are joined."""
    if array_api_compat.is_jax_namespace(xp) or array_api_compat.is_dask_namespace(xp):
        # JAX compiles this for the lengths in a row, and would compile what is below for those of
        # all rows; on Dask reshaping is what costs.
        return xp.stack([xp.concat(parts) for parts in rows])
    # Copies once.
    joined = xp.concat([part for parts in rows for part in parts])
    return xp.reshape(joined, (len(rows), length, *joined.shape[1:]))


def take_timesteps(xp: Namespace, array: Any, index: Any, time_axis: int) -> Array:
    """Return for each sample and timestep what `array` has at another timestep of the sample.

    `time_axis` is 0 or 1, samples being the other; `index` is ``(time, samples)``.
    """
    if array_api_compat.is_dask_namespace(xp):
        import dask.array as da
        from dask.array.utils import meta_from_array

        axes, chunks = tuple(range(array.ndim)), array.chunks
        # What is at a timestep may come from any other. Rows of blocks are the blocks' own matter.
        taken = da.blockwise(
            _take_in_block,
            axes,
            array.rechunk({time_axis: -1}),
            axes,
            index.rechunk({0: -1, 1: chunks[1 - time_axis]}),
            (time_axis, 1 - time_axis),
            dtype=array.dtype,
            meta=meta_from_array(array),
            time_axis=time_axis,
        )
        return taken.rechunk({time_axis: chunks[time_axis]})
    if array_api_compat.is_ndonnx_namespace(xp):
        from arrayrnn import _onnx

        array = array if time_axis else swap_time_and_samples(xp, array)
        taken = xp.asarray(_onnx.take_in_rows(array, swap_time_and_samples(xp, index)))
        return taken if time_axis else swap_time_and_samples(xp, taken)
    # Not by `take_along_axis`, which came to the standard in 2024.12 and wants an index for each
    # feature.
    time, samples = index.shape
    sample = xp.arange(samples, dtype=index.dtype, device=device_of(index))
    if time_axis:
        rows = swap_time_and_samples(xp, index) + time * xp.expand_dims(sample, axis=1)
    else:
        rows = samples * index + xp.expand_dims(sample, axis=0)
    every = xp.reshape(array, (time * samples, *array.shape[2:]))
    return xp.reshape(xp.take(every, xp.reshape(rows, (-1,)), axis=0), array.shape)


def _take_in_block(array: Any, index: Any, time_axis: int) -> Array:
    xp = array_api_compat.array_namespace(array)
    return take_timesteps(xp, array, index, time_axis)
