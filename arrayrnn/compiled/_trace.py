"""The step, traced for one timestep."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import array_api_compat
import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from arrayrnn._recurrence.masked import run_traced
from arrayrnn._recurrence.nests import Nest, tree_map
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn.compiled._errors import closed_over
from arrayrnn.compiled._errors_tracing import explain
from arrayrnn.compiled._operands import Groups, constants_with


def trace(problem: Problem, groups: Groups) -> tuple[ClosedJaxpr, Nest]:
    """Call the step of `problem` on what JAX traces, and return the nest of its output, too.

    The program takes a timestep of the inputs, then the groups that come between `inputs` and
    `keep`, all in one row, and returns the leaves of the output and of the states.
    """
    axis = problem.options.time_axis
    outputs: list[Nest] = []  # not the timestep, which keeps what is traced

    def step(x_t: Any, states: Any, constants: Any, initial_output: Any) -> list[Any]:
        traced = problem._replace(
            xp=array_api_compat.array_namespace(*x_t, *states),
            step=_explaining(problem),
            start=Carry(states, initial_output or None),
        ).with_options(constants=constants_with(problem, constants))
        timestep = Timestep(traced)
        output, new_states = run_traced(timestep, x_t, None, None, states, ())
        outputs.append(timestep.known_output.nest)
        return [*output, *new_states]

    inputs, *others, _ = groups
    timestep = [
        jax.ShapeDtypeStruct(
            x.shape[:axis] + x.shape[axis + 1 :], x.dtype, weak_type=getattr(x, "weak_type", False)
        )
        for x in inputs
    ]
    traced = jax.make_jaxpr(step)(timestep, *others)
    return traced, outputs[-1]


def _explaining(problem: Problem) -> Callable[[Any, tuple[Any, ...]], Any]:
    """Return the step of `problem` with errors that say what cannot be traced."""
    of_host = array_api_compat.is_numpy_namespace(problem.xp)

    @wraps(problem.step)
    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        try:
            result = problem.step(x_t, states)
        except Exception as error:
            explained = explain(error, problem.words)
            if explained is None:
                raise
            raise explained from error
        return tree_map(traceable, result)

    def traceable(leaf: Any) -> Any:
        if of_host and isinstance(leaf, np.ndarray | np.generic):
            return jax.numpy.asarray(leaf)  # computed from closed-over arrays alone
        closed_over(leaf, problem.words)
        return leaf

    return step
