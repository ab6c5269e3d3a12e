"""Timestep: what every loop runs. The only place where outputs and states are selected."""

from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from typing import Any

from arrayrnn._libraries.operations import where_of
from arrayrnn._recurrence.axes import align
from arrayrnn._recurrence.mask import Donor
from arrayrnn._recurrence.nests import NestMismatchError
from arrayrnn._recurrence.notes import note
from arrayrnn._recurrence.output import Output, check_new_states, expect_pair
from arrayrnn._recurrence.problem import Problem
from arrayrnn._typing import Array, Namespace

# From the shapes of arrays to, for each timestep of a block, a mask that selects from each array.
MasksFor = Callable[[tuple[tuple[int, ...], ...]], Sequence[Sequence[Array]]]


class Timestep:
    """One timestep of a problem, unmasked, masked, skipped or traced.

    Between timesteps the states are one tuple in the containers of `initial_states`, the output is
    as the step returned it, or None before the first call.

    Attributes
    ----------
    output : Output or None
        What outputs are like; known from the first call on, if not before.
    refused : Exception or None
        Complaint about what the step returned.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.output: Output | None = problem.output
        self.refused: Exception | None = None
        # Made here, since Dynamo can follow only a getter that it has seen made.
        self.spec_of = attrgetter("shape", "dtype")
        self.state_specs = [*map(self.spec_of, problem.start.states)]
        self._state_count = problem.state_nest.width
        self._leaves, self._build = problem.state_nest.leaves, problem.state_nest.build
        self._initial: Any = None
        self._step = step = problem.step
        if constants := problem.options.constants:
            self._step = lambda x_t, states: step(x_t, (*states, *constants))
        # What guards against a step that may not be pure; None once it is known to be.
        purity = problem.purity
        self._guard = None if purity is None or purity.is_pure else purity

    @property
    def initial(self) -> Any:
        """The output of samples masked from the first timestep on; None before the first call."""
        if self._initial is None and self.output is not None:
            self._initial = self.output.nest.build(self.output.initial(self.problem))
        return self._initial

    def call(self, x_t: Any, states: tuple[Any, ...]) -> Any:
        """Call the step."""
        guard = self._guard
        if guard is None:
            return self._step(x_t, states)
        nests = self.problem.inputs.nest, self.problem.state_nest
        result = guard.call(self._step, x_t, states, nests)
        if guard.is_pure:
            self._guard = None
        return result

    def unmasked(self, x_t: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Run a timestep at which no sample is masked."""
        result = self.call(x_t, states) if self._guard else self._step(x_t, states)
        if self.output is None:
            self.learn(result)
        try:
            output, new_states = result
            if len(new_states) != self._state_count:
                raise NestMismatchError  # the next step would take a constant for a state
            return output, self._build(self._leaves(new_states))
        except (TypeError, ValueError):
            # Says what is wrong with the result, if that is what failed.
            self.check(result)
            raise

    def skipped(self, previous: Any) -> Any:
        """Return the output of masked samples, given the previous one."""
        return self.initial if self.problem.options.zero_output_for_mask else previous

    def traced(
        self,
        x_t: Sequence[Array],
        keep: Array | None,
        donor: Donor | None,
        states: Sequence[Array],
        previous: Sequence[Array],
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        """Run any timestep, for loops that trace one for all; takes and returns leaves.

        `keep` is ``(samples,)``, or None if nothing is ever masked. Returns output and states.
        """
        problem, build = self.problem, self._build
        try:
            if keep is None:
                output, new = self.unmasked(problem.inputs.nest.build(x_t), build(states))
            else:
                if donor is not None:
                    x_t = donor.laid_over(problem.xp, x_t, keep)
                masked = MaskedTimesteps(self, _masks_of_one(problem.xp, keep), donor)
                shown = self.known_output.nest.build(previous)
                x_t = problem.inputs.nest.build(x_t)
                output, new = masked(0, x_t, build(states), shown, is_again=False)
        except Exception as error:
            note(error, problem, None, is_raised_by_step=error is not self.refused)
            raise
        return self.known_output.nest.leaves(output), self._leaves(new)

    def learn(self, result: Any) -> None:
        """Learn what the output is like from what the step returned first."""
        self.check(result)
        output, new_states = result
        try:
            self.output = Output.learn(self.problem, output, self._leaves(new_states))
        except Exception as error:
            self.refused = error
            raise

    def check(self, result: Any) -> None:
        """Check what the step returned."""
        try:
            expect_pair(result, self.problem.words)
            output, new_states = result
            check_new_states(new_states, self.problem)
            if self.output is not None:
                self.output.check(output, self.problem)
        except Exception as error:
            self.refused = error
            raise

    @property
    def known_output(self) -> Output:
        """What outputs are like, after the first call."""
        assert self.output is not None
        return self.output


class MaskedTimesteps:
    """Timesteps of one block at which some sample may be masked.

    Without a donor the step is given the states that masked samples hold. With one it is given the
    donor's, laid over theirs. While the mask stays the same, the next timestep would lay the donor
    over these rows again, so new states are handed on as they are, and selected once at the end of
    such a stretch, from those before it and after it.

    Parameters
    ----------
    masks : callable
        Gives the masks of all timesteps of the block.
    """

    __slots__ = (
        "_before_stretch",
        "_donor_states",
        "_last_given",
        "_last_old",
        "_masks",
        "_nest",
        "_output_masks",
        "_state_masks",
        "_timestep",
        "_where",
    )

    def __init__(self, timestep: Timestep, masks: MasksFor, donor: Donor | None) -> None:
        self._timestep, self._masks, self._nest = timestep, masks, timestep.problem.state_nest
        self._where = where_of(timestep.problem.xp)
        self._state_masks = masks(tuple([tuple(shape) for shape, _ in timestep.state_specs]))
        self._output_masks: Sequence[Sequence[Array]] | None = None
        self._donor_states = None if donor is None else donor.states
        # States before a stretch of timesteps with one mask, if the last timestep was in one.
        self._before_stretch: Sequence[Array] | None = None
        # States that the last timestep was handed, and what the step was given for them.
        self._last_old: Sequence[Array] = ()
        self._last_given: Sequence[Array] = ()

    def __call__(
        self, i: int, x_t: Any, states: tuple[Any, ...], previous: Any, *, is_again: bool
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run the `i`-th timestep of the block.

        In masked samples `x_t` has the donor already; `is_again` says that the next timestep has
        the same mask.
        """
        timestep, where, mask, nest = self._timestep, self._where, self._state_masks[i], self._nest
        # `held`: what masked samples keep. `given`: what the step sees. Without a donor both are
        # the states of the timestep before.
        old: Sequence[Array] = nest.leaves(states)
        held = given = old
        if self._donor_states is None:
            is_again = False
        else:
            given = self._lay_donor_over(old, mask)
            states = nest.build(given)
            held = self._before_stretch or old
            self._before_stretch = held if is_again else None
        result = timestep.call(x_t, states)
        if timestep.output is None:
            timestep.learn(result)
        if previous is None:
            previous = timestep.initial
        output_like, spec_of = timestep.known_output, timestep.spec_of
        before, shown = output_like.nest.leaves(timestep.skipped(previous)), []
        try:
            output, new_states = result
            new: Sequence[Array] = nest.leaves(new_states)
            leaves = output_like.nest.leaves(output)
            # Selecting would broadcast or promote arrays that are unlike.
            if [*map(spec_of, new)] != timestep.state_specs:
                timestep.check(result)
            if any(map(is_, new, given)):
                # A state that is handed on as it came is still that of before.
                new = [o if n is g else n for n, g, o in zip(new, given, old, strict=True)]
                where = self._where_changed
            selected = new if is_again else [*map(where, mask, new, held)]
            for j, k in enumerate(output_like.state_of):
                leaf = leaves[j]
                if not is_again and k >= 0 and leaf is new[k] and before[j] is held[k]:
                    # An output is often a new state too, and the previous one the old state.
                    shown.append(selected[k])
                    continue
                if spec_of(leaf) != output_like.specs[j]:
                    timestep.check(result)
                shown.append(self._where(self._output_mask(i)[j], leaf, before[j]))
        except Exception:
            timestep.check(result)
            raise
        return output_like.nest.build(shown), nest.build(selected)

    def _lay_donor_over(self, old: Sequence[Array], mask: Sequence[Array]) -> tuple[Array, ...]:
        """Return the donor's states in masked samples; arrays handed on as they came once only."""
        where, donor = self._where, self._donor_states or ()
        if self._before_stretch is not None and any(map(is_, old, self._last_old)):
            lasts = zip(self._last_old, self._last_given, mask, old, donor, strict=True)
            given = tuple(g if o is last else where(m, o, d) for last, g, m, o, d in lasts)
        else:
            given = tuple(map(where, mask, old, donor))
        self._last_old, self._last_given = old, given
        return given

    def _output_mask(self, i: int) -> Sequence[Array]:
        if self._output_masks is None:
            specs = self._timestep.known_output.specs
            self._output_masks = self._masks(tuple([tuple(shape) for shape, _ in specs]))
        return self._output_masks[i]

    def _where_changed(self, mask: Array, new: Array, held: Array) -> Array:
        return held if new is held else self._where(mask, new, held)


def _masks_of_one(xp: Namespace, keep: Array) -> MasksFor:
    """Return the masks of a block of a single timestep, `keep` being its ``(samples,)``."""
    return lambda shapes: [[align(xp, keep, len(shape)) for shape in shapes]]
