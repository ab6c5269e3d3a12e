"""Problem and Result: what a loop is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._recurrence.mask import Donor, Mask
from arrayrnn._recurrence.nests import Named, Nest, tree_leaves
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    from arrayrnn._recurrence.output import Output
    from arrayrnn._recurrence.purity import Purity


class Carry(NamedTuple):
    """States and output that a run starts from, and that it leaves to the next."""

    states: Sequence[Array]  # leaves
    output: Sequence[Array] | None = None  # leaves; None: zeros, or not known yet


class Problem(NamedTuple):
    """A recurrence to iterate: arguments checked, nests taken apart, time first."""

    xp: Namespace
    words: Words
    step: Callable[[Any, tuple[Any, ...]], Any]
    inputs: Named  # each leaf (time, samples, ...), or (time, ...) if there are no samples
    time: Any  # how many timesteps; not an int where a library does not know it yet
    start: Carry
    state_nest: Nest
    options: Options
    has_samples: bool = True
    mask: Mask | None = None
    go_backwards: bool = False
    in_input_order: bool = False  # outputs come as the inputs do, whatever the direction
    initial_nest: Nest | None = None  # of the initial output, until the step's own is known
    output: "Output | None" = None  # if it is known before the first call
    purity: "Purity | None" = None  # watches the step for writes; None until a loop sets it
    rows: int | None = None  # how many samples run, if some have been left out

    @property
    def states(self) -> Named:
        """The initial states, as the caller names them."""
        return self.words.initial(self.start.states, self.state_nest)

    @property
    def arrays(self) -> list[Any]:
        """All that results are computed from: arrays, and whatever else `constants` hold."""
        keep = () if self.mask is None else (self.mask.keep,)
        states, output = self.start
        constants = self.options.constants
        others = tree_leaves(constants) if constants else ()
        of_step = tree_leaves(self.step)  # it may be a nest of arrays, too
        return [*self.inputs.leaves, *states, *keep, *others, *(output or ()), *of_step]

    def with_options(self, **changed: Any) -> "Problem":
        """Return the same problem with other options."""
        return self._replace(options=replace(self.options, **changed))

    def with_constant_step(self) -> "Problem":
        """Return the same problem, the arrays of a step that is a nest of them among `constants`.

        For libraries whose arrays cannot be used in a loop that does not know of them.
        """
        leaves = tree_leaves(self.step)
        if len(leaves) == 1 and leaves[0] is self.step:
            return self
        changed = self.with_options(constants=(*self.options.constants, self.step))
        return changed._replace(step=_call_last)

    def find_donor(self) -> Donor | None:
        """Return the donor for masked samples; None if the step is given them as they are."""
        if self.mask is None or not self.options.samplewise:
            return None
        inputs, states, backwards = self.inputs.leaves, self.start.states, self.go_backwards
        return Donor.of(self.xp, self.mask, inputs, states, go_backwards=backwards)


def _call_last(x_t: Any, states: tuple[Any, ...]) -> Any:
    *states_and_constants, step = states
    return step(x_t, tuple(states_and_constants))


class Result(NamedTuple):
    """Outputs and states of a run, and what it leaves to the next."""

    last_output: Any
    outputs: Any
    states: tuple[Any, ...]
    carry: Carry
