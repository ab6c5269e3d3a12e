"""Notes on an exception of a step: the timestep at which it came, and what the step was given."""

import inspect
from typing import TYPE_CHECKING, Any

from arrayrnn._libraries.torch import add_note, is_compiling
from arrayrnn._recurrence.errors import Spec, dtype_name
from arrayrnn._recurrence.nests import Named
from arrayrnn._recurrence.words import Words

if TYPE_CHECKING:
    from arrayrnn._recurrence.problem import Problem


def note(
    error: Exception, problem: "Problem", t: int | None, *, is_raised_by_step: bool = False
) -> None:
    """Note at which timestep an exception came; None if all are traced as one."""
    if is_compiling():
        return
    words = problem.words
    if t is None:
        when = f"while tracing `{words.function}` for all timesteps"
    else:
        direction = ", going backwards" if problem.go_backwards else ""
        when = f"at timestep {t} of {problem.time}, counted from 0{direction}"
    called = f" {called_with(problem)}" if is_raised_by_step else ""
    add_note(error, f"arrayrnn.{words.name}: {when}.{called}")


def called_with(problem: "Problem") -> str:
    """Say what a step is called with, and how it has to be written if it is not."""
    words, rows, inputs = problem.words, problem.rows, problem.inputs
    given_rows = () if rows is None else (rows,)
    input_t = [Spec((*given_rows, *x.shape[1 + len(given_rows) :]), x.dtype) for x in inputs.leaves]
    given = [
        f"{words.input_t} {briefly(Named(input_t, inputs.nest, ''))}",
        f"{words.states} {briefly(Named(problem.start.states, problem.state_nest, ''))}",
    ]
    if words.takes.startswith(words.states):
        given.reverse()
    if count := len(problem.options.constants):
        given.append(f"constants: {count} value{'s' * (count != 1)}")
    called = f"`{words.function}` was called with {'; '.join(given)}."
    if _takes_others(problem.step, words):
        called += f" It is called as `{words.function}({words.takes})`."
    return called


def briefly(named: Named) -> str:
    """Give shapes and dtypes; places in the nest where they tell anything."""
    briefly = [f"{tuple(leaf.shape)} {dtype_name(leaf.dtype)}" for leaf in named.leaves]
    if len(briefly) > 1:
        briefly = [f"{named.path(k)} {leaf}".lstrip("* ") for k, leaf in enumerate(briefly)]
    return ", ".join(briefly) or "none"


def _takes_others(function: Any, words: Words) -> bool:
    """Tell whether a signature shows other parameters, or the right ones the wrong way round."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none to look at
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return True
    first = next(iter(signature.parameters), "")
    return first in words.not_first
