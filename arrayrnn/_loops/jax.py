"""JAX: `lax.scan` as soon as anything traced takes part, the Python loop otherwise.

A scan over concrete arrays would compile at each call, since its body is a new closure each time.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax

from arrayrnn._loops import eager
from arrayrnn._loops.layout import carries_output, result
from arrayrnn._recurrence.axes import align, is_fixed
from arrayrnn._recurrence.masked import run_traced
from arrayrnn._recurrence.nests import tree_leaves
from arrayrnn._recurrence.output import Output
from arrayrnn._recurrence.problem import Problem, Result
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn._typing import Array

Leaves = Sequence[Array]

Carried = tuple[Leaves, Leaves]  # the states and, if a timestep needs it, the previous output
Step = Callable[[Carried, Any], tuple[Carried, Leaves]]
# (problem, step, carried, one timestep like each output) -> (carried, outputs, time first and in
# the order of the inputs)
Iterate = Callable[[Problem, Step, Carried, Leaves], tuple[Carried, Leaves]]


class _TracedError(BaseException):
    """A step returned something traced. No Exception, so that no error handler sees it."""


def loop(problem: Problem) -> Result:
    """Scan if anything is traced, what the step closes over included."""
    if _traced(problem.arrays):
        return scan(problem)

    @wraps(problem.step)
    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        returned = problem.step(x_t, states)
        if _traced(returned):
            raise _TracedError
        return returned

    try:
        return eager.loop(problem._replace(step=step))
    except _TracedError:
        return scan(problem)


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in tree_leaves(tree))


def over_time(
    problem: Problem, step: Step, carried: Carried, like: Leaves
) -> tuple[Carried, Leaves]:
    """Scan over the first axis, which is what JAX can differentiate in linear time."""
    time, every = problem.time, problem.options.checkpoint
    xs = [*problem.inputs.leaves], None if problem.mask is None else problem.mask.keep
    if every is None:
        # JAX fails to unroll a part of an unknown number of timesteps.
        unroll = int(problem.options.unroll) or 1 if is_fixed(time) else 1
        return _scan(problem, step, carried, xs, time, unroll=unroll)
    if is_fixed(time):
        return _in_blocks(problem, every, time, step, carried, xs)

    # JAX divides a symbolic length, but refuses to scan over what may turn out to be nothing.
    length = -(-time // every) * every

    def step_if_there(carried: Carried, x: Any) -> tuple[Carried, Leaves]:
        is_there, x = x
        return jax.lax.cond(is_there, step, lambda carried, _: (carried, [*like]), carried, x)

    is_there = problem.xp.arange(length) < time
    padded = jax.tree.map(lambda x: _padded(x, length), xs)
    carried, outputs = _in_blocks(
        problem, every, length, step_if_there, carried, (is_there, padded)
    )
    return carried, [y[:time] for y in outputs]


def _in_blocks(
    problem: Problem, every: int, time: Any, step: Any, carried: Carried, xs: Any
) -> tuple[Carried, Leaves]:
    """Scan over blocks of `every` timesteps, each of them scanned again when differentiated.

    The timesteps behind the last whole block are a block of their own.
    """
    reshape, options = problem.xp.reshape, problem.options

    def block(length: int, *, in_loop: bool) -> Callable[[Carried, Any], tuple[Carried, Leaves]]:
        def run(carried: Carried, xs: Any) -> tuple[Carried, Leaves]:
            unroll = options.unroll is True or int(options.unroll) or 1
            return _scan(problem, step, carried, xs, length, unroll=unroll)

        # Outside of a loop XLA would see that it has computed the block before, and keep it all.
        return jax.checkpoint(run, prevent_cse=not in_loop)

    def blocks(carried: Carried, xs: Any, count: Any, length: int) -> tuple[Carried, Leaves]:
        if count == 1:
            return block(length, in_loop=False)(carried, xs)
        run = block(length, in_loop=True)
        xs = jax.tree.map(lambda x: reshape(x, (count, length, *x.shape[1:])), xs)
        # Never unrolled itself: XLA for CPUs then takes as much memory as without checkpoints.
        carried, outputs = _scan(problem, run, carried, xs, count, unroll=1)
        return carried, [reshape(y, (count * length, *y.shape[2:])) for y in outputs]

    counts = (time // every, every), (1, time % every)
    parts = [(count, length) for count, length in counts if count * length != 0]
    leaves, nest = jax.tree.flatten(xs)
    columns = [jax.lax.split(x, [count * length for count, length in parts]) for x in leaves]
    outputs: list[Leaves] = [[] for _ in parts]
    order = range(len(parts))
    for k in reversed(order) if problem.go_backwards else order:
        part = nest.unflatten([column[k] for column in columns])
        carried, outputs[k] = blocks(carried, part, *parts[k])
    return carried, [jax.lax.concatenate(column, 0) for column in zip(*outputs, strict=True)]


def _scan(
    problem: Problem, step: Any, carried: Carried, xs: Any, length: Any, *, unroll: bool | int
) -> tuple[Carried, Leaves]:
    return jax.lax.scan(
        step,
        carried,
        xs,
        length=None if problem.inputs.leaves else length,  # a symbolic one is refused here
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
    problem = problem._replace(output=_traced_output(problem))
    timestep = Timestep(problem)
    known = timestep.known_output
    nest, initial = known.nest, known.initial(problem)
    is_reversed, states = problem.go_backwards, problem.start.states
    if problem.mask is not None and problem.mask.masks_all:
        # No timestep is run, so that no gradient depends on one.
        every = [xp.broadcast_to(y, (problem.time, *y.shape)) for y in initial]
        return result(problem, nest, states, initial, every, last_at=0 if is_reversed else -1)

    def step(carried: Carried, x: Any) -> tuple[Carried, Leaves]:
        (states, previous), (x_t, keep) = carried, x
        output, states = run_traced(timestep, x_t, keep, donor, states, previous or initial)
        carried = ([*states], [*output] if carries else [])
        return carried, [*output] if shows_all else []

    shows_all = problem.options.return_all_outputs
    carried = ([*states], [*initial] if carries else [])
    (states, last), outputs = iterate(problem, step, carried, known.models if shows_all else [])
    return result(problem, nest, states, last, outputs, last_at=0 if is_reversed else -1)


def _traced_output(problem: Problem) -> Output:
    """Learn what the output is like by tracing the step once: errors are ours, not scan's."""
    found: list[Any] = []

    def first(inputs: Leaves, keep: Array | None, states: Leaves) -> Leaves:
        timestep = Timestep(problem)
        output, _ = run_traced(timestep, [x[0] for x in inputs], None, None, states, ())
        found.append(timestep.known_output.nest)
        if keep is None:
            return [*output]
        # A selected output lies on all devices on which either of the two lies.
        return [problem.xp.where(align(problem.xp, keep[0], y.ndim), y, y) for y in output]

    keep = None if problem.mask is None else problem.mask.keep
    like = jax.eval_shape(first, [*problem.inputs.leaves], keep, [*problem.start.states])
    zeros = [problem.xp.zeros_like(leaf) for leaf in like]
    return Output.learn(problem, found[-1].build(zeros))
