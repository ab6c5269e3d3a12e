"""Operations of the inner loop that a library spells better than its compatible namespace.

One of the few files that name array libraries: each case says why it is there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import array_api_compat

from arrayrnn._typing import Array, Namespace

__all__ = ["timesteps", "unstack_of", "where_of"]


def where_of(xp: Namespace) -> Callable[[Array, Array, Array], Array]:
    """Return ``where`` for two arrays of one dtype."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's finds out the common dtype first, for a tenth of a masked timestep.
        import torch

        return torch.where
    return xp.where


def unstack_of(xp: Namespace) -> Callable[[Any], Sequence[Array]]:
    """Return ``unstack`` along the first axis."""
    if array_api_compat.is_torch_namespace(xp):
        # array-api-compat's goes through `moveaxis`, for which torch.func.vmap has no rule.
        return lambda array: array.unbind(0)
    return partial(xp.unstack, axis=0)


def timesteps(xp: Namespace, time: Any, like: Array, *, device: Any) -> Array:
    """Return 0, 1, … `time` - 1; `like` is an array with so many in its first axis."""
    return xp.arange(time, device=device)
