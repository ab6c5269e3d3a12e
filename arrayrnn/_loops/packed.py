"""The Python loop over samples that are not masked: one stretch of timesteps after the other."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from arrayrnn._libraries.operations import device_of, split
from arrayrnn._libraries.torch import Append, add_note
from arrayrnn._loops import eager
from arrayrnn._loops.blocks import blocks
from arrayrnn._loops.packing import Packing, Rows, Stretch, rows_at
from arrayrnn._recurrence.output import Output, check_first
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn._typing import Array


def loop(problem: Problem) -> Result:
    """Leave masked samples out where that pays; otherwise iterate over all of them."""
    packing = Packing.of(problem)
    if packing is None:
        return eager.loop(problem)
    problem, progress = eager.prepared(problem)
    order = slice(None, None, -1 if problem.go_backwards else 1)
    sizes = [len(stretch.times) for stretch in packing.stretches][order]
    inputs = [split(problem.xp, x, sizes)[order] for x in problem.inputs.leaves]
    run = _Run(problem, packing)
    with eager.reporting(progress, run.shown.append) as append:
        for k, stretch in enumerate(packing.stretches):
            run.stretch(stretch, [parts[k] for parts in inputs], append)
    return run.result()


class _Run:
    """States and outputs that one stretch leaves to the next."""

    def __init__(self, problem: Problem, packing: Packing) -> None:
        self._problem, self._packing, self._purity = problem, packing, problem.purity
        self._count = len(packing.samples)
        self._states = Rows(problem.xp, problem.start.states, packing.samples)
        self._current: Sequence[Array] = ()  # states of the samples that run
        # Outputs of the stretch that runs, of its samples.
        self.shown: Any = [] if problem.options.return_all_outputs else deque(maxlen=1)
        known = problem.output
        self._outputs = None if known is None else _Outputs(problem, packing, known)

    def stretch(self, stretch: Stretch, inputs: Sequence[Array], append: Append) -> None:
        """Run the samples of a stretch, given its timesteps of the inputs."""
        problem, (times, samples) = self._problem, stretch
        if samples.size == 0:
            for _ in times:
                append(None)
            self.shown.clear()
            return
        self._current = self._states.change(self._current, samples)
        if self._purity is None or self._purity.is_pure is not False:
            self._purity = Purity(problem.xp)  # for other shapes a step may have other buffers
        own = problem._replace(
            start=Carry(self._current),
            mask=None,
            rows=samples.size,
            initial_nest=None,
            output=None if self._outputs is None else self._outputs.like.of_rows(samples.size),
            purity=self._purity,
        )
        timestep = Timestep(own)
        timesteps = blocks(
            own._replace(inputs=own.inputs.replaced(inputs), time=len(times)),
            start=min(times[0], times[-1]),
            rows=None if samples.size == self._count else samples,
        )
        try:
            states = eager.iterate(timestep, timesteps, None, append)
            self._collect(timestep.known_output, stretch)
        except Exception as error:
            _note_rows(error, problem, stretch, self._count)
            raise
        self._current = problem.state_nest.leaves(states)

    def _collect(self, like: Output, stretch: Stretch) -> None:
        """Check the outputs of a stretch and put them to the others."""
        problem, (times, samples) = self._problem, stretch
        columns = like.columns(self.shown, problem, times)
        if self._outputs is None:
            first, xp = [column[0] for column in columns], problem.xp
            check_first(problem, first, like.nest, samples.size)
            shapes = [(self._count, *y.shape[1:]) for y in first]
            pairs = zip(shapes, first, strict=True)
            zeros = [xp.zeros(n, dtype=y.dtype, device=device_of(y)) for n, y in pairs]
            known = Output.learn(problem, like.nest.build(zeros))
            self._outputs = _Outputs(problem, self._packing, known)
        self._outputs.add(columns, samples)
        self.shown.clear()

    def result(self) -> Result:
        assert self._outputs is not None
        return self._outputs.result(self._states.all(self._current))


class _Outputs:
    """Outputs of all stretches, each of the samples that ran."""

    def __init__(self, problem: Problem, packing: Packing, like: Output) -> None:
        self.like = like
        self._problem, self._packing = problem, packing
        self._initial = like.initial(problem)
        self._columns: list[list[Array]] = [[] for _ in self._initial]  # for each leaf
        self._last_rows = Rows(problem.xp, self._initial, packing.samples)
        self._last: Sequence[Array] = ()  # of the samples that run

    def add(self, columns: Sequence[Sequence[Array]], samples: Any) -> None:
        """Add the outputs of a stretch, for each leaf those of its timesteps."""
        if self._problem.options.return_all_outputs:
            for earlier, column in zip(self._columns, columns, strict=True):
                earlier.extend(column)
        else:
            self._last_rows.leave(self._last, samples)
            self._last = [column[-1] for column in columns]

    def result(self, states: Sequence[Array]) -> Result:
        """Lay out the outputs of all samples."""
        problem, build, axis = self._problem, self.like.nest.build, self._problem.options.time_axis
        if problem.options.return_all_outputs:
            last, outputs = self._gathered()
        else:
            last = self._gathered_last()
            outputs = [problem.xp.expand_dims(leaf, axis=axis) for leaf in last]
        carry = Carry(states, last)
        return Result(build(last), build(outputs), problem.state_nest.build(states), carry)

    def _gathered_last(self) -> list[Array]:
        rows, last = self._last_rows, self._last
        if self._problem.options.zero_output_for_mask:
            rows = Rows(self._problem.xp, self._initial, self._packing.samples)
            rows.running = self._packing.keep[-1].nonzero()[0]
            last = last if rows.running.size else ()
        return [*rows.all(last)]

    def _gathered(self) -> tuple[list[Array], list[Array]]:
        """Return the last output and all outputs."""
        problem, xp = self._problem, self._problem.xp
        places = self._packing.places(zero_output=problem.options.zero_output_for_mask)
        pairs = zip(self._columns, self._initial, strict=True)
        columns = [xp.concat([*column, initial]) for column, initial in pairs]
        last = rows_at(xp, columns, places[-1])
        if problem.go_backwards and problem.in_input_order:
            places = places[::-1]
        places = places if problem.options.time_major else places.T
        rows = rows_at(xp, columns, places.reshape(-1))
        outputs = [xp.reshape(row, (*places.shape, *row.shape[1:])) for row in rows]
        return last, outputs


def _note_rows(error: Exception, problem: Problem, stretch: Stretch, samples: int) -> None:
    """Note that a step saw but some of the samples at some timesteps."""
    times, rows = stretch.times, stretch.samples.size
    if rows < samples:
        add_note(
            error,
            f"arrayrnn.{problem.words.name}: with `samplewise=True` the step was given {rows} of "
            f"the {samples} samples at timesteps {min(times)} to {max(times)}, those not masked; "
            "nothing else in it may have a row for each.",
        )
