"""Elements of an associative scan, and what combines them."""

from collections.abc import Callable, Sequence
from math import prod
from operator import index
from typing import Any, NamedTuple

from arrayrnn._recurrence.axes import is_fixed
from arrayrnn._typing import Array, Namespace

Leaves = Sequence[Array]


class Combiner:
    """A way to combine elements, and to bring a state from one element to the next.

    The state after an element is all that is asked of the elements so far. Here it is what they
    combine to; for a linear recurrence it is less, since no factor is needed at the end.
    """

    def combine(self, one: Leaves, other: Leaves) -> Leaves:
        """Combine pairs of elements, the earlier ones in `one`."""
        raise NotImplementedError

    def append(self, states: Leaves, elements: Leaves) -> Leaves:
        """Return the states after one more element each."""
        return self.combine(states, elements)

    def begin(self, elements: Leaves) -> Leaves:
        """Return the states after elements that nothing comes before."""
        return elements

    def for_run(self, _: Namespace) -> "Combiner":
        """Return a combiner for one run."""
        return self

    def width(self, shapes: Sequence[Sequence[int]]) -> int:
        """Return how much there is to compute for an element, in numbers to be added up.

        `shapes` are those of one element.
        """
        return sum(map(prod, shapes))


class Elements(NamedTuple):
    """Arrays of elements along an axis."""

    xp: Namespace
    leaves: Leaves
    axis: int  # of time, in every leaf and every state
    combiner: Combiner
    names: Sequence[str]  # of the leaves, as the caller would write them
    before: Leaves | None = None  # the state before the first, along the axis of length 1
    samples_axis: int | None = None  # places along it have nothing to do with one another

    @property
    def time(self) -> Any:
        """How many elements there are; an int if that is known."""
        length = self.leaves[0].shape[self.axis]
        return index(length) if is_fixed(length) else length  # PyTorch may keep it open

    @property
    def width(self) -> int:
        """How much there is to compute for an element, in numbers to be added up."""
        axis = self.axis
        shapes = [(*x.shape[:axis], *x.shape[axis + 1 :]) for x in self.leaves]
        return self.combiner.width(shapes)

    def begin(self, first: Leaves) -> Leaves:
        """Return the state after the first element."""
        if self.before is None:
            return self.combiner.begin(first)
        return self.combiner.append(self.before, first)

    def for_run(self) -> "Elements":
        """Return the same for one run."""
        return self._replace(combiner=self.combiner.for_run(self.xp))


def part(leaves: Leaves, axis: int, start: int, stop: int | None) -> Leaves:
    """Return some of the elements along an axis."""
    places = (*(slice(None),) * axis, slice(start, stop), ...)
    return [leaf[places] for leaf in leaves]


def turned(scan: Callable[[Elements], Leaves], elements: Elements, *, reverse: bool) -> Leaves:
    """Return what `scan` gives for elements in their own order, or in reverse."""
    if not reverse:
        return scan(elements)
    xp, axis = elements.xp, elements.axis
    found = scan(elements._replace(leaves=[xp.flip(x, axis=axis) for x in elements.leaves]))
    return [xp.flip(state, axis=axis) for state in found]
