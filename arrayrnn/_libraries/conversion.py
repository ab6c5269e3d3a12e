"""Arrays from one library to another, and new ones from random numbers."""

from typing import Any

import array_api_compat

from arrayrnn._libraries import host
from arrayrnn._libraries.operations import device_of, namespace_of
from arrayrnn._typing import Array, Namespace

Shapes = dict[str, tuple[int, ...]]


def converted(array: Any, xp: Namespace, *, device: Any, dtype: Any) -> Array:
    """Return an array as one of another library, or on another device, or of another dtype."""
    if not hasattr(xp, "asarray"):
        raise TypeError(
            f"`xp` is {xp!r}; expected the namespace of a library, such as numpy or jax.numpy."
        )
    own_xp, xp = namespace_of(array), array_api_compat.array_namespace(xp.zeros(1))
    if dtype is not None and not xp.isdtype(dtype, "real floating"):
        raise TypeError(f"`dtype` is {dtype}; expected a real floating dtype.")
    if own_xp is not xp:
        if str(array.dtype).endswith("bfloat16"):
            # NumPy does not have it: by way of a wider one.
            array, dtype = own_xp.astype(array, own_xp.float32), dtype or _bfloat16(xp)
        values = host.read(own_xp, array)
        if values is None:
            raise TypeError(
                f"an array of dtype {array.dtype} has no values that could be read now; expected "
                "one that is neither traced nor lazy. Compute it first."
            )
        # A copy, since not every library takes memory that is read-only.
        array = xp.asarray(values.copy(), device=device)
    elif device is not None:
        array = array_api_compat.to_device(array, device)
    return array if dtype is None else xp.astype(array, dtype, copy=False)


def _bfloat16(xp: Namespace) -> Any:
    if not hasattr(xp, "bfloat16"):
        raise TypeError(f"{xp.__name__} has no bfloat16; expected another `dtype`, float32 say.")
    return xp.bfloat16


def drawn(shapes: Shapes, bound: float, like: Any, seed: Any) -> dict[str, Array]:
    """Draw arrays like another, uniform from -bound to bound: the same numbers on any library."""
    xp, generator = namespace_of(like), random_generator(seed)
    return {
        name: xp.asarray(
            generator.uniform(-bound, bound, shape), dtype=like.dtype, device=device_of(like)
        )
        for name, shape in shapes.items()
    }


def random_generator(seed: Any) -> Any:
    """Return a generator of random numbers; of one, itself."""
    import numpy as np

    return np.random.default_rng(seed)
