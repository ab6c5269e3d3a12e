"""Handing arrays to JAX and back without copying, where their memory allows it.

Arrays that are handed over have to stay as they are until the results are there; the caller of a
program waits for them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import array_api_compat
import jax
import numpy as np

from arrayrnn._typing import Array, Namespace

# Copying is faster than the exchange below this.
_WORTH_SHARING = 1 << 16  # bytes
_KINDS = "biufc"
_TAKEN: set[Any] = set()  # dtypes of NumPy's that JAX has
# Copying a result is faster than wrapping its memory up to this.
_SMALL = 1 << 13  # bytes
# Memory that XLA is to use as it is has to begin at a multiple of this.
_ALIGNMENT = 64  # bytes


def serves(xp: Namespace) -> bool:
    """Tell whether the arrays of a library can be handed over."""
    return (
        array_api_compat.is_numpy_namespace(xp)
        or array_api_compat.is_torch_namespace(xp)
        or array_api_compat.is_cupy_namespace(xp)
    )


@contextmanager
def as_in(xp: Namespace) -> Iterator[str]:
    """Let JAX compute as `xp` does: on its device, in 64 bits, and in the precision yielded."""
    host = None
    if array_api_compat.is_numpy_namespace(xp):
        host = jax.local_devices(backend="cpu")[0]
    # JAX's own default on a GPU is TF32: 10 bits of each factor of a matrix product.
    precision = "tensorfloat32" if _multiplies_in_tf32(xp) else "highest"
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision(precision),
        jax.default_device(host),
        # Operations on concrete arrays are computed even while JAX traces.
        jax.ensure_compile_time_eval(),
    ):
        yield precision


def _multiplies_in_tf32(xp: Namespace) -> bool:
    """Tell whether a library has been set to round the factors of matrix products on a GPU."""
    if array_api_compat.is_torch_namespace(xp):
        own = sys.modules["torch"].backends.cuda.matmul
        if hasattr(own, "fp32_precision"):  # from PyTorch 2.9 on
            return bool(own.fp32_precision == "tf32")
        return bool(own.allow_tf32)
    if array_api_compat.is_cupy_namespace(xp):
        return int(os.environ.get("CUPY_TF32", "0")) > 0  # as CuPy reads it
    return False


def to_jax(array: Any) -> Any:
    """Return an array as one of JAX's, or as an array of the host that JAX takes.

    Raises TypeError or whatever the libraries raise for what they cannot exchange.
    """
    if array_api_compat.is_numpy_array(array):
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError("its mask would be lost")
        return _from_numpy(np.asarray(array))
    if array_api_compat.is_torch_array(array):
        return _from_torch(array)
    xp = array_api_compat.array_namespace(array)
    # `ascontiguousarray` gives an array without axes one.
    return jax.dlpack.from_dlpack(xp.reshape(xp.ascontiguousarray(array), array.shape))


def _from_numpy(array: "np.ndarray[Any, Any]") -> Any:
    if array.size and 0 in array.strides:
        # What is repeated along an axis is repeated in the program.
        array = array[tuple(slice(None if step else 1) for step in array.strides)]
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.nbytes >= _WORTH_SHARING and array.__array_interface__["data"][0] % _ALIGNMENT == 0:
        flags = array.flags
        # bfloat16 and the like are no dtypes of DLPack's for NumPy.
        if flags.c_contiguous and flags.writeable and array.dtype.kind in _KINDS:
            return jax.dlpack.from_dlpack(array)
    if array.dtype not in _TAKEN:
        jax.typeof(array)  # raises TypeError for a dtype that JAX does not have
        _TAKEN.add(array.dtype)
    return array


def _from_torch(array: Any) -> Any:
    import torch

    if type(array).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise TypeError(f"a {type(array).__name__} computes in a way of its own")
    if torch.autograd.forward_ad.unpack_dual(array).tangent is not None:
        raise TypeError("it carries a tangent of forward-mode differentiation")
    return jax.dlpack.from_dlpack(array.detach().resolve_conj().resolve_neg().contiguous())


def from_jax(xp: Namespace, arrays: Sequence[Any]) -> list[Any]:
    """Return results of a program, of which nobody else knows, as arrays of `xp`."""
    if array_api_compat.is_numpy_namespace(xp):
        return [*map(_to_numpy, arrays)]
    # Elsewhere streams of the device see to the order.
    if arrays and all(device.platform == "cpu" for device in arrays[0].devices()):
        jax.block_until_ready(arrays)
    return [*map(xp.from_dlpack, arrays)]


def _to_numpy(array: Any) -> Array:
    view = np.asarray(array)  # waits, and cannot be written to
    if view.nbytes <= _SMALL or view.dtype.kind not in _KINDS:
        return view.copy()  # two numbers of 4 bits share a byte at XLA's
    return np.asarray(_Memory(array, view.nbytes)).view(view.dtype).reshape(view.shape)


class _Memory:
    """The memory of an array of JAX's on the host: through DLPack NumPy would only read it."""

    def __init__(self, array: Any, size: int) -> None:
        self._array, self._size = array, size  # the array keeps the memory alive

    @property
    def __array_interface__(self) -> dict[str, Any]:
        address = self._array.unsafe_buffer_pointer()
        data = address, False
        return {"version": 3, "typestr": "|u1", "shape": (self._size,), "data": data}
