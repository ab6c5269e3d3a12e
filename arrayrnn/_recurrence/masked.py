"""Masked timesteps: the only place where outputs and states are selected."""

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from arrayrnn._libraries.operations import where_of
from arrayrnn._recurrence.axes import align
from arrayrnn._recurrence.mask import Donor
from arrayrnn._recurrence.notes import note
from arrayrnn._recurrence.timestep import Timestep
from arrayrnn._typing import Array, Namespace

# From the shapes of arrays to, for each timestep of a block, a mask that selects from each array.
MasksFor = Callable[[tuple[tuple[int, ...], ...]], Sequence[Sequence[Array]]]


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
        "_shows_zeros",
        "_state_masks",
        "_timestep",
        "_where",
    )

    def __init__(self, timestep: Timestep, masks: MasksFor, donor: Donor | None) -> None:
        self._timestep, self._masks, self._nest = timestep, masks, timestep.problem.state_nest
        self._where = where_of(timestep.problem.xp)
        self._state_masks = masks(tuple([tuple(shape) for shape, _ in timestep.state_specs]))
        self._output_masks: Sequence[Sequence[Array]] | None = None
        self._shows_zeros = timestep.problem.options.zero_output_for_mask
        self._donor_states = None if donor is None else donor.states
        # States before a stretch of timesteps with one mask, if the last timestep was in one.
        self._before_stretch: Sequence[Array] | None = None
        # States that the last timestep was handed, and those that the step was given for them.
        self._last_old: Sequence[Array] = ()
        self._last_given: Sequence[Array] = ()

    def __call__(
        self, i: int, x_t: Any, states: tuple[Any, ...], previous: Any, is_again: bool
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run the `i`-th timestep of the block.

        In masked samples `x_t` has the donor already; `is_again` says that the next timestep has
        the same mask.
        """
        timestep, where, mask, nest = self._timestep, self._where, self._state_masks[i], self._nest
        # Masked samples keep `held`; the step sees `given`. Without a donor both are the states of
        # the timestep before.
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
        known, spec_of = timestep.output or timestep.learn(result), timestep.spec_of
        if previous is None or self._shows_zeros:
            previous = timestep.initial
        before, shown = known.nest.leaves(previous), []
        try:
            output, new_states = result
            new: Sequence[Array] = nest.leaves(new_states)
            leaves = known.nest.leaves(output)
            # Selecting would broadcast or promote arrays that are unlike.
            if [*map(spec_of, new)] != timestep.state_specs:
                timestep.check(result)
            if any(map(is_, new, given)):
                # A state that is handed on as it came is still that of before.
                new = [o if n is g else n for n, g, o in zip(new, given, old, strict=True)]
                where = self._where_changed
            selected = new if is_again else [*map(where, mask, new, held)]
            for j, k in enumerate(known.state_of):
                leaf = leaves[j]
                if not is_again and k >= 0 and leaf is new[k] and before[j] is held[k]:
                    # An output is often a new state too, and the previous one the old state.
                    shown.append(selected[k])
                    continue
                if spec_of(leaf) != known.specs[j]:
                    timestep.check(result)
                shown.append(self._where(self._output_mask(i)[j], leaf, before[j]))
        except Exception:
            timestep.check(result)
            raise
        return known.nest.build(shown), nest.build(selected)

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


def run_traced(
    timestep: Timestep,
    x_t: Sequence[Array],
    keep: Array | None,
    donor: Donor | None,
    states: Sequence[Array],
    previous: Sequence[Array],
) -> tuple[Sequence[Array], Sequence[Array]]:
    """Run any timestep, for loops that trace one for all; takes and returns leaves.

    `keep` is ``(samples,)``, or None if nothing is ever masked. Returns output and states.
    """
    problem = timestep.problem
    nest, state_nest = problem.inputs.nest, problem.state_nest
    try:
        if keep is None:
            output, new = timestep.unmasked(nest.build(x_t), state_nest.build(states))
        else:
            if donor is not None:
                x_t = donor.laid_over(problem.xp, x_t, keep)
            masked = MaskedTimesteps(timestep, _masks_of_one(problem.xp, keep), donor)
            before = timestep.known_output.nest.build(previous)
            x, h = nest.build(x_t), state_nest.build(states)
            output, new = masked(0, x, h, before, False)
    except Exception as error:
        note(error, problem, None, is_raised_by_step=error is not timestep.refused)
        raise
    return timestep.known_output.nest.leaves(output), state_nest.leaves(new)


def _masks_of_one(xp: Namespace, keep: Array) -> MasksFor:
    """Return the masks of a block of a single timestep, `keep` being its ``(samples,)``."""
    return lambda shapes: [[align(xp, keep, len(shape)) for shape in shapes]]
