"""A loop over timesteps that stay where they are, whichever axis time is."""

import jax

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._problem import Problem
from arrayrnn.loops.jax import Carry, Leaves, Step

__all__ = ["in_place"]


def in_place(
    problem: Problem, step: Step, carry: Carry, output_like: Leaves
) -> tuple[Carry, Leaves]:
    """Take timesteps out of the inputs, and put them into the outputs, one by one.

    A scan would bring all of the inputs into the order of time before it, and the outputs into that
    of the caller behind it, which takes longer than many a step. Gradients would take memory that
    grows with the square of time.
    """
    time, axis = problem.time, problem.time_axis
    xp, keep = problem.xp, None if problem.mask is None else problem.mask.keep

    def axes(arrays: Leaves) -> Leaves:
        # XLA sees that the caller's axes have been exchanged before, or will be again.
        return [swap_time_and_samples(xp, x) for x in arrays] if axis else arrays

    inputs = axes(problem.inputs)
    shapes = [(*y.shape[:axis], time, *y.shape[axis:]) for y in output_like]
    outputs = [xp.empty(s, dtype=y.dtype) for s, y in zip(shapes, output_like, strict=True)]

    def timestep(k: int, state: tuple[Carry, Leaves]) -> tuple[Carry, Leaves]:
        (carry, outputs), t = state, time - 1 - k if problem.go_backwards else k
        at, put = jax.lax.dynamic_index_in_dim, jax.lax.dynamic_update_index_in_dim
        x_t = [at(x, t, axis, keepdims=False) for x in inputs]
        carry, new = step(carry, (x_t, None if keep is None else at(keep, t, keepdims=False)))
        return carry, [put(y, y_t, t, axis) for y, y_t in zip(outputs, new, strict=True)]

    unroll = None if problem.unroll is False else int(problem.unroll)
    carry, outputs = jax.lax.fori_loop(0, time, timestep, (carry, outputs), unroll=unroll)
    return carry, axes(outputs)
