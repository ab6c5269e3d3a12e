"""Reading the few values that steer a loop, where and how each library allows that.

The standard has no word for "read this array if that can be done now".
"""

import operator
import sys
from typing import TYPE_CHECKING, Any

import array_api_compat

from arrayrnn._libraries.torch import is_compiling
from arrayrnn._typing import Namespace

if TYPE_CHECKING:
    import numpy as np


def to_numpy(values: Any) -> "np.ndarray[Any, Any]":
    """Return a nested sequence of numbers as a NumPy array; of integers if there are none."""
    import numpy as np

    array = np.asarray(values)
    return array if array.size else array.astype(np.int64)


def undisguised(array: Any) -> Any:
    """Return a NumPy array as the tensor that Dynamo makes of it, where it does."""
    if is_compiling():
        import numpy as np
        import torch

        # Dynamo's array has no dtype to ask for, and cannot be told from one of the host.
        return torch.as_tensor(array) if isinstance(array, np.ndarray) else array
    return array


def index(value: Any) -> int:
    """Return an integer; raise TypeError if `value` is none, or has no value yet."""
    if array_api_compat.is_dask_array(value):
        raise TypeError("a Dask array has no value yet")
    if not hasattr(value, "__index__") and array_api_compat.is_array_api_obj(value):
        # A 0-d array of CuPy, say.
        xp = array_api_compat.array_namespace(value)
        is_integer = value.ndim == 0 and xp.isdtype(value.dtype, "integral")
        found = read(xp, value) if is_integer else None
        value = value if found is None else found.item()
    return operator.index(value)


def readable(xp: Namespace, array: Any) -> bool:
    """Tell whether an array has values now, as far as that can be known before reading."""
    if array_api_compat.is_torch_namespace(xp):
        return _torch_readable(array)
    if array_api_compat.is_jax_namespace(xp):
        import jax

        return not isinstance(array, jax.core.Tracer)
    return not (array_api_compat.is_dask_namespace(xp) or array_api_compat.is_ndonnx_namespace(xp))


def has_values(xp: Namespace, array: Any) -> bool:
    """Tell whether an array may be kept for later: it has values, and nothing traces it."""
    if not readable(xp, array):
        return False
    if array_api_compat.is_torch_namespace(xp):
        # Tensors that `vmap`, `grad` and the like trace are worth nothing once they have returned.
        transforms = sys.modules["torch._C._functorch"]
        fakes = sys.modules.get("torch._subclasses.fake_tensor")
        fake = fakes is not None and isinstance(array, fakes.FakeTensor)
        return not (fake or array.is_meta or transforms.is_functorch_wrapped_tensor(array))
    return True


def read(xp: Namespace, array: Any) -> "np.ndarray[Any, Any] | None":
    """Return the values of an array, or None where they cannot be had now.

    PyTorch's of more than one kind of tensor can be had of integers only.
    """
    import numpy as np

    if not readable(xp, array):
        return None
    if array_api_compat.is_numpy_namespace(xp) or array_api_compat.is_jax_namespace(xp):
        return np.asarray(array)
    if array_api_compat.is_torch_namespace(xp):
        return _read_torch(array)
    if array_api_compat.is_cupy_namespace(xp):
        return np.asarray(array.get())
    try:
        return np.from_dlpack(array, device="cpu")
    # Without values every timestep is computed and selected from: right, if slow.
    except (AttributeError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def plainly_differ(xp: Namespace, one: Any, other: Any, *factors: Any) -> bool:
    """Tell whether values differ by more than the rounding of sums and products of `factors`.

    Where they cannot be read now, or are not finite, they do not differ.
    """
    import numpy as np

    values = [value for x in (one, other) if (value := read(xp, x)) is not None]
    if len(values) < 2 or np.array_equal(values[0], values[1]):
        return False
    if not xp.isdtype(one.dtype, ("real floating", "complex floating")):
        return True
    values += [value for x in factors if (value := read(xp, x)) is not None]
    wide = [value.astype(np.result_type(value.dtype, np.float64)) for value in values]
    sizes = [np.abs(value[np.isfinite(value)]).max(initial=0) for value in wide]
    with np.errstate(all="ignore"):
        largest = np.asarray(max(sizes))
        tolerance = np.sqrt(xp.finfo(one.dtype).eps) * largest * (1 + largest)
        difference = np.abs(wide[0] - wide[1])
    return bool((difference[np.isfinite(difference)] > tolerance).any())


def _torch_readable(array: Any) -> bool:
    """Tell whether no tracer would take the values of a tensor for constants of the program."""
    import torch

    proxies = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or (proxies is not None and proxies.get_innermost_proxy_mode() is not None)
        # Reading would invalidate the CUDA graph that is being captured.
        or (array.device.type == "cuda" and torch.cuda.is_current_stream_capturing())
    )


def _read_torch(array: Any) -> "np.ndarray[Any, Any] | None":
    import numpy as np

    try:
        own: np.ndarray[Any, Any] = array.numpy(force=True)
        return own
    except Exception:  # from tensors that wrap another or have no memory, each its own
        pass
    try:
        values = array.reshape(-1).tolist()  # some of these have values all the same
    # `vmap` raises RuntimeError, meta and fake tensors subclasses of it; fake ones of PyTorch 2.4
    # miss a shape environment.
    except (AttributeError, RuntimeError):
        return None
    # Fake tensors with a shape environment answer with symbols.
    symbolic = bool(values) and not isinstance(values[0], int)
    return None if symbolic else np.asarray(values).reshape(array.shape)
