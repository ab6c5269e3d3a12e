"""Purity of a step: one may write into what it is given, or return one buffer again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat

from arrayrnn._libraries.foreign import are_plain
from arrayrnn._libraries.memory import copied, has_changed, owner, tells_of_writing
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.nests import Nest, tree_flatten
from arrayrnn._typing import Array, Namespace

_WATCHED_CALLS = 3

Step = Callable[[Any, tuple[Any, ...]], Any]


class Purity:
    """Whether a step is pure, found out at its first three calls.

    These calls work on copies. A changed copy shows a step that writes into what it is given;
    memory that comes back shows one that returns a buffer, or two in turn. Such a step works on
    copies ever after, and its results are copied, so that they stay what they were. Any other step
    is left alone from then on.

    Parameters
    ----------
    is_called_once : bool
        Then no later call can spoil a result, and there is nothing to find out.

    Attributes
    ----------
    is_pure : bool or None
        None as long as that is open.
    is_called_once : bool
        As given.
    """

    is_pure: bool | None

    def __init__(self, xp: Namespace, *, is_called_once: bool = False) -> None:
        self._xp, self.is_called_once = xp, is_called_once
        # Results of the watched calls; alive, so that nothing else takes their memory.
        self._returned: list[Sequence[Array]] = []
        self._owners: set[Any] = set()
        # Arrays that were copied for the last call, each with its copy. A state that is handed on
        # needs no other.
        self._lent: Sequence[tuple[Array, Array]] = ()
        found = tells_of_writing(xp)
        self.is_pure = True if found is None else None if found else False

    def call(self, step: Step, x_t: Any, states: tuple[Any, ...], nests: tuple[Nest, Nest]) -> Any:
        """Call a step on copies, and return results that nobody will write into.

        `nests` are those of `x_t` and of the states.
        """
        of_x_t, of_states = nests
        inputs = of_x_t.leaves(x_t)
        models, count = (*inputs, *of_states.leaves(states)), len(inputs)
        lent = [self._lend(model) for model in models]
        result = step(of_x_t.build(lent[:count]), of_states.build(lent[count:]))
        if self.is_called_once:
            return result
        leaves, build = _apart(result)
        own = self._arrays(leaves, lent)
        if self.is_pure is None:
            self._judge(models, lent, own)
        # A copy that the step hands on stands for its model, unless the step may have written.
        known, stand_ins = ([], []) if self.is_pure is False else ([*lent], [*models])
        for leaf in () if self.is_pure else own:
            if not _is_among(leaf, known):
                known.append(leaf)
                stand_ins.append(copied(self._xp, leaf))
        return build([_stand_in(leaf, known, stand_ins) for leaf in leaves])

    def _lend(self, array: Array) -> Array:
        for model, copy in self._lent:
            if array is model:
                return copy
        return copied(self._xp, array)

    def _judge(
        self, models: Sequence[Array], lent: Sequence[Array], returned: Sequence[Array]
    ) -> None:
        if self._shows_writing(models, lent, returned):
            self.is_pure = False
        elif len(self._returned) == _WATCHED_CALLS - 1:
            self.is_pure = True
        self._returned.append(returned)
        self._lent = [*zip(models, lent, strict=True)]
        if self.is_pure is not None:
            self._returned, self._owners, self._lent = [], set(), ()

    def _shows_writing(
        self, models: Sequence[Array], lent: Sequence[Array], returned: Sequence[Array]
    ) -> bool:
        xp = self._xp
        for copy, model in zip(lent, models, strict=True):
            # An output that is also the state as it was given: zeros were halved in place, say.
            if sum([leaf is copy for leaf in returned]) > 1 or has_changed(xp, copy, model):
                return True
        owners = {*[owner(xp, array) for array in returned]}
        owners -= {*[owner(xp, array) for array in lent]}
        comes_back = not owners.isdisjoint(self._owners)
        self._owners |= owners
        return comes_back

    def _arrays(self, leaves: Sequence[Any], like: Sequence[Array]) -> list[Array]:
        """Return the leaves that are arrays of the library."""
        types = {*map(type, like)}
        if types.issuperset(map(type, leaves)):
            return [*leaves]
        return [
            leaf
            for leaf in leaves
            if type(leaf) in types
            or (array_api_compat.is_array_api_obj(leaf) and namespace_of(leaf) is self._xp)
        ]


def _apart(result: Any) -> tuple[Sequence[Any], Callable[[Sequence[Any]], Any]]:
    """Take what a step returned apart; also return what puts other leaves together."""
    if type(result) is tuple and len(result) == 2:
        output, states = result
        if type(states) is list and are_plain((output, *states)):
            return (output, *states), lambda leaves: (leaves[0], [*leaves[1:]])
    leaves, spec = tree_flatten(result)
    return leaves, spec.unflatten


def _is_among(array: Any, arrays: Sequence[Any]) -> bool:
    return any(other is array for other in arrays)


def _stand_in(leaf: Any, known: Sequence[Any], stand_ins: Sequence[Any]) -> Any:
    """Return the stand-in for one of the known leaves, and any other as it is."""
    for k, one in enumerate(known):
        if leaf is one:
            return stand_ins[k]
    return leaf
