"""`rnn`, `scan` and `associative_scan` as compiled programs, for NumPy, CuPy and PyTorch.

The step is called once, on stand-ins for arrays of one timestep, and what it computes is written
down; JAX compiles the loop around it, and the results come back as arrays of the caller's library,
on the caller's device. What else a step does happens once, and it cannot decide by values.

Compiled programs are kept for the next call in which the step computes the same on arrays of the
same shapes and dtypes, whatever their values, and whichever function it is.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

from arrayrnn._arguments.reading import read_inputs
from arrayrnn._associative_scan import elements_of
from arrayrnn._combining import loop
from arrayrnn._combining.elements import Elements, Leaves, turned
from arrayrnn._libraries.torch import never_compiled
from arrayrnn._recurrence.options import Options, read_switch
from arrayrnn._recurrence.problem import Problem, Result
from arrayrnn._recurrence.words import COMPILED_ASSOCIATIVE_SCAN, COMPILED_RNN, COMPILED_SCAN
from arrayrnn._scan import problem_of_scan
from arrayrnn._typing import Array, Input, Output, StepFunction
from arrayrnn.compiled._errors import fail_missing

if TYPE_CHECKING:
    from arrayrnn.compiled._programs import CacheInfo

__all__ = ["associative_scan", "cache_clear", "cache_info", "rnn", "scan"]

_LEAST_JAX = (0, 9, 2)  # of the extra `compiled`, too

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")
E = TypeVar("E")


@never_compiled
def rnn(
    step_function: StepFunction[Input, Output],
    inputs: Input,
    initial_states: Sequence[Any] | Array,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool | int = False,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    *,
    initial_output: Output | None = None,
    samplewise: bool | None = None,
    checkpoint: SupportsIndex | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> tuple[Output, Output, list[Any]]:
    """Iterate a step function over the time dimension of arrays, in a compiled program.

    Parameters and results are those of `arrayrnn.rnn`, with these differences.

    Parameters
    ----------
    step_function : callable
        Called once, for a single timestep: its arrays have shapes and dtypes, ``(samples,
        *features)``, and no values. Operators, methods, the functions of
        ``array_namespace(input_t)``, and NumPy's or PyTorch's by name work, with arrays that the
        step closes over, too.
    constants : list or tuple, optional
        Arrays among them come to the step without values, like the inputs. Anything else comes as
        it is, and is part of the program by what the step does with it.
    unroll : bool or int, default: False
        Compile a loop, the whole sequence (True), or a loop of so many timesteps at once; on a GPU
        False means 16.
    checkpoint : int, optional
        Counts where gradients are asked for, in the program that computes them: it saves the states
        of every so many timesteps for backward. `unroll=True` unrolls what lies between them.
    progress : bool or callable, optional
        Is not called.

    Returns
    -------
    last_output, outputs, new_states
        As from `arrayrnn.rnn`: arrays of the library and on the device of the inputs, with memory
        of their own. On PyTorch gradients flow to inputs, states, constants, and tensors that the
        step closes over, once.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        If the arrays are of another library, or JAX cannot take one of them; if the step asks for
        values, writes into an array or calls a function that is not known: what to write instead.
    Exception
        Any exception of `arrayrnn.rnn` and of the step function.

    Notes
    -----
    The first call for a structure compiles, for a tenth of a second or more. Which loop is for
    what: ``docs/guide/compiled.md``.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import compiled
    >>> decay = np.asarray([0.5, 0.9])
    >>> def step(x_t, states):
    ...     h = decay * states[0] + np.tanh(x_t)
    ...     return h, [h]
    >>> x = np.ones((1, 10_000, 2))
    >>> last, outputs, states = compiled.rnn(step, x, [np.zeros((1, 2))])
    >>> last.round(3)
    array([[1.523, 7.616]])
    """
    options = Options(
        constants=constants,
        unroll=unroll,
        time_major=time_major,
        zero_output_for_mask=zero_output_for_mask,
        return_all_outputs=return_all_outputs,
        samplewise=samplewise,
        checkpoint=checkpoint,
        progress=progress,
    )
    shared = read_inputs(COMPILED_RNN, inputs, mask, input_length, options)
    result = run_problem(
        shared.problem(
            COMPILED_RNN, step_function, initial_states, initial_output, go_backwards=go_backwards
        )
    )
    return result.last_output, result.outputs, list(result.states)


@never_compiled
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
    """Scan a function over the first axis of arrays while carrying along state, compiled.

    Parameters and results are those of `arrayrnn.scan`, with these differences.

    Parameters
    ----------
    f : callable
        Called once, for a single step: its arrays have shapes and dtypes, ``(*features)``, and no
        values. It may call and close over what a step of `compiled.rnn` may.
    unroll : bool or int, default: False
        Compile a loop, the whole sequence (True), or a loop of so many steps at once; on a GPU
        False means 16.
    checkpoint : int, optional
        Counts where gradients are asked for, in the program that computes them: it saves the
        carries of every so many steps for backward. `unroll=True` unrolls what lies between them.

    Returns
    -------
    carry, ys
        As from `arrayrnn.scan`: arrays of the library and on the device of the arguments, with
        memory of their own. On PyTorch gradients flow to `init`, `xs`, and tensors that `f` closes
        over, once.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        If the arrays are of another library, or JAX cannot take one of them; if `f` asks for
        values, writes into an array or calls a function that is not known: what to write instead.
    Exception
        Any exception of `arrayrnn.scan` and of `f`.

    Notes
    -----
    After ``jax.lax.scan``
    (https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html).

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import compiled
    >>> def year(balance, paid):
    ...     balance = 1.05 * balance + paid
    ...     return balance, balance
    >>> balance, balances = compiled.scan(year, 0.0, np.asarray([100.0, 100.0, -50.0]))
    >>> balances
    array([100.  , 205.  , 165.25])
    """
    options = Options(unroll=unroll, time_major=True, checkpoint=checkpoint)
    problem = problem_of_scan(COMPILED_SCAN, f, init, xs, length, options, reverse=reverse)
    result = run_problem(problem)
    (carry,) = result.states
    return carry, result.outputs


@never_compiled
def associative_scan(
    fn: Callable[[E, E], E], elems: E, *, reverse: bool = False, axis: SupportsIndex = 0
) -> E:
    """Combine each element with all before it, in a compiled loop.

    Parameters and results are those of `arrayrnn.associative_scan`, with these differences. The
    loop goes from one element to the next: on a CPU no other order computes less. On a GPU
    `arrayrnn.associative_scan` takes far fewer turns.

    Parameters
    ----------
    fn : callable
        Called once, on slices of length 1 along `axis`, which have shapes and dtypes and no values.
        It may call and close over what a step of `compiled.rnn` may, and need not be associative.

    Returns
    -------
    results : array or nest of arrays
        Like `elems`. On PyTorch gradients flow to `elems`, and to tensors that `fn` closes over,
        once.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        If the arrays are of another library, or JAX cannot take one of them; if `fn` asks for
        values, writes into an array or calls a function that is not known: what to write instead.
    Exception
        Any exception of `arrayrnn.associative_scan` and of `fn`.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import compiled
    >>> compiled.associative_scan(np.maximum, np.asarray([3, 1, 4, 1, 5]))
    array([3, 3, 4, 4, 5])
    """
    words = COMPILED_ASSOCIATIVE_SCAN
    named, elements = elements_of(words, fn, elems, axis)

    def scan(elements: Elements) -> Leaves:
        return loop.scan(elements, run_problem, words)

    found = turned(scan, elements, reverse=read_switch(reverse, "reverse"))
    results: E = named.nest.build(found)
    return results


def cache_info() -> "CacheInfo":
    """Tell how often there was a program for a call, and how many are kept.

    Returns
    -------
    CacheInfo
        A named tuple: `hits` and `misses`, calls for which there was a program and for which one
        was compiled; `maxsize` and `currsize`, how many programs are kept at most and now.

    Examples
    --------
    >>> from arrayrnn import compiled
    >>> compiled.cache_clear()
    >>> compiled.cache_info()
    CacheInfo(hits=0, misses=0, maxsize=128, currsize=0)
    """
    return _cache().info()


def cache_clear() -> None:
    """Forget all compiled programs, and the counts of `cache_info`.

    Examples
    --------
    >>> from arrayrnn import compiled
    >>> compiled.cache_clear()
    """
    _cache().clear()


def run_problem(problem: Problem) -> Result:
    """Run a problem as one compiled program."""
    _expect_jax()
    from arrayrnn.compiled import _run

    return _run.run(problem)


def _cache() -> Any:
    _expect_jax()
    from arrayrnn.compiled._programs import CACHE

    return CACHE


def _expect_jax() -> None:
    try:
        import jax
    except ImportError as error:
        fail_missing(_LEAST_JAX, error)
    if jax.__version_info__ < _LEAST_JAX:
        fail_missing(_LEAST_JAX)
