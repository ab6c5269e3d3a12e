"""The little that is needed on top of optree: taking nests apart and putting them together."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import optree
from optree import PyTreeSpec

from arrayrnn._compilers import is_compiling
from arrayrnn._foreign import adopted, in_native_order, is_packed
from arrayrnn._typing import Array

__all__ = [
    "NAMESPACE",
    "Nest",
    "NestMismatchError",
    "Paths",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
]

# Where containers are looked for that optree knows for this package alone.
NAMESPACE = "arrayrnn"
_LEAF = object()


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of a nest, whatever they are."""
    return tree_flatten(tree)[0]


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the nest of what `function` gives for each leaf."""
    leaves, spec = tree_flatten(tree)
    return spec.unflatten([*map(function, leaves)])


def tree_flatten(tree: Any) -> tuple[list[Any], PyTreeSpec]:
    """Return the leaves of a nest, whatever they are, and its structure."""
    if is_compiling():
        return optree.tree_flatten(tree, namespace=NAMESPACE)
    leaves, spec = optree.tree_flatten(tree, is_leaf=is_packed, namespace=NAMESPACE)
    if adopted(leaves, NAMESPACE):
        return tree_flatten(tree)
    return leaves, spec


class NestMismatchError(ValueError):
    """A nest is not of the structure it should have."""


class Nest:
    """The structure of a nest.

    Attributes
    ----------
    leaves : callable
        Takes a nest of this structure apart; lists and tuples are interchangeable in it. Compares
        the structure only where it has to look at it anyway.
    build : callable
        Puts leaves together to the nest, in its own containers.
    """

    __slots__ = ("build", "is_leaf", "leaves", "spec")

    build: Callable[[Sequence[Any]], Any]
    leaves: Callable[[Any], tuple[Any, ...]]

    def __init__(self, spec: PyTreeSpec) -> None:
        self.spec = spec
        self.is_leaf = spec.is_leaf()
        # The two common structures need no walk through the nest: both run at every timestep.
        if self.is_leaf:
            self.leaves, self.build = _only, itemgetter(0)
        elif spec.type is tuple and all(child.is_leaf() for child in spec.children()):
            self.leaves, self.build = tuple, tuple
        else:
            self.leaves, self.build = self.flatten, spec.unflatten

    @classmethod
    def of(cls, tree: Any) -> tuple[tuple[Array, ...], "Nest"]:
        """Return the leaves of `tree`, in native byte order, and its structure."""
        leaves, spec = tree_flatten(tree)
        return tuple(map(in_native_order, leaves)), cls(spec)

    @property
    def only_child(self) -> "Nest":
        """Return the nest in a nest that holds a single one."""
        (child,) = self.spec.children()
        return Nest(child)

    def paths(self, name: str) -> "Paths":
        """Return for each leaf how one would write it, the nest being called `name`."""
        return Paths(self.spec, name)

    def columns(self, trees: Sequence[Any]) -> list[Sequence[Any]]:
        """Return for each leaf its values in all `trees`."""
        if self.is_leaf:
            return [trees]
        return [*zip(*map(self.flatten, trees), strict=True)]

    def flatten(self, tree: Any) -> tuple[Any, ...]:
        """Take `tree` apart after comparing its structure; raise NestMismatchError."""
        leaves, spec = optree.tree_flatten(tree, namespace=NAMESPACE)
        if not _alike(self.spec, spec):
            raise NestMismatchError
        return tuple(leaves)


class Paths:
    """How one would write the leaves of a nest; found out only for those asked for."""

    __slots__ = ("_name", "_spec")

    def __init__(self, spec: PyTreeSpec, name: str) -> None:
        self._spec, self._name = spec, name

    def __getitem__(self, k: int) -> str:
        return self._spec.accessors()[k].codify(self._name)


def _only(leaf: Any) -> tuple[Any]:
    return (leaf,)


def _alike(one: PyTreeSpec, other: PyTreeSpec) -> bool:
    if not is_compiling() and one == other:
        return True
    if one.is_leaf() or other.is_leaf():
        return one.is_leaf() and other.is_leaf()
    if not (_is_sequence(one) and _is_sequence(other)) and not _same_container(one, other):
        return False
    return one.num_children == other.num_children and all(
        map(_alike, one.children(), other.children())
    )


def _is_sequence(spec: PyTreeSpec) -> bool:
    return spec.type in (tuple, list) or optree.is_namedtuple_class(spec.type)


def _same_container(one: PyTreeSpec, other: PyTreeSpec) -> bool:
    if is_compiling():
        # What Dynamo puts in the place of a PyTreeSpec cannot be compared in PyTorch 2.11, and has
        # neither `kind` nor `one_level`.
        return one.type is other.type and bool(one.entries() == other.entries())
    return _one_level(one) == _one_level(other)


def _one_level(spec: PyTreeSpec) -> PyTreeSpec:
    tree = spec.unflatten([_LEAF] * spec.num_leaves)
    return optree.tree_structure(tree, is_leaf=lambda node: node is not tree, namespace=NAMESPACE)
