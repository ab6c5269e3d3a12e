"""One timestep, masked or not: the only place where outputs and states are selected."""

from collections.abc import Callable, Sequence
from typing import Any

from arrayrnn import _checks
from arrayrnn._masking import Masking
from arrayrnn._tree import Nest, NestMismatchError
from arrayrnn._typing import Array, Namespace

__all__ = ["Body"]


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
    initial : nest of arrays
        The output of a sample that is masked from the first timestep on; None before the first call.
    call : callable
        The step function with the constants behind the states; nothing is checked.
    tidy : callable
        Makes the next states from what the step function returned.
    """

    output: Nest
    call: Callable[[Any, tuple[Any, ...]], Any]
    tidy: Callable[[Any], tuple[Any, ...]]

    def __init__(
        self,
        xp: Namespace,
        step_function: Callable[[Any, tuple[Any, ...]], Any],
        states: Nest,
        initial_states: Sequence[Array],
        constants: tuple[Any, ...],
        *,
        masking: Masking | None,
        initial_output: Any,
        zero_output_for_mask: bool,
    ) -> None:
        self.started = False
        self.initial: Any = None
        self._xp = xp
        self._states = states
        self._initial_states = initial_states
        self._donor_states: Sequence[Array] = () if masking is None else masking.donor_states
        self._masked_samples = None if masking is None else masking.mask.shape[1]
        self._initial_output = initial_output
        self._zero_output_for_mask = zero_output_for_mask
        self._first_output: tuple[Array, ...] = ()
        # Both run at every timestep: the common case gets by without a Python frame of ours.
        self.call = step_function
        if constants:
            self.call = lambda x_t, states: step_function(x_t, states + constants)
        self.tidy = tuple if states.leaves is tuple else self._tidy

    def whole(self, x_t: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Run a timestep at which no sample is masked; check all that the step returns."""
        result = self.call(x_t, states)
        self.check(result)
        output, new_states = result
        return output, self.tidy(new_states)

    def plain(self, x_t: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Run a timestep at which no sample is masked; check the first call only."""
        if not self.started:
            return self.whole(x_t, states)
        output, new_states = self.call(x_t, states)
        return output, self.tidy(new_states)

    def partly(
        self,
        x_t: Any,
        states: tuple[Any, ...],
        previous: Any,
        mask: Callable[[int], Array],
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run a timestep at which some sample may be masked.

        Masked samples of `x_t` are the donor's already; ``mask(rank)`` is the timestep's mask,
        aligned to select from arrays of that rank.
        """
        where, nest = self._xp.where, self._states
        old = nest.leaves(states)
        given = [where(mask(s.ndim), s, d) for s, d in zip(old, self._donor_states, strict=True)]
        output, new_states = self.plain(x_t, nest.build(given))
        new, leaves = nest.leaves(new_states), self.output.leaves(output)
        kept = self.output.leaves(self.initial if previous is None else self.rest(previous))
        # An output is often a state as well, now and before: what is one array stays one.
        selected: dict[tuple[int, int], Array] = {}
        for after, before in zip((*new, *leaves), (*old, *kept), strict=True):
            key = id(after), id(before)
            if key not in selected:
                selected[key] = where(mask(after.ndim), after, before)
        held = [selected[id(n), id(s)] for n, s in zip(new, old, strict=True)]
        shown = [selected[id(o), id(p)] for o, p in zip(leaves, kept, strict=True)]
        return self.output.build(shown), nest.build(held)

    def rest(self, previous: Any) -> Any:
        """Return the output of masked samples, given the previous one."""
        return self.initial if self._zero_output_for_mask else previous

    def check(self, result: Any) -> None:
        """Check what the step function returned, against the first call from the second on."""
        _checks.pair(result)
        output, new_states = result
        self.check_states(new_states)
        if self.started:
            _checks.same_output(output, self.output, self._first_output)
        else:
            self._start(output)

    def check_states(self, new_states: Any) -> None:
        _checks.new_states(new_states, self._states, self._initial_states, self._xp)

    def check_outputs(self, outputs: Sequence[Any]) -> list[Sequence[Array]]:
        """Return the leaves of the outputs, for each leaf those of all timesteps."""
        try:
            columns = self.output.columns(outputs)
            for column, first in zip(columns, self._first_output, strict=True):
                if {o.shape for o in column} != {first.shape}:
                    raise NestMismatchError
                if {o.dtype for o in column} != {first.dtype}:
                    raise NestMismatchError
        except (AttributeError, NestMismatchError):
            for output in outputs:
                _checks.same_output(output, self.output, self._first_output)
            raise
        return columns

    def _start(self, output: Any) -> None:
        leaves, self.output = Nest.of(output)
        _checks.first_output(self.output, leaves, self._masked_samples, self._xp)
        initial = self._initial_output
        if initial is not None:
            _checks.initial_output(initial, self.output, leaves, self._xp)
        if initial is None or self._zero_output_for_mask:
            initial = self.output.build([self._xp.zeros_like(leaf) for leaf in leaves])
        self.initial = self.output.build(self.output.leaves(initial))
        self._first_output = leaves
        self.started = True

    def _tidy(self, new_states: Any) -> tuple[Any, ...]:
        try:
            built: tuple[Any, ...] = self._states.build(self._states.leaves(tuple(new_states)))
        except NestMismatchError:
            self.check_states(new_states)
            raise
        return built
