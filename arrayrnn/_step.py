"""One timestep, masked or not: the only place where outputs and states are selected."""

from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from typing import Any

from arrayrnn._axes import align
from arrayrnn._checks import results
from arrayrnn._masking import Donor, Masks
from arrayrnn._operations import where_of
from arrayrnn._problem import Problem
from arrayrnn._purity import Purity
from arrayrnn._tree import Nest, NestMismatchError
from arrayrnn._typing import Array, Namespace

__all__ = ["Body"]

# (i, x_t, states, previous output, same) -> (output, states)
PartlyMaskedStep = Callable[[int, Any, tuple[Any, ...], Any, bool], tuple[Any, tuple[Any, ...]]]


class Body:
    """What every loop runs at each timestep.

    Between timesteps the states are one tuple in the containers of `initial_states`, the output is
    as the step function returned it, or None before the first call.

    Attributes
    ----------
    started : bool
        Whether the step function was called.
    output : Nest
        The structure of the output; from the first call on.
    refused : Exception or None
        What was wrong with a result of the step.
    """

    output: Nest
    refused: Exception | None = None

    def __init__(self, problem: Problem, purity: Purity | None = None) -> None:
        self.started = False
        self._initial: Any = None
        # Made here, since Dynamo can follow only a getter that it has seen made.
        self._kind = attrgetter("shape", "dtype")
        self._problem = problem
        self._xp = problem.xp
        self._where = where_of(problem.xp)
        self._leaves, self._build = problem.state_nest.leaves, problem.state_nest.build
        self._state_count = problem.state_nest.spec.num_children
        self._shapes = tuple(tuple(state.shape) for state in problem.states)
        self._output_shapes: tuple[tuple[int, ...], ...] = ()
        self._state_kinds = [*map(self._kind, problem.states)]
        self._first_output: Sequence[Array] = ()
        # For each leaf of the output: which state it was, too, or -1; its shape and dtype.
        self._output_kinds: list[tuple[int, tuple[Any, Any]]] = []
        self._call = step_function = problem.step_function
        if constants := problem.constants:
            self._call = lambda x_t, states: step_function(x_t, states + constants)
        self._as_it_is, self._purity = self._call, purity
        if purity is not None and not purity.is_pure:
            self._call = self._call_purely
        if problem.output_like is not None:
            self._start(*problem.output_like, ())

    @property
    def initial(self) -> Any:
        """The output of samples masked from the first timestep on; None before the first call."""
        if self._initial is None and self.started:
            problem, nest, leaves = self._problem, self.output, self._first_output
            if problem.initial_output is not None and not problem.zero_output_for_mask:
                leaves = nest.leaves(problem.initial_output)
            elif problem.output_like is not None:
                leaves = problem.output_like[1]
            else:
                leaves = [*map(self._xp.zeros_like, leaves)]
            self._initial = nest.build(leaves)
        return self._initial

    def whole(self, x_t: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Run a timestep at which no sample is masked."""
        result = self._call(x_t, states)
        if not self.started:
            self._check(result)
        try:
            output, new_states = result
            if len(new_states) != self._state_count:
                raise NestMismatchError  # the next step would take a constant for a state
            return output, self._build(self._leaves(new_states))
        except (TypeError, ValueError):
            # Says what is wrong with the result, if that is what failed.
            self._check(result)
            raise

    def partly(self, masks: Masks, donor: Donor | None) -> PartlyMaskedStep:
        """Return what runs those timesteps of a block at which some sample may be masked.

        Without a donor the step is given the states that are held. With one, masked samples of
        `x_t` are the donor's already; `i` counts within the block. If `same`, the next timestep has
        the same mask: it will lay the donor over the masked states anyway, so these are selected
        once, from before and after the whole run of such timesteps.
        """
        # Local names, since this is what a masked timestep costs beyond its selecting.
        where, build, leaves_of = self._where, self._build, self._leaves
        rest, kind_of, state_kinds = self.rest, self._kind, self._state_kinds
        state_masks = masks(self._shapes)
        output_masks: Sequence[Sequence[Array]] = ()
        donor_states = None if donor is None else donor.states
        before_run: Sequence[Array] | None = None
        last_old: Sequence[Array] = ()
        last_given: tuple[Array, ...] = ()

        def step(
            i: int, x_t: Any, states: tuple[Any, ...], previous: Any, same: bool
        ) -> tuple[Any, tuple[Any, ...]]:
            nonlocal before_run, last_old, last_given, output_masks
            old, mask = leaves_of(states), state_masks[i]
            base: Sequence[Array] = old
            given = old
            if donor_states is None:
                same = False
                result = self._call(x_t, states)
            else:
                base = old if before_run is None else before_run
                if before_run is not None and any(map(is_, old, last_old)):
                    # Under the same mask what was handed on has been laid over already.
                    known = zip(last_old, last_given, mask, old, donor_states, strict=True)
                    given = tuple(g if o is p else where(m, o, d) for p, g, m, o, d in known)
                else:
                    given = tuple(map(where, mask, old, donor_states))
                last_old, last_given = old, given
                before_run = base if same else None
                result = self._call(x_t, build(given))
            if not self.started:
                self._check(result)
            if previous is None:
                previous = self.initial
            output_masks = output_masks or masks(self._output_shapes)
            nest, shown = self.output, []
            kept = nest.leaves(rest(previous))
            try:
                output, new_states = result
                new: Sequence[Array] = leaves_of(new_states)
                leaves = nest.leaves(output)
                # Selecting would broadcast or promote what is unlike.
                if [*map(kind_of, new)] != state_kinds:
                    self._check(result)
                select: Callable[[Array, Array, Array], Array] = where
                if any(map(is_, new, given)):
                    # A state that is handed on as it came is still that of before.
                    new = [o if n is g else n for n, g, o in zip(new, given, old, strict=True)]
                    select = self._where_changed
                held = new if same else [*map(select, mask, new, base)]
                for j, (k, kind) in enumerate(self._output_kinds):
                    leaf = leaves[j]
                    if not same and k >= 0 and leaf is new[k] and kept[j] is base[k]:
                        # An output is often a new state too, and the previous one the old state.
                        shown.append(held[k])
                        continue
                    if kind_of(leaf) != kind:
                        self._check(result)
                    shown.append(where(output_masks[i][j], leaf, kept[j]))
            except Exception:
                self._check(result)
                raise
            return nest.build(shown), build(held)

        return step

    def timestep(
        self,
        x_t: Sequence[Array],
        keep: Array | None,
        donor: Donor | None,
        states: Sequence[Array],
        previous: Sequence[Array],
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        """Run any timestep, for loops that say once what happens at all of them: leaves only.

        The mask is ``(samples,)``, or None if nothing is ever masked. Returns the leaves of the
        output and of the states.
        """
        nest, build = self._problem.input_nest, self._build
        try:
            if keep is None:
                output, new = self.whole(nest.build(x_t), build(states))
            else:
                if donor is not None:
                    x_t = donor.laid_over(self._xp, x_t, keep)
                step = self.partly(_masks_of_one(self._xp, keep), donor)
                shown = self.output.build(previous)
                output, new = step(0, nest.build(x_t), build(states), shown, False)
        except Exception as error:
            results.note(error, self._problem, None, is_raised_by_step=error is not self.refused)
            raise
        return self.output.leaves(output), self._leaves(new)

    def _where_changed(self, mask: Array, new: Array, old: Array) -> Array:
        return old if new is old else self._where(mask, new, old)

    def learn(self, x_t: Any, states: tuple[Any, ...]) -> None:
        """Call the step to see what its output is like; nothing that it computes is used."""
        self._check(self._call(x_t, states))

    def rest(self, previous: Any) -> Any:
        """Return the output of masked samples, given the previous one."""
        return self.initial if self._problem.zero_output_for_mask else previous

    def _call_purely(self, x_t: Any, states: tuple[Any, ...]) -> Any:
        """Call a step that may not be pure, until it is known to be."""
        assert self._purity is not None
        nests = self._problem.input_nest, self._problem.state_nest
        result = self._purity.call(self._as_it_is, x_t, states, nests)
        if self._purity.is_pure:
            self._call = self._as_it_is
        return result

    def _check(self, result: Any) -> None:
        """Check what the step function returned, against the first call from the second on."""
        caller = self._problem.caller
        try:
            results.pair(result, caller)
            output, new_states = result
            self.check_states(new_states)
            if self.started:
                results.same_output(output, self.output, self._first_output, self._xp, caller)
            else:
                leaves, nest = Nest.of(output)
                self._start(nest, leaves, self._leaves(new_states))
        except Exception as error:
            self.refused = error
            raise

    def check_states(self, new_states: Any) -> None:
        problem = self._problem
        results.new_states(new_states, problem.state_nest, problem.states, self._xp, problem.caller)

    def check_outputs(self, outputs: Sequence[Any], times: range) -> list[Sequence[Array]]:
        """Return the leaves of the outputs, for each leaf those of all timesteps.

        They are those of the last of `times`.
        """
        try:
            columns, kind_of = self.output.columns(outputs), self._kind
            # One after the other: the garbage collector would go through thousands of kinds.
            alike = all(
                kind_of(leaf) == kind
                for column, kind in zip(columns, map(kind_of, self._first_output), strict=True)
                for leaf in column
            )
        except (AttributeError, NestMismatchError):
            self._find_unlike(outputs, times)
            raise
        if not alike:
            self._find_unlike(outputs, times)
        return columns

    def _find_unlike(self, outputs: Sequence[Any], times: range) -> None:
        problem = self._problem
        for t, output in zip(times[-len(outputs) :], outputs, strict=True):
            try:
                first, xp = self._first_output, self._xp
                results.same_output(output, self.output, first, xp, problem.caller)
            except (TypeError, ValueError) as error:
                results.note(error, problem, t)
                raise

    def _start(self, output: Nest, leaves: Sequence[Array], state_leaves: Sequence[Array]) -> None:
        problem = self._problem
        samples = None if problem.mask is None else problem.mask.keep.shape[1]
        results.first_output(output, leaves, samples, self._xp, problem.caller)
        if problem.initial_output is not None:
            results.initial_output(problem.initial_output, output, leaves, problem.caller)
        self.output = output
        # Results would keep themselves alive, if what computes them again kept them.
        is_kept = problem.checkpoint is not None
        self._first_output = [*map(self._xp.zeros_like, leaves)] if is_kept else leaves
        self._output_shapes = tuple(tuple(leaf.shape) for leaf in leaves)
        self._output_kinds = [(_place(leaf, state_leaves), self._kind(leaf)) for leaf in leaves]
        self.started = True


def _place(array: Array, arrays: Sequence[Array]) -> int:
    """Return where an array itself is among others, or -1."""
    return next((k for k, other in enumerate(arrays) if other is array), -1)


def _masks_of_one(xp: Namespace, keep: Array) -> Masks:
    """Return the masks of a block of a single timestep, `keep` being its ``(samples,)``."""
    return lambda shapes: [[align(xp, keep, len(shape)) for shape in shapes]]
