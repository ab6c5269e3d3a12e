"""`scan`: the loops without samples and masks, in the form that JAX gave it."""

from collections.abc import Callable
from typing import SupportsIndex, TypeVar

from arrayrnn._compilers import not_compiled
from arrayrnn._reading import problem_of_scan
from arrayrnn.loops import loop_for

__all__ = ["scan"]

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


@not_compiled
def scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None,
    *,
    length: SupportsIndex | None = None,
    reverse: bool = False,
    unroll: bool | int = False,
    checkpoint: SupportsIndex | None = None,
) -> tuple[Carry, Y]:
    """Scan a function over the first axis of arrays while carrying along state.

    It does this, where `init`, `xs` and what `f` returns may be nests of arrays::

        def scan(f, init, xs):
            carry, ys = init, []
            for x in unstack(xs):
                carry, y = f(carry, x)
                ys.append(y)
            return carry, stack(ys)

    Parameters
    ----------
    f : callable
        ``f(carry, x) -> (carry, y)``. `x` is one step of `xs`, ``(*features)``. The new carry has
        the structure, shapes and dtypes of `init`; `y` is an array ``(*features)``, or a nest of
        such, or None. It should be pure; what it returns may alias its arguments.
    init : array or nest of arrays
        The first carry, of any shapes and dtypes. A Python float in it becomes a 0-d array of the
        dtype of the first floating array of `xs` or `init`, an int or bool one of the library's
        default.
    xs : array or nest of arrays, or None
        ``(time, *features)``, of any features and dtypes. None if there are no arrays to scan over.
    length : int, optional
        The number of steps; needed without `xs`.
    reverse : bool, default: False
        Go from the last step to the first. `ys` stays aligned with `xs`.
    unroll : bool or int, default: False
        How libraries with a symbolic loop run it while tracing: False uses it, True does not, an
        integer is its unroll factor. Never changes a result.
    checkpoint : int, optional
        For gradients, keep the carries of every so many steps only, and compute what lies between
        again in backward: less memory, more time, and `f` is called twice. About the square root of
        the number of steps is a good choice. Never changes a result.

    Returns
    -------
    carry : array or nest of arrays
        The last carry, of the structure of `init`.
    ys : array or nest of arrays
        What `f` returned at all steps, ``(time, *features)``.

    Raises
    ------
    ValueError
        If there are no steps; if arrays of `xs`, or `xs` and `length`, disagree on their number; if
        the carry or `y` changes its structure or shape; if devices cannot be mixed.
    TypeError
        If there is no array anywhere; if something is no array or of another library; if the carry
        or `y` changes its dtype: nothing is ever promoted.
    Exception
        What `f` raises, with a note that names the step and says what it was called with.

    Notes
    -----
    After ``jax.lax.scan``
    (https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html), whose result it gives, apart
    from the errors for no steps and for a changed dtype.

    Examples
    --------
    Fibonacci's numbers, and how a balance grows:

    >>> import numpy as np
    >>> from arrayrnn import scan
    >>> def next_pair(pair, _):
    ...     one, other = pair
    ...     return (other, one + other), one
    >>> scan(next_pair, (np.asarray(0), 1), None, length=8)[1]
    array([ 0,  1,  1,  2,  3,  5,  8, 13])
    >>> paid = np.asarray([100.0, 100.0, -50.0])
    >>> def year(balance, x):
    ...     balance = 1.05 * balance + x
    ...     return balance, balance
    >>> scan(year, 0.0, paid)[1]
    array([100.  , 205.  , 165.25])
    """
    problem = problem_of_scan(f, init, xs, length, reverse, unroll, checkpoint)
    result = loop_for(problem)(problem)
    (carry,) = result.states
    return carry, result.outputs
