"""The ways to iterate, all of one signature; which of them serves given arrays."""

from collections.abc import Callable

from arrayrnn.loops import eager
from arrayrnn.loops.problem import Problem, Result

__all__ = ["Problem", "Result", "loop_for"]


def loop_for(problem: Problem) -> Callable[[Problem], Result]:
    """Return the loop that serves the arrays of `problem`."""
    return eager.loop
