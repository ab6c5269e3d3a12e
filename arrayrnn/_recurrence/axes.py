"""Axes of masks and arrays, and lengths that a lazy array leaves open."""

from collections.abc import Sequence
from operator import index
from typing import Any

from arrayrnn._typing import Array, Namespace


def align(xp: Namespace, mask: Array, rank: int) -> Array:
    """Return `mask` with axes of length 1 behind its own, to select from arrays of `rank` axes."""
    return mask[(..., *(None,) * (rank - mask.ndim))]


def is_open(length: Any) -> bool:
    """Tell whether a lazy array leaves the length of an axis open, as None or nan."""
    return length is None or length != length


def is_fixed(length: Any) -> bool:
    """Tell whether the length of an axis is a number: not open, and not a symbol."""
    if type(length) is int:
        return True
    try:
        index(length)
    except Exception:  # TypeError, or whatever a library raises for its symbols
        return False
    return True


def agree(shape: Any, other: Any) -> bool:
    """Tell whether two shapes are the same as far as they are known."""
    return len(shape) == len(other) and all(
        n == m or is_open(n) or is_open(m) for n, m in zip(shape, other, strict=True)
    )


def known(lengths: Sequence[Any]) -> Any:
    """Return a length that lazy arrays may leave open, from all arrays that have it."""
    return next((n for n in lengths if not is_open(n)), lengths[0])
