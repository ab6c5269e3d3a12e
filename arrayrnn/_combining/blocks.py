"""Elements combined in blocks: few operations on many elements, written purely to the standard.

The elements of a block are combined one after the other, in all blocks at once. What the blocks
come to is scanned in the same way, which gives the state at the end of each; from there the states
within the blocks follow one another, again in all blocks at once. So everything is computed twice.
"""

from collections.abc import Sequence
from functools import reduce

from arrayrnn._combining.elements import Elements, Leaves, part
from arrayrnn._libraries.operations import concat_many, numbers_worth_a_call, unstack_of
from arrayrnn._typing import Array

_FEW = 16  # elements that are combined one by one


def scan(elements: Elements) -> Leaves:
    """Return the states after all elements."""
    elements = elements.for_run()
    is_wide = elements.width > numbers_worth_a_call(elements.xp, elements.leaves[0])
    return _one_by_one(elements) if is_wide else _in_blocks(elements)


def total(elements: Elements) -> Leaves:
    """Return the one element that all elements combine to."""
    elements = elements.for_run()
    while elements.time > 1:
        length = elements.time if elements.time <= _FEW else _block_length(elements.time)
        columns, rest = _cut(elements, length)
        elements = elements._replace(
            leaves=_joined(elements, reduce(elements.combiner.combine, columns), rest)
        )
    return elements.leaves


def _in_blocks(elements: Elements) -> Leaves:
    if elements.time <= _FEW:
        return _one_by_one(elements)
    xp, axis, combiner = elements.xp, elements.axis, elements.combiner
    columns, rest = _cut(elements, _block_length(elements.time))
    totals = reduce(combiner.combine, columns)
    count = totals[0].shape[axis]
    # The elements behind the last whole block go with the blocks.
    ends = _in_blocks(elements._replace(leaves=_joined(elements, totals, rest)))
    first = columns[0]
    states = _joined(
        elements,
        elements.begin(part(first, axis, 0, 1)),
        combiner.append(part(ends, axis, 0, count - 1), part(first, axis, 1, None)),
    )
    found = [states]
    for column in columns[1:]:
        states = combiner.append(states, column)
        found.append(states)
    inside = [
        _without_blocks(xp.stack(states, axis=axis + 1), elements)
        for states in zip(*found, strict=True)
    ]
    return _joined(elements, inside, part(ends, axis, count, None)) if rest else inside


def _one_by_one(elements: Elements) -> Leaves:
    xp, axis, combiner = elements.xp, elements.axis, elements.combiner
    single = [unstack_of(xp, axis)(xp.expand_dims(x, axis=axis + 1)) for x in elements.leaves]
    first, *others = zip(*single, strict=True)
    states = elements.begin(first)
    found = [states]
    for element in others:
        states = combiner.append(states, element)
        found.append(states)
    return [concat_many(xp, states, axis) for states in zip(*found, strict=True)]


def _block_length(time: int) -> int:
    """Return the length of a block: near the cube root, so that few elements remain if any."""
    root = round(time ** (1 / 3))
    near = range(root - root // 4, root + root // 3 + 1)
    return min(near, key=lambda length: (time % length != 0, abs(length - root)))


def _cut(elements: Elements, length: int) -> tuple[Sequence[Leaves], Leaves]:
    """Cut elements into blocks; return those at each place in a block, and those behind the last.

    There is nothing behind the last block if the second is empty.
    """
    xp, axis, time = elements.xp, elements.axis, elements.time
    count, rest = divmod(time, length)
    leaves = part(elements.leaves, axis, 0, time - rest) if rest else elements.leaves
    shaped = [xp.reshape(x, (*x.shape[:axis], count, length, *x.shape[axis + 1 :])) for x in leaves]
    columns = [*zip(*map(unstack_of(xp, axis + 1), shaped), strict=True)]
    return columns, part(elements.leaves, axis, time - rest, None) if rest else ()


def _without_blocks(array: Array, elements: Elements) -> Array:
    axis, shape = elements.axis, array.shape
    return elements.xp.reshape(
        array, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    )


def _joined(elements: Elements, some: Leaves, others: Leaves) -> Leaves:
    if not others:
        return some
    pairs = zip(some, others, strict=True)
    return [elements.xp.concat(pair, axis=elements.axis) for pair in pairs]
