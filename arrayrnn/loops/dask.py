"""Dask: a graph with one task for each block of timesteps and samples.

A task runs the Python loop on the arrays of its block. What it leaves to the next block of
timesteps (states, output, donor) makes a chain of the tasks. None of them waits for timesteps
behind its own, since these would have to be held meanwhile.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import getitem
from typing import Any
from uuid import uuid4

import array_api_compat
import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.highlevelgraph import HighLevelGraph

from arrayrnn._axes import agree, is_open
from arrayrnn._checks import lazy
from arrayrnn._checks.wording import RNN
from arrayrnn._masking import Donor, Mask
from arrayrnn._problem import Problem, Result
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace
from arrayrnn.loops import eager

__all__ = ["loop"]

Sizes = tuple[Any, ...]  # of the chunks along an axis
# Leaves of the states, leaves of the output (None before the first block), the donor once found.
Carry = tuple[Sequence[Array], Sequence[Array] | None, Donor | None]
Task = Callable[..., Any]  # from the numbers of a chunk to what computes it

_STAND_IN = 2  # samples of the probe, if their number is unknown


def loop(problem: Problem) -> Result:
    """Return arrays that one task for each block will compute."""
    inputs, axis = problem.inputs, problem.time_axis
    time: Sizes = inputs[0].chunks[0] if inputs else (problem.time,)
    given: Sizes = inputs[0].chunks[1] if problem.caller == RNN else ()
    # A step that may mix samples gets all of them.
    samples = given if problem.samplewise or not given else (sum(given),)
    problem = _cut(problem, time, samples)
    chain, like, chunks = _probe(problem, time, samples)
    order = range(len(time))[:: -1 if problem.go_backwards else 1]
    block, carry, graph = _graph(problem, chain, order, len(samples) or 1)

    def array(like: Array, chunks: Sequence[Sizes], of_samples: int, task: Task) -> Array:
        name = f"arrayrnn-{uuid4().hex}"
        layer = {(name, *at): task(*at) for at in np.ndindex(*map(len, chunks))}
        layers, dependencies = {**graph.layers, name: layer}, {**graph.dependencies, name: {block}}
        whole = da.Array(HighLevelGraph(layers, dependencies), name, tuple(chunks), meta=like)
        if len(given) > len(samples) and whole.shape[of_samples : of_samples + 1] == (sum(given),):
            whole = whole.rechunk({of_samples: given})
        return whole

    def at_the_end(part: int, k: int) -> Task:
        return lambda s=0, *_: (getitem, (getitem, (carry, order[-1], s), part), k)

    def in_time(k: int) -> Task:
        def task(*at: int) -> Any:
            j, s = shown[at[axis]], (*at, 0)[1 - axis]
            return (getitem, (getitem, (block, j, s), 1), k)

        return task

    shown = range(len(time)) if problem.in_input_order else order
    sizes = tuple(time[j] for j in shown)
    if not problem.all_outputs:
        shown, sizes = order[-1:], (1,)
    states = [array(s, s.chunks, 0, at_the_end(0, k)) for k, s in enumerate(problem.states)]
    last, outputs = [], []
    for k, (y, own) in enumerate(zip(like, chunks, strict=True)):
        last.append(array(y, own, 0, at_the_end(1, k)))
        outputs.append(array(y, (*own[:axis], sizes, *own[axis:]), 1 - axis, in_time(k)))
    build = chain.output.build
    return Result(build(last), build(outputs), problem.state_nest.build(states))


@dataclass(frozen=True, slots=True)
class _Chain:
    """What all blocks share: one node of the graph."""

    problem: Problem  # without arrays
    time: Sizes
    output: Nest
    output_kinds: Sequence[tuple[Sequence[int | None], Any]]  # shapes, None for samples; dtypes
    constants: Sequence[Any]  # leaves, None for those that Dask computes
    constants_nest: Nest

    def with_constants(self, computed: Iterable[Any]) -> "_Chain":
        computed = iter(computed)
        leaves = [next(computed) if leaf is None else leaf for leaf in self.constants]
        problem = replace(self.problem, constants=self.constants_nest.build(leaves))
        return replace(self, problem=problem, constants=())

    def run(
        self, j: int, inputs: Sequence[Array], keep: Array | None, carry: Carry
    ) -> tuple[Carry, Sequence[Array]]:
        """Run block number `j` in time; return what it leaves to the next, and its outputs."""
        problem, (states, before, donor) = self.problem, carry
        model = [*inputs, *states][0]
        xp, device = array_api_compat.array_namespace(model), array_api_compat.device(model)
        # The blocks of 0-d arrays may be scalars, and those of Python numbers are NumPy's.
        states = [xp.asarray(s, device=device) for s in states]
        time, samples = (*inputs[0].shape, None)[:2] if inputs else (problem.time, None)
        if before is None:
            shapes = [[samples if n is None else n for n in kind[0]] for kind in self.output_kinds]
            dtypes = [dtype for _, dtype in self.output_kinds]
            before = [
                xp.zeros(tuple(shape), dtype=dtype, device=device)
                for shape, dtype in zip(shapes, dtypes, strict=True)
            ]
        if time == 0:
            return (states, before, donor), [self._no_timesteps(xp, y) for y in before]
        if keep is None and samples == 0:
            keep = xp.zeros((time, 0), dtype=xp.bool, device=device)  # so that no step is called
        mask = None
        if keep is not None:
            own_xp = array_api_compat.array_namespace(keep)
            mask = Mask.of(xp, own_xp, keep, device, go_backwards=problem.go_backwards)
            if donor is None and xp.any(mask.keep):
                donor = Donor.of(xp, mask, inputs, states, go_backwards=problem.go_backwards)
        output = self.output.build(before)
        problem = replace(
            problem,
            xp=xp,
            inputs=inputs,
            time=time,
            states=states,
            mask=mask,
            donor=donor,
            initial_output=output,
            output_like=output,
        )
        try:
            result = eager.loop(problem)
        except Exception as error:
            lazy.note_block(error, problem.caller, j, self.time)
            raise
        carry = (
            problem.state_nest.leaves(result.states),
            self.output.leaves(result.last_output),
            donor,
        )
        return carry, self.output.leaves(result.outputs)

    def _no_timesteps(self, xp: Namespace, output: Array) -> Array:
        axis = self.problem.time_axis
        output = xp.expand_dims(output, axis=axis)
        return (
            output[(*[slice(None)] * axis, slice(0), ...)] if self.problem.all_outputs else output
        )


def _cut(problem: Problem, time: Sizes, samples: Sizes) -> Problem:
    """Give all arrays the same chunks of time and of samples, and one of anything else."""
    caller, mask = problem.caller, problem.mask

    def cut(array: Array, path: str, *leading: Sizes) -> Array:
        chunks = []
        for axis, have in enumerate(array.chunks):
            want = leading[axis] if axis < len(leading) else (sum(have),)
            unknown = is_open(sum(have)) or is_open(sum(want))
            # What is of unknown length has to stay as it is.
            if unknown and (axis >= len(leading) or len(have) != len(want)):
                lazy.fail_unknown(array, path, caller)
            chunks.append(have if unknown else want)
        return array.rechunk(tuple(chunks))

    def cut_samples(array: Array, path: str) -> Array:
        own = samples and array.ndim and agree(array.shape[:1], (sum(samples),))
        return cut(array, path, *([samples] if own else []))

    def cut_lazy(constant: Any, path: str) -> Any:
        return cut(constant, path) if array_api_compat.is_dask_array(constant) else constant

    def each(tree: Any, name: str, cut: Callable[[Any, str], Any]) -> Any:
        leaves, nest = Nest.of(tree)
        paths = nest.paths(name)
        return nest.build([cut(leaf, paths[k]) for k, leaf in enumerate(leaves)])

    in_time = (time, samples) if samples else (time,)
    input_paths = problem.input_nest.paths(caller.inputs)
    state_paths = caller.state_paths(problem.state_nest, caller.initial_states)
    return replace(
        problem,
        inputs=[cut(x, input_paths[k], *in_time) for k, x in enumerate(problem.inputs)],
        states=[cut_samples(s, state_paths[k]) for k, s in enumerate(problem.states)],
        mask=None if mask is None else Mask(cut(mask.keep, "mask", *in_time), None),
        constants=each(problem.constants, "constants", cut_lazy),
        initial_output=each(problem.initial_output, "initial_output", cut_samples),
    )


def _probe(
    problem: Problem, time: Sizes, samples: Sizes
) -> tuple[_Chain, Sequence[Array], Sequence[Sequence[Sizes]]]:
    """Call the step once on arrays without memory: all that is wrong with it shows now.

    Returns what the blocks share, and the leaves of an output with the chunks they will have.
    """
    caller, model = problem.caller, [*problem.inputs, *problem.states][0]
    xp = array_api_compat.array_namespace(meta_from_array(model))
    constants, constants_nest = Nest.of(problem.constants)
    is_lazy = array_api_compat.is_dask_array

    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        result = problem.step_function(x_t, states)
        lazy.closed_over(result, caller)
        return result

    def of_block(array: Any) -> Any:
        return _harmless(xp, array, array.chunks)

    before, before_nest = Nest.of(problem.initial_output)
    inputs = [_harmless(xp, x, x.chunks[1:]) for x in problem.inputs]
    states = [of_block(s) for s in problem.states]
    probe = replace(
        problem,
        xp=xp,
        step_function=step,
        states=states,
        constants=constants_nest.build([of_block(c) if is_lazy(c) else c for c in constants]),
        mask=None if problem.mask is None else Mask(of_block(problem.mask.keep), None),
        initial_output=before_nest.build([of_block(y) for y in before]),
    )
    body = Body(probe)
    try:
        # A step may well divide by what is drawn here.
        with np.errstate(all="ignore"):
            output, _ = body.whole(
                problem.input_nest.build(inputs), problem.state_nest.build(states)
            )
    except Exception as error:
        lazy.note_probe(error, caller)
        raise
    like, paths = body.output.leaves(output), body.output.paths(caller.output)
    kinds, chunks = [], []
    for k, leaf in enumerate(like):
        follows = bool(samples) and leaf.shape[0] == inputs[0].shape[0]
        if len(samples) > 1 and not follows:
            lazy.samplewise_output(leaf, paths[k], inputs[0].shape[0], caller)
        own: list[Any] = [(n,) for n in leaf.shape]
        chunks.append([samples, *own[1:]] if follows else own)
        kinds.append(([None, *leaf.shape[1:]] if follows else leaf.shape, leaf.dtype))
    bare = replace(
        problem,
        xp=None,
        inputs=(),
        states=(),
        constants=(),
        mask=None,
        initial_output=None,
        progress=None,
    )
    concrete = [None if is_lazy(c) else c for c in constants]
    return _Chain(bare, time, body.output, kinds, concrete, constants_nest), like, chunks


def _harmless(xp: Namespace, array: Array, chunks: Sequence[Sizes]) -> Array:
    """Return what may stand for a block of an array: it has its shape, and no memory.

    Zeros of integers, since these may be an index; else ones, which have a logarithm and a root,
    and may be divided by.
    """
    shape = tuple(_STAND_IN if is_open(max(sizes)) else max(sizes) for sizes in chunks)
    draw = xp.zeros if xp.isdtype(array.dtype, "integral") else xp.ones
    return xp.broadcast_to(draw((), dtype=array.dtype), shape)


def _graph(
    problem: Problem, chain: _Chain, order: range, chains: int
) -> tuple[str, str, HighLevelGraph]:
    """Return the graph of all blocks, and the names of their tasks and of what they leave."""
    token = uuid4().hex
    block, carry, shared = (f"arrayrnn-{part}-{token}" for part in ("block", "carry", "step"))
    keep, before = problem.mask and problem.mask.keep, Nest.of(problem.initial_output)[0]
    constants = [*filter(array_api_compat.is_dask_array, Nest.of(problem.constants)[0])]
    tasks: dict[Any, Any] = {shared: (_Chain.with_constants, chain, [_chunk(c) for c in constants])}
    for s in range(chains):
        previous = [
            [_chunk(state, s) for state in problem.states],
            [_chunk(y, s) for y in before] if before else None,
            None,
        ]
        for j in order:
            inputs = [_chunk(x, j, s) for x in problem.inputs]
            kept = None if keep is None else _chunk(keep, j, s)
            tasks[block, j, s] = (_Chain.run, shared, j, inputs, kept, previous)
            previous = (carry, j, s)
            tasks[previous] = (getitem, (block, j, s), 0)
    arrays = [
        *problem.inputs,
        *problem.states,
        *before,
        *constants,
        *([] if keep is None else [keep]),
    ]
    return block, carry, HighLevelGraph.from_collections(block, tasks, dependencies=arrays)


def _chunk(array: Array, *at: int) -> tuple[Any, ...]:
    """Name a chunk by its numbers on the first axes; an axis in a single chunk is shared."""
    numbers = (*at, *[0] * array.ndim)
    return (array.name, *(min(i, n - 1) for i, n in zip(numbers, array.numblocks, strict=False)))
