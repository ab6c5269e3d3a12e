"""Timesteps taken out of arrays, block by block.

Slicing timesteps one by one makes backward quadratic in time on PyTorch; unstacking all at once
holds a view of each and compiles for minutes on JAX. Blocks of about the square root of the
timesteps, unstacked when their turn comes, do neither.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import isqrt, prod
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._libraries.memory import copied
from arrayrnn._libraries.operations import device_of, runs_any_shape, unstack_of
from arrayrnn._libraries.torch import is_compiling
from arrayrnn._loops.packing import rows_at
from arrayrnn._recurrence.axes import align, is_open
from arrayrnn._recurrence.mask import AGAIN, ALL, SOME, Donor
from arrayrnn._recurrence.masked import MasksFor
from arrayrnn._recurrence.problem import Problem
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

# The cost of a block is spread over this many timesteps at least. The more there are, the more is
# copied to select; of small ones that many still stay in the processor's cache.
_FEWEST, _FEWEST_SMALL = 64, 512
_SMALL = 1024  # elements of a timestep, at most


# Dynamo cannot follow annotations of inner functions that are more than names.
Coverage = Sequence[int]  # NONE, SOME, AGAIN or ALL at each timestep
Opened = tuple[Iterable[Any], MasksFor]  # the caller's nest at each timestep; the masks


class Block(NamedTuple):
    """Some timesteps in order of iteration."""

    times: range
    coverage: Coverage
    open: Callable[[], Opened]  # takes the timesteps out, a donor in masked samples


def blocks(
    problem: Problem,
    donor: Donor | None = None,
    *,
    start: int = 0,
    rows: "np.ndarray[Any, Any] | None" = None,
) -> Iterator[Block]:
    """Yield all timesteps of a problem in order of iteration, in blocks.

    The first one in the inputs is timestep `start`. Without a mask, `rows` may say of which
    samples.
    """
    xp, mask, inputs = problem.xp, problem.mask, problem.inputs
    time = index(problem.time)  # torch.compile may keep it open
    if time == 1 and mask is None and rows is None:
        yield Block(range(start, start + 1), [ALL], partial(_only_timestep, problem))
        return
    is_cheap = runs_any_shape(xp)
    are_small = [is_cheap and _is_small(leaf) for leaf in inputs.leaves]
    size = problem.options.checkpoint or _size(time, are_small=is_cheap and all(are_small))
    parts = [_split(xp, leaf, time, size) for leaf in inputs.leaves]
    keep_parts = [] if mask is None else _split(xp, mask.keep, time, size)
    order = slice(None, None, -1 if problem.go_backwards else 1)
    in_time = unstack_of(xp)

    def unstack(part: Array) -> Sequence[Array]:
        return in_time(part)[order]

    def taken_out(k: int, coverage: Coverage) -> Opened:
        masks: MasksFor = _no_masks
        leaves = [part[k] for part in parts]
        if rows is not None:
            leaves = rows_at(xp, leaves, rows, axis=1)
        leaves = [
            copied(xp, leaf) if is_small else leaf
            for leaf, is_small in zip(leaves, are_small, strict=True)
        ]
        if keep_parts and SOME in coverage:
            keep = _in_order(xp, keep_parts[k])
            leaves = leaves if donor is None else donor.laid_over(xp, leaves, keep)
            masks = _masks(xp, keep, unstack)
        columns = [unstack(leaf) for leaf in leaves]
        if inputs.nest.is_leaf:
            return columns[0], masks
        timesteps = zip(*columns, strict=True) if columns else [()] * len(coverage)
        return map(inputs.nest.build, timesteps), masks

    for k in range(-(-time // size))[order]:
        times = range(start, start + time)[k * size : (k + 1) * size]
        coverage = [ALL] * len(times)
        if mask is not None:
            coverage = mask.coverage_at(times)[order]
            if coverage[-1] == AGAIN:
                coverage[-1] = SOME  # a stretch with one mask ends with the block
        yield Block(times[order], coverage, partial(taken_out, k, coverage))


def _only_timestep(problem: Problem) -> Opened:
    """Take out the timestep of inputs that have no other: streams get them one by one."""
    xp, inputs = problem.xp, problem.inputs
    is_cheap = runs_any_shape(xp)
    x_t = [copied(xp, x[0, ...]) if is_cheap and _is_small(x) else x[0, ...] for x in inputs.leaves]
    return [inputs.nest.build(x_t)], _no_masks


def unstacked(xp: Namespace, array: Array, count: int) -> list[Array]:
    """Return the `count` elements of an array along its first axis."""
    parts = _split(
        xp, array, count, _size(count, are_small=runs_any_shape(xp) and _is_small(array))
    )
    return [row for part in parts for row in unstack_of(xp)(part)]


def _masks(xp: Namespace, mask: Array, unstack: Callable[[Array], Sequence[Array]]) -> MasksFor:
    # No dict: a size that torch.compile keeps open would be fixed by hashing it.
    found: list[tuple[tuple[int, ...], Sequence[Array]]] = []

    def of_shape(shape: tuple[int, ...]) -> Sequence[Array]:
        for known, timesteps in found:
            if known == shape:
                return timesteps
        aligned = align(xp, mask, 1 + len(shape))
        if runs_any_shape(xp) and not any(map(is_open, shape)):
            # Selecting by a mask that needs no broadcasting is faster.
            aligned = _in_order(xp, xp.broadcast_to(aligned, (mask.shape[0], *shape)))
        timesteps = unstack(aligned)
        found.append((shape, timesteps))
        return timesteps

    def of_shapes(shapes: tuple[tuple[int, ...], ...]) -> Sequence[Sequence[Array]]:
        timesteps = [*zip(*map(of_shape, shapes), strict=True)]
        return timesteps if shapes else [()] * mask.shape[0]

    return of_shapes


def _no_masks(_: tuple[tuple[int, ...], ...]) -> Sequence[Sequence[Array]]:
    return ()


def _size(time: int, *, are_small: bool) -> int:
    """Return how many of `time` timesteps make a block; `are_small` if they may be copied."""
    return max(_FEWEST_SMALL if are_small else _FEWEST, isqrt(time))


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
    # One reshape and one unstack for all: in backward a slice for each block costs as much as one
    # for each timestep would.
    even = xp.reshape(array[: count * size, ...], (count, size, *array.shape[1:]))
    rest = [array[count * size :, ...]] if time % size else []
    return [*unstack_of(xp)(even), *rest]


def _in_order(xp: Namespace, array: Array) -> Array:
    """Return a copy with its timesteps one after the other in memory, if they are small.

    Those of batch-major inputs lie scattered, and a step on small arrays is up to 1.4 times slower
    on them. A step that writes into a copy does not write into the caller's array.
    """
    return copied(xp, array) if runs_any_shape(xp) and _is_small(array) else array


def _is_small(timesteps: Array) -> bool:
    # To compare a symbol that stands for any length would settle its length.
    if is_compiling() or not {*map(type, timesteps.shape)} <= {int}:
        return False
    return 0 < prod(timesteps.shape[1:]) <= _SMALL
