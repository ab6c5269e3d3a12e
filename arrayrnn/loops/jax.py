"""JAX: `lax.scan` as soon as anything traced takes part, the Python loop otherwise.

A scan over concrete arrays would compile at each call, since its body is a new closure each time.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import jax

from arrayrnn._axes import align, is_fixed
from arrayrnn._problem import Problem, Result
from arrayrnn._step import Body
from arrayrnn._tree import Nest, tree_leaves
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

    @wraps(problem.step_function)
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
    return any(isinstance(leaf, jax.core.Tracer) for leaf in tree_leaves(tree))


def over_time(problem: Problem, step: Step, carry: Carry, like: Leaves) -> tuple[Carry, Leaves]:
    """Scan over the first axis, which is what JAX can differentiate in linear time."""
    time, every = problem.time, problem.checkpoint
    xs = [*problem.inputs], None if problem.mask is None else problem.mask.keep
    if every is None:
        # JAX fails to unroll a part of an unknown number of timesteps.
        unroll = int(problem.unroll) or 1 if is_fixed(time) else 1
        return _scan(problem, step, carry, xs, time, unroll=unroll)
    if is_fixed(time):
        return _in_blocks(problem, every, time, step, carry, xs)

    # JAX divides a symbolic length, but refuses to scan over what may turn out to be nothing.
    length = -(-time // every) * every

    def step_if_there(carry: Carry, x: Any) -> tuple[Carry, Leaves]:
        is_there, x = x
        return jax.lax.cond(is_there, step, lambda carry, _: (carry, [*like]), carry, x)

    is_there = problem.xp.arange(length) < time
    padded = jax.tree.map(lambda x: _padded(x, length), xs)
    carry, outputs = _in_blocks(problem, every, length, step_if_there, carry, (is_there, padded))
    return carry, [y[:time] for y in outputs]


def _in_blocks(
    problem: Problem, every: int, time: Any, step: Any, carry: Carry, xs: Any
) -> tuple[Carry, Leaves]:
    """Scan over blocks of `every` timesteps, each of them scanned again when differentiated.

    What is left behind the last whole block is a block of its own.
    """
    reshape = problem.xp.reshape

    def block(length: int, *, in_loop: bool) -> Callable[[Carry, Any], tuple[Carry, Leaves]]:
        def run(carry: Carry, xs: Any) -> tuple[Carry, Leaves]:
            unroll = problem.unroll is True or int(problem.unroll) or 1
            return _scan(problem, step, carry, xs, length, unroll=unroll)

        # Outside of a loop XLA would see that it has computed the block before, and keep it all.
        return jax.checkpoint(run, prevent_cse=not in_loop)

    def blocks(carry: Carry, xs: Any, count: Any, length: int) -> tuple[Carry, Leaves]:
        if count == 1:
            return block(length, in_loop=False)(carry, xs)
        run = block(length, in_loop=True)
        xs = jax.tree.map(lambda x: reshape(x, (count, length, *x.shape[1:])), xs)
        # Never unrolled itself: XLA for CPUs then takes as much memory as without checkpoints.
        carry, outputs = _scan(problem, run, carry, xs, count, unroll=1)
        return carry, [reshape(y, (count * length, *y.shape[2:])) for y in outputs]

    counts = (time // every, every), (1, time % every)
    parts = [(count, length) for count, length in counts if count * length != 0]
    leaves, nest = jax.tree.flatten(xs)
    columns = [jax.lax.split(x, [count * length for count, length in parts]) for x in leaves]
    outputs: list[Leaves] = [[] for _ in parts]
    order = range(len(parts))
    for k in reversed(order) if problem.go_backwards else order:
        part = nest.unflatten([column[k] for column in columns])
        carry, outputs[k] = blocks(carry, part, *parts[k])
    return carry, [jax.lax.concatenate(column, 0) for column in zip(*outputs, strict=True)]


def _scan(
    problem: Problem, step: Any, carry: Carry, xs: Any, length: Any, *, unroll: bool | int
) -> tuple[Carry, Leaves]:
    return jax.lax.scan(
        step,
        carry,
        xs,
        length=None if problem.inputs else length,  # a symbolic one is refused here
        reverse=problem.go_backwards,
        unroll=unroll,
    )


def _padded(array: Array, length: Any) -> Array:
    """Append zeros on the first axis."""
    behind = [(0, length - array.shape[0], 0), *[(0, 0, 0)] * (array.ndim - 1)]
    return jax.lax.pad(array, jax.numpy.zeros((), array.dtype), behind)


def scan(problem: Problem, iterate: Iterate = over_time) -> Result:
    """Run the step, traced once, by a loop of JAX's."""
    xp, donor, carries = problem.xp, problem.find_donor(), carries_output(problem)
    nest, like = _output_like(problem)
    body = Body(replace(problem, output_like=(nest, like)))
    initial = nest.leaves(body.initial)
    if problem.mask is not None and problem.mask.masks_all:
        # No timestep is run, so that no gradient depends on one.
        every = [xp.broadcast_to(y, (problem.time, *y.shape)) for y in initial]
        return result(problem, nest, problem.states, initial, every, in_input_order=True)

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
    found: list[Nest] = []

    def first(inputs: Leaves, keep: Array | None, states: Leaves) -> Leaves:
        body = Body(problem)
        output, _ = body.timestep([x[0] for x in inputs], None, None, states, ())
        found.append(body.output)
        if keep is None:
            return [*output]
        # What is selected lies on all devices on which either lies.
        return [problem.xp.where(align(problem.xp, keep[0], y.ndim), y, y) for y in output]

    keep = None if problem.mask is None else problem.mask.keep
    like = jax.eval_shape(first, [*problem.inputs], keep, [*problem.states])
    return found[-1], [problem.xp.zeros_like(leaf) for leaf in like]
