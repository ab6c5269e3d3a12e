"""What is handed to a loop, and what comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arrayrnn._checks.wording import Caller
from arrayrnn._masking import Donor, Mask
from arrayrnn._tree import Nest
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
    checkpoint: int | None = None
    progress: bool | Callable[[int, int], object] | None = None

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
