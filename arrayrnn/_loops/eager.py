"""The Python loop, written purely against the standard."""

from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from typing import Any

from arrayrnn._libraries.memory import copied
from arrayrnn._libraries.torch import After, Append, RunBlock, States, recomputed, recomputes
from arrayrnn._loops.blocks import Block, blocks
from arrayrnn._loops.layout import result_of_timesteps
from arrayrnn._loops.progress import Progress
from arrayrnn._recurrence.mask import AGAIN, ALL, NONE, Donor
from arrayrnn._recurrence.masked import MaskedTimesteps
from arrayrnn._recurrence.nests import Nest
from arrayrnn._recurrence.notes import note
from arrayrnn._recurrence.output import check_new_states
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.timestep import Timestep


def loop(problem: Problem) -> Result:
    """Iterate over the timesteps in Python."""
    problem, progress = prepared(problem)
    timestep, donor, mask = Timestep(problem), None, problem.mask
    if mask is not None:
        donor = problem.find_donor()
        if donor is not None:
            donor = donor.for_each_sample(problem.xp, mask.keep.shape[1])
        if mask.masks_all and timestep.output is None:
            _learn(problem, timestep)
    outputs: Any = [] if problem.options.return_all_outputs else deque(maxlen=1)
    with reporting(progress, outputs.append) as append:
        states = iterate(timestep, blocks(problem, donor), donor, append)
    return _result(problem, timestep, outputs, states)


def prepared(problem: Problem) -> tuple[Problem, Progress | None]:
    """Return a problem with what every Python loop needs, and reports of its progress, if any."""
    xp, options, start = problem.xp, problem.options, problem.start
    if options.checkpoint is not None and not recomputes(xp):
        options = replace(options, checkpoint=None)
    progress, purity = None, problem.purity
    if options.progress:
        progress = Progress(problem)
        problem = progress.watching(problem)
    if purity is None:
        is_called_once = problem.time == 1 and problem.mask is None
        purity = Purity(xp, is_called_once=is_called_once)
    if purity.is_pure is None and not purity.is_called_once:
        # Whatever the step does to its states, it does not do to the caller's.
        start = Carry([copied(xp, state) for state in start.states], start.output)
    elif purity is problem.purity and options is problem.options:
        return problem, progress  # as a stream has it
    return problem._replace(options=options, start=start, purity=purity), progress


def reporting(progress: Progress | None, append: Append) -> AbstractContextManager[Append]:
    """Give a function that appends an output, and reports the timestep as done if so asked."""
    return nullcontext(append) if progress is None else progress.reporting(append)


def iterate(
    timestep: Timestep, blocks: Iterable[Block], donor: Donor | None, append: Append
) -> States:
    """Append the output of each timestep, None before the first call; return the last states."""
    problem, is_masked = timestep.problem, timestep.problem.mask is not None
    unmasked, skipped = timestep.unmasked, timestep.skipped

    def run(block: Block, states: States, output: Any, append: Append) -> After:
        inputs, masks = block.open()
        i, masked = 0, MaskedTimesteps(timestep, masks, donor) if is_masked else None
        try:
            for i, x_t, coverage in zip(count(), inputs, block.coverage):
                if coverage == ALL or masked is None:
                    output, states = unmasked(x_t, states)
                elif coverage == NONE:
                    output = skipped(output)
                else:
                    output, states = masked(i, x_t, states, output, coverage == AGAIN)
                append(output)
        except Exception as error:
            # The step may have failed on states that the step before returned: look at them now.
            check_states(states, _last_called(block, i, called))
            by_step = error is not timestep.refused
            note(error, problem, block.times[i], is_raised_by_step=by_step)
            raise
        return states, output

    def check_states(states: States, t: int) -> None:
        try:
            check_new_states(states, problem)
        except Exception as error:
            note(error, problem, t)
            raise

    run_block: RunBlock = run
    if problem.options.checkpoint is not None:
        run_block = recomputed(run, problem.arrays, Nest.of)
    states: States = problem.state_nest.build(problem.start.states)
    output, called = timestep.initial, 0
    for block in blocks:
        states, output = run_block(block, states, output, append)
        if not is_masked:
            output = None  # only a masked timestep shows it again
        called = _last_called(block, len(block.times), called)
    check_states(states, called)
    return states


def _last_called(block: Block, end: int, before: int) -> int:
    """Return the timestep at which the step was called last, among the first `end` of a block.

    It is `before` if it was not called at any of these.
    """
    for i in range(end - 1, -1, -1):
        if block.coverage[i] != NONE:
            return block.times[i]
    return before


def _learn(problem: Problem, timestep: Timestep) -> None:
    """Call the step to see what its output is like, since no timestep is going to show it."""
    t = problem.time - 1 if problem.go_backwards else 0
    x_t, states = [x[t, ...] for x in problem.inputs.leaves], problem.start.states
    if problem.options.samplewise:
        x_t, states = ([*map(problem.xp.ones_like, arrays)] for arrays in (x_t, states))
    try:
        x, s = problem.inputs.nest.build(x_t), problem.state_nest.build(states)
        timestep.learn(timestep.call(x, s))
    except Exception as error:
        note(error, problem, t, is_raised_by_step=error is not timestep.refused)
        raise


def _result(problem: Problem, timestep: Timestep, outputs: Any, states: States) -> Result:
    for i, output in enumerate(outputs if problem.options.return_all_outputs else ()):
        if output is not None:
            break
        outputs[i] = timestep.initial
    known, times = timestep.known_output, range(problem.time)
    columns = known.columns(outputs, problem, times[::-1] if problem.go_backwards else times)
    return result_of_timesteps(problem, known.nest, columns, problem.state_nest.leaves(states))
