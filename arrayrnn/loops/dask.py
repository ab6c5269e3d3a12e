"""Dask: a graph with one task for each block of timesteps and samples.

What a block of timesteps leaves to the next makes a chain of their tasks. None of them waits for
timesteps behind its own, since these would have to be held meanwhile.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from operator import getitem
from typing import Any
from uuid import uuid4

import array_api_compat
import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.highlevelgraph import HighLevelGraph

from arrayrnn._axes import agree, is_open
from arrayrnn._chain import Chain
from arrayrnn._checks import lazy
from arrayrnn._masking import Mask
from arrayrnn._problem import Problem, Result
from arrayrnn._purity import Purity
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace

__all__ = ["loop"]

Sizes = tuple[Any, ...]  # of the chunks along an axis
Chunks = Sequence[Sizes]
Task = Callable[..., Any]  # from the numbers of a chunk to what computes it

_STAND_IN = 2  # samples of the probe, if their number is unknown


def loop(problem: Problem) -> Result:
    """Return arrays that one task for each block will compute."""
    inputs, axis = _dask(problem.inputs), problem.time_axis
    time: Sizes = inputs[0].chunks[0] if inputs else (problem.time,)
    given: Sizes = inputs[0].chunks[1] if not problem.caller.single_state else ()
    # A step that may mix samples gets all of them.
    samples = given if problem.samplewise or not given else (sum(given),)
    problem = _cut(problem, time, samples)
    chain, like, chunks = _chain(problem, time, samples)
    order = range(len(time))[:: -1 if problem.go_backwards else 1]
    block, carry, graph = _graph(problem, chain, order, len(samples) or 1)

    def array(part: str, like: Array, chunks: Chunks, samples_axis: int, task: Task) -> da.Array:
        name = f"arrayrnn-{part}-{uuid4().hex}"
        layer = {(name, *at): task(*at) for at in np.ndindex(*map(len, chunks))}
        layers, dependencies = {**graph.layers, name: layer}, {**graph.dependencies, name: {block}}
        whole = da.Array(HighLevelGraph(layers, dependencies), name, tuple(chunks), meta=like)
        joined = len(given) > len(samples)
        if joined and whole.shape[samples_axis : samples_axis + 1] == (sum(given),):
            whole = whole.rechunk({samples_axis: given})
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
    last, outputs = [], []
    for k, (y, own) in enumerate(zip(like, chunks, strict=True)):
        in_all = (*own[:axis], sizes, *own[axis:])
        last.append(array("last", y, own, 0, at_the_end(1, k)))
        outputs.append(array("outputs", y, in_all, 1 - axis, in_time(k)))
    states = [
        array("states", state, state.chunks, 0, at_the_end(0, k))
        for k, state in enumerate(_dask(problem.states))
    ]
    build = chain.output.build
    return Result(build(last), build(outputs), problem.state_nest.build(states))


def _dask(arrays: Sequence[Array]) -> Sequence[da.Array]:
    return arrays


def _cut(problem: Problem, time: Sizes, samples: Sizes) -> Problem:
    """Give all arrays the same chunks of time and of samples, and one of anything else."""
    caller, mask = problem.caller, problem.mask

    def cut(array: da.Array, path: str, *leading: Sizes) -> da.Array:
        chunks = []
        for axis, have in enumerate(array.chunks):
            want = leading[axis] if axis < len(leading) else (sum(have),)
            unknown = is_open(sum(have)) or is_open(sum(want))
            # What is of unknown length has to stay as it is.
            if unknown and (axis >= len(leading) or len(have) != len(want)):
                lazy.fail_unknown(path, caller)
            chunks.append(have if unknown else want)
        return array.rechunk(tuple(chunks))

    def cut_samples(array: da.Array, path: str) -> da.Array:
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


def _chain(
    problem: Problem, time: Sizes, samples: Sizes
) -> tuple[Chain, Sequence[Array], Sequence[Chunks]]:
    """Return what all blocks share, and the leaves of an output with the chunks they will have."""
    output, like, count = _probe(problem)
    paths = output.paths(problem.caller.output)
    kinds: list[tuple[Sequence[int | None], Any]] = []
    chunks: list[Chunks] = []
    for k, leaf in enumerate(like):
        shape, own = tuple(leaf.shape), [(n,) for n in leaf.shape]
        if samples and shape[0] == count:
            kinds.append(((None, *shape[1:]), leaf.dtype))
            chunks.append([samples, *own[1:]])
        elif len(samples) > 1:
            lazy.fail_mixing(leaf, paths[k], count, problem.caller)
        else:
            kinds.append((shape, leaf.dtype))
            chunks.append(own)
    leaves, nest = Nest.of(problem.constants)
    concrete = [None if array_api_compat.is_dask_array(leaf) else leaf for leaf in leaves]
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
    return Chain(bare, time, output, kinds, concrete, nest), like, chunks


def _probe(problem: Problem) -> tuple[Nest, Sequence[Array], int | None]:
    """Call the step once on arrays without memory: all that is wrong with it shows now.

    Returns the structure and the leaves of its output, and how many samples it was given.
    """
    caller, model = problem.caller, [*problem.inputs, *problem.states][0]
    xp = array_api_compat.array_namespace(meta_from_array(model))

    def like(leaf: Any) -> Any:
        return _harmless(xp, leaf) if array_api_compat.is_dask_array(leaf) else leaf

    def all_like(tree: Any) -> Any:
        leaves, nest = Nest.of(tree)
        return nest.build([like(leaf) for leaf in leaves])

    @wraps(problem.step_function)
    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        result = problem.step_function(x_t, states)
        lazy.closed_over(result, caller)
        return result

    inputs = [like(x) for x in problem.inputs]
    states = [like(state) for state in problem.states]
    probe = replace(
        problem,
        xp=xp,
        step_function=step,
        inputs=inputs,
        states=states,
        constants=all_like(problem.constants),
        mask=None if problem.mask is None else Mask(like(problem.mask.keep), None),
        initial_output=all_like(problem.initial_output),
    )
    body = Body(probe, Purity(xp))  # what stands in for blocks cannot be written to
    try:
        # Of no consequence: what is computed here has no meaning.
        with np.errstate(all="ignore"):
            x_t = problem.input_nest.build([x[0, ...] for x in inputs])
            output, _ = body.whole(x_t, problem.state_nest.build(states))
    except Exception as error:
        lazy.note_probe(error, probe, is_raised_by_step=error is not body.refused)
        raise
    count = inputs[0].shape[1] if not caller.single_state else None
    return body.output, body.output.leaves(output), count


def _harmless(xp: Namespace, array: da.Array) -> Array:
    """Return what may stand for a block of an array: it has its shape, and no memory.

    Zeros of integers, since these may be an index; else ones, which have a logarithm and a root,
    and may be divided by.
    """
    largest = map(max, array.chunks)
    shape = tuple(_STAND_IN if is_open(length) else length for length in largest)
    draw = xp.zeros if xp.isdtype(array.dtype, "integral") else xp.ones
    return xp.broadcast_to(draw((), dtype=array.dtype), shape)


def _graph(
    problem: Problem, chain: Chain, order: range, chains: int
) -> tuple[str, str, HighLevelGraph]:
    """Return the names of the tasks of blocks and of what they leave to the next, and the graph."""
    token = uuid4().hex
    block, carry, shared = (f"arrayrnn-{part}-{token}" for part in ("block", "carry", "step"))
    keep = [] if problem.mask is None else [problem.mask.keep]
    initial, _ = Nest.of(problem.initial_output)
    constants = [*filter(array_api_compat.is_dask_array, Nest.of(problem.constants)[0])]
    tasks: dict[Any, Any] = {shared: (Chain.with_constants, chain, [*map(_chunk, constants)])}
    for s in range(chains):
        states = [_chunk(state, s) for state in problem.states]
        previous: Any = [states, [_chunk(y, s) for y in initial] or None]
        for j in order:
            inputs = [_chunk(x, j, s) for x in problem.inputs]
            kept = _chunk(keep[0], j, s) if keep else None
            tasks[block, j, s] = (Chain.run, shared, j, inputs, kept, previous)
            previous = (carry, j, s)
            tasks[previous] = (getitem, (block, j, s), 0)
    arrays = [*problem.inputs, *problem.states, *keep, *initial, *constants]
    return block, carry, HighLevelGraph.from_collections(block, tasks, dependencies=arrays)


def _chunk(array: da.Array, *at: int) -> tuple[Any, ...]:
    """Name a chunk by its numbers on the first axes; there is one on the others, or on all."""
    numbers = (*at, *[0] * array.ndim)
    return (array.name, *(min(i, n - 1) for i, n in zip(numbers, array.numblocks, strict=False)))
