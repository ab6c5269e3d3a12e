"""The step, recorded for one timestep."""

from typing import Any, NamedTuple

from arrayrnn._libraries.operations import device_of
from arrayrnn._recurrence.masked import run_traced
from arrayrnn._recurrence.nests import Nest
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn.compiled._dialect import dialect_of
from arrayrnn.compiled._namespace import namespace_for
from arrayrnn.compiled._operands import Arrays, Groups, constants_with
from arrayrnn.compiled._operations import Line
from arrayrnn.compiled._proxies import argument, lifted
from arrayrnn.compiled._recording import Recording


class Recorded(NamedTuple):
    """What a step has written: all of a program but the loop around it."""

    lines: tuple[Line, ...]
    numbers: tuple[int, ...]  # of the outputs, then of the states
    closed_over: Arrays
    likes: tuple[Any, ...]  # shapes and dtypes of those
    output: Nest


def recorded(problem: Problem, groups: Groups) -> Recorded:
    """Call the step once, on proxies for one timestep."""
    dialect = dialect_of(problem.xp)
    namespace, device = namespace_for(dialect), device_of(groups.arrays[0])
    recording = Recording(dialect, namespace, device, problem.words)
    like_one = [
        argument(recording, dialect.spec(x.shape[1:], x.dtype)) for x in problem.inputs.leaves
    ]
    states, constants, output = (
        [argument(recording, dialect.spec_of(x, problem.words)) for x in group]
        for group in groups[1:4]
    )

    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        return lifted(recording, recording.call(problem.step, x_t, states))

    given = problem._replace(xp=namespace, step=step, start=Carry(states, output or None))
    if problem.options.constants or problem.options.checkpoint is not None:
        with_proxies = constants_with(problem, constants)
        given = given.with_options(constants=with_proxies, checkpoint=None)
    timestep = Timestep(given)
    try:
        outputs, new_states = run_traced(timestep, like_one, None, None, states, ())
    finally:
        lines = recording.close()
    proxies: list[Any] = [*outputs, *new_states]
    numbers = tuple([proxy.number for proxy in proxies])
    likes = tuple([spec.like for spec in recording.specs])
    return Recorded(lines, numbers, recording.closed_over, likes, timestep.known_output.nest)
