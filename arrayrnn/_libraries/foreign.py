"""Arrays and containers that mean more to their library than they seem to."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import array_api_compat
import optree

from arrayrnn._libraries.torch import is_compiling

_ADOPTED: set[type] = set()  # container types
_PLAIN: set[type] = set()  # array types whose arrays are never more than their values


def is_packed(node: Any) -> bool:
    """Tell whether something is a packed sequence of PyTorch: a namedtuple, but no nest."""
    return type(node).__module__ == "torch.nn.utils.rnn"


def packed_sequences_exist() -> bool:
    """Tell whether there can be packed sequences of PyTorch at all."""
    return "torch" in sys.modules


def are_plain(values: Iterable[Any]) -> bool:
    """Tell whether values are arrays of types already known to hold nothing but values."""
    return _PLAIN.issuperset(map(type, values))


def refusal(array: Any) -> str | None:
    """Say why an array cannot be taken for its values alone, and what to pass instead."""
    if type(array) in _PLAIN:
        return None
    if is_packed(array):
        return (
            "a packed sequence. Pass what `torch.nn.utils.rnn.pad_packed_sequence` makes of it, "
            "with the lengths as `input_length`"
        )
    if is_compiling():
        return None
    is_lazy = array_api_compat.is_dask_array(array)
    if is_lazy or array_api_compat.is_numpy_array(array):
        import numpy as np

        if isinstance(array._meta if is_lazy else array, np.ma.MaskedArray):  # noqa: SLF001
            filled = "dask.array.ma.filled(x, 0)" if is_lazy else "x.filled(0)"
            return (
                "a masked array, whose own mask would be lost. Pass filled values, such as "
                f"`{filled}`, and say in `mask=` which timesteps count"
            )
    elif array_api_compat.is_torch_array(array) and array.is_nested:
        return (
            "a nested tensor. Pass what `inputs, lengths = pad_sequences(list(x.unbind()))` gives, "
            "with the lengths as `input_length`"
        )
    # Dask's are of one type, whatever their chunks are.
    if array_api_compat.is_array_api_obj(array) and not (
        is_lazy or array_api_compat.is_torch_array(array)
    ):
        _PLAIN.add(type(array))
    return None


def in_native_order(array: Any) -> Any:
    """Return an array with its numbers in the byte order of this machine."""
    dtype = getattr(array, "dtype", None)
    if getattr(dtype, "isnative", True):
        return array
    return array.astype(dtype.newbyteorder("="))  # type: ignore[union-attr] # NumPy's


def adopted(leaves: Sequence[Any], namespace: str) -> bool:
    """Register with optree the containers among `leaves` that JAX knows; tell if there are any."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "tree_util"):
        return False
    found = False
    for leaf in leaves:
        is_leaf = array_api_compat.is_array_api_obj(leaf) or is_packed(leaf)
        if not is_leaf and not jax.tree_util.all_leaves([leaf]):
            found = True
            if type(leaf) not in _ADOPTED:
                _adopt(leaf, namespace, jax.tree_util)
    return found


def _adopt(example: Any, namespace: str, jax: Any) -> None:
    """Register the type of `example` with optree, as JAX takes it apart."""

    def keys_and_children(node: Any) -> tuple[Any, Any]:
        return jax.tree_flatten_with_path(node, is_leaf=lambda child: child is not node)

    keys = [key for (key,), _ in keys_and_children(example)[0]]
    has_names = all(isinstance(key, jax.GetAttrKey) for key in keys)

    def flatten(node: Any) -> tuple[Any, ...]:
        pairs, spec = keys_and_children(node)
        entries = [key.name for (key,), _ in pairs] if has_names else range(len(pairs))
        return [child for _, child in pairs], spec, entries

    optree.register_pytree_node(
        type(example),
        flatten,
        lambda spec, children: spec.unflatten(children),  # type: ignore[union-attr] # JAX's
        path_entry_type=optree.GetAttrEntry if has_names else optree.FlattenedEntry,
        namespace=namespace,
    )
    _ADOPTED.add(type(example))
