"""What is wrong with sequences of different lengths, and with what is to stand in the padding."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import array_api_compat

from arrayrnn._axes import agree, is_fixed, is_open
from arrayrnn._checks.arguments import is_array
from arrayrnn._checks.wording import describe, dtype_name
from arrayrnn._foreign import in_native_order
from arrayrnn._tree import Nest, NestMismatchError, Paths
from arrayrnn._typing import Array, Namespace


def leaves_like(sequence: Any, nest: Nest, k: int) -> tuple[Any, ...]:
    """Take the `k`-th of the sequences apart, of which the first is of the structure of `nest`."""
    try:
        return tuple(map(in_native_order, nest.flatten(sequence)))
    except NestMismatchError:
        raise ValueError(
            f"`sequences[{k}]` is of another structure than `sequences[0]`; expected nests of one "
            "structure in all sequences."
        ) from None


def sequence(leaves: Sequence[Any], paths: Paths) -> None:
    """Check the leaves of one sequence, each ``(time, *features)``."""
    for k, leaf in enumerate(leaves):
        is_array(leaf, paths, k)
        if leaf.ndim < 1:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected (time, ...), at least 1 dimension."
            )
        if not agree(leaf.shape[:1], leaves[0].shape[:1]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; "
                "expected the same length of the first axis in every array of a sequence."
            )


def alike(leaves: Sequence[Array], paths: Paths, first: Sequence[Array], its_paths: Paths) -> None:
    """Compare the features and dtypes of a sequence with those of the first one."""
    for k, (leaf, model) in enumerate(zip(leaves, first, strict=True)):
        if leaf.dtype != model.dtype:
            raise TypeError(
                f"`{paths[k]}` is {describe(leaf)}; expected the dtype of `{its_paths[k]}`, "
                f"{dtype_name(model.dtype)}. Cast one of them."
            )
        if any(map(is_open, leaf.shape[1:])) or not agree(leaf.shape[1:], model.shape[1:]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}, `{its_paths[k]}` is {describe(model)}; "
                "expected (time, ...) of known lengths in all axes but the first, and the same."
            )


def fail_unknown_time(leaf: Any, path: str) -> NoReturn:
    raise ValueError(
        f"`{path}` is {describe(leaf)}, a sequence of unknown length; expected a known one. On "
        "Dask, call its `compute_chunk_sizes()` first."
    )


def fill(xp: Namespace, value: Any, dtype: Any, path: str) -> Any:
    """Return `value` as the Python number that an array of `dtype` holds."""
    if array_api_compat.is_numpy_array(value) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, int | float | complex):
        raise TypeError(f"`value` is {describe(value)}; expected a number.")
    number = _as_held(xp, value, dtype)
    if number is None:
        raise ValueError(
            f"`value` is {value}, which {dtype_name(dtype)}, the dtype of `{path}`, cannot hold; "
            "expected a number that every array can be padded with. Pad the arrays apart, or cast "
            "them first."
        )
    return number


def _as_held(xp: Namespace, value: Any, dtype: Any) -> Any:
    if xp.isdtype(dtype, "bool"):
        return bool(value) if value in (0, 1) else None
    if xp.isdtype(dtype, "complex floating"):
        parts, largest = (value.real, value.imag), float(xp.finfo(dtype).max)
        return complex(value) if all(_within(part, largest) for part in parts) else None
    if isinstance(value, complex):
        return None
    if xp.isdtype(dtype, "integral"):
        info = xp.iinfo(dtype)
        # NaN is not between them, and infinity neither.
        return int(value) if info.min <= value <= info.max and value == int(value) else None
    if xp.isdtype(dtype, "real floating"):
        return float(value) if _within(value, float(xp.finfo(dtype).max)) else None
    return value  # a dtype beyond the standard, of which the library has to know


def _within(value: float, largest: float) -> bool:
    """Tell whether a number does not overflow; NaN and infinities do not."""
    return abs(value) == math.inf or not abs(value) > largest


def outputs_to_cut(leaf: Array, path: str, samples: Any, time: Any) -> None:
    if not is_fixed(samples) or isinstance(time, float):  # nan, as Dask has it
        raise ValueError(
            f"`{path}` is {describe(leaf)}; expected known numbers of samples and timesteps. On "
            "Dask, call its `compute_chunk_sizes()` first."
        )


def fail_unreadable(lengths: Any) -> NoReturn:
    raise TypeError(
        f"`lengths` is {describe(lengths)}, whose values are not known now: it is traced or lazy. "
        "The shapes of what is returned depend on them; expected a list or an array with values, "
        "which a compiled function has to be given as constants."
    )
