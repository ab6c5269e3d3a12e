"""The axes of time and samples."""

from arrayrnn._typing import Array, Namespace

__all__ = ["align", "swap_time_and_samples"]


def align(xp: Namespace, mask: Array, rank: int) -> Array:
    """Return `mask` with axes of length 1 behind its own, to select from arrays of `rank` axes."""
    return xp.reshape(mask, mask.shape + (1,) * (rank - mask.ndim))


def swap_time_and_samples(xp: Namespace, array: Array) -> Array:
    """Exchange the first two axes."""
    # Not by `moveaxis`: torch.func.vmap has no rule for it.
    return xp.permute_dims(array, (1, 0, *range(2, array.ndim)))
