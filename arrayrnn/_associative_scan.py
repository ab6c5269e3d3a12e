"""`associative_scan`: elements combined with all before them, in few operations."""

from collections.abc import Callable
from typing import Any, SupportsIndex, TypeVar

from arrayrnn._arguments.reading import read_step
from arrayrnn._combining import run
from arrayrnn._combining.by_function import ByFunction
from arrayrnn._combining.elements import Elements
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._libraries.torch import never_compiled
from arrayrnn._recurrence.axes import agree, is_fixed, known
from arrayrnn._recurrence.errors import (
    came,
    expect_arrays,
    expect_together,
    fail_no_array,
)
from arrayrnn._recurrence.nests import Named
from arrayrnn._recurrence.options import read_axis, read_switch
from arrayrnn._recurrence.words import ASSOCIATIVE_SCAN, Words

E = TypeVar("E")


@never_compiled
def associative_scan(
    fn: Callable[[E, E], E], elems: E, *, reverse: bool = False, axis: SupportsIndex = 0
) -> E:
    """Combine each element with all before it, by an associative function, in few operations.

    It gives what this does, where `elems` and what `fn` returns may be nests of arrays::

        def associative_scan(fn, elems):
            c, results = elems[0:1], [elems[0:1]]
            for t in range(1, elems.shape[0]):
                c = fn(c, elems[t : t + 1])
                results.append(c)
            return concat(results)

    `fn` is called some tens of times, on many elements at once, rather than once for each. That
    needs an associative function: ``fn(fn(a, b), c)`` and ``fn(a, fn(b, c))`` are the same, as for
    sums, products, products of matrices, maxima, and the steps of a linear recurrence. It need not
    be commutative.

    Parameters
    ----------
    fn : callable
        ``fn(a, b) -> c``. `a` and `b` are slices of `elems` along `axis`, of equal, arbitrary
        length, those in `a` from earlier; `c` holds what each pair of elements combines to, in the
        structure, shapes and dtypes of `b`. It should be pure; `c` may alias `a` and `b`.
    elems : array or nest of arrays
        The elements, ``(..., time, ...)`` with time at `axis`, of any shapes and dtypes besides.
    reverse : bool, default: False
        Go from the last element to the first. Results stay aligned with `elems`.
    axis : int, default: 0
        The axis of time, the same in all arrays. A negative one counts from the end of the first
        array, as in JAX.

    Returns
    -------
    results : array or nest of arrays
        Like `elems`: at each place what all elements up to there combine to. They are those of the
        loop above, up to rounding, since the elements are grouped differently.

    Raises
    ------
    ValueError
        If there are no elements, or arrays disagree on their number; if `axis` is out of range; if
        `fn` returns another structure or shape; if devices cannot be mixed.
    TypeError
        If something is no array or of another library, or `fn` returns another dtype: nothing is
        ever promoted.
    Exception
        Any exception of `fn`, with a note that says what `fn` was called with.

    See Also
    --------
    linear_scan : A linear recurrence, with masks and lengths.
    scan : Any function, one step after the other.

    Notes
    -----
    Which of them is faster when: ``docs/guide/associative_scan.md``. After
    ``jax.lax.associative_scan``
    (https://docs.jax.dev/en/latest/_autosummary/jax.lax.associative_scan.html).

    Examples
    --------
    Products of all matrices so far, and a running maximum from the end:

    >>> import numpy as np
    >>> from arrayrnn import associative_scan
    >>> shears = np.asarray([[[1, 1], [0, 1]], [[1, 0], [2, 1]], [[1, 3], [0, 1]]])
    >>> associative_scan(lambda a, b: b @ a, shears)[-1]
    array([[ 7, 10],
           [ 2,  3]])
    >>> associative_scan(np.maximum, np.asarray([3, 1, 4, 1, 5, 2]), reverse=True)
    array([5, 5, 5, 5, 5, 2])
    """
    named, elements = elements_of(ASSOCIATIVE_SCAN, fn, elems, axis)
    results: E = named.nest.build(run(elements, reverse=read_switch(reverse, "reverse")))
    return results


def elements_of(
    words: Words, fn: Callable[[Any, Any], Any], elems: Any, axis: SupportsIndex
) -> tuple[Named, Elements]:
    """Read the arguments of an associative scan: its elements as they came, and to be combined."""
    read_step(fn, words)
    named = Named.of(elems, words.inputs)
    if elems is None:
        fail_no_array(elems, named.name)
    if not named.leaves:
        raise ValueError(f"`{named.name}` is an empty nest; expected at least one array.")
    expect_arrays(named)
    number = _read_axis(axis, named)
    _expect_same_time(named, number)
    xp = namespace_of(named.leaves[0])
    expect_together(named, xp, named)
    names = [*map(named.path, range(len(named.leaves)))]
    by_function = ByFunction(fn, named.nest, number, words)
    return named, Elements(xp, named.leaves, number, by_function, names)


def _read_axis(axis: SupportsIndex, named: Named) -> int:
    number = read_axis(axis, "an integer")
    rank = named.leaves[0].ndim
    if rank == 0:
        raise ValueError(f"{came(named, 0)}; expected an axis of time, at least 1 dimension.")
    if not -rank <= number < rank:
        raise ValueError(
            f"`axis` is {number}, and {came(named, 0)}; expected {-rank} <= axis < {rank}."
        )
    return number % rank


def _expect_same_time(named: Named, axis: int) -> None:
    """Expect arrays that all have the axis of time, and as many elements along it."""
    for k, leaf in enumerate(named.leaves):
        if leaf.ndim <= axis:
            raise ValueError(
                f"{came(named, k)}; expected at least {axis + 1} dimension{'s' * (axis > 0)}: time "
                f"is axis {axis} of every array. What is the same for all elements is closed over."
            )
    lengths = [leaf.shape[axis] for leaf in named.leaves]
    time = known(lengths)
    for k, length in enumerate(lengths):
        if not agree((length,), (time,)):
            raise ValueError(
                f"{came(named, k)}, {came(named, 0)}; expected the same length along axis {axis}, "
                f"that of time, in every array of `{named.name}`."
            )
    if is_fixed(time) and time < 1:
        raise ValueError(f"{came(named, 0)}; expected at least one element along axis {axis}.")
