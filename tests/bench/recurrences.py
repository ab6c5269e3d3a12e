"""Linear recurrences, time first, and the loops that a user would write for them by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pair = tuple[Any, Any]  # factors and summands


def numbers(xp: Any, *shape: int) -> Pair:
    rng = np.random.default_rng(0)
    return xp.asarray(rng.uniform(0.5, 1, shape)), xp.asarray(rng.normal(size=shape))


def matrices(xp: Any, time: int, n: int) -> Pair:
    """Draw matrices that make vectors of length n shorter, as a rule."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(time, n, n)) / (2 * n**0.5)
    return xp.asarray(a), xp.asarray(rng.normal(size=(time, n)))


def affine(one: Pair, other: Pair) -> Pair:
    """Combine steps ``h -> a * h + b``."""
    (a, b), (a_then, b_then) = one, other
    return a_then * a, a_then * b + b_then


def by_hand(xp: Any, a: Any, b: Any) -> Any:
    h, results = xp.zeros_like(b[0]), []
    if is_torch(b):
        for a_t, b_t in zip(a.unbind(), b.unbind(), strict=True):
            h = a_t * h + b_t
            results.append(h)
    else:
        for t in range(b.shape[0]):
            h = a[t] * h + b[t]
            results.append(h)
    return xp.stack(results)


def by_hand_of_matrices(xp: Any, a: Any, b: Any) -> Any:
    h, results = xp.zeros_like(b[0]), []
    if is_torch(b):
        for a_t, b_t in zip(a.unbind(), b.unbind(), strict=True):
            h = a_t @ h + b_t
            results.append(h)
    else:
        for t in range(b.shape[0]):
            h = a[t] @ h + b[t]
            results.append(h)
    return xp.stack(results)


def combined_by_hand(xp: Any, fn: Callable[[Pair, Pair], Pair], a: Any, b: Any) -> Sequence[Any]:
    """Combine one element after the other with all before it, in slices of length 1."""
    join = xp.concat if hasattr(xp, "concat") else xp.concatenate
    if is_torch(b):
        c, *others = zip(a.split(1), b.split(1), strict=True)
        results = [c]
        for element in others:
            c = fn(c, element)
            results.append(c)
    else:
        c = a[0:1], b[0:1]
        results = [c]
        for t in range(1, b.shape[0]):
            c = fn(c, (a[t : t + 1], b[t : t + 1]))
            results.append(c)
    return [join(leaves) for leaves in zip(*results, strict=True)]


def is_torch(array: Any) -> bool:
    return hasattr(array, "unbind")
