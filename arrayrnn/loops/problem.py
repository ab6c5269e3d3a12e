"""What is handed to a loop, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arrayrnn._masking import Masking
from arrayrnn._step import Body
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace

__all__ = ["Problem", "Result"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A recurrence to iterate: nests taken apart, time first."""

    xp: Namespace
    body: Body
    inputs: list[Array]  # (time, samples, *features) for each leaf
    input_nest: Nest
    states: tuple[Any, ...]
    masking: Masking | None
    go_backwards: bool
    all_outputs: bool
    time_axis: int  # of the outputs
    progress: bool | Callable[[int, int], object] | None


@dataclass(frozen=True, slots=True)
class Result:
    """What `rnn` returns, the states still a tuple."""

    last_output: Any
    outputs: Any
    states: tuple[Any, ...]
