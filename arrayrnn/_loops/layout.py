"""Layout of results: the order and the axis of time that the caller asked for."""

from collections.abc import Sequence
from math import isqrt

from arrayrnn._libraries.memory import copied
from arrayrnn._libraries.operations import (
    concat_many,
    is_of_host,
    is_spread,
    swap_time_and_samples,
)
from arrayrnn._libraries.torch import is_compiling
from arrayrnn._recurrence.nests import Nest
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._typing import Array, Namespace

Leaves = Sequence[Array]


def carries_output(problem: Problem) -> bool:
    """Tell whether a timestep has to be given the output of the one before."""
    holds_output = problem.mask is not None and not problem.options.zero_output_for_mask
    return holds_output or not problem.options.return_all_outputs


def result(
    problem: Problem,
    nest: Nest,
    states: Leaves,
    carried: Leaves,
    outputs: Leaves,
    *,
    last_at: int,
) -> Result:
    """Lay out the leaves that a loop over a traced timestep returned, `outputs` with time first.

    `carried` is the last output, if that was carried. In `outputs` it is at index `last_at`, 0 or
    -1.
    """
    xp, axis, last = problem.xp, problem.options.time_axis, carried
    if problem.options.return_all_outputs:
        last = carried or [leaf[last_at, ...] for leaf in outputs]
        wanted_at = 0 if problem.go_backwards and problem.in_input_order else -1
        if last_at != wanted_at:
            outputs = [xp.flip(leaf, axis=0) for leaf in outputs]
        if axis:
            outputs = [swap_time_and_samples(xp, leaf) for leaf in outputs]
    else:
        outputs = [xp.expand_dims(leaf, axis=axis) for leaf in last]
    build = problem.state_nest.build
    return Result(nest.build(last), nest.build(outputs), build(states), Carry(states, last))


def result_of_timesteps(
    problem: Problem, nest: Nest, columns: Sequence[Leaves], states: Leaves
) -> Result:
    """Join outputs of single timesteps, for each leaf in order of iteration."""
    axis = problem.options.time_axis
    last = [column[-1] for column in columns]
    if problem.options.return_all_outputs:
        if problem.go_backwards and problem.in_input_order:
            columns = [column[::-1] for column in columns]
        outputs = [_join(problem.xp, column, axis) for column in columns]
    else:
        outputs = [problem.xp.expand_dims(leaf, axis=axis) for leaf in last]
    build = problem.state_nest.build
    return Result(nest.build(last), nest.build(outputs), build(states), Carry(states, last))


def _join(xp: Namespace, timesteps: Leaves, axis: int) -> Array:
    """Stack timesteps along `axis` (0 or 1), without `stack`'s indexing of each of them."""
    shape = timesteps[0].shape
    # A size of PyTorch's that stands for any length is not compared with a number.
    if is_compiling() or not ({*map(type, shape)} <= {int} and all(shape)):
        return xp.stack(timesteps, axis=axis)
    if is_spread(timesteps[0]):
        return _stack(xp, timesteps, axis)
    if len(timesteps) == 1 and is_of_host(timesteps[0]):
        # A copy, since the state or the last output may be the same array.
        return copied(xp, timesteps[0][(slice(None),) * axis + (None,)])
    if not shape:
        timesteps = [xp.reshape(y, (1,)) for y in timesteps]
    along = axis if len(shape) > 1 else 0
    joined = concat_many(xp, timesteps, along)
    if along:
        return xp.reshape(joined, (shape[0], len(timesteps), *shape[1:]))
    joined = xp.reshape(joined, (len(timesteps), *shape))
    return swap_time_and_samples(xp, joined) if axis else joined


def _stack(xp: Namespace, timesteps: Leaves, axis: int) -> Array:
    """Stack timesteps that lie on several devices, which cannot be reshaped."""
    size = max(isqrt(len(timesteps)), 1)
    starts = range(0, len(timesteps), size)
    parts = [xp.stack(timesteps[i : i + size], axis=axis) for i in starts]
    return xp.concat(parts, axis=axis)
