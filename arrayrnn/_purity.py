"""Steps that write into what they are given, or return one buffer again and again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import array_api_compat

from arrayrnn._memory import copied, has_changed, owner, tells_of_writing
from arrayrnn._tree import Nest, tree_flatten
from arrayrnn._typing import Array, Namespace

__all__ = ["Purity"]

_CALLS = 3  # that are watched

Step = Callable[[Any, tuple[Any, ...]], Any]


class Purity:
    """Whether a step is pure, found out at its first three calls.

    There the step works on copies. Those that have changed show a step that writes into what it is
    given; memory that it returns again shows one that returns a buffer, or two in turn. Such a step
    works on copies of its own ever after, and its results are copied, so that they stay what they
    were. Any other is left alone from then on.

    Attributes
    ----------
    is_pure : bool or None
        None as long as that is open.
    """

    is_pure: bool | None

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp
        # What the calls that are watched returned; alive, so that nothing else takes their memory.
        self._returned: list[Sequence[Array]] = []
        self._owners: set[Any] = set()
        # At the call before: what was copied, and the copies. What is handed on needs no other.
        self._lent: Sequence[tuple[Array, Array]] = []
        found = tells_of_writing(xp)
        self.is_pure = True if found is None else None if found else False

    def call(self, step: Step, x_t: Any, states: tuple[Any, ...], nests: tuple[Nest, Nest]) -> Any:
        """Call the step on copies, and return results that nobody will write into.

        `nests` are those of `x_t` and of the states.
        """
        xp, (of_x_t, of_states) = self._xp, nests
        inputs = of_x_t.leaves(x_t)
        models = [*inputs, *of_states.leaves(states)]
        lent, count = [*map(self._lend, models)], len(inputs)
        result = step(of_x_t.build(lent[:count]), of_states.build(lent[count:]))
        leaves, spec = tree_flatten(result)
        own = self._arrays(leaves, lent)
        if self.is_pure is None:
            self._judge(models, lent, own)
        # What the step hands on is still what it came from, unless somebody has written into it.
        known, others = ([], []) if self.is_pure is False else ([*lent], models)
        for leaf in () if self.is_pure else own:
            if not any(leaf is other for other in known):
                known.append(leaf)
                others.append(copied(xp, leaf))
        return spec.unflatten([_in_place_of(leaf, known, others) for leaf in leaves])

    def _lend(self, array: Array) -> Array:
        for model, copy in self._lent:
            if array is model:
                return copy
        return copied(self._xp, array)

    def _judge(
        self, models: Sequence[Array], lent: Sequence[Array], returned: Sequence[Array]
    ) -> None:
        owner_of = partial(owner, self._xp)
        owners = {*map(owner_of, returned)}.difference(map(owner_of, lent))
        if (
            any(map(partial(has_changed, self._xp), lent, models))
            or not owners.isdisjoint(self._owners)
            # An output that is also the state as it was given: zeros were halved in place, say.
            or any(sum(leaf is copy for leaf in returned) > 1 for copy in lent)
        ):
            self.is_pure = False
        elif len(self._returned) == _CALLS - 1:
            self.is_pure = True
        self._owners |= owners
        self._returned.append(returned)
        self._lent = [*zip(models, lent, strict=True)]
        if self.is_pure is not None:
            self._returned, self._owners, self._lent = [], set(), []

    def _arrays(self, leaves: Sequence[Any], like: Sequence[Array]) -> list[Array]:
        """Return those leaves that are arrays of the library."""
        kinds = {*map(type, like)}  # asking each for its namespace takes a while
        return [
            leaf
            for leaf in leaves
            if type(leaf) in kinds
            or (
                array_api_compat.is_array_api_obj(leaf)
                and array_api_compat.array_namespace(leaf) is self._xp
            )
        ]


def _in_place_of(leaf: Any, known: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return what stands for one of the known leaves, and any other as it is."""
    for one, other in zip(known, others, strict=True):
        if leaf is one:
            return other
    return leaf
