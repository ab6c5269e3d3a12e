"""The Python loop, written purely against the standard."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from math import isqrt
from typing import Any

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._blocks import blocks
from arrayrnn._checks import results
from arrayrnn._masking import ALL, NONE, SAME
from arrayrnn._progress import reporting
from arrayrnn._typing import Array, Namespace
from arrayrnn.loops.problem import Problem, Result

__all__ = ["loop"]

# JAX compiles a `concat` of thousands of arrays for minutes.
_MOST_AT_ONCE = 256


def loop(problem: Problem) -> Result:
    """Iterate over the timesteps in Python."""
    time = problem.inputs[0].shape[0]
    outputs: Any = [] if problem.all_outputs else deque(maxlen=1)
    with reporting(problem.progress, time, outputs.append) as append:
        states = _iterate(problem, time, append)
    problem.body.check_states(states)
    return _result(problem, outputs, states)


def _iterate(problem: Problem, time: int, append: Callable[[Any], object]) -> tuple[Any, ...]:
    """Append the output of each timestep, None before the first call; return the last states."""
    body, states, output = problem.body, problem.states, None
    whole, rest = body.whole, body.rest
    for block in blocks(
        problem.xp,
        problem.inputs,
        problem.input_nest,
        problem.masking,
        go_backwards=problem.go_backwards,
    ):
        i, partly = 0, body.partly(block.masks)
        try:
            for i, x_t, kind in zip(count(), block.inputs, block.kinds):
                if kind == ALL:
                    output, states = whole(x_t, states)
                elif kind == NONE:
                    output = rest(output)
                else:
                    output, states = partly(i, x_t, states, output, kind == SAME)
                append(output)
        except Exception as error:
            # What a step returned and nobody looked at may be why the next one failed.
            body.check_states(states)
            results.note(error, block.times[i], time, go_backwards=problem.go_backwards)
            raise
    return states


def _result(problem: Problem, outputs: Any, states: tuple[Any, ...]) -> Result:
    body, axis = problem.body, problem.time_axis
    for i, output in enumerate(outputs):
        if output is not None:
            break
        outputs[i] = body.initial
    columns = body.check_outputs(outputs)
    last = [column[-1] for column in columns]
    if problem.all_outputs:
        joined = [_join(problem.xp, column, axis) for column in columns]
    else:
        joined = [problem.xp.expand_dims(leaf, axis=axis) for leaf in last]
    return Result(body.output.build(last), body.output.build(joined), states)


def _join(xp: Namespace, timesteps: Sequence[Array], axis: int) -> Array:
    """Stack timesteps along `axis` (0 or 1), without `stack`'s indexing of each of them."""
    samples, *features = timesteps[0].shape
    along = axis if features else 0
    joined = timesteps
    if len(timesteps) > _MOST_AT_ONCE:
        size = isqrt(len(timesteps))
        starts = range(0, len(timesteps), size)
        joined = [xp.concat(timesteps[i : i + size], axis=along) for i in starts]
    joined = xp.concat(joined, axis=along)
    if along:
        return xp.reshape(joined, (samples, len(timesteps), *features))
    joined = xp.reshape(joined, (len(timesteps), samples, *features))
    return swap_time_and_samples(xp, joined) if axis else joined
