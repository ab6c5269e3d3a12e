"""The Python loop over samples that are not masked: one stretch of timesteps after the other."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from array_api_compat import device

from arrayrnn._blocks import blocks
from arrayrnn._checks import results
from arrayrnn._iteration import iterate
from arrayrnn._operations import split
from arrayrnn._packing import Packing, Stretch
from arrayrnn._problem import Problem, Result
from arrayrnn._progress import reporting
from arrayrnn._rows import Rows, rows_at
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array

if TYPE_CHECKING:
    import numpy as np

__all__ = ["loop"]


def loop(problem: Problem, packing: Packing) -> Result:
    """Run at each stretch the samples that are not masked there."""
    run = _Run(problem, packing)
    order = slice(None, None, -1 if problem.go_backwards else 1)
    sizes = [len(stretch.times) for stretch in packing.stretches][order]
    inputs = [split(problem.xp, x, sizes)[order] for x in problem.inputs]
    with reporting(problem.progress, problem.time, run.outputs.append) as append:
        for k, stretch in enumerate(packing.stretches):
            run.stretch(stretch, [parts[k] for parts in inputs], append)
    return run.result()


class _Run:
    """What one stretch leaves to the next.

    Attributes
    ----------
    outputs : list or deque
        Those of the stretch that runs, of its samples.
    """

    _nest: Nest  # of the outputs; from the first stretch on
    _initial: Sequence[Array] | None = None  # what is shown before the first output

    def __init__(self, problem: Problem, packing: Packing) -> None:
        self._problem, self._packing = problem, packing
        self._samples: int = packing.keep.shape[1]
        self._states = Rows(problem.xp, problem.states, self._samples)
        self._current: Sequence[Array] = ()  # states of the samples that run
        self.outputs: Any = [] if problem.all_outputs else deque(maxlen=1)
        self._columns: list[list[Array]] = []  # of each leaf of the output, those of all stretches
        self._last_outputs: Rows
        self._last: Sequence[Array] = ()  # of the samples that run

    def stretch(
        self, stretch: Stretch, inputs: Sequence[Array], append: Callable[[Any], object]
    ) -> None:
        problem, (times, samples) = self._problem, stretch
        if samples.size == 0:
            for _ in times:
                append(None)
            self.outputs.clear()
            return
        self._current = self._states.change(self._current, samples)
        own = replace(
            problem,
            states=self._current,
            mask=None,
            donor=None,
            initial_output=None,
            output_like=None,
        )
        body = Body(own)
        timesteps = blocks(
            problem.xp,
            inputs,
            problem.input_nest,
            len(times),
            None,
            None,
            go_backwards=problem.go_backwards,
            start=min(times[0], times[-1]),
            size=problem.checkpoint,
            rows=None if samples.size == self._samples else samples,
        )
        try:
            states = iterate(own, body, timesteps, None, append)
            body.check_states(states)
            self._take_over(body, samples)
        except Exception as error:
            results.note_rows(error, problem.caller, samples.size, self._samples)
            raise
        self._current = problem.state_nest.leaves(states)

    def _take_over(self, body: Body, samples: "np.ndarray[Any, Any]") -> None:
        """Check the outputs of a stretch and put them to the others."""
        columns, problem = body.check_outputs(self.outputs), self._problem
        if self._initial is None:
            self._start(body.output, [column[0] for column in columns], samples.size)
        else:
            like = [results.Kind((samples.size, *y.shape[1:]), y.dtype) for y in self._initial]
            results.same_output(self.outputs[0], self._nest, like, problem.xp, problem.caller)
        if problem.all_outputs:
            for held, column in zip(self._columns, columns, strict=True):
                held.extend(column)
        else:
            self._last_outputs.change(self._last, samples)
            self._last = [column[-1] for column in columns]
        self.outputs.clear()

    def _start(self, nest: Nest, leaves: Sequence[Array], count: int) -> None:
        problem, samples = self._problem, self._samples
        xp, like = problem.xp, problem.output_like
        results.first_output(nest, leaves, count, xp, problem.caller)
        if like is None:
            shapes = [(samples, *y.shape[1:]) for y in leaves]
            pairs = zip(shapes, leaves, strict=True)
            like = nest, [xp.zeros(n, dtype=y.dtype, device=device(y)) for n, y in pairs]
        self._nest = nest
        self._initial = nest.leaves(Body(replace(problem, output_like=like)).initial)
        self._columns = [[] for _ in leaves]
        self._last_outputs = Rows(xp, self._initial, samples)

    def result(self) -> Result:
        problem, build = self._problem, self._nest.build
        states = problem.state_nest.build(self._states.all(self._current))
        if problem.all_outputs:
            last, outputs = self._gathered()
        else:
            last = [*self._gathered_last()]
            outputs = [problem.xp.expand_dims(leaf, axis=problem.time_axis) for leaf in last]
        return Result(build(last), build(outputs), states)

    def _gathered_last(self) -> Sequence[Array]:
        outputs, last = self._last_outputs, self._last
        if self._problem.zero_output_for_mask:
            outputs = Rows(self._problem.xp, self._initial or (), self._samples)
            outputs.running = self._packing.keep[-1].nonzero()[0]
            last = last if outputs.running.size else ()
        return outputs.all(last)

    def _gathered(self) -> tuple[list[Array], list[Array]]:
        """Return the last output and all outputs; samples without one yet show the initial one."""
        import numpy as np

        problem, xp = self._problem, self._problem.xp
        places = self._packing.places(zero_output=problem.zero_output_for_mask)
        count = int(self._packing.keep.sum())
        before = places < 0
        places = np.where(before, count + np.arange(self._samples), places)
        columns = [
            xp.concat([*column, initial] if before.any() else column)
            for column, initial in zip(self._columns, self._initial or (), strict=True)
        ]
        last = rows_at(xp, columns, places[-1])
        if problem.go_backwards and problem.in_input_order:
            places = places[::-1]
        places = places if problem.time_axis == 0 else places.T
        rows = rows_at(xp, columns, places.reshape(-1))
        outputs = [xp.reshape(row, (*places.shape, *row.shape[1:])) for row in rows]
        return last, outputs
