"""Steps of a linear recurrence as elements: a factor and a summand, numbers or matrices."""

from collections.abc import Sequence
from math import prod
from typing import Any

from arrayrnn._combining.elements import Combiner, Leaves


class ByNumbers(Combiner):
    """Combines steps ``h -> a * h + b``, elementwise. A state is what `b` has come to."""

    def combine(self, one: Leaves, other: Leaves) -> Leaves:
        """Return the steps that do the same as two after one another."""
        (a, b), (a_then, b_then) = one, other
        return self.product(a_then, a), *self.append((b,), (a_then, b_then))

    def append(self, states: Leaves, elements: Leaves) -> Leaves:
        """Return the states after one more step each."""
        ((h,), (a, b)) = states, elements
        return (self.applied(a, h) + b,)

    def begin(self, elements: Leaves) -> Leaves:
        """Return the states after steps from zero."""
        return (elements[1],)

    def applied(self, a: Any, h: Any) -> Any:
        """Return a factor times a state."""
        return a * h

    def product(self, a_then: Any, a: Any) -> Any:
        """Return a factor times the one before."""
        return a_then * a


class ByMatrices(ByNumbers):
    """Combines steps ``h -> a @ h + b``, of vectors."""

    def applied(self, a: Any, h: Any) -> Any:
        """Return a matrix times a vector."""
        return (a @ h[..., None])[..., 0]

    def product(self, a_then: Any, a: Any) -> Any:
        """Return a matrix times the one before."""
        return a_then @ a

    def width(self, shapes: Sequence[Sequence[int]]) -> int:
        """Return how many sums take as long as the products of matrices."""
        *batch, n, _ = shapes[0]
        # A product adds up numbers about 32 times as fast, once it has been begun.
        return prod(batch) * (n**3 // 32 + 32)
