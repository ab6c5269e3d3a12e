"""A compiled call: the step is recorded, its program looked up or made, and run.

All arrays are arguments of the program, also those that the step closes over: new values are never
missed, and nothing is compiled for them.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from math import prod
from operator import attrgetter
from typing import Any

import array_api_compat
import jax

from arrayrnn import _loops
from arrayrnn._libraries.operations import namespace_of, swap_time_and_samples
from arrayrnn._loops.jax import Iterate, over_time, scan
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._typing import Namespace
from arrayrnn.compiled import _errors, _exchange
from arrayrnn.compiled._dialect import dialect_of
from arrayrnn.compiled._in_place import in_place
from arrayrnn.compiled._namespace import NamespaceOfProxies
from arrayrnn.compiled._operands import Arrays, Groups, handed_over
from arrayrnn.compiled._operations import Line, play
from arrayrnn.compiled._programs import CACHE, Program
from arrayrnn.compiled._step import Recorded, recorded

# On an H200 each turn of an XLA loop took 10 to 14 µs, whatever it computed: with 16 timesteps to a
# turn 10,000 small ones took 15 ms instead of 95, an LSTM of 200 took 1.07 ms instead of 2.5.
_TIMESTEPS_OF_A_TURN = {"gpu": 16}
# What an option is to a program; `constants` come in by what the step does with them.
_OPTIONS = attrgetter(*({f.name for f in fields(Options)} - {"constants", "progress"}))


def run(problem: Problem) -> Result:
    """Iterate in a program that JAX compiles."""
    xp = problem.xp
    if isinstance(xp, NamespaceOfProxies):
        return _loops.run(problem)  # becomes part of the step around it
    if not _exchange.serves(xp):
        _errors.fail_unserved(xp, problem.words)
    groups = Groups.of(problem)
    with _exchange.as_in(xp) as precision:
        given = handed_over(problem, groups.arrays, groups)
        step = recorded(problem, groups)
        closed_over = handed_over(problem, step.closed_over)
        platform = _platform(xp, given)
        if problem.options.unroll is False and platform in _TIMESTEPS_OF_A_TURN:
            problem = problem.with_options(unroll=_TIMESTEPS_OF_A_TURN[platform])
        program = CACHE.program(
            (*_key(problem, step, groups), platform, precision),
            lambda: _program(problem, step, groups, platform),
        )
        operands, flowing = [*closed_over, *given], []
        if array_api_compat.is_torch_namespace(xp):
            from arrayrnn.compiled import _autograd

            flowing = _autograd.flows(problem, step, groups)
        if any(flowing):
            arrays = [*step.closed_over, *groups.arrays]
            results = _autograd.run(program, operands, arrays, flowing)
        else:
            results = _exchange.from_jax(xp, program(*operands))
    build, count = step.output.build, step.output.spec.num_leaves
    last, outputs, states = results[:count], results[count : 2 * count], results[2 * count :]
    new_states = problem.state_nest.build(states)
    return Result(build(last), build(outputs), new_states, Carry(states, last))


def _platform(xp: Namespace, given: Arrays) -> str:
    """Return where a program runs: "cpu", "gpu", and so on."""
    if array_api_compat.is_numpy_namespace(xp):
        return "cpu"
    platforms = {d.platform for x in given if isinstance(x, jax.Array) for d in x.devices()}
    return max(platforms, default="cpu")


def _key(problem: Problem, step: Recorded, groups: Groups) -> tuple[Any, ...]:
    dialect = dialect_of(problem.xp)
    return (
        step.lines,
        step.numbers,
        step.likes,
        step.output.spec.num_leaves,
        tuple([tuple([dialect.spec(x.shape, x.dtype).like for x in group]) for group in groups]),
        problem.time,
        problem.has_samples,
        problem.go_backwards,
        problem.in_input_order,
        type(problem.options.unroll),  # True is 1
        _OPTIONS(problem.options),
    )


def _program(problem: Problem, step: Recorded, groups: Groups, platform: str) -> Program:
    """Return the program for `problem`: all leaves of the result, from all arrays.

    It keeps nothing that belongs to the call: neither arrays nor the step function.
    """
    lines, numbers, closed_over = step.lines, step.numbers, len(step.closed_over)
    outputs, sizes = step.output.spec.num_leaves, [*map(len, groups)]
    shapes = [*(like.shape for like in step.likes), *(tuple(x.shape) for x in groups.arrays)]
    skeleton = problem._replace(
        words=replace(problem.words, state_depth=0),
        step=_no_step,
        inputs=Named((), Nest.of((0,) * sizes[0])[1], ""),
        start=Carry(()),
        mask=None,
        initial_nest=None,
        state_nest=Nest.of((0,) * sizes[1])[1],
    ).with_options(constants=(), progress=None)

    def run(skeleton: Problem, iterate: Iterate, *arrays: Any) -> Arrays:
        arrays = tuple(map(_spread, arrays, shapes))
        constants, groups = arrays[:closed_over], Groups.split(arrays[closed_over:], sizes)
        xp, options = namespace_of([*groups.inputs, *groups.states][0]), skeleton.options
        inputs = groups.inputs
        if options.time_axis:
            inputs = [swap_time_and_samples(xp, x) for x in inputs]

        def timestep(x_t: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
            given = [*x_t, *states, *groups.constants, *groups.initial_output]
            results = play(lines, numbers, given, constants)
            return results[:outputs], results[outputs:]

        traced = skeleton._replace(
            xp=xp,
            step=timestep,
            inputs=skeleton.inputs.replaced(inputs),
            start=Carry(groups.states, [*groups.initial_output] or None),
            # Coverage does not become part of the program.
            mask=Mask(groups.keep[0], None) if groups.keep else None,
        )
        result = _loops.run(traced) if options.unroll is True else scan(traced, iterate)
        return [*result.last_output, *result.outputs, *result.states]

    # Only gradients have anything to keep.
    fastest = partial(run, skeleton.with_options(checkpoint=None), in_place)
    return Program(
        fastest,
        partial(run, skeleton, over_time),
        is_of_vectors=platform == "cpu" and _is_of_vectors(problem, lines),
    )


def _spread(array: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of the caller's, of which what repeats has been handed over once."""
    return array if array.shape == shape else jax.numpy.broadcast_to(array, shape)


def _is_of_vectors(problem: Problem, lines: Sequence[Line]) -> bool:
    """Tell whether a timestep has arrays of one long axis at most, but for what is closed over.

    XLA also has to compute all of it by kernels of its own.
    """
    if not all(operation.is_a_kernel for operation, _ in lines):
        return False
    shapes = [like.shape for operation, _ in lines for like in operation.results]
    shapes += [x.shape[1:] for x in problem.inputs.leaves]
    shapes += [x.shape for x in problem.start.states]
    return all(prod(shape[:-1]) == 1 for shape in shapes)


def _no_step(*_: Any) -> Any:
    raise AssertionError
