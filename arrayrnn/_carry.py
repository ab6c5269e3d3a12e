"""What a part of a recurrence leaves to the next, and how the next goes on from it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from arrayrnn._problem import Problem, Result
from arrayrnn._tree import Nest
from arrayrnn._typing import Array

__all__ = ["Carry", "go_on"]


class Carry(NamedTuple):
    """What a part leaves to the next."""

    states: Sequence[Array]  # leaves
    output: Sequence[Array] | None = None  # leaves; None before the first part


def go_on(
    problem: Problem,
    carry: Carry,
    output_like: tuple[Nest, Sequence[Array]] | None,
    loop: Callable[[Problem], Result],
) -> tuple[Result, Carry]:
    """Run a part; return what came out, and what it leaves to the next.

    `output_like` is the nest of the output and zeros like it. It is None if nothing is known of the
    output: then the initial one is the problem's own.
    """
    (states, output), before = carry, problem.initial_output
    if output_like is not None:
        nest, zeros = output_like
        before = nest.build(zeros if output is None else output)
    # All at once, since this is what each part costs beside its timesteps.
    problem = replace(problem, states=states, initial_output=before, output_like=output_like)
    result = loop(problem)
    states = problem.state_nest.leaves(result.states)
    return result, Carry(states, Nest.of(result.last_output)[0])
