"""What the loops share that say once, for a library to repeat, what happens at every timestep."""

from collections.abc import Sequence

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._problem import Problem, Result
from arrayrnn._tree import Nest
from arrayrnn._typing import Array

__all__ = ["carries_output", "result"]


def carries_output(problem: Problem) -> bool:
    """Tell whether a timestep has to be given the output of the one before."""
    holds_output = problem.mask is not None and not problem.zero_output_for_mask
    return holds_output or not problem.all_outputs


def result(
    problem: Problem,
    nest: Nest,
    states: Sequence[Array],
    carried: Sequence[Array],
    outputs: Sequence[Array],
    *,
    in_input_order: bool,
) -> Result:
    """Lay out what a loop returned: leaves, those of `outputs` with time first.

    `carried` is the last output, if that was carried, and `in_input_order` says how `outputs` come.
    """
    xp, axis, last = problem.xp, problem.time_axis, carried
    if problem.all_outputs:
        reverse = problem.go_backwards
        last = carried or [leaf[0 if reverse and in_input_order else -1, ...] for leaf in outputs]
        if reverse and in_input_order != problem.in_input_order:
            outputs = [xp.flip(leaf, axis=0) for leaf in outputs]
        if axis:
            outputs = [swap_time_and_samples(xp, leaf) for leaf in outputs]
    else:
        outputs = [xp.expand_dims(leaf, axis=axis) for leaf in last]
    return Result(nest.build(last), nest.build(outputs), problem.state_nest.build(states))
