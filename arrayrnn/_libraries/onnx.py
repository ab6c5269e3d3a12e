"""ONNX variables, and what is known of their shapes."""

from typing import Any

import ndonnx
import numpy as np
import spox.opset.ai.onnx.v21 as op

Sizes = tuple[int | None, ...]


def integers(*values: int) -> Any:
    """Return a constant."""
    return op.const(np.asarray(values, dtype=np.int64))


def settle(variable: Any, sizes: Sizes) -> Any:
    """Return a variable of exactly the type that `sizes` give; None is an open length."""
    own = variable.unwrap_tensor().shape
    if own == sizes:
        return variable
    if own is None or any(
        n is not None and size is None for n, size in zip(own, sizes, strict=True)
    ):
        variable = _without_sizes(variable)
    if any(size is not None for size in sizes):
        # 0 leaves a length as it is.
        variable = op.reshape(variable, integers(*(size or 0 for size in sizes)))
    for axis, size in enumerate(sizes):
        if size == 0:
            # A reshape cannot say that a length is 0.
            variable = op.gather(variable, integers(), axis=axis)
    return variable


def _without_sizes(variable: Any) -> Any:
    variable = op.reshape(variable, op.shape(variable))
    known = variable.unwrap_tensor()
    if any(size is not None for size in known.shape):
        # Its values are known, and so is its shape once more. A branch hides them.
        other = np.zeros([0 if size is None or size else 1 for size in known.shape], known.dtype)
        (variable,) = op.if_(
            op.const(np.asarray(True)),
            then_branch=lambda: [variable],
            else_branch=lambda: [op.const(other)],
        )
    return variable


def row_at(array: Any, index: Any) -> Any:
    """Return ``array[index[0] : index[0] + 1]``, or no row if there are none.

    ndonnx's `take` fails at run time if there are none.
    """
    start, stop = index.unwrap_spox(), (index + 1).unwrap_spox()
    row = op.slice(array.unwrap_spox(), start, stop, integers(0))
    rows = ndonnx.asarray(row).shape[0]
    return settle(row, (rows, *array.shape[1:]))


def take_in_rows(array: Any, index: Any) -> Any:
    """Return ``array[s, index[s, t], ...]`` for all ``s`` and ``t``."""
    at = op.unsqueeze(index.unwrap_spox(), integers(2))
    return settle(op.gather_nd(array.unwrap_spox(), at, batch_dims=1), tuple(array.shape))
