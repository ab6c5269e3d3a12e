"""ONNX: one `Loop` node, of any numbers of samples and timesteps, through ndonnx and spox."""

from collections.abc import Sequence
from typing import Any

import array_api_compat
import ndonnx
import numpy as np
import optree
import spox.opset.ai.onnx.v21 as op

from arrayrnn._libraries.onnx import Sizes, integers, settle
from arrayrnn._loops.layout import carries_output, result
from arrayrnn._recurrence.errors import came
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.masked import run_traced
from arrayrnn._recurrence.nests import Named, tree_leaves
from arrayrnn._recurrence.output import Output
from arrayrnn._recurrence.problem import Problem, Result
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.timestep import Timestep


def loop(problem: Problem) -> Result:
    """Build the loop, its body from two traces of the step."""
    problem = problem.with_constant_step()
    mask, carries, states = problem.mask, carries_output(problem), problem.start.states
    _expect_tensors(problem.inputs)
    _expect_tensors(problem.states)
    donor = problem.find_donor()
    problem = problem._replace(output=_traced_output(problem), purity=Purity(problem.xp))
    body = Timestep(problem)
    known = body.known_output
    sizes, state_sizes = [tuple(shape) for shape, _ in known.specs], [*map(_sizes, states)]
    initial = known.initial(problem)
    carried = _settled(states, state_sizes)
    if carries:
        carried += _settled(initial, sizes)
    inputs = [*map(_variable, problem.inputs.leaves)]
    keep = None if mask is None else _variable(mask.keep)
    time = op.shape(inputs[0], start=0, end=1) if inputs else integers(problem.time)
    at_end = op.sub(op.squeeze(time), op.const(np.int64(1)))

    def timestep(i: Any, go_on: Any, *carried: Any) -> list[Any]:
        t = op.squeeze(i)
        if problem.go_backwards:
            t = op.sub(at_end, t)
        arrays = [*map(ndonnx.asarray, carried)]
        states, previous = arrays[: len(state_sizes)], arrays[len(state_sizes) :]
        output, new_states = run_traced(
            body,
            [_at(x, t) for x in inputs],
            None if keep is None else _at(keep, t),
            donor,
            states,
            previous or initial,
        )
        shown = _settled(output, sizes)
        held = _settled(new_states, state_sizes)
        return [go_on, *held] + shown * (carries + problem.options.return_all_outputs)

    own = filter(array_api_compat.is_ndonnx_array, tree_leaves(problem.options.constants))
    needed = [v for x in own for v in optree.tree_leaves(x.disassemble())]
    needed += inputs if keep is None else [*inputs, keep]
    if donor is not None:
        needed += map(_variable, (*donor.inputs, *donor.states))
    once = op.const(np.asarray([True]))
    results = [*op.loop(_after(time, needed), once, carried, body=timestep)]

    count = len(carried)
    last_states, last, every = (
        results[: len(state_sizes)],
        results[len(state_sizes) : count],
        results[count:],
    )
    if every:
        # Not `problem.time`: inputs of open time may have fewer than an integer `input_length`.
        leaves = problem.inputs.leaves
        steps = leaves[0].shape[0] if leaves else problem.time
        every = _settled(every, [(steps, *own) for own in sizes])
    arrays = [[*map(ndonnx.asarray, part)] for part in (last_states, last, every)]
    return result(problem, known.nest, *arrays, last_at=-1)


def _expect_tensors(named: Named) -> None:
    """Refuse arrays that are more than one tensor: those with missing values, and times."""
    for k, array in enumerate(named.leaves):
        try:
            array.unwrap_spox()
        except TypeError as error:
            raise TypeError(
                f"{came(named, k)}; expected a dtype that a tensor of ONNX has. Fill missing "
                "values, and give a mask."
            ) from error


def _traced_output(problem: Problem) -> Output:
    """Learn what the output is like by tracing the step on arguments that stay out of the graph."""
    timestep = Timestep(problem._replace(purity=Purity(problem.xp)))
    samples = None if problem.mask is None else problem.mask.keep.shape[1]

    def argument(array: Any, sizes: Sizes) -> Any:
        # A selected array knows how many samples there are if the mask does, in the loop as well.
        if sizes[:1] == (None,):
            sizes = (samples, *sizes[1:])
        return ndonnx.argument(shape=sizes, dtype=array.dtype)

    x_t = [argument(x, x.shape[1:]) for x in problem.inputs.leaves]
    states = [argument(s, s.shape) for s in problem.start.states]
    output, _ = run_traced(timestep, x_t, None, None, states, ())
    known = timestep.known_output
    _expect_tensors(problem.words.returned_output(output, known.nest))
    return known._replace(models=_zeros_like(output, problem.mask))


def _zeros_like(leaves: Sequence[Any], mask: Mask | None) -> list[Any]:
    # The length 1 is broadcast at the first timestep: nothing has to know the length then. A mask
    # may know how many samples there are where the output does not.
    samples = None if mask is None else mask.keep.shape[1]
    zeros = []
    for leaf in leaves:
        shape = [1 if n is None else n for n in leaf.shape]
        if leaf.shape[:1] == (None,) and samples is not None:
            shape[0] = samples
        zeros.append(ndonnx.asarray(op.const(np.zeros(shape, leaf.dtype.unwrap_numpy()))))
    return zeros


def _variable(array: Any) -> Any:
    return array.unwrap_spox()


def _at(variable: Any, t: Any) -> Any:
    return ndonnx.asarray(op.gather(variable, t, axis=0))


def _sizes(array: Any) -> Sizes:
    return tuple(array.shape)


def _settled(values: Sequence[Any], sizes: Sequence[Sizes]) -> list[Any]:
    """Return spox variables of exactly the types that `sizes` give.

    A carried variable needs the same type before and after a timestep, down to the names of its
    sizes, or spox forgets all that is known of it.
    """
    variables = [v if isinstance(v, _Var) else _variable(v) for v in values]
    return [settle(v, own) for v, own in zip(variables, sizes, strict=True)]


_Var = type(integers(0))


def _after(count: Any, variables: Sequence[Any]) -> Any:
    """Return `count`, computed after `variables`.

    Variables that only the body of a loop uses are computed by spox in it: at every timestep anew.
    """
    for variable in variables:
        count = op.add(count, op.mul(op.size(variable), integers(0)))
    return count
