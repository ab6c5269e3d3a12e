"""What is handed to a loop, and what comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arrayrnn._checks.wording import Caller
from arrayrnn._masking import Donor, Mask
from arrayrnn._purity import Purity
from arrayrnn._tree import Nest, tree_leaves
from arrayrnn._typing import Array, Namespace

__all__ = ["Problem", "Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A recurrence to iterate: nests taken apart, time first."""

    xp: Namespace
    caller: Caller
    step_function: Callable[[Any, tuple[Any, ...]], Any]
    inputs: Sequence[Array]  # (time, ...) for each leaf
    input_nest: Nest
    time: Any  # how many timesteps; not an int where a library does not know it yet
    states: Sequence[Array]
    state_nest: Nest
    constants: tuple[Any, ...] = ()
    mask: Mask | None = None
    initial_output: Any = None
    # The nest of the output and zeros like it, if a loop has them before the first call.
    output_like: tuple[Nest, Sequence[Array]] | None = None
    zero_output_for_mask: bool = False
    go_backwards: bool = False
    all_outputs: bool = True
    in_input_order: bool = False  # outputs come as the inputs do, whatever the direction
    time_axis: int = 0  # of the outputs
    unroll: bool | int = False
    samplewise: bool = False
    purity: Purity | None = None  # if it is known from a run before
    rows: int | None = None  # how many samples run, if some have been left out
    checkpoint: int | None = None
    progress: bool | Callable[[int, int], object] | None = None

    @property
    def arrays(self) -> list[Any]:
        """All that results are computed from: arrays, and whatever else `constants` hold."""
        keep = () if self.mask is None else (self.mask.keep,)
        others = tree_leaves((self.constants, self.initial_output))
        return [*self.inputs, *self.states, *keep, *others]

    def find_donor(self) -> Donor | None:
        """Return what stands in masked rows; None if the step is given them as they are."""
        if self.mask is None or not self.samplewise:
            return None
        backwards = self.go_backwards
        return Donor.of(self.xp, self.mask, self.inputs, self.states, go_backwards=backwards)


@dataclass(frozen=True, slots=True)
class Result:
    """What `rnn` returns, the states still a tuple."""

    last_output: Any
    outputs: Any
    states: tuple[Any, ...]
