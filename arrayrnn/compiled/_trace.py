"""The step, traced for one timestep."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import array_api_compat
import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from arrayrnn._checks import compiling, tracing
from arrayrnn._problem import Problem
from arrayrnn._step import Body
from arrayrnn._tree import Nest, tree_map
from arrayrnn.compiled._operands import Groups, constants_with

__all__ = ["trace"]


def trace(problem: Problem, groups: Groups) -> tuple[ClosedJaxpr, Nest]:
    """Call the step of `problem` on what JAX traces, and return the nest of its output, too.

    The program takes a timestep of the inputs, then the groups that come between `inputs` and
    `keep`, all in one row, and returns the leaves of the output and of the states.
    """
    axis = problem.time_axis
    outputs: list[Nest] = []  # not the body, which keeps what is traced
    _, before = Nest.of(problem.initial_output)

    def step(x_t: Any, states: Any, constants: Any, initial_output: Any) -> list[Any]:
        body = Body(
            replace(
                problem,
                xp=array_api_compat.array_namespace(*x_t, *states),
                step_function=_explaining(problem),
                states=states,
                constants=constants_with(problem, constants),
                initial_output=before.build(initial_output),
            )
        )
        output, new_states = body.timestep(x_t, None, None, states, ())
        outputs.append(body.output)
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

    @wraps(problem.step_function)
    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        try:
            result = problem.step_function(x_t, states)
        except Exception as error:
            explained = tracing.explain(error, problem.caller)
            if explained is None:
                raise
            raise explained from error
        return tree_map(traceable, result)

    def traceable(leaf: Any) -> Any:
        if of_host and isinstance(leaf, np.ndarray | np.generic):
            return jax.numpy.asarray(leaf)  # computed from closed-over arrays alone
        compiling.closed_over(leaf, problem.caller)
        return leaf

    return step
