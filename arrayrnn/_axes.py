"""The axes of time and samples, and lengths that a lazy array leaves open."""

from operator import index
from typing import Any

from arrayrnn._typing import Array, Namespace

__all__ = ["agree", "align", "is_fixed", "is_open", "swap_time_and_samples"]


def align(xp: Namespace, mask: Array, rank: int) -> Array:
    """Return `mask` with axes of length 1 behind its own, to select from arrays of `rank` axes."""
    return mask[(..., *(None,) * (rank - mask.ndim))]


def swap_time_and_samples(xp: Namespace, array: Array) -> Array:
    """Exchange the first two axes."""
    # Not by `moveaxis`: torch.func.vmap has no rule for it.
    return xp.permute_dims(array, (1, 0, *range(2, array.ndim)))


def is_open(length: Any) -> bool:
    """Tell whether a lazy array leaves the length of an axis open, as None or nan."""
    return length is None or length != length


def is_fixed(length: Any) -> bool:
    """Tell whether the length of an axis is a number: not open, and not a symbol."""
    try:
        index(length)
    except Exception:  # TypeError, or what a library raises for its symbols
        return False
    return True


def agree(shape: Any, other: Any) -> bool:
    """Tell whether two shapes are the same as far as they are known."""
    return len(shape) == len(other) and all(
        n == m or is_open(n) or is_open(m) for n, m in zip(shape, other, strict=True)
    )
