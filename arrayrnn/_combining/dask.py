"""Dask: chunks of time in tasks of their own, side by side, joined by what each of them comes to.

One task for each chunk combines all its elements to one. From these few the states between the
chunks follow, and then another task for each chunk computes the states within.
"""

from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from arrayrnn._combining import blocks
from arrayrnn._combining.elements import Elements, Leaves, part, turned
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._loops.dask import harmless
from arrayrnn._recurrence.axes import is_open
from arrayrnn._typing import Array

At = tuple[int, ...]  # numbers of a chunk


def scan(elements: Elements, *, reverse: bool) -> Leaves:
    """Return arrays that will hold the states after all elements."""
    # Dask loses sight of persisted chunks that lie in a list among the arguments.
    total, appended, within, together = map(dask.delayed, (_total, _appended, _states, _together))
    elements = _cut(elements)
    _call_once(elements)
    bare = elements._replace(xp=None, leaves=(), before=None)
    # Not `traverse`d by Dask, which would look for lazy parts in what it does not know.
    shared = dask.delayed(bare, traverse=False)
    models = _arrays(elements.combiner.begin(elements.leaves))
    grids, first = (
        [leaf.to_delayed(optimize_graph=False) for leaf in _arrays(leaves or ())]
        for leaves in (elements.leaves, elements.before)
    )
    found: list[Any] = [np.empty(model.numblocks, dtype=object) for model in models]
    counts, samples_axis = models[0].numblocks, elements.samples_axis
    for s in range(1 if samples_axis is None else counts[samples_axis]):
        before = None
        if first:
            before = together(*(grid[_place(grid.shape, elements, 0, s)] for grid in first))
        for j in range(counts[elements.axis])[:: -1 if reverse else 1]:
            block = [grid[_place(grid.shape, elements, j, s)] for grid in grids]
            states = within(shared, reverse, before, *block)
            before = appended(shared, before, total(shared, reverse, *block))
            for k, model in enumerate(models):
                at = _place(model.numblocks, elements, j, s)
                found[k][at] = _chunk(states[k], model, at)
    return [da.block(chunks.tolist(), allow_unknown_chunksizes=True) for chunks in found]


def _total(bare: Elements, reverse: bool, *block: Array) -> Leaves | None:
    """Return the element that all of a block combine to, None if there are none."""
    elements = _of_block(bare, block)
    return turned(blocks.total, elements, reverse=reverse) if elements.time else None


def _appended(bare: Elements, before: Leaves | None, total: Leaves | None) -> Leaves | None:
    """Return the state after a block; None if there has been no element so far."""
    if total is None:
        return before
    return bare._replace(xp=namespace_of(total[0]), before=before).for_run().begin(total)


def _states(bare: Elements, reverse: bool, before: Leaves | None, *block: Array) -> Leaves:
    """Return the states after all elements of a block."""
    elements = _of_block(bare, block)._replace(before=before)
    if elements.time == 0:
        return elements.combiner.begin(block)
    return turned(blocks.scan, elements, reverse=reverse)


def _together(*leaves: Array) -> Leaves:
    return leaves


def _of_block(bare: Elements, block: Leaves) -> Elements:
    return bare._replace(xp=namespace_of(block[0]), leaves=block)


def _arrays(leaves: Leaves) -> Sequence[da.Array]:
    return leaves


def _place(counts: At, elements: Elements, j: int, s: int) -> At:
    """Return the numbers of a chunk: the j-th of time, the s-th of samples, or the only one."""
    wanted = {elements.samples_axis: s, elements.axis: j}
    return tuple(min(wanted.get(axis, 0), count - 1) for axis, count in enumerate(counts))


def _chunk(value: Any, model: da.Array, at: At) -> da.Array:
    shape = tuple(sizes[i] for sizes, i in zip(model.chunks, at, strict=True))
    return da.from_delayed(value, shape, dtype=model.dtype, meta=meta_from_array(model))


def _cut(elements: Elements) -> Elements:
    """Give all arrays the same chunks of time and of samples, and one along any other axis."""
    leaves, axis, samples_axis = _arrays(elements.leaves), elements.axis, elements.samples_axis
    wanted: dict[int, tuple[Any, ...]] = {}
    for shared in (axis, samples_axis):
        if shared is not None:
            # What has length 1 is shared by all chunks.
            chunks = [c for leaf in leaves if (c := leaf.chunks[shared]) != (1,)]
            wanted[shared] = max(chunks, key=len, default=(1,))

    def cut(leaf: da.Array, name: str) -> da.Array:
        chunks = []
        for k, have in enumerate(leaf.chunks):
            want = wanted[k] if k in wanted and have != (1,) else (sum(have),)
            if is_open(sum(have)) or is_open(sum(want)):
                # Chunks of unknown lengths have to stay as they are.
                if len(have) != len(want):
                    raise ValueError(
                        f"`{name}` has chunks of unknown lengths along axis {k}, which would have "
                        "to be cut or joined. Call its `compute_chunk_sizes()` first."
                    )
                want = have
            chunks.append(want)
        return leaf.rechunk(tuple(chunks))

    before = elements.before
    if before is not None:
        before = [cut(state, "initial") for state in _arrays(before)]
    return elements._replace(leaves=[*map(cut, leaves, elements.names)], before=before)


def _call_once(elements: Elements) -> None:
    """Combine two arrays without memory: all that is wrong with a function shows now."""
    xp, axis = namespace_of(meta_from_array(elements.leaves[0])), elements.axis
    one = part([harmless(xp, leaf) for leaf in elements.leaves], axis, 0, 1)
    try:
        # Values computed here have no meaning, and neither have warnings about them.
        with np.errstate(all="ignore"):
            elements._replace(xp=xp).for_run().combiner.combine(one, one)
    except Exception as error:
        error.add_note(
            "It was called on arrays of ones (zeros of integers), of the library of the blocks, to "
            "learn at once what it returns. If it closes over a Dask array: close over what that "
            "computes to."
        )
        raise
