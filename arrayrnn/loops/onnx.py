"""ONNX: one `Loop` node, of any numbers of samples and timesteps, through ndonnx and spox."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import array_api_compat
import ndonnx
import numpy as np
import optree
import spox.opset.ai.onnx.v21 as op

from arrayrnn._checks.wording import describe
from arrayrnn._masking import Mask
from arrayrnn._onnx import Sizes, integers, settle
from arrayrnn._problem import Problem, Result
from arrayrnn._purity import Purity
from arrayrnn._step import Body
from arrayrnn._tree import Paths, tree_leaves
from arrayrnn.loops.symbolic import carries_output, result

__all__ = ["loop"]


def loop(problem: Problem) -> Result:
    """Build the loop, its body from two traces of the step."""
    caller, mask, carries = problem.caller, problem.mask, carries_output(problem)
    _plain(problem.inputs, problem.input_nest.paths(caller.inputs), "`{}` is")
    state_paths = caller.state_paths(problem.state_nest, caller.initial_states)
    _plain(problem.states, state_paths, "`{}` is")
    donor = problem.find_donor()

    nest, like = _output_of(problem)
    _plain(like, nest.paths(caller.output), f"`{caller.function}` returned `{{}}`,")
    sizes, state_sizes = [*map(_sizes, like)], [*map(_sizes, problem.states)]
    output_like = nest, _zeros_like(like, mask)
    body = Body(replace(problem, output_like=output_like), Purity(problem.xp))
    initial = nest.leaves(body.initial)
    carry = _settled(problem.states, state_sizes)
    if carries:
        carry += _settled(initial, sizes)
    inputs = [*map(_variable, problem.inputs)]
    keep = None if mask is None else _variable(mask.keep)
    time = op.shape(inputs[0], start=0, end=1) if inputs else integers(problem.time)
    at_end = op.sub(op.squeeze(time), op.const(np.int64(1)))

    def timestep(i: Any, go_on: Any, *carry: Any) -> list[Any]:
        t = op.squeeze(i)
        if problem.go_backwards:
            t = op.sub(at_end, t)
        arrays = [*map(ndonnx.asarray, carry)]
        states, previous = arrays[: len(state_sizes)], arrays[len(state_sizes) :]
        output, new_states = body.timestep(
            [_at(x, t) for x in inputs],
            None if keep is None else _at(keep, t),
            donor,
            states,
            previous or initial,
        )
        shown = _settled(output, sizes)
        held = _settled(new_states, state_sizes)
        return [go_on, *held] + shown * (carries + problem.all_outputs)

    own = filter(array_api_compat.is_ndonnx_array, tree_leaves(problem.constants))
    needed = [v for x in own for v in optree.tree_leaves(x.disassemble())]
    needed += inputs if keep is None else [*inputs, keep]
    if donor is not None:
        needed += map(_variable, (*donor.inputs, *donor.states))
    once = op.const(np.asarray([True]))
    results = [*op.loop(_after(time, needed), once, carry, body=timestep)]

    states, last = results[: len(state_sizes)], results[len(state_sizes) : len(carry)]
    every = results[len(carry) :]
    if every:
        # Not `problem.time`: inputs of open time may have fewer than an integer `input_length`.
        steps = problem.inputs[0].shape[0] if problem.inputs else problem.time
        every = _settled(every, [(steps, *own) for own in sizes])
    arrays = [[*map(ndonnx.asarray, part)] for part in (states, last, every)]
    return result(problem, nest, *arrays, in_input_order=False)


def _plain(arrays: Sequence[Any], paths: Paths, came: str) -> None:
    """Refuse arrays that are more than one tensor: those with missing values, and times."""
    for k, array in enumerate(arrays):
        try:
            array.unwrap_spox()
        except TypeError as error:
            raise TypeError(
                f"{came.format(paths[k])} {describe(array)}; expected a dtype that a tensor of "
                "ONNX has. Fill missing values, and give a mask."
            ) from error


def _output_of(problem: Problem) -> tuple[Any, Sequence[Any]]:
    """Return the nest and leaves of the output for arguments that stay out of the graph."""
    body = Body(problem, Purity(problem.xp))
    samples = None if problem.mask is None else problem.mask.keep.shape[1]

    def argument(array: Any, sizes: Sizes) -> Any:
        # What is selected under a mask of known samples knows them, in the loop's body as well.
        if sizes[:1] == (None,):
            sizes = (samples, *sizes[1:])
        return ndonnx.argument(shape=sizes, dtype=array.dtype)

    x_t = [argument(x, x.shape[1:]) for x in problem.inputs]
    states = [argument(s, s.shape) for s in problem.states]
    output, _ = body.timestep(x_t, None, None, states, ())
    return body.output, output


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

    What is carried has to have the same type before and after a timestep, down to the names of its
    sizes, or spox forgets all that is known of it.
    """
    variables = [v if isinstance(v, _Var) else _variable(v) for v in values]
    return [settle(v, own) for v, own in zip(variables, sizes, strict=True)]


_Var = type(integers(0))


def _after(count: Any, variables: Sequence[Any]) -> Any:
    """Return `count`, computed after `variables`.

    What only the body of a loop uses, spox computes in it: at every timestep anew.
    """
    for variable in variables:
        count = op.add(count, op.mul(op.size(variable), integers(0)))
    return count
