"""The loop that runs as one program: arrays go to JAX, results come back.

At each call the step is traced once, for one timestep. The trace, shapes and dtypes included, and
everything else that the loop is told are the key of a compiled program. All arrays are its
arguments, also those that the step closes over: new values are never missed, and nothing is
compiled for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import array_api_compat
import jax

from arrayrnn import _loops
from arrayrnn._libraries.operations import namespace_of, swap_time_and_samples
from arrayrnn._loops.jax import Iterate, over_time, scan
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._typing import Namespace
from arrayrnn.compiled import _errors, _exchange
from arrayrnn.compiled._cache import CACHE
from arrayrnn.compiled._in_place import in_place
from arrayrnn.compiled._operands import Row, split
from arrayrnn.compiled._programs import Program
from arrayrnn.compiled._structure import Structure, program_of, structure_of
from arrayrnn.compiled._trace import trace

Arrays = Sequence[Any]

# On an H200 each turn of an XLA loop took 10 to 14 µs, whatever it computed: with 16 timesteps to a
# turn 10,000 small ones took 15 ms instead of 95, an LSTM of 200 took 1.07 ms instead of 2.5.
_TIMESTEPS_OF_A_TURN = {"gpu": 16}


def loop(problem: Problem) -> Result:
    """Iterate in a program that JAX compiles."""
    xp, row = problem.xp, Row.of(problem)
    if not _exchange.serves(xp):
        _errors.fail_unserved(xp, problem.words)
    if any(isinstance(array, jax.core.Tracer) for array in row.arrays):
        return _loops.run(problem)  # becomes part of the program around it
    with _exchange.as_in(xp):
        arrays = _handed_over(problem, row)
        problem = _unrolled(problem, arrays)
        run = _runner(xp, row.arrays)
        traced, output = trace(problem, split(arrays, row.sizes))
        structure, constants = structure_of(traced, is_differentiated=run is not None)
        is_within = any(isinstance(constant, jax.core.Tracer) for constant in constants)
        if not is_within:
            count = output.spec.num_leaves
            program = CACHE.program(
                _key(problem, structure, row, count),
                lambda: _program(problem, structure, row.sizes, constants, count),
            )
            operands = [*constants, *arrays]
            if run is None:
                results = _exchange.from_jax(xp, program(*operands))
            else:
                results = run(program, operands, row.arrays)
    if is_within:
        if not array_api_compat.is_jax_namespace(xp):
            _errors.fail_kept(problem.words)
        return _loops.run(problem)
    last, outputs, states = results[:count], results[count : 2 * count], results[2 * count :]
    build, carry = output.build, Carry(states, last)
    return Result(build(last), build(outputs), problem.state_nest.build(states), carry)


def _handed_over(problem: Problem, row: Row) -> Arrays:
    handed_over = []
    for k, array in enumerate(row.arrays):
        try:
            handed_over.append(_exchange.to_jax(array))
        except Exception as error:  # each library has its own
            _errors.fail_refused(row.path(problem, k), array, error, problem.words)
    return handed_over


def _unrolled(problem: Problem, arrays: Arrays) -> Problem:
    """Return `problem` with as many timesteps in a turn of the loop as are good where it runs."""
    if problem.options.unroll is not False:
        return problem
    platforms = {d.platform for x in arrays if isinstance(x, jax.Array) for d in x.devices()}
    factor = max((_TIMESTEPS_OF_A_TURN.get(platform, 1) for platform in platforms), default=1)
    return problem.with_options(unroll=factor) if factor > 1 else problem


def _runner(xp: Namespace, arrays: Arrays) -> Callable[[Program, Arrays, Arrays], list[Any]] | None:
    """Return what runs a program so that gradients flow through it, if any are asked for."""
    if array_api_compat.is_torch_namespace(xp):
        from arrayrnn.compiled import _autograd

        if _autograd.needs_gradients(arrays):
            return _autograd.run
    return None


def _key(problem: Problem, structure: Structure, row: Row, outputs: int) -> Any:
    if structure.key is None:
        return None
    options = problem.options
    return (
        structure.key,
        row.sizes,
        tuple(tuple(array.shape) for array in row.arrays),
        outputs,
        problem.words,
        problem.time,
        options.zero_output_for_mask,
        options.samplewise and problem.mask is not None,  # then a donor is looked for
        problem.go_backwards,
        options.return_all_outputs,
        problem.in_input_order,
        options.time_axis,
        type(options.unroll),  # True is 1
        options.unroll,
        options.checkpoint,
    )


def _program(
    problem: Problem, structure: Structure, sizes: tuple[int, ...], constants: Arrays, outputs: int
) -> Program:
    """Return the program for `problem`: all leaves of the result, from the constants and the row.

    It keeps nothing that belongs to the call: neither arrays nor the step function.
    """
    timestep, closed_over = program_of(structure, constants), len(constants)
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
        constants, groups = arrays[:closed_over], split(arrays[closed_over:], sizes)
        xp, options = namespace_of([*groups.inputs, *groups.states][0]), skeleton.options
        inputs = groups.inputs
        if options.time_axis:
            inputs = [swap_time_and_samples(xp, x) for x in inputs]

        def step(x_t: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
            leaves = [*x_t, *states, *groups.constants, *groups.initial_output]
            results = timestep(*constants, *leaves)
            return results[:outputs], results[outputs:]

        traced = skeleton._replace(
            xp=xp,
            step=step,
            inputs=skeleton.inputs.replaced(inputs),
            start=Carry(groups.states, [*groups.initial_output] or None),
            # Coverage does not become part of the program.
            mask=Mask(groups.keep[0], None) if groups.keep else None,
        )
        result = _loops.run(traced) if options.unroll is True else scan(traced, iterate)
        return [*result.last_output, *result.outputs, *result.states]

    # Only gradients have anything to keep.
    fastest = partial(run, skeleton.with_options(checkpoint=None), in_place)
    return Program(fastest, partial(run, skeleton, over_time))


def _no_step(*_: Any) -> Any:
    raise AssertionError
