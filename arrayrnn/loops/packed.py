"""The Python loop over samples that are not masked: one stretch of timesteps after the other."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from arrayrnn._blocks import blocks
from arrayrnn._checks import results
from arrayrnn._iteration import iterate
from arrayrnn._operations import device_of, split
from arrayrnn._packing import Packing, Stretch
from arrayrnn._problem import Problem, Result
from arrayrnn._progress import Progress
from arrayrnn._purity import Purity
from arrayrnn._rows import Rows, rows_at
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array

__all__ = ["loop"]


def loop(problem: Problem, packing: Packing, purity: Purity, progress: Progress) -> Result:
    """Run at each stretch the samples that are not masked there."""
    run = _Run(problem, packing, purity)
    order = slice(None, None, -1 if problem.go_backwards else 1)
    sizes = [len(stretch.times) for stretch in packing.stretches][order]
    inputs = [split(problem.xp, x, sizes)[order] for x in problem.inputs]
    with progress.reporting(run.outputs.append) as append:
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

    # What the outputs are like is known from the first stretch on, if not before.
    _nest: Nest
    _initial: Sequence[Array] | None = None  # what is shown before the first output

    def __init__(self, problem: Problem, packing: Packing, purity: Purity) -> None:
        self._problem, self._packing, self._purity = problem, packing, purity
        self._samples = packing.samples
        self._states = Rows(problem.xp, problem.states, self._samples)
        self._current: Sequence[Array] = ()  # states of the samples that run
        self.outputs: Any = [] if problem.all_outputs else deque(maxlen=1)
        self._columns: list[list[Array]] = []  # of each leaf of the output, those of all stretches
        self._last_outputs: Rows
        self._last: Sequence[Array] = ()  # of the samples that run
        if problem.output_like is not None:
            self._start(*problem.output_like)

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
            rows=samples.size,
            initial_output=None,
            output_like=None,
        )
        if self._purity.is_pure is not False:
            self._purity = Purity(problem.xp)  # for other shapes a step may have other buffers
        body = Body(own, self._purity)
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
            rows=None if samples.size == self._samples.size else samples,
        )
        try:
            states = iterate(own, body, timesteps, None, append)
            self._take_over(body, stretch)
        except Exception as error:
            results.note_rows(error, problem.caller, times, samples.size, self._samples.size)
            raise
        self._current = problem.state_nest.leaves(states)

    def _take_over(self, body: Body, stretch: Stretch) -> None:
        """Check the outputs of a stretch and put them to the others."""
        problem, (times, samples) = self._problem, stretch
        xp, caller, count = problem.xp, problem.caller, samples.size
        if self._initial is not None:
            like = [results.Kind((count, *y.shape[1:]), y.dtype) for y in self._initial]
            try:
                results.same_output(self.outputs[0], self._nest, like, xp, caller)
            except (TypeError, ValueError) as error:
                results.note(error, problem, times[-len(self.outputs)])
                raise
        columns = body.check_outputs(self.outputs, times)
        if self._initial is None:
            first = [column[0] for column in columns]
            results.first_output(body.output, first, count, xp, caller)
            shapes = [(self._samples.size, *y.shape[1:]) for y in first]
            pairs = zip(shapes, first, strict=True)
            zeros = [xp.zeros(n, dtype=y.dtype, device=device_of(y)) for n, y in pairs]
            self._start(body.output, zeros)
        if problem.all_outputs:
            for held, column in zip(self._columns, columns, strict=True):
                held.extend(column)
        else:
            self._last_outputs.leave(self._last, samples)
            self._last = [column[-1] for column in columns]
        self.outputs.clear()

    def _start(self, nest: Nest, like: Sequence[Array]) -> None:
        self._nest = nest
        body = Body(replace(self._problem, output_like=(nest, like)))
        self._initial = nest.leaves(body.initial)
        self._columns = [[] for _ in like]
        self._last_outputs = Rows(self._problem.xp, self._initial, self._samples)

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
        problem, xp = self._problem, self._problem.xp
        places = self._packing.places(zero_output=problem.zero_output_for_mask)
        columns = [
            xp.concat([*column, initial])
            for column, initial in zip(self._columns, self._initial or (), strict=True)
        ]
        last = rows_at(xp, columns, places[-1])
        if problem.go_backwards and problem.in_input_order:
            places = places[::-1]
        places = places if problem.time_axis == 0 else places.T
        rows = rows_at(xp, columns, places.reshape(-1))
        outputs = [xp.reshape(row, (*places.shape, *row.shape[1:])) for row in rows]
        return last, outputs
