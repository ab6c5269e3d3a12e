"""`scan`: a recurrence without samples and masks, in the form that JAX gave it."""

from collections.abc import Callable
from typing import Any, SupportsIndex, TypeVar

import array_api_compat

from arrayrnn._arguments.reading import from_python, read_step
from arrayrnn._libraries.host import index
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._libraries.torch import not_compiled
from arrayrnn._loops import run
from arrayrnn._recurrence.axes import agree, is_fixed, known
from arrayrnn._recurrence.errors import came, describe, expect_axes, expect_together
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options, read_switch
from arrayrnn._recurrence.output import expect_pair
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.words import SCAN, Words

C = TypeVar("C")
X = TypeVar("X")
Y = TypeVar("Y")


@not_compiled
def scan(
    f: Callable[[C, X], tuple[C, Y]],
    init: C,
    xs: X | None,
    *,
    length: SupportsIndex | None = None,
    reverse: bool = False,
    unroll: bool | int = False,
    checkpoint: SupportsIndex | None = None,
) -> tuple[C, Y]:
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
        The second results of `f` at all steps, ``(time, *features)``.

    Raises
    ------
    ValueError
        If there are no steps; if arrays of `xs`, or `xs` and `length`, disagree on their number; if
        the carry or `y` changes its structure or shape; if devices cannot be mixed.
    TypeError
        If there is no array anywhere; if something is no array or of another library; if the carry
        or `y` changes its dtype: nothing is ever promoted.
    Exception
        Any exception of `f`, with a note that names the step and says what `f` was called with.

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
    options = Options(unroll=unroll, time_major=True, checkpoint=checkpoint)
    result = run(problem_of_scan(SCAN, f, init, xs, length, options, reverse=reverse))
    (carry,) = result.states
    return carry, result.outputs


def problem_of_scan(
    words: Words,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: SupportsIndex | None,
    options: Options,
    *,
    reverse: bool,
) -> Problem:
    """Read the arguments of a scan: a recurrence without samples, its carry the only state."""
    read_step(f, words)
    reverse = read_switch(reverse, "reverse")
    inputs = Named.of(xs, words.inputs)
    time = _read_time(inputs, length)
    leaves, state_nest = Nest.of((init,))
    given = words.initial(leaves, state_nest)
    arrays = [k for k, leaf in enumerate(leaves) if array_api_compat.is_array_api_obj(leaf)]
    if inputs.leaves:
        first = inputs
    elif arrays:
        first = Named.of(leaves[arrays[0]], given.path(arrays[0]))
    else:
        raise TypeError(
            "`init` and `xs` hold no array; expected at least one, whose library runs the loop."
        )
    xp = namespace_of(first.leaves[0])
    models = [*inputs.leaves, *(leaves[k] for k in arrays)]
    states = words.initial([from_python(xp, leaf, models) for leaf in leaves], state_nest)
    expect_together(inputs, xp, first)
    expect_together(states, xp, first)

    def step(x: Any, states: tuple[Any]) -> tuple[Any, tuple[Any]]:
        result = f(states[0], x)
        expect_pair(result, words)
        carry, y = result
        return y, (carry,)

    step.__wrapped__ = f  # type: ignore[attr-defined] # whose signature errors look at
    return Problem(
        xp=xp,
        words=words,
        step=step,
        inputs=inputs,
        time=time,
        start=Carry(states.leaves),
        state_nest=state_nest,
        options=options,
        has_samples=False,
        go_backwards=reverse,
        in_input_order=True,
    )


def _read_time(inputs: Named, length: SupportsIndex | None) -> Any:
    """Return the number of steps, after checking the arrays and the length that tell it."""
    leaves = inputs.leaves
    time: Any = None
    if leaves:
        expect_axes(inputs, "(time, ...)", ("time",), 1, _cure_of_rank)
        time = known([leaf.shape[0] for leaf in leaves])
    elif length is None:
        raise ValueError("`xs` holds no array and `length` is not given; expected one of them.")
    if length is not None:
        try:
            number = index(length)
        except TypeError:
            raise TypeError(
                f"`length` is {describe(length)}; expected an integer whose value is known."
            ) from None
        if leaves and not agree((number,), (time,)):
            raise ValueError(
                f"`length` is {number}, and {came(inputs, 0)}; expected {time}, the length of its "
                "first axis, or no `length`."
            )
        time = number
    if is_fixed(time) and time < 1:
        where = came(inputs, 0) if leaves else f"`length` is {time}"
        raise ValueError(f"{where}; expected at least one step.")
    return time


def _cure_of_rank(_: Any) -> str:
    return " What is the same at all steps belongs into `init`, or is closed over."
