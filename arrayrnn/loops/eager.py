"""The Python loop, written purely against the standard."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._blocks import blocks
from arrayrnn._checks import results
from arrayrnn._compilers import is_compiling
from arrayrnn._iteration import iterate
from arrayrnn._memory import copied
from arrayrnn._operations import is_spread
from arrayrnn._packing import Packing
from arrayrnn._problem import Problem, Result
from arrayrnn._progress import Progress
from arrayrnn._purity import Purity
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
    progress = Progress(problem)
    problem = progress.watching(problem)
    packing, purity = Packing.of(problem), problem.purity or Purity(problem.xp)
    if purity.is_pure is None:
        # Whatever the step does to its states, it does not do to the caller's.
        own = [copied(problem.xp, state) for state in problem.states]
        problem = replace(problem, states=own)
    if packing is not None:
        return packed.loop(problem, packing, purity, progress)
    body = Body(problem, purity)
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
    with progress.reporting(outputs.append) as append:
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
        results.note(error, problem, t, is_raised_by_step=error is not body.refused)
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
    # A size of PyTorch's that stands for any length is not compared with a number.
    if is_compiling() or not all(type(n) is int and n for n in shape):
        return xp.stack(timesteps, axis=axis)
    if is_spread(timesteps[0]):
        return _stack(xp, timesteps, axis)
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


def _stack(xp: Namespace, timesteps: Sequence[Array], axis: int) -> Array:
    """Stack timesteps that lie on several devices, which cannot be reshaped."""
    size = max(isqrt(len(timesteps)), 1)
    starts = range(0, len(timesteps), size)
    parts = [xp.stack(timesteps[i : i + size], axis=axis) for i in starts]
    return xp.concat(parts, axis=axis)
