"""Operations that a library spells better than its compatible namespace, each with the reason."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import inf, isqrt
from typing import Any

import array_api_compat

from arrayrnn._typing import Array, Namespace

_MOST_AT_ONCE = 256  # arrays that JAX compiles a `concat` of within moments

# Types of NumPy's arrays. To ask the libraries again takes longer than a small operation.
_OF_HOST: dict[type, Namespace] = {}


def namespace_of(array: Any) -> Namespace:
    """Return the namespace of an array."""
    xp = _OF_HOST.get(type(array))
    if xp is None:
        xp = array_api_compat.array_namespace(array)
        if array_api_compat.is_numpy_namespace(xp):
            _OF_HOST[type(array)] = xp
    return xp


def is_of_host(array: Any) -> bool:
    """Tell whether an array is of a type already known to be NumPy's."""
    return type(array) in _OF_HOST


def device_of(array: Any) -> Any:
    """Return the device of an array for what is made to go with it, or None if that is open."""
    if type(array) in _OF_HOST:
        return "cpu"
    device = array_api_compat.device(array)
    if array_api_compat.is_jax_array(array):
        import jax

        # Given None, JAX puts an array wherever it is needed. A sharding fits only one rank.
        is_settled = isinstance(device, jax.Device) and getattr(array, "committed", True)
        return device if is_settled else None
    return device


def is_weakly_typed(array: Any) -> bool:
    """Tell whether an array stands for a number, which takes the dtype of what it goes with."""
    # JAX traces a number that is an argument of a compiled function as such.
    return bool(getattr(array, "weak_type", False)) and array.ndim == 0


def is_spread(array: Any) -> bool:
    """Tell whether an array lies on several devices: it cannot be reshaped freely."""
    if is_of_host(array) or not array_api_compat.is_jax_array(array):
        return False
    import jax

    return not isinstance(array, jax.core.Tracer) and len(array.devices()) > 1


def repeated(xp: Namespace, row: Array, like: Any) -> Array:
    """Return a row, once for each row of `like` if they have to lie on the same devices."""
    sharding = _explicit_sharding(like)
    if sharding is None:
        return row
    import jax

    return jax.sharding.reshard(xp.broadcast_to(row, like.shape), sharding)


def _explicit_sharding(array: Any) -> Any:
    """Return the split of rows over the devices of a mesh, if operations have to know it."""
    import jax

    sharding = jax.typeof(array).sharding if hasattr(jax, "typeof") else None
    return sharding if any(getattr(sharding, "spec", ())[:1]) else None


def swap_time_and_samples(xp: Namespace, array: Any) -> Array:
    """Exchange the first two axes."""
    if is_of_host(array):
        return array.swapaxes(0, 1)  # the least of NumPy's ways to do it
    # Not by `moveaxis`, for which torch.func.vmap has no rule.
    return xp.permute_dims(array, (1, 0, *range(2, array.ndim)))


def where_of(xp: Namespace) -> Callable[[Array, Array, Array], Array]:
    """Return ``where`` for two arrays of one dtype."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's finds out the common dtype first, for a tenth of a masked timestep.
        import torch

        return torch.where
    return xp.where


def unstack_of(xp: Namespace, axis: int = 0) -> Callable[[Any], Sequence[Array]]:
    """Return ``unstack`` along an axis."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's goes through `moveaxis`, for which torch.func.vmap has no rule.
        return lambda array: array.unbind(axis)
    if array_api_compat.is_numpy_namespace(xp) and axis == 0:
        return tuple  # without `moveaxis`, which takes as long as several timesteps
    return partial(xp.unstack, axis=axis)


def concat_many(xp: Namespace, arrays: Sequence[Array], axis: int) -> Array:
    """Join arrays along an axis, thousands of them perhaps."""
    if array_api_compat.is_jax_namespace(xp) and len(arrays) > _MOST_AT_ONCE:
        # JAX compiles a single `concat` of so many for minutes. Elsewhere it copies once.
        size = isqrt(len(arrays))
        starts = range(0, len(arrays), size)
        arrays = [xp.concat(arrays[i : i + size], axis=axis) for i in starts]
    return xp.concat(arrays, axis=axis)


def numbers_worth_a_call(xp: Namespace, array: Any) -> float:
    """Return how many numbers keep a library busy for about as long as it takes to be called.

    With more, fewer calls are worth no more numbers; `array` is on the device that is meant.
    """
    if array_api_compat.is_numpy_namespace(xp):
        return 3 << 7
    if array_api_compat.is_torch_namespace(xp) and array.device.type == "cpu":
        return 1 << 11
    if array_api_compat.is_jax_namespace(xp):
        return inf  # it would compile thousands of calls, for a minute
    return 1 << 20  # on a GPU


def split(xp: Namespace, array: Any, sizes: Sequence[int]) -> Sequence[Array]:
    """Cut an array along its first axis into parts of `sizes`."""
    if array_api_compat.is_torch_namespace(xp):
        # In backward each slice would cost as much as the whole.
        parts: Sequence[Array] = array.split([*sizes])
        return parts
    ends = [*accumulate(sizes)]
    return [array[end - size : end, ...] for size, end in zip(sizes, ends, strict=True)]


def runs_any_shape(xp: Namespace) -> bool:
    """Tell whether arrays of a new shape cost no more than others."""
    return array_api_compat.is_numpy_namespace(xp) or not (
        array_api_compat.is_jax_namespace(xp)  # compiles each operation for it
        or array_api_compat.is_dask_namespace(xp)  # both make graphs, which grow
        or array_api_compat.is_ndonnx_namespace(xp)
    )


def first_length(xp: Namespace, array: Any) -> Any:
    """Return the length of the first axis; an array if it is known at run time."""
    length = array.shape[0]
    if not isinstance(length, int) and array_api_compat.is_ndonnx_namespace(xp):
        length = array.dynamic_shape[0]
    return length


def timesteps(xp: Namespace, time: Any, like: Any, *, device: Any) -> Array:
    """Return 0, 1, … `time` - 1; `time` is the length of the first axis of `like`."""
    if not isinstance(time, int) and array_api_compat.is_ndonnx_namespace(xp):
        time = like.dynamic_shape[0]  # known at run time
    return xp.arange(time, device=device)


def first_true(xp: Namespace, flags: Array, *, from_the_end: bool = False) -> Array:
    """Return the index of the first True in 1-D `flags`, ``(1,)``; any index if there is none."""
    if array_api_compat.is_ndonnx_namespace(xp):
        # `min` and `max` take a hundred times longer to trace. One more, since there may be none.
        counts = xp.astype(xp.concat([flags, xp.zeros(1, dtype=xp.bool)]), xp.int64)
        if from_the_end:
            counts = xp.cumulative_sum(counts)  # largest from the last True on
        return xp.argmax(counts, keepdims=True)
    index = timesteps(xp, flags.shape[0], flags, device=device_of(flags))
    if array_api_compat.is_jax_namespace(xp):
        # XLA takes three times as long to compile the lines below.
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
            # A split axis has no slice of one row.
            spec = jax.sharding.PartitionSpec(None, *sharding.spec[1:])
            array = jax.sharding.reshard(array, sharding.update(spec=spec))
        return jax.lax.dynamic_slice_in_dim(array, index[0], 1)
    if array_api_compat.is_ndonnx_namespace(xp):
        from arrayrnn._libraries import onnx

        return xp.asarray(onnx.row_at(array, index))
    return xp.take(array, index, axis=0)


def join_features(xp: Namespace, one: Array, other: Array) -> Array:
    """Join along the last axis two arrays that agree in all others."""
    if array_api_compat.is_dask_namespace(xp):
        import dask.array as da

        # `concat` refuses chunks of unknown lengths.
        return da.concatenate([one, other], axis=-1, allow_unknown_chunksizes=True)
    return xp.concat([one, other], axis=-1)


def stack_joined(xp: Namespace, rows: Sequence[Sequence[Array]], length: int) -> Array:
    """Return arrays of `length` side by side, each joined from its parts."""
    if array_api_compat.is_jax_namespace(xp) or array_api_compat.is_dask_namespace(xp):
        # JAX compiles this for the lengths in a row, and the lines below for those of all rows. On
        # Dask reshaping costs most.
        return xp.stack([xp.concat(parts) for parts in rows])
    # Copies once.
    joined = xp.concat([part for parts in rows for part in parts])
    return xp.reshape(joined, (len(rows), length, *joined.shape[1:]))


def take_timesteps(xp: Namespace, array: Any, index: Any, time_axis: int) -> Array:
    """Return an array with the timesteps of each sample in another order.

    `time_axis` is 0 or 1, and samples are the other axis; `index`, ``(time, samples)``, is the
    timestep of `array` that each one comes from.
    """
    if array_api_compat.is_dask_namespace(xp):
        import dask.array as da
        from dask.array.utils import meta_from_array

        axes, chunks = tuple(range(array.ndim)), array.chunks
        # A timestep may come from any other. Chunks of samples have nothing to do with one another.
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
        from arrayrnn._libraries import onnx

        array = array if time_axis else swap_time_and_samples(xp, array)
        taken = xp.asarray(onnx.take_in_rows(array, swap_time_and_samples(xp, index)))
        return taken if time_axis else swap_time_and_samples(xp, taken)
    # `take_along_axis` came to the standard in 2024.12 only, and wants an index for each feature.
    time, samples = index.shape
    sample = xp.arange(samples, dtype=index.dtype, device=device_of(index))
    if time_axis:
        rows = swap_time_and_samples(xp, index) + time * xp.expand_dims(sample, axis=1)
    else:
        rows = samples * index + xp.expand_dims(sample, axis=0)
    every = xp.reshape(array, (time * samples, *array.shape[2:]))
    return xp.reshape(xp.take(every, xp.reshape(rows, (-1,)), axis=0), array.shape)


def _take_in_block(array: Any, index: Any, time_axis: int) -> Array:
    xp = namespace_of(array)
    return take_timesteps(xp, array, index, time_axis)


def product(xp: Namespace, rows: Any, weight: Any) -> Array:
    """Return ``rows @ weight.T``, for rows with any axes in front of the last."""
    if not array_api_compat.is_numpy_namespace(xp):
        # By the weight's own library: a compiled step has it transposed once, not at each timestep.
        own: Array = rows @ namespace_of(weight).matrix_transpose(weight)
        return own
    if rows.ndim == 2:
        # OpenBLAS takes half the time for tens of rows, and no longer for others.
        return (weight @ rows.T).T
    # Otherwise NumPy makes a product for each index of the first axis.
    flat = rows.reshape(-1, rows.shape[-1]) @ weight.T
    return flat.reshape(*rows.shape[:-1], weight.shape[0])
