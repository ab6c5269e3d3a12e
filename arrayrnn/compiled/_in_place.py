"""A loop over timesteps that stay where they are, whichever axis time is."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax

from arrayrnn._libraries.operations import swap_time_and_samples
from arrayrnn._loops.jax import Carried, Leaves, Step, over_time
from arrayrnn._recurrence.problem import Problem
from arrayrnn._typing import Array

_CACHE_LINE = 64  # bytes
# So many lines stay in a cache of the first level until the next timestep, in the same lines.
_MOST_LINES = 128


def in_place(
    problem: Problem, step: Step, carried: Carried, output_like: Leaves
) -> tuple[Carried, Leaves]:
    """Take timesteps out of the inputs, and put them into the outputs, one by one.

    A scan would bring all of the inputs into the order of time before it, and the outputs into that
    of the caller behind it, which takes longer than many a step. Gradients would take memory that
    grows with the square of time.
    """
    xp, time = problem.xp, problem.time
    keep = None if problem.mask is None else problem.mask.keep
    axes = [_time_axis(problem, x[0, ...]) for x in problem.inputs.leaves]
    output_axes = [_time_axis(problem, y) for y in output_like]
    if not any((*axes, *output_axes)):
        return over_time(problem, step, carried, output_like)

    def swapped(arrays: Leaves, axes: list[int]) -> Leaves:
        # XLA sees that these axes have been exchanged before, or will be again.
        return [
            swap_time_and_samples(xp, x) if axis else x
            for x, axis in zip(arrays, axes, strict=True)
        ]

    inputs = swapped(problem.inputs.leaves, axes)
    outputs = [
        xp.empty((*y.shape[:axis], time, *y.shape[axis:]), dtype=y.dtype)
        for y, axis in zip(output_like, output_axes, strict=True)
    ]

    def timestep(k: Any, state: tuple[Carried, Leaves]) -> tuple[Carried, Leaves]:
        (carried, outputs), t = state, time - 1 - k if problem.go_backwards else k
        x_t = [_at(x, t, axis) for x, axis in zip(inputs, axes, strict=True)]
        carried, new = step(carried, (x_t, None if keep is None else _at(keep, t, 0)))
        put: Callable[..., Array] = jax.lax.dynamic_update_index_in_dim
        return carried, [*map(put, outputs, new, [t] * len(new), output_axes)]

    unroll = None if problem.options.unroll is False else int(problem.options.unroll)
    carried, outputs = jax.lax.fori_loop(0, time, timestep, (carried, outputs), unroll=unroll)
    return carried, swapped(outputs, output_axes)


def _at(array: Array, t: Any, axis: int) -> Array:
    return jax.lax.dynamic_index_in_dim(array, t, axis, keepdims=False)


def _time_axis(problem: Problem, timestep: Array) -> int:
    """Return which axis time is to be in the loop: the caller's, unless that would be slower."""
    if not problem.options.time_axis:
        return 0
    samples, *features = timestep.shape
    row = prod(features) * timestep.dtype.itemsize
    scattered = row < _CACHE_LINE and samples > _MOST_LINES
    return 0 if samples == 1 or scattered else problem.options.time_axis
