"""Containers of arrays, known to optree, and to JAX and PyTorch where these are in use."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import optree

# Of a container: its children, whatever else it is, and the name of each child.
Flatten = Callable[[Any], tuple[list[Any], Any, tuple[str, ...]]]
Unflatten = Callable[[Any, Iterable[Any]], Any]

_KNOWN_TO: dict[str, set[type]] = {"jax": set(), "torch": set()}


def register(container: type, flatten: Flatten, unflatten: Unflatten) -> None:
    """Register a type with optree."""
    optree.register_pytree_node(
        container,
        flatten,
        unflatten,
        path_entry_type=optree.GetAttrEntry,
        namespace=optree.registry.__GLOBAL_NAMESPACE,  # noqa: SLF001 # documented so
    )


def register_where_in_use(container: type, flatten: Flatten, unflatten: Unflatten) -> None:
    """Register a type with JAX and PyTorch, those that have been imported, once."""
    for library, known in _KNOWN_TO.items():
        if container not in known and library in sys.modules:
            _REGISTER[library](container, flatten, unflatten)
            known.add(container)


def _register_with_jax(container: type, flatten: Flatten, unflatten: Unflatten) -> None:
    import jax

    def with_keys(node: Any) -> tuple[Any, Any]:
        children, context, names = flatten(node)
        return [*zip(map(jax.tree_util.GetAttrKey, names), children, strict=True)], context

    jax.tree_util.register_pytree_with_keys(
        container, with_keys, unflatten, lambda node: flatten(node)[:2]
    )


def _register_with_torch(container: type, flatten: Flatten, unflatten: Unflatten) -> None:
    # Private, and the only one that `torch.func` asks.
    from torch.utils import _pytree

    def with_keys(node: Any) -> tuple[Any, Any]:
        children, context, names = flatten(node)
        return [*zip(map(_pytree.GetAttrKey, names), children, strict=True)], context

    _pytree.register_pytree_node(
        container,
        lambda node: flatten(node)[:2],
        lambda children, context: unflatten(context, children),
        serialized_type_name=f"{container.__module__}.{container.__qualname__}",
        flatten_with_keys_fn=with_keys,
    )


_REGISTER = {"jax": _register_with_jax, "torch": _register_with_torch}
