"""Timestep: the call of a step and the checks of its results, for every loop."""

from operator import attrgetter
from typing import Any

from arrayrnn._recurrence.nests import NestMismatchError
from arrayrnn._recurrence.output import Output, check_new_states, expect_pair
from arrayrnn._recurrence.problem import Problem


class Timestep:
    """Calls of a step and checks of its results: one object for all timesteps of a run.

    Between timesteps the states are one tuple in the containers of `initial_states`, the output is
    as the step returned it, or None before the first call.

    Attributes
    ----------
    output : Output or None
        Structure and specs of the output; known from the first call on, if not before.
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
        # Guard against a step that may not be pure; None once it is known to be.
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
            # Says what is wrong with the result, if the result is to blame.
            self.check(result)
            raise

    def skipped(self, previous: Any) -> Any:
        """Return the output of masked samples, given the previous one."""
        return self.initial if self.problem.options.zero_output_for_mask else previous

    def learn(self, result: Any) -> Output:
        """Learn what the output is like from what the step returned first."""
        self.check(result)
        output, new_states = result
        try:
            learned = Output.learn(self.problem, output, self._leaves(new_states))
        except Exception as error:
            self.refused = error
            raise
        self.output = learned
        return learned

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
        """Structure and specs of the output, known after the first call."""
        assert self.output is not None
        return self.output
