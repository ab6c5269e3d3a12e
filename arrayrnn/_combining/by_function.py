"""A function of the caller's that combines elements: called on nests, its results checked."""

from collections.abc import Callable, Sequence
from typing import Any

from arrayrnn._combining.elements import Combiner, Leaves, part
from arrayrnn._libraries import host
from arrayrnn._libraries.memory import copied
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._libraries.torch import add_note
from arrayrnn._recurrence.axes import agree
from arrayrnn._recurrence.errors import (
    are_like,
    came,
    expect_like,
    expect_of_library,
    expect_structure,
)
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.notes import briefly
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Array, Namespace


class ByFunction(Combiner):
    """Combines elements by calling a function on nests of slices along an axis.

    For a run it is watched: what it writes into its arguments is kept away from the caller, its
    exceptions get a note, and it has to combine a pair of elements alone as among others. A loop
    around it sees to all that itself.
    """

    def __init__(
        self, function: Callable[[Any, Any], Any], nest: Nest, axis: int, words: Words
    ) -> None:
        self._function, self._nest, self._axis, self._words = function, nest, axis, words
        self._is_watched = self._has_to_show_it_is_slicewise = False
        self._guard: Purity | None = None

    def for_run(self, xp: Namespace) -> "ByFunction":
        """Return a combiner whose function is watched."""
        watched = ByFunction(self._function, self._nest, self._axis, self._words)
        watched._is_watched = watched._has_to_show_it_is_slicewise = True
        watched._guard = Purity(xp)
        return watched

    def combine(self, one: Leaves, other: Leaves) -> Leaves:
        """Combine pairs of elements, the earlier ones in `one`."""
        combined = self._combine(one, other)
        if self._has_to_show_it_is_slicewise and other[0].shape[self._axis] != 1:
            self._has_to_show_it_is_slicewise = False
            self._expect_same_alone(one, other, combined)
        return combined

    def width(self, shapes: Sequence[Sequence[int]]) -> int:
        """Return how much there is to compute, beside a call that is several of the library."""
        return super().width(shapes) // 4

    def _combine(self, one: Leaves, other: Leaves) -> Leaves:
        build, words = self._nest.build, self._words
        try:
            result = self._call(build(one), build(other))
        except Exception as error:
            if not self._is_watched:
                raise
            a, b = (briefly(Named(leaves, self._nest, "")) for leaves in (one, other))
            add_note(
                error,
                f"arrayrnn.{words.name}: `{words.function}` was called with a {a}; b {b}. These "
                f"are slices of `{words.inputs}` along axis {self._axis}, of any length there.",
            )
            raise
        return self._apart(result, other)

    def _call(self, one: Any, other: Any) -> Any:
        guard, function = self._guard, self._function
        if guard is None or guard.is_pure:
            return function(one, other)
        nests = self._nest, Nest.of((one,))[1]
        return guard.call(lambda b, states: function(states[0], b), other, (one,), nests)

    def _apart(self, result: Any, models: Leaves) -> Leaves:
        """Take apart what the function returned, if it is like its arguments."""
        words, inputs = self._words, f"`{self._words.inputs}`"
        if self._nest.is_leaf and are_like((result,), models):
            return (result,)
        seen = f"`{words.function}` returned `{words.output}`,"
        leaves = expect_structure(result, self._nest, seen, inputs)
        if are_like(leaves, models):
            return leaves
        named = words.returned_output(leaves, self._nest)
        expect_of_library(named, namespace_of(models[0]), inputs)
        for k, (leaf, model) in enumerate(zip(leaves, models, strict=True)):
            if not agree(leaf.shape, model.shape):
                raise ValueError(
                    f"{came(named, k)}; expected the shape of its arguments, {tuple(model.shape)}: "
                    f"each holds many elements along axis {self._axis}, which are combined pair by "
                    "pair."
                )
        expect_like(named, models, "the {} of its arguments", self._cure_of_dtype)
        return leaves

    def _cure_of_dtype(self, _: Array) -> str:
        words = self._words
        return (
            f" Cast the result in `{words.function}`, or give `{words.inputs}` the dtype that "
            f"`{words.function}` computes."
        )

    def _expect_same_alone(self, one: Leaves, other: Leaves, combined: Leaves) -> None:
        """Expect of the first and the last pair alone what came of them among others."""
        xp, axis, count = namespace_of(combined[0]), self._axis, other[0].shape[self._axis]
        for place, which in ((0, "first"), (count - 1, "last")):
            pair = [part(leaves, axis, place, place + 1) for leaves in (one, other)]
            # Not by way of the guard, which looks at calls that follow one another.
            given = [self._nest.build([copied(xp, leaf) for leaf in leaves]) for leaves in pair]
            alone = self._apart(self._function(*given), pair[1])
            among = part(combined, axis, place, place + 1)
            for k, found in enumerate(zip(among, alone, *pair, strict=True)):
                if host.plainly_differ(xp, *found):
                    named = self._words.returned_output(combined, self._nest)
                    raise ValueError(
                        f"{came(named, k)}, with other values for the {which} pair of elements "
                        f"than for that pair without the {count - 1} others; expected each pair "
                        f"along axis {axis} to be combined for itself, whatever the length there."
                    )
