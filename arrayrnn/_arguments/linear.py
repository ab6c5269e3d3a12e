"""Arguments of a linear recurrence: factors, summands and an initial state that go together."""

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

from arrayrnn._arguments.masks import Axes, read_length, read_lengths, read_mask
from arrayrnn._libraries.operations import device_of, is_weakly_typed, namespace_of
from arrayrnn._recurrence.axes import agree, is_fixed, is_open
from arrayrnn._recurrence.errors import (
    describe,
    dtype_name,
    expect_together,
    fail_no_array,
    is_array,
)
from arrayrnn._recurrence.mask import placed
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import read_axis
from arrayrnn._typing import Array, Namespace

_A_NUMBER = int | float | complex


class Steps(NamedTuple):
    """Steps of a linear recurrence, ``h -> a * h + b`` or ``h -> a @ h + b``."""

    xp: Namespace
    a: Array  # the axes of `b`, of length 1 where shared; matrices have one more
    b: Array
    initial: Array | None  # with an axis of time of length 1
    axis: int  # of time
    are_matrices: bool

    @property
    def time(self) -> Any:
        """How many timesteps there are."""
        return self.b.shape[self.axis]

    @property
    def samples_axis(self) -> int | None:
        """The first of the other axes that may count something."""
        axis = 0 if self.axis else 1
        return axis if axis < self.b.ndim - self.are_matrices else None


def read_steps(
    a: Any, b: Any, initial: Any, axis: SupportsIndex | None, *, time_major: bool
) -> Steps:
    """Read factors, summands and initial state, and bring them to one dtype."""
    if not is_array(b):
        fail_no_array(b, "b")
    (b,), nest = Nest.of(b)
    named, xp = Named((b,), nest, "b"), namespace_of(b)
    if not xp.isdtype(b.dtype, "numeric"):
        raise TypeError(f"`b` is {describe(b)}; expected integers, or real or complex numbers.")
    a, initial = _read_beside(a, "a", named), _read_beside(initial, "initial", named)
    if a is None:
        fail_no_array(a, "a")
    are_matrices = a.ndim == b.ndim + 1
    number = _read_axis(axis, b, time_major=time_major, are_matrices=are_matrices)
    if is_fixed(b.shape[number]) and b.shape[number] < 1:
        raise ValueError(f"`b` is {describe(b)}, without timesteps; expected at least one.")
    if a.ndim == 0:
        a = xp.reshape(a, (1,) * b.ndim)
    _expect_factors(a, b, are_matrices=are_matrices)
    if initial is not None:
        initial = _with_time(xp, initial, b, number, are_vectors=are_matrices)
    dtype = _common_dtype(xp, {"a": a, "b": b, "initial": initial})
    a, b = (xp.astype(x, dtype, copy=False) for x in (a, b))
    if initial is not None:
        initial = xp.astype(initial, dtype, copy=False)
    return Steps(xp, a, b, initial, number, are_matrices)


def _read_beside(value: Any, name: str, b: Named) -> Any:
    """Read an argument that goes with `b`; a number takes the dtype of `b`."""
    (model,), xp = b.leaves, namespace_of(b.leaves[0])
    if value is None:
        return None
    if isinstance(value, _A_NUMBER) and not is_array(value):
        return _number(value, name, model)
    if not is_array(value):
        fail_no_array(value, name)
    leaves, nest = Nest.of(value)
    expect_together(Named(leaves, nest, name), xp, b)
    if is_weakly_typed(leaves[0]) and xp.result_type(leaves[0], model) == model.dtype:
        return xp.astype(leaves[0], model.dtype)
    return leaves[0]


def _number(value: Any, name: str, model: Array) -> Array:
    """Return a Python number as an array like `model`, which has to hold it."""
    xp, came = namespace_of(model), f"`{name}` is {value!r}, and `b` is {describe(model)}"
    kinds = ("integral", "real floating", "complex floating")
    first = 0 if isinstance(value, int) else 1 if isinstance(value, float) else 2
    if isinstance(value, bool) or not xp.isdtype(model.dtype, kinds[first:]):
        raise TypeError(f"{came}; expected a number of its kind.")
    if xp.isdtype(model.dtype, "integral"):
        limits = xp.iinfo(model.dtype)
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{came}; expected {limits.min} <= {name} <= {limits.max}.")
    number: Array = xp.asarray(value, dtype=model.dtype, device=device_of(model))
    return number


def _read_axis(
    axis: SupportsIndex | None, b: Array, *, time_major: bool, are_matrices: bool
) -> int:
    rank, came = b.ndim - are_matrices, f"`b` is {describe(b)}"
    if axis is None:
        number = 0 if time_major else 1
        if rank <= number:
            axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
            raise ValueError(f"{came}; expected {axes}. If time is another axis: `axis=`.")
        return number
    number = read_axis(axis, "an integer or None")
    if not -b.ndim <= number < b.ndim or number % b.ndim >= rank:
        but = ", but not the last, that of vectors" * are_matrices
        raise ValueError(f"`axis` is {number}, and {came}; expected one of its axes{but}.")
    if time_major and number % b.ndim:
        raise ValueError(
            f"`axis` is {number}, and `time_major` is True, which says 0; expected one of them."
        )
    return number % b.ndim


def _expect_factors(a: Array, b: Array, *, are_matrices: bool) -> None:
    """Expect axes like those of `b`, or of length 1."""
    shared = a.shape[: b.ndim - 1] if are_matrices else a.shape
    fits = len(shared) == b.ndim - are_matrices and all(
        n == 1 or n == m or is_open(n) or is_open(m) for n, m in zip(shared, b.shape, strict=False)
    )
    if are_matrices:
        fits = fits and agree(a.shape[-2:], (b.shape[-1],) * 2)
    if not fits:
        vectors, cure = (*b.shape, *b.shape[-1:]), ""
        if a.ndim < b.ndim and agree(a.shape, b.shape[b.ndim - a.ndim :]):
            cure = f" Shared like that it is `a[{'None, ' * (b.ndim - a.ndim)}...]`."
        elif a.ndim <= b.ndim and agree(a.shape[-2:], b.shape[-1:] * 2):
            cure = f" A shared matrix is `a[{'None, ' * (b.ndim + 1 - a.ndim)}...]`."
        raise ValueError(
            f"`a` is {describe(a)}; expected the shape of `b`, {tuple(b.shape)}, or matrices, "
            f"{vectors}. An axis that shares its factors has length 1.{cure}"
        )


def _with_time(xp: Namespace, initial: Array, b: Array, axis: int, *, are_vectors: bool) -> Array:
    """Return an initial state with an axis of time; a number has all axes, of length 1."""
    if initial.ndim == 0:
        shared = xp.reshape(initial, (1,) * b.ndim)
        return xp.broadcast_to(shared, (*shared.shape[:-1], b.shape[-1])) if are_vectors else shared
    shape = (*b.shape[:axis], *b.shape[axis + 1 :])
    if not agree(initial.shape, shape):
        raise ValueError(
            f"`initial` is {describe(initial)}; expected {shape}, the shape of `b` without time."
        )
    # Not by `expand_dims`, which Dask refuses where lengths are unknown.
    widened: Array = initial[(*(slice(None),) * axis, None, ...)]
    return widened


def _common_dtype(xp: Namespace, arrays: dict[str, Any]) -> Any:
    """Return the dtype that the arrays are promoted to."""
    given = {name: array for name, array in arrays.items() if array is not None}
    integral = [xp.isdtype(array.dtype, "integral") for array in given.values()]
    numeric = [xp.isdtype(array.dtype, "numeric") for array in given.values()]
    if any(integral) != all(integral) or not all(numeric):
        found = ", ".join(f"`{name}` {dtype_name(x.dtype)}" for name, x in given.items())
        raise TypeError(
            f"the dtypes are {found}; expected all integers, or all floating, and none bool. Cast "
            "one of them."
        )
    first, *others = [array.dtype for array in given.values()]
    for other in others:
        first = first if first == other else xp.result_type(first, other)
    return first


def masked(
    steps: Steps, mask: Any, input_length: SupportsIndex | Sequence[int] | Array | None
) -> Steps:
    """Return steps that leave masked samples as they are, cut to an integer `input_length`."""
    if mask is None and input_length is None:
        return steps
    xp, axis, time, samples_axis = steps.xp, steps.axis, steps.time, steps.samples_axis
    length = read_length(input_length, time, "b")
    keep = None
    if mask is not None or length is None:
        if samples_axis is None:
            name = "input_length" if mask is None else "mask"
            raise ValueError(
                f"`{name}` is given for samples, and `b` is {describe(steps.b)}, without samples; "
                "expected (samples, time, ...). For one sample: `b[None]`."
            )
        axes = Axes(steps.b.shape[samples_axis], time, "b")
        if mask is not None:
            keep = read_mask(xp, mask, axes, time_major=axis == 0)
        else:
            others = [k for k in range(steps.b.ndim) if k != axis]
            keep = read_lengths(xp, input_length, axes, xp.permute_dims(steps.b, (axis, *others)))
    if keep is not None:
        own_xp, kept = keep
        _expect_known_together(kept, steps, "input_length" if mask is None else "mask")
        steps = _holding(steps, placed(xp, own_xp, kept, device_of(steps.b), "b"))
    if length is None:
        return steps
    first = (*(slice(None),) * axis, slice(0, length), ...)
    a = steps.a if steps.a.shape[axis] == 1 else steps.a[first]
    return steps._replace(a=a, b=steps.b[first])


def _expect_known_together(keep: Array, steps: Steps, name: str) -> None:
    """Expect chunks of unknown lengths either of both or of none: Dask cannot tell if they fit."""
    beside = (steps.time, steps.b.shape[steps.samples_axis or 0])
    if any(
        isinstance(n, float) != isinstance(m, float)
        for n, m in zip(keep.shape, beside, strict=True)
    ):
        raise ValueError(
            f"`{name}` and `b`, which is {describe(steps.b)}, do not both have chunks of known "
            "lengths. Call `compute_chunk_sizes()` of the other first."
        )


def _holding(steps: Steps, keep: Array) -> Steps:
    """Return steps of which those not kept, ``(time, samples)``, change nothing."""
    xp, a, b, axis = steps.xp, steps.a, steps.b, steps.axis
    if axis:
        keep = xp.permute_dims(keep, (1, 0))
    places = tuple(slice(None) if k in (axis, steps.samples_axis) else None for k in range(b.ndim))
    keep = keep[places]
    nothing = xp.ones_like(a)
    if steps.are_matrices:
        # The axis of vectors becomes one of rows and one of columns.
        nothing = xp.eye(a.shape[-1], dtype=a.dtype, device=device_of(a))
        return steps._replace(
            a=xp.where(keep[..., None], a, nothing), b=xp.where(keep, b, xp.zeros_like(b))
        )
    return steps._replace(a=xp.where(keep, a, nothing), b=xp.where(keep, b, xp.zeros_like(b)))
