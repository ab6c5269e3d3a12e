"""Options of a run, each with its check."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat

from arrayrnn._libraries.host import index
from arrayrnn._recurrence.errors import describe, dtype_name, is_listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Ways to run and to show results; checked where they are made."""

    constants: Any = ()  # a tuple, once read
    unroll: bool | int = False
    time_major: bool = False
    zero_output_for_mask: bool = False
    return_all_outputs: bool = True
    samplewise: bool | None = None  # None: as the step promises
    checkpoint: Any = None  # an int or None, once read
    progress: bool | Callable[[int, int], object] | None = None

    def __post_init__(self) -> None:
        for name in _SWITCHES:
            if type(value := getattr(self, name)) is not bool:
                object.__setattr__(self, name, read_switch(value, name))
        if self.samplewise is not None:
            object.__setattr__(self, "samplewise", read_switch(self.samplewise, "samplewise"))
        if type(self.unroll) is not bool:
            object.__setattr__(self, "unroll", _read_unroll(self.unroll))
        if self.checkpoint is not None:
            every = _read_positive(
                self.checkpoint, "checkpoint", "None or an integer of at least 1"
            )
            object.__setattr__(self, "checkpoint", every)
        if self.progress is not None:
            _check_progress(self.progress)
        if type(self.constants) is not tuple:
            object.__setattr__(self, "constants", _read_constants(self.constants))

    @property
    def time_axis(self) -> int:
        """Axis of time in what is returned."""
        return 0 if self.time_major else 1


_SWITCHES = ("time_major", "zero_output_for_mask", "return_all_outputs")


def read_switch(value: Any, name: str) -> bool:
    """Read an argument that is True or False."""
    if isinstance(value, bool) or _is_bool_of_numpy(value):
        return bool(value)
    came = repr(value) if isinstance(value, int | float | str) else describe(value)
    hint = ""
    if name == "go_backwards" and (is_listed(value) or array_api_compat.is_array_api_obj(value)):
        hint = " A mask is passed as `mask=`, lengths as `input_length=`."
    raise TypeError(f"`{name}` is {came}; expected True or False.{hint}")


def read_axis(value: Any, expected: str) -> int:
    """Read the number of an axis."""
    try:
        if isinstance(value, bool):
            raise TypeError("a bool is no number")
        return index(value)
    except TypeError:
        raise TypeError(f"`axis` is {describe(value)}; expected {expected}.") from None


def _read_constants(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    expect_sequence(value, "constants", "Put a single one into a list.")
    return tuple(value)


def expect_sequence(value: Any, name: str, cure: str) -> None:
    if not isinstance(value, list | tuple):
        raise TypeError(f"`{name}` is {describe(value)}; expected a list or tuple. {cure}")


def _read_unroll(value: Any) -> bool | int:
    if _is_bool_of_numpy(value):
        return bool(value)
    return _read_positive(value, "unroll", "a bool or an integer of at least 1")


def _read_positive(value: Any, name: str, expected: str) -> int:
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"`{name}` is {describe(value)}; expected {expected}.")
    if number < 1:
        raise ValueError(f"`{name}` is {number}; expected {expected}.")
    return number


def _check_progress(value: Any) -> None:
    if not (isinstance(value, bool) or callable(value)):
        raise TypeError(
            f"`progress` is {describe(value)}; expected True for a bar, or a callable "
            "`progress(timesteps_done, timesteps_in_all)`."
        )


def _is_bool_of_numpy(value: Any) -> bool:
    is_number = array_api_compat.is_numpy_array(value) and value.ndim == 0
    return is_number and dtype_name(value.dtype) == "bool"
