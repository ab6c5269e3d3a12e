"""A Python loop over blocks of timesteps."""

from collections.abc import Iterable
from itertools import count
from typing import Any

from arrayrnn._blocks import Block
from arrayrnn._checks import results
from arrayrnn._masking import ALL, NONE, SAME, Donor
from arrayrnn._problem import Problem
from arrayrnn._recomputation import After, Append, Run, States, recomputed
from arrayrnn._step import Body

__all__ = ["iterate"]


def iterate(
    problem: Problem,
    body: Body,
    blocks: Iterable[Block],
    donor: Donor | None,
    append: Append,
) -> States:
    """Append the output of each timestep, None before the first call; return the last states."""
    whole, rest, is_masked = body.whole, body.rest, problem.mask is not None

    def run(block: Block, states: States, output: Any, append: Append) -> After:
        inputs, masks = block.open()
        i, partly = 0, body.partly(masks, donor) if is_masked else None
        try:
            for i, x_t, kind in zip(count(), inputs, block.kinds):
                if kind == ALL or partly is None:
                    output, states = whole(x_t, states)
                elif kind == NONE:
                    output = rest(output)
                else:
                    output, states = partly(i, x_t, states, output, kind == SAME)
                append(output)
        except Exception as error:
            # What a step returned and nobody looked at may be why the next one failed.
            check_states(states, _last_called(block, i, called))
            by_step = error is not body.refused
            results.note(error, problem, block.times[i], is_raised_by_step=by_step)
            raise
        return states, output

    def check_states(states: States, t: int) -> None:
        try:
            body.check_states(states)
        except Exception as error:
            results.note(error, problem, t)
            raise

    run_block: Run = run
    if problem.checkpoint is not None:
        run_block = recomputed(run, problem.arrays)
    states: States = problem.state_nest.build(problem.states)
    output, called = body.initial, 0
    for block in blocks:
        states, output = run_block(block, states, output, append)
        if not is_masked:
            output = None  # which only a masked timestep shows again
        called = _last_called(block, len(block.times), called)
    check_states(states, called)
    return states


def _last_called(block: Block, end: int, before: int) -> int:
    """Return at which timestep the step was called last, among the first `end` of a block.

    It is `before` if it was not.
    """
    for i in range(end - 1, -1, -1):
        if block.kinds[i] != NONE:
            return block.times[i]
    return before
