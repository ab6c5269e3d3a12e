"""Dask: a graph with one task for each block of timesteps and samples.

Each task leaves states and an output to the task of the next block in time. None waits for
timesteps behind its own, since these would have to be held meanwhile.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from operator import getitem
from typing import Any, NoReturn
from uuid import uuid4

import array_api_compat
import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.highlevelgraph import HighLevelGraph

from arrayrnn._libraries.operations import namespace_of
from arrayrnn._loops.dask_task import Task
from arrayrnn._recurrence.axes import agree, is_open
from arrayrnn._recurrence.errors import came
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Named, tree_leaves, tree_map
from arrayrnn._recurrence.notes import called_with
from arrayrnn._recurrence.output import Output
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn._typing import Array, Namespace

Sizes = tuple[Any, ...]  # of the chunks along an axis
Chunks = Sequence[Sizes]  # along all axes
Pick = Callable[[tuple[int, ...]], Any]  # from the numbers of a chunk to the task that gives it

_STAND_IN = 2  # samples that the step is shown, if their number is unknown


def loop(problem: Problem) -> Result:
    """Return arrays that one task for each block will compute."""
    inputs = _dask(problem.inputs.leaves)
    time: Sizes = inputs[0].chunks[0] if inputs else (problem.time,)
    given: Sizes = inputs[0].chunks[1] if problem.has_samples else ()
    # A step that may mix samples gets all of them.
    samples = given if problem.options.samplewise or not given else (sum(given),)
    problem = _cut(problem.with_constant_step(), time, samples)
    output, count = _shown(problem)
    chunks = _output_chunks(problem, output, samples, count)
    return _Graph(problem, output, chunks, (time, samples, given)).result()


class _Graph:
    """Tasks of all blocks, and the arrays made of their results.

    The task ``(block, j, s)`` runs the ``j``-th block of time and the ``s``-th of samples and
    returns ``(carry, outputs)``; ``(carry, j, s)`` takes the carry out of it.
    """

    def __init__(
        self,
        problem: Problem,
        output: Output,
        output_chunks: Sequence[Chunks],
        sizes: tuple[Sizes, Sizes, Sizes],
    ) -> None:
        """Make the tasks; `sizes` are those of time, of samples, and of samples as given."""
        self._problem, self._output, self._output_chunks = problem, output, output_chunks
        time, samples, given = sizes
        self._time, self._samples, self._given = time, samples, given
        self._order = range(len(time))[:: -1 if problem.go_backwards else 1]
        token = uuid4().hex
        self._block, self._carry, shared = (
            f"arrayrnn-{part}-{token}" for part in ("block", "carry", "step")
        )
        keep = [] if problem.mask is None else [problem.mask.keep]
        initial = _dask(problem.start.output or ())
        constants = _constants(problem)
        lazy = [*filter(array_api_compat.is_dask_array, constants.leaves)]
        has_rows = [bool(samples) and own[0] is samples for own in output_chunks]
        task = Task.of(problem, output, time, has_rows)
        tasks: dict[Any, Any] = {shared: (Task.with_constants, task, [*map(_chunk, lazy)])}
        for s in range(len(samples) or 1):
            states = [_chunk(state, s) for state in _dask(problem.start.states)]
            previous: Any = [states, [_chunk(y, s) for y in initial] or None]
            for j in self._order:
                inputs = [_chunk(x, j, s) for x in _dask(problem.inputs.leaves)]
                kept = _chunk(keep[0], j, s) if keep else None
                tasks[self._block, j, s] = (Task.run, shared, j, inputs, kept, previous)
                previous = (self._carry, j, s)
                tasks[previous] = (getitem, (self._block, j, s), 0)
        arrays = [*problem.inputs.leaves, *problem.start.states, *keep, *initial, *lazy]
        self._graph = HighLevelGraph.from_collections(self._block, tasks, dependencies=arrays)

    def result(self) -> Result:
        """Return the arrays of a result."""
        problem, output, axis = self._problem, self._output, self._problem.options.time_axis
        shown = range(len(self._time)) if problem.in_input_order else self._order
        sizes = tuple(self._time[j] for j in shown)
        if not problem.options.return_all_outputs:
            shown, sizes = self._order[-1:], (1,)

        def at_the_end(part: int, k: int) -> Pick:
            return lambda at: _picked((self._carry, self._order[-1], _number(at, 0)), part, k)

        def in_time(k: int) -> Pick:
            return lambda at: _picked((self._block, shown[at[axis]], _number(at, 1 - axis)), 1, k)

        last, outputs = [], []
        for k, (like, own) in enumerate(zip(output.models, self._output_chunks, strict=True)):
            last.append(self._array("last", like, own, 0, at_the_end(1, k)))
            in_all = (*own[:axis], sizes, *own[axis:])
            outputs.append(self._array("outputs", like, in_all, 1 - axis, in_time(k)))
        states = [
            self._array("states", state, state.chunks, 0, at_the_end(0, k))
            for k, state in enumerate(_dask(problem.start.states))
        ]
        build, carry = output.nest.build, Carry(states, last)
        return Result(build(last), build(outputs), problem.state_nest.build(states), carry)

    def _array(
        self, part: str, like: Array, chunks: Chunks, samples_axis: int, pick: Pick
    ) -> da.Array:
        name = f"arrayrnn-{part}-{uuid4().hex}"
        layer = {(name, *at): pick(at) for at in np.ndindex(*map(len, chunks))}
        layers = {**self._graph.layers, name: layer}
        dependencies = {**self._graph.dependencies, name: {self._block}}
        whole = da.Array(HighLevelGraph(layers, dependencies), name, tuple(chunks), meta=like)
        joined, axis = len(self._given) > len(self._samples), samples_axis
        if joined and whole.shape[axis : axis + 1] == (sum(self._given),):
            whole = whole.rechunk({axis: self._given})  # as the caller had it
        return whole


def _picked(key: Any, part: int, k: int) -> Any:
    """Return a task that takes the `k`-th leaf of a part of what another task returns."""
    return (getitem, (getitem, key, part), k)


def _number(at: tuple[int, ...], axis: int) -> int:
    """Return the number of a chunk along an axis, 0 if there is no such axis."""
    return at[axis] if axis < len(at) else 0


def _chunk(array: da.Array, *at: int) -> tuple[Any, ...]:
    """Return the key of a chunk, given its numbers on the first axes.

    There is one chunk on each other axis, and on an axis that all blocks share: then number 0 is
    meant, whatever `at` says.
    """
    numbers = (*at, *[0] * array.ndim)
    return (array.name, *(min(i, n - 1) for i, n in zip(numbers, array.numblocks, strict=False)))


def _dask(arrays: Sequence[Array]) -> Sequence[da.Array]:
    return arrays


def _constants(problem: Problem) -> Named:
    return Named.of(problem.options.constants, "constants")


def _cut(problem: Problem, time: Sizes, samples: Sizes) -> Problem:
    """Give all arrays the same chunks of time and of samples, and one along any other axis."""
    words, mask, start = problem.words, problem.mask, problem.start

    def cut(array: da.Array, path: str, *leading: Sizes) -> da.Array:
        chunks = []
        for axis, have in enumerate(array.chunks):
            want = leading[axis] if axis < len(leading) else (sum(have),)
            is_unknown = is_open(sum(have)) or is_open(sum(want))
            # Chunks of unknown lengths have to stay as they are.
            if is_unknown and (axis >= len(leading) or len(have) != len(want)):
                _fail_unknown(path, problem)
            chunks.append(have if is_unknown else want)
        return array.rechunk(tuple(chunks))

    def cut_samples(array: da.Array, path: str) -> da.Array:
        has_rows = samples and array.ndim and agree(array.shape[:1], (sum(samples),))
        return cut(array, path, *([samples] if has_rows else []))

    def cut_constant(constant: Any, path: str) -> Any:
        return cut(constant, path) if array_api_compat.is_dask_array(constant) else constant

    def each(named: Named, cut: Callable[[Any, str], Any]) -> Named:
        return named.replaced([cut(leaf, named.path(k)) for k, leaf in enumerate(named.leaves)])

    in_time = (time, samples) if samples else (time,)
    output = None
    if start.output is not None and problem.initial_nest is not None:
        given = Named(start.output, problem.initial_nest, words.initial_output)
        output = each(given, cut_samples).leaves
    return problem._replace(
        inputs=each(problem.inputs, lambda x, path: cut(x, path, *in_time)),
        start=Carry(each(problem.states, cut_samples).leaves, output),
        mask=None if mask is None else Mask(cut(mask.keep, "mask", *in_time), None),
    ).with_options(constants=each(_constants(problem), cut_constant).build())


def _fail_unknown(path: str, problem: Problem) -> NoReturn:
    hint = " Chunks of samples may stay so with `samplewise=True`." * problem.has_samples
    raise ValueError(
        f"`{path}` has chunks of unknown lengths, which would have to be cut or joined. Call its "
        f"`compute_chunk_sizes()` first.{hint}"
    )


def _output_chunks(
    problem: Problem, output: Output, samples: Sizes, count: int | None
) -> list[Chunks]:
    """Return the chunks of the last output, leaf by leaf; the step was shown `count` samples."""
    named = problem.words.returned_output(output.models, output.nest)
    chunks: list[Chunks] = []
    for k, (shape, _) in enumerate(output.specs):
        own: list[Sizes] = [(n,) for n in shape]
        if samples and shape[0] == count:
            own[0] = samples
        elif len(samples) > 1:
            raise ValueError(
                f"{came(named, k)}, for {count} samples; with `samplewise=True` and several chunks "
                "of samples expected (samples, ...)."
            )
        chunks.append(own)
    return chunks


def _shown(problem: Problem) -> tuple[Output, int | None]:
    """Call the step on arrays without memory: all that is wrong with it shows now.

    Returns what its output is like, and how many samples it was shown.
    """
    xp = namespace_of(meta_from_array([*problem.inputs.leaves, *problem.start.states][0]))

    def like(leaf: Any) -> Any:
        return harmless(xp, leaf) if array_api_compat.is_dask_array(leaf) else leaf

    @wraps(problem.step)
    def step(x_t: Any, states: tuple[Any, ...]) -> Any:
        result = problem.step(x_t, states)
        if any(map(array_api_compat.is_dask_array, tree_leaves(result))):
            _fail_closed_over(problem)
        return result

    inputs = [like(x) for x in problem.inputs.leaves]
    states, output = problem.start
    stand_in = problem._replace(
        xp=xp,
        step=step,
        inputs=problem.inputs.replaced(inputs),
        start=Carry([*map(like, states)], None if output is None else [*map(like, output)]),
        mask=None if problem.mask is None else Mask(like(problem.mask.keep), None),
        purity=Purity(xp),  # stand-ins for blocks cannot be written to
    ).with_options(constants=tree_map(like, problem.options.constants))
    timestep = Timestep(stand_in)
    try:
        # Values computed here have no meaning, and neither have warnings about them.
        with np.errstate(all="ignore"):
            x_t = problem.inputs.nest.build([x[0, ...] for x in inputs])
            timestep.unmasked(x_t, problem.state_nest.build(stand_in.start.states))
    except Exception as error:
        _note_stand_ins(error, stand_in, is_raised_by_step=error is not timestep.refused)
        raise
    return timestep.known_output, inputs[0].shape[1] if problem.has_samples else None


def harmless(xp: Namespace, array: da.Array) -> Array:
    """Return a stand-in for a block of an array: it has the shape, and no memory.

    Integers are zeros, since they may be an index; anything else is ones, which have a logarithm
    and a root, and may be divided by.
    """
    largest = map(max, array.chunks)
    shape = tuple(_STAND_IN if is_open(length) else length for length in largest)
    draw = xp.zeros if xp.isdtype(array.dtype, "integral") else xp.ones
    return xp.broadcast_to(draw((), dtype=array.dtype), shape)


def _fail_closed_over(problem: Problem) -> NoReturn:
    """Refuse a lazy result of a step that was given nothing lazy."""
    cure = "Pass it in `init`, or close over what it computes to"
    if problem.has_samples:
        cure = "Pass it in `constants`, from where the step gets it computed"
    raise TypeError(
        f"`{problem.words.function}` returned a Dask array although it was given none, only blocks "
        f"of Dask arrays: it closes over one. {cure}."
    )


def _note_stand_ins(error: Exception, problem: Problem, *, is_raised_by_step: bool) -> None:
    words = problem.words
    called = f" {called_with(problem)}" if is_raised_by_step else ""
    error.add_note(
        f"arrayrnn.{words.name}: while `{words.function}` was called on arrays of ones (zeros of "
        "integers) of the shapes that a block will have, to learn the shape of its output. If it "
        "cannot stand such values, `unroll=True` calls it on none, and makes tasks for each of its "
        f"operations.{called}"
    )
