"""JAX: `lax.scan` as soon as anything traced takes part, the Python loop otherwise.

A scan over concrete arrays would compile at each call, since its body is a new closure each time.
"""

from collections.abc import Callable, Sequence
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

__all__ = ["Carry", "Iterate", "Leaves", "Step", "loop", "over_time", "scan"]

Leaves = Sequence[Array]


Carry = tuple[Leaves, Leaves]  # the states and, if a timestep needs it, the previous output
Step = Callable[[Carry, Any], tuple[Carry, Leaves]]
# (problem, step, carry, one timestep like each output) -> (carry, outputs, time first and in the
# order of the inputs)
Iterate = Callable[[Problem, Step, Carry, Leaves], tuple[Carry, Leaves]]


class _TracedError(BaseException):
    """A step returned something traced. Not an Exception, since no error handler is to see it."""


def loop(problem: Problem) -> Result:
    """Scan if anything is traced, what the step closes over included."""
    keep = None if problem.mask is None else problem.mask.keep
    states, constants, before = problem.states, problem.constants, problem.initial_output
    if _traced((problem.inputs, states, constants, keep, before)):
        return scan(problem)

    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        returned = problem.step_function(x_t, states)
        if _traced(returned):
            raise _TracedError
        return returned

    try:
        return eager.loop(replace(problem, step_function=step))
    except _TracedError:
        return scan(problem)


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in optree.tree_leaves(tree))


def over_time(problem: Problem, step: Step, carry: Carry, _: Leaves) -> tuple[Carry, Leaves]:
    """Scan over the first axis, which is what JAX can differentiate in linear time."""
    return jax.lax.scan(
        step,
        carry,
        ([*problem.inputs], None if problem.mask is None else problem.mask.keep),
        length=None if problem.inputs else problem.time,  # a symbolic one is refused here
        reverse=problem.go_backwards,
        unroll=int(problem.unroll) or 1,
    )


def scan(problem: Problem, iterate: Iterate = over_time) -> Result:
    """Run the step, traced once, by a loop of JAX's."""
    donor, carries = problem.find_donor(), carries_output(problem)
    nest, like = _output_like(problem)
    body = Body(replace(problem, output_like=(nest, like)))
    initial = nest.leaves(body.initial)

    def step(carry: Carry, x: Any) -> tuple[Carry, Leaves]:
        (states, previous), (x_t, keep) = carry, x
        output, states = body.timestep(x_t, keep, donor, states, previous or initial)
        carry = ([*states], [*output] if carries else [])
        return carry, [*output] if problem.all_outputs else []

    carry = ([*problem.states], [*initial] if carries else [])
    (states, last), outputs = iterate(problem, step, carry, like if problem.all_outputs else [])
    return result(problem, nest, states, last, outputs, in_input_order=True)


def _output_like(problem: Problem) -> tuple[Nest, Leaves]:
    """Return zeros like the output, after tracing the step once: errors are ours, not scan's."""
    body = Body(problem)

    def first(x_t: Leaves, states: Leaves) -> Leaves:
        output, _ = body.timestep(x_t, None, None, states, ())
        return [*output]

    timestep = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in problem.inputs]
    like = jax.eval_shape(first, timestep, [*problem.states])
    return body.output, [problem.xp.zeros(leaf.shape, leaf.dtype) for leaf in like]
