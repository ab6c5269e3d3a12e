"""Taking timesteps out of arrays, block by block.

Slicing timesteps one by one makes backward quadratic in time on PyTorch; unstacking all at once
holds a view of each and compiles for minutes on JAX. Blocks of about the square root of the
timesteps, unstacked when their turn comes, do neither.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import isqrt, prod
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._axes import align, is_open
from arrayrnn._compilers import is_compiling
from arrayrnn._masking import ALL, SAME, SOME, Donor, Mask, Masks
from arrayrnn._memory import copied
from arrayrnn._operations import device_of, runs_any_shape, unstack_of
from arrayrnn._rows import rows_at
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Block", "blocks", "unstacked"]

# What a block costs is spread over this many timesteps at least. The more there are, the larger is
# what selecting copies; of small ones that many still stay in the processor's cache.
_FEWEST, _FEWEST_SMALL = 64, 512
_SMALL = 1024  # elements of a timestep, at most


# Dynamo cannot follow annotations of inner functions that are more than names.
Kinds = Sequence[int]  # NONE, SOME, SAME or ALL at each timestep
Opened = tuple[Iterable[Any], Masks]  # the caller's nest at each timestep; the masks


class Block(NamedTuple):
    """Some timesteps in order of iteration."""

    times: range
    kinds: Kinds
    open: Callable[[], Opened]  # takes them out, a donor in masked samples


def blocks(
    xp: Namespace,
    inputs: Sequence[Array],
    nest: Nest,
    time: int,
    mask: Mask | None,
    donor: Donor | None,
    *,
    go_backwards: bool,
    start: int = 0,
    size: int | None = None,
    rows: "np.ndarray[Any, Any] | None" = None,
) -> Iterator[Block]:
    """Yield all timesteps of `inputs` in order of iteration, in blocks of `size`.

    The first one in `inputs` is timestep `start`. Without a mask, `rows` may say of which samples.
    """
    time = index(time)  # torch.compile may keep it open
    size = size or _size(xp, time, inputs)
    parts = [_split(xp, leaf, time, size) for leaf in inputs]
    keep_parts = [] if mask is None else _split(xp, mask.keep, time, size)
    order = slice(None, None, -1 if go_backwards else 1)
    in_time = unstack_of(xp)

    def unstack(part: Array) -> Sequence[Array]:
        return in_time(part)[order]

    def taken_out(k: int, kinds: Kinds) -> Opened:
        masks: Masks = _no_masks
        leaves = [part[k] for part in parts]
        if rows is not None:
            leaves = rows_at(xp, leaves, rows, axis=1)
        leaves = [_packed(xp, leaf) for leaf in leaves]
        if keep_parts and SOME in kinds:
            keep = _packed(xp, keep_parts[k])
            leaves = leaves if donor is None else donor.laid_over(xp, leaves, keep)
            masks = _masks(xp, keep, unstack)
        columns = [unstack(leaf) for leaf in leaves]
        if nest.is_leaf:
            return columns[0], masks
        timesteps = zip(*columns, strict=True) if columns else [()] * len(kinds)
        return map(nest.build, timesteps), masks

    for k in range(-(-time // size))[order]:
        times = range(start, start + time)[k * size : (k + 1) * size]
        kinds = [ALL] * len(times)
        if mask is not None:
            kinds = mask.kinds_at(times)[order]
            if kinds[-1] == SAME:
                kinds[-1] = SOME  # a run of the same mask ends with the block
        yield Block(times[order], kinds, partial(taken_out, k, kinds))


def unstacked(xp: Namespace, array: Array, count: int) -> list[Array]:
    """Return what `array` holds along its first axis, of that length."""
    parts = _split(xp, array, count, _size(xp, count, [array]))
    return [row for part in parts for row in unstack_of(xp)(part)]


def _masks(xp: Namespace, mask: Array, unstack: Callable[[Array], Sequence[Array]]) -> Masks:
    # No dict: a size that torch.compile keeps open would be fixed by hashing it.
    found: list[tuple[tuple[int, ...], Sequence[Array]]] = []

    def of_shape(shape: tuple[int, ...]) -> Sequence[Array]:
        for known, timesteps in found:
            if known == shape:
                return timesteps
        aligned = align(xp, mask, 1 + len(shape))
        if runs_any_shape(xp) and not any(map(is_open, shape)):
            # Selecting by a mask that needs no broadcasting is faster.
            aligned = _packed(xp, xp.broadcast_to(aligned, (mask.shape[0], *shape)))
        timesteps = unstack(aligned)
        found.append((shape, timesteps))
        return timesteps

    def of_shapes(shapes: tuple[tuple[int, ...], ...]) -> Sequence[Sequence[Array]]:
        timesteps = [*zip(*map(of_shape, shapes), strict=True)]
        return timesteps if shapes else [()] * mask.shape[0]

    return of_shapes


def _no_masks(_: tuple[tuple[int, ...], ...]) -> Sequence[Sequence[Array]]:
    return ()


def _size(xp: Namespace, time: int, arrays: Sequence[Array]) -> int:
    """Return how many of `time` timesteps of the arrays, time first, make a block."""
    # Where unstacking is compiled, that takes as much longer as there are timesteps.
    is_cheap = runs_any_shape(xp) and all(map(_is_small, arrays))
    return max(_FEWEST_SMALL if is_cheap else _FEWEST, isqrt(time))


def _split(xp: Namespace, array: Array, time: int, size: int) -> list[Array]:
    """Cut an array into blocks along its first axis; all but the last of the same size."""
    if is_open(array.shape[0]):
        # Another argument says how many there are. Slicing would leave it as open as it is.
        array = xp.take(array, xp.arange(time, device=device_of(array)), axis=0)
    if time <= size:
        return [array]
    if any(map(is_open, array.shape)):
        return [array[i : i + size, ...] for i in range(0, time, size)]
    count = time // size
    # One reshape and one unstack for all: a slice for each block is as dear in backward as each
    # timestep's own would be.
    even = xp.reshape(array[: count * size, ...], (count, size, *array.shape[1:]))
    rest = [array[count * size :, ...]] if time % size else []
    return [*unstack_of(xp)(even), *rest]


def _packed(xp: Namespace, array: Array) -> Array:
    """Return a copy with its timesteps one after the other in memory, if they are small.

    Those of batch-major inputs lie scattered, and a step on small arrays is up to 1.4 times slower
    on them. A step that writes into a copy does not write into what the caller has passed.
    """
    return copied(xp, array) if runs_any_shape(xp) and _is_small(array) else array


def _is_small(timesteps: Array) -> bool:
    # To compare a symbol that stands for any length would settle what it stands for.
    if is_compiling() or not all(isinstance(n, int) for n in timesteps.shape):
        return False
    return 0 < prod(timesteps.shape[1:]) <= _SMALL
