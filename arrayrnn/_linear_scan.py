"""`linear_scan`: a linear recurrence, in few operations."""

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeVar

from arrayrnn._arguments.linear import Steps, masked, read_steps
from arrayrnn._combining import run
from arrayrnn._combining.elements import Elements
from arrayrnn._combining.linear import ByMatrices, ByNumbers
from arrayrnn._libraries.torch import never_compiled
from arrayrnn._recurrence.axes import is_fixed
from arrayrnn._recurrence.options import read_switch
from arrayrnn._typing import Array

A = TypeVar("A", bound=Array)


@never_compiled
def linear_scan(
    a: Array | complex,
    b: A,
    initial: Array | complex | None = None,
    *,
    mask: Any = None,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    reverse: bool = False,
    time_major: bool = False,
    axis: SupportsIndex | None = None,
) -> A:
    """Run the linear recurrence ``h[t] = a[t] * h[t-1] + b[t]``, or ``a[t] @ h[t-1] + b[t]``.

    It gives what this does, up to rounding, in some tens of operations rather than two for each
    timestep::

        def linear_scan(a, b, initial):
            h, results = initial, []
            for t in range(b.shape[1]):
                h = a[:, t, ...] * h + b[:, t, ...]
                results.append(h)
            return stack(results, axis=1)

    Nothing is divided, and there are no logarithms: factors may be zero or negative, and in long
    sequences rounding errors stay as small as a loop's.

    Parameters
    ----------
    a : array or number
        ``(samples, time, *features)``, the factors, one for each number of `b`; where it has
        length 1 along an axis, they are shared. With one axis more than `b`, ``(samples, time,
        *batch, n, n)``, they are matrices. A number, of the dtype of `b`, is the factor everywhere.
    b : array
        ``(samples, time, *features)``, the summands; with matrices ``(samples, time, *batch, n)``.
        Integers, or floating, real or complex; arrays of two such dtypes are promoted.
    initial : array or number, optional
        ``(samples, *features)``, or one number for all, the state before the first timestep; with
        `reverse`, behind the last. Without it `h` begins with `b`, whatever the first factor is.
    mask : array or nested list, optional
        ``(samples, time)`` or ``(samples, time, 1)``, of bool or any real dtype: where it is False
        or zero, the sample keeps its state. Neither `a` nor `b` matters there, not for gradients
        either. Its two axes have the order that they have in `b`.
    input_length : int, or array or list of ints, optional
        An integer: only so many first timesteps exist, and are returned. One for each sample,
        ``(samples,)``: sample ``s`` is masked at ``t >= input_length[s]``; ignored if there is a
        `mask`.
    reverse : bool, default: False
        Go from the last timestep to the first. Results stay aligned with `b`.
    time_major : bool, default: False
        `a`, `b`, `mask` and the result are ``(time, samples, *features)``.
    axis : int, optional
        The axis of time in `b`, by default 1, or 0 with `time_major`. The first of the other axes
        counts the samples; there need not be any.

    Returns
    -------
    h : array
        The states after all timesteps, ``(samples, time, *features)``.

    Raises
    ------
    ValueError
        If shapes do not go together, there are no timesteps, or an argument is out of range, as
        far as values can be read; if devices cannot be mixed.
    TypeError
        If something is no array or of another library, or the dtypes do not go together.

    See Also
    --------
    associative_scan : What it is built on.
    rnn : Any step function.

    Notes
    -----
    When a loop is faster: ``docs/guide/associative_scan.md``. Factors are multiplied over stretches
    of the sequence. If such a product overflows, or a factor is infinite, there may be NaN where a
    loop has a number.

    Examples
    --------
    An exponential moving average, in which the second sequence has a gap:

    >>> import numpy as np
    >>> from arrayrnn import linear_scan
    >>> x = np.asarray([[4.0, 8.0, 6.0, 2.0], [2.0, np.nan, 1.0, 1.0]])
    >>> linear_scan(0.5, 0.5 * x, mask=~np.isnan(x))
    array([[2.  , 5.  , 5.5 , 3.75],
           [1.  , 1.  , 1.  , 1.  ]])
    """
    reverse = read_switch(reverse, "reverse")
    time_major = read_switch(time_major, "time_major")
    steps = masked(read_steps(a, b, initial, axis, time_major=time_major), mask, input_length)
    elements = Elements(
        steps.xp,
        (_of_all_timesteps(steps), steps.b),
        steps.axis,
        ByMatrices() if steps.are_matrices else ByNumbers(),
        names=("a", "b"),
        before=None if steps.initial is None else (steps.initial,),
        samples_axis=steps.samples_axis,
    )
    h: A
    (h,) = run(elements, reverse=reverse)  # type: ignore[assignment] # of the library of `b`
    return h


def _of_all_timesteps(steps: Steps) -> Array:
    """Return factors that have the axis of time, also if all timesteps share them."""
    xp, a, b, axis, time = steps.xp, steps.a, steps.b, steps.axis, steps.time
    if a.shape[axis] == time or a.shape[axis] != 1:
        return a
    if is_fixed(time):
        return xp.broadcast_to(a, (*a.shape[:axis], time, *a.shape[axis + 1 :]))
    # A length that is known later comes from an array that has it.
    like = b[tuple(slice(None) if k == axis else slice(0, 1) for k in range(b.ndim))]
    zeros = xp.zeros_like(like)
    return a + (zeros[..., None] if steps.are_matrices else zeros)
