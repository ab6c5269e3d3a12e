"""Elements combined one after the other by a loop over time, as a recurrence from the first on."""

from collections.abc import Callable

from arrayrnn._combining.elements import Elements, Leaves, part
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Array, Namespace


def scan(elements: Elements, run: Callable[[Problem], Result], words: Words) -> Leaves:
    """Return the states after all elements; `run` iterates over all but the first."""
    xp, axis = elements.xp, elements.axis
    begun = elements.begin(part(elements.leaves, axis, 0, 1))
    if elements.time == 1:
        return begun
    # A slice along the new first axis is one along the axis of time, of length 1.
    others = [
        _moved(xp, xp.expand_dims(x, axis=axis + 1), axis, 0)
        for x in part(elements.leaves, axis, 1, None)
    ]
    inputs, state_nest = (Nest.of(tuple(leaves))[1] for leaves in (others, begun))

    def step(element: Leaves, states: Leaves) -> tuple[Leaves, Leaves]:
        states = tuple(elements.combiner.append(states, element))
        return tuple(xp.squeeze(state, axis=axis) for state in states), states

    problem = Problem(
        xp=xp,
        words=words,
        step=step,
        inputs=Named(others, inputs, words.inputs),
        time=others[0].shape[0],
        start=Carry(begun),
        state_nest=state_nest,
        options=Options(time_major=True),
        has_samples=False,
    )
    found = [_moved(xp, y, 0, axis) for y in run(problem).outputs]
    return [xp.concat(pair, axis=axis) for pair in zip(begun, found, strict=True)]


def _moved(xp: Namespace, array: Array, source: int, target: int) -> Array:
    """Move an axis."""
    order = [k for k in range(array.ndim) if k != source]
    order.insert(target, source)
    return xp.permute_dims(array, tuple(order))
