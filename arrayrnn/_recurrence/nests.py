"""Nests of arrays: taken apart, put together again, and named as their caller would."""

from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import array_api_compat
import optree
from optree import PyTreeSpec

from arrayrnn._libraries.foreign import (
    adopted,
    are_plain,
    in_native_order,
    is_packed,
    packed_sequences_exist,
)
from arrayrnn._libraries.torch import is_compiling
from arrayrnn._typing import Array

NAMESPACE = "arrayrnn"  # of containers that optree knows for this package alone
_LEAF = object()


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of a nest, whatever they are."""
    return tree_flatten(tree)[0]


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a nest with `function` applied to each leaf."""
    leaves, spec = tree_flatten(tree)
    return spec.unflatten([*map(function, leaves)])


def tree_flatten(tree: Any) -> tuple[list[Any], PyTreeSpec]:
    """Return the leaves of a nest, whatever they are, and its structure."""
    if is_compiling():
        return optree.tree_flatten(tree, namespace=NAMESPACE)
    is_leaf = is_packed if packed_sequences_exist() else None
    leaves, spec = optree.tree_flatten(tree, is_leaf=is_leaf, namespace=NAMESPACE)
    if adopted(leaves, NAMESPACE):
        return tree_flatten(tree)
    return leaves, spec


class NestMismatchError(ValueError):
    """A nest is not of the structure it should have."""


class Nest:
    """Structure of a nest.

    Attributes
    ----------
    is_leaf, is_flat : bool
        Whether it is an array alone, or a tuple of arrays.
    width : int
        Number of its children.
    leaves : callable
        Takes a nest of this structure apart; lists and tuples are interchangeable in it. Compares
        the structure only where it has to look at it anyway.
    build : callable
        Puts leaves together to a nest, in its own containers.
    """

    __slots__ = ("build", "is_flat", "is_leaf", "leaves", "spec", "width")

    build: Callable[[Sequence[Any]], Any]
    leaves: Callable[[Any], tuple[Any, ...]]

    def __init__(self, spec: PyTreeSpec) -> None:
        self.spec = spec
        self.width = spec.num_children
        self.is_leaf = spec.is_leaf()
        self.is_flat = spec.type is tuple and all(child.is_leaf() for child in spec.children())
        # The two common structures need no walk through the nest: both run at every timestep.
        if self.is_leaf:
            self.leaves, self.build = _only, itemgetter(0)
        elif self.is_flat:
            self.leaves, self.build = tuple, tuple
        else:
            self.leaves, self.build = self.flatten, spec.unflatten

    def __reduce__(self) -> tuple[type["Nest"], tuple[PyTreeSpec]]:
        # The methods of a PyTreeSpec do not travel to another process by themselves.
        return Nest, (self.spec,)

    @classmethod
    def of(cls, tree: Any) -> tuple[tuple[Array, ...], "Nest"]:
        """Return the leaves of a nest, in native byte order, and its structure."""
        if are_plain((tree,)) or array_api_compat.is_array_api_obj(tree):
            return (in_native_order(tree),), _structure_of(None)
        if type(tree) is tuple and tree and are_plain(tree):
            return tuple(map(in_native_order, tree)), _structure_of(len(tree))
        leaves, spec = tree_flatten(tree)
        return tuple(map(in_native_order, leaves)), cls(spec)

    @property
    def only_child(self) -> "Nest":
        """Structure inside a nest that holds a single one."""
        (child,) = self.spec.children()
        return Nest(child)

    def columns(self, trees: Sequence[Any]) -> list[Sequence[Any]]:
        """Return for each leaf its values in all `trees`."""
        if self.is_leaf:
            return [trees]
        return [*zip(*map(self.flatten, trees), strict=True)]

    def flatten(self, tree: Any) -> tuple[Any, ...]:
        """Take a nest apart after comparing its structure; raise NestMismatchError."""
        leaves, spec = optree.tree_flatten(tree, namespace=NAMESPACE)
        if not _alike(self.spec, spec):
            raise NestMismatchError
        return tuple(leaves)


@cache
def _structure_of(count: int | None) -> Nest:
    """Return the structure of a tuple of so many arrays, or of an array alone."""
    tree: Any = _LEAF if count is None else (_LEAF,) * count
    return Nest(optree.tree_structure(tree))


class Named:
    """Leaves of a nest, and the name that the caller knows it by.

    Parameters
    ----------
    leaves, nest
        From `Nest.of`.
    name : str
        Name of the argument, or of what a function returned.
    depth : int
        Levels of `nest` that the caller does not know of.
    returned_by : str
        Name of the function that returned the nest, if one did.
    """

    __slots__ = ("depth", "leaves", "name", "nest", "returned_by")

    def __init__(
        self,
        leaves: Sequence[Any],
        nest: Nest,
        name: str,
        depth: int = 0,
        returned_by: str = "",
    ) -> None:
        self.leaves, self.nest, self.name = leaves, nest, name
        self.depth, self.returned_by = depth, returned_by

    @classmethod
    def of(cls, tree: Any, name: str) -> "Named":
        """Take an argument apart."""
        return cls(*Nest.of(tree), name)

    def path(self, k: int) -> str:
        """Return the `k`-th leaf as one would write it."""
        return self.nest.spec.accessors()[k][self.depth :].codify(self.name)

    def build(self) -> Any:
        """Put the leaves together again."""
        return self.nest.build(self.leaves)

    def replaced(self, leaves: Sequence[Any]) -> "Named":
        """Return other leaves in place of these."""
        return Named(leaves, self.nest, self.name, self.depth, self.returned_by)


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
        # Dynamo's stand-in for a PyTreeSpec cannot be compared in PyTorch 2.11, and has neither
        # `kind` nor `one_level`.
        return one.type is other.type and bool(one.entries() == other.entries())
    return _one_level(one) == _one_level(other)


def _one_level(spec: PyTreeSpec) -> PyTreeSpec:
    tree = spec.unflatten([_LEAF] * spec.num_leaves)
    return optree.tree_structure(tree, is_leaf=lambda node: node is not tree, namespace=NAMESPACE)
