"""What a variable of ONNX is known to be like.

One of the few files that name array libraries.
"""

from typing import Any

import ndonnx
import numpy as np
import spox.opset.ai.onnx.v21 as op

__all__ = ["Sizes", "integers", "row_at", "settle", "take_in_rows"]

Sizes = tuple[int | None, ...]


def integers(*values: int) -> Any:
    return op.const(np.asarray(values, dtype=np.int64))


def settle(variable: Any, sizes: Sizes) -> Any:
    """Return a variable of exactly the type that `sizes` give; None is an open one."""
    own = variable.unwrap_tensor().shape
    if own == sizes:
        return variable
    if own is None or any(
        n is not None and size is None for n, size in zip(own, sizes, strict=True)
    ):
        variable = _without_sizes(variable)
    if any(size is not None for size in sizes):
        # 0: as it is.
        variable = op.reshape(variable, integers(*(size or 0 for size in sizes)))
    for axis, size in enumerate(sizes):
        if size == 0:
            # Which a reshape cannot say: nothing of nothing.
            variable = op.gather(variable, integers(), axis=axis)
    return variable


def _without_sizes(variable: Any) -> Any:
    variable = op.reshape(variable, op.shape(variable))
    kind = variable.unwrap_tensor()
    if any(size is not None for size in kind.shape):
        # Its values are known, so that its shape is again. A branch hides them.
        other = np.zeros([0 if size is None or size else 1 for size in kind.shape], kind.dtype)
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
