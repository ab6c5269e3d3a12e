"""JAX: `lax.scan` as soon as anything traced takes part, the Python loop otherwise.

A scan over concrete arrays would compile at each call, since its body is a new closure each time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import optree

from arrayrnn._problem import Problem, Result
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array
from arrayrnn.loops import eager
from arrayrnn.loops.symbolic import carries_output, result

__all__ = ["loop"]

Leaves = Sequence[Array]


class _TracedError(BaseException):
    """A step returned something traced. Not an Exception, since no error handler is to see it."""


def loop(problem: Problem) -> Result:
    """Scan if anything is traced, what the step closes over included."""
    keep = None if problem.mask is None else problem.mask.keep
    states, constants, before = problem.states, problem.constants, problem.initial_output
    if _traced((problem.inputs, states, constants, keep, before)):
        return _scan(problem)

    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        returned = problem.step_function(x_t, states)
        if _traced(returned):
            raise _TracedError
        return returned

    try:
        return eager.loop(replace(problem, step_function=step))
    except _TracedError:
        return _scan(problem)


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in optree.tree_leaves(tree))


def _scan(problem: Problem) -> Result:
    mask, donor, carries = problem.mask, problem.find_donor(), carries_output(problem)
    body = Body(replace(problem, output_like=_output_like(problem)))
    initial = body.output.leaves(body.initial)

    def step(carry: tuple[Leaves, Leaves], x: Any) -> tuple[tuple[Leaves, Leaves], Leaves]:
        (states, previous), (x_t, keep) = carry, x
        output, states = body.timestep(x_t, keep, donor, states, previous or initial)
        carry = ([*states], [*output] if carries else [])
        return carry, [*output] if problem.all_outputs else []

    (states, last), outputs = jax.lax.scan(
        step,
        ([*problem.states], [*initial] if carries else []),
        ([*problem.inputs], None if mask is None else mask.keep),
        length=None if problem.inputs else problem.time,  # a symbolic one is refused here
        reverse=problem.go_backwards,
        unroll=int(problem.unroll) or 1,
    )
    # A reversed scan keeps its outputs at the timesteps of the inputs.
    return result(problem, body.output, states, last, outputs, in_input_order=True)


def _output_like(problem: Problem) -> tuple[Nest, Leaves]:
    """Return zeros like the output, after tracing the step once: errors are ours, not scan's."""
    body = Body(problem)

    def first(x_t: Leaves, states: Leaves) -> Leaves:
        output, _ = body.timestep(x_t, None, None, states, ())
        return [*output]

    timestep = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in problem.inputs]
    like = jax.eval_shape(first, timestep, [*problem.states])
    return body.output, [problem.xp.zeros(leaf.shape, leaf.dtype) for leaf in like]
