"""Copies of arrays, and signs that somebody has written into one."""

import sys
from typing import Any

import array_api_compat

from arrayrnn._libraries import host
from arrayrnn._libraries.operations import is_of_host
from arrayrnn._libraries.torch import is_compiling
from arrayrnn._typing import Array, Namespace


def tells_of_writing(xp: Namespace) -> bool | None:
    """Tell whether arrays show that they were written into; None if nobody can write into them."""
    if array_api_compat.is_jax_namespace(xp):
        return None
    # Writing into a lazy array puts another one into the same Python object. Dynamo follows neither
    # versions nor values.
    is_lazy = array_api_compat.is_dask_namespace(xp) or array_api_compat.is_ndonnx_namespace(xp)
    return not (is_lazy or is_compiling())


def copied(xp: Namespace, array: Any) -> Array:
    """Return a copy, its elements in order; of a lazy array another Python object."""
    if is_of_host(array):
        own: Array = array.copy()
        return own
    if array_api_compat.is_torch_namespace(xp):
        import torch

        copy: Array = array.clone(memory_format=torch.contiguous_format)
        return copy
    if hasattr(array, "copy"):  # keeps more than xp.asarray does, and copies no values on Dask
        of_library: Array = array.copy()
        return of_library
    return xp.asarray(array, copy=True)


def has_changed(xp: Namespace, copy: Any, model: Any) -> bool:
    """Tell whether somebody has written into `copy`, which `copied` made of `model`."""
    if array_api_compat.is_numpy_namespace(xp):
        # Their bytes, compared in a twentieth of the time that `==` takes for a small array.
        return bool(copy.tobytes() != model.tobytes())
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
    found = host.read(xp, xp.astype(xp.all(flags), xp.uint8))
    return found is None or bool(found)


def owner(xp: Namespace, array: Any) -> Any:
    """Return a key that arrays share if they share memory, as far as that can be told."""
    if array_api_compat.is_torch_namespace(xp):
        try:
            return array.untyped_storage()._cdata  # noqa: SLF001 # a fake one has no address
        except (NotImplementedError, RuntimeError):  # a wrapper has no storage
            return id(array)
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return id(array)


def _unwrapped(tensor: Any) -> Any:
    """Return the tensor that `vmap` and the like have wrapped: it is the one that counts."""
    transforms = sys.modules["torch._C._functorch"]
    while transforms.is_functorch_wrapped_tensor(tensor):
        tensor = transforms.get_unwrapped(tensor)
    return tensor
