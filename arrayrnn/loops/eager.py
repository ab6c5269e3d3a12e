"""The Python loop, written purely against the standard."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

from arrayrnn._axes import is_open, swap_time_and_samples
from arrayrnn._blocks import blocks
from arrayrnn._checks import results
from arrayrnn._host import readable
from arrayrnn._iteration import iterate
from arrayrnn._packing import Packing
from arrayrnn._problem import Problem, Result
from arrayrnn._progress import reporting
from arrayrnn._recomputation import recomputes
from arrayrnn._step import Body
from arrayrnn._typing import Array, Namespace
from arrayrnn.loops import packed

__all__ = ["loop"]

# JAX compiles a `concat` of thousands of arrays for minutes.
_MOST_AT_ONCE = 256


def loop(problem: Problem) -> Result:
    """Iterate over the timesteps in Python."""
    if problem.checkpoint is not None and not recomputes(problem.xp):
        problem = replace(problem, checkpoint=None)
    packing = Packing.of(problem)
    if packing is not None:
        return packed.loop(problem, packing)
    body = Body(problem)
    xp, mask, backwards = problem.xp, problem.mask, problem.go_backwards
    donor = problem.find_donor()
    if mask is not None:
        if donor is not None:
            donor = donor.for_each_sample(xp, mask.keep.shape[1])
        if mask.masks_all and not body.started:
            _learn(problem, body)
    outputs: Any = [] if problem.all_outputs else deque(maxlen=1)
    inputs, nest, size = problem.inputs, problem.input_nest, problem.checkpoint
    parts = blocks(xp, inputs, nest, problem.time, mask, donor, go_backwards=backwards, size=size)
    progress = problem.progress
    if progress and not readable(xp, [*inputs, *problem.states][0]):
        progress = None  # nothing is computed yet
    with reporting(progress, problem.time, outputs.append) as append:
        states = iterate(problem, body, parts, donor, append)
    return _result(problem, body, outputs, states)


def _learn(problem: Problem, body: Body) -> None:
    """Call the step for what its output is like: no timestep is going to show it."""
    t = problem.time - 1 if problem.go_backwards else 0
    x_t, states = [x[t, ...] for x in problem.inputs], problem.states
    if problem.samplewise:
        x_t, states = ([*map(problem.xp.ones_like, arrays)] for arrays in (x_t, states))
    try:
        body.learn(problem.input_nest.build(x_t), problem.state_nest.build(states))
    except Exception as error:
        results.note(error, problem, t)
        raise


def _result(problem: Problem, body: Body, outputs: Any, states: tuple[Any, ...]) -> Result:
    for i, output in enumerate(outputs if problem.all_outputs else ()):
        if output is not None:
            break
        outputs[i] = body.initial
    times = range(problem.time)
    columns = body.check_outputs(outputs, times[::-1] if problem.go_backwards else times)
    last = [column[-1] for column in columns]
    if problem.all_outputs:
        if problem.go_backwards and problem.in_input_order:
            columns = [column[::-1] for column in columns]
        joined = [_join(problem.xp, column, problem.time_axis) for column in columns]
    else:
        joined = [problem.xp.expand_dims(leaf, axis=problem.time_axis) for leaf in last]
    return Result(body.output.build(last), body.output.build(joined), states)


def _join(xp: Namespace, timesteps: Sequence[Array], axis: int) -> Array:
    """Stack timesteps along `axis` (0 or 1), without `stack`'s indexing of each of them."""
    shape = timesteps[0].shape
    if any(is_open(n) or n == 0 for n in shape):
        return xp.stack(timesteps, axis=axis)
    if not shape:
        timesteps = [xp.reshape(y, (1,)) for y in timesteps]
    along = axis if len(shape) > 1 else 0
    joined = timesteps
    if len(timesteps) > _MOST_AT_ONCE:
        size = isqrt(len(timesteps))
        starts = range(0, len(timesteps), size)
        joined = [xp.concat(timesteps[i : i + size], axis=along) for i in starts]
    joined = xp.concat(joined, axis=along)
    if along:
        return xp.reshape(joined, (shape[0], len(timesteps), *shape[1:]))
    joined = xp.reshape(joined, (len(timesteps), *shape))
    return swap_time_and_samples(xp, joined) if axis else joined
