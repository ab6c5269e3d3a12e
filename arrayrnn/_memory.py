"""Copies of arrays, and what tells that somebody has written into one.

One of the few files that name array libraries.
"""

import sys
from typing import Any

import array_api_compat

from arrayrnn import _host
from arrayrnn._compilers import is_compiling
from arrayrnn._typing import Array, Namespace

__all__ = ["copied", "has_changed", "owner", "tells_of_writing"]


def tells_of_writing(xp: Namespace) -> bool | None:
    """Tell whether it can be found out, on what arrays hold, that they were written into.

    None says that they never are.
    """
    if array_api_compat.is_jax_namespace(xp):
        return None
    # A lazy array is another one afterwards, in the same Python object, and Dynamo follows neither
    # versions nor values.
    is_lazy = array_api_compat.is_dask_namespace(xp) or array_api_compat.is_ndonnx_namespace(xp)
    return not (is_lazy or is_compiling())


def copied(xp: Namespace, array: Any) -> Array:
    """Return a copy of an array, its elements in order; of a lazy one another Python object."""
    if array_api_compat.is_torch_namespace(xp):
        import torch

        copy: Array = array.clone(memory_format=torch.contiguous_format)
        return copy
    if hasattr(array, "copy"):  # keeps what xp.asarray would lose, and copies no values of Dask
        own: Array = array.copy()
        return own
    return xp.asarray(array, copy=True)


def has_changed(xp: Namespace, copy: Any, model: Any) -> bool:
    """Tell whether somebody has written into what `copied` made of `model`."""
    if array_api_compat.is_torch_namespace(xp):
        copy = _unwrapped(copy)
        if not copy.is_inference():  # which counts nothing
            return bool(copy._version)  # noqa: SLF001 # counts what is done in place
        if copy.equal(_unwrapped(model)):
            return False
    if _all(xp, copy == model):
        return False
    both_nan = (copy != copy) & (model != model)
    return not _all(xp, (copy == model) | both_nan)


def _all(xp: Namespace, flags: Any) -> bool:
    """Tell whether all flags are True, or cannot be read."""
    if array_api_compat.is_numpy_namespace(xp):
        return bool(flags.all())
    found = _host.read(xp, xp.astype(xp.all(flags), xp.uint8))
    return found is None or bool(found)


def owner(xp: Namespace, array: Any) -> Any:
    """Return what is equal for two arrays that share memory, as far as that can be told."""
    if array_api_compat.is_torch_namespace(xp):
        try:
            return array.untyped_storage()._cdata  # noqa: SLF001 # a fake one has no address
        except (NotImplementedError, RuntimeError):  # a wrapper has no storage
            return id(array)
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return id(array)


def _unwrapped(tensor: Any) -> Any:
    """Return what `vmap` and the like have wrapped: they count on that."""
    transforms = sys.modules["torch._C._functorch"]
    while transforms.is_functorch_wrapped_tensor(tensor):
        tensor = transforms.get_unwrapped(tensor)
    return tensor
