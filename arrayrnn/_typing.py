"""The types that the public functions speak of."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol, TypeVar

__all__ = ["Array", "Input", "Namespace", "Output", "StepFunction"]

Namespace = ModuleType | Any

Input = TypeVar("Input")
Output = TypeVar("Output")
_Input = TypeVar("_Input", contravariant=True)
_Output = TypeVar("_Output", covariant=True)


class Array(Protocol):
    """An array of any library that follows the array API standard; only what is used of it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class StepFunction(Protocol[_Input, _Output]):
    """``step_function(input_t, states) -> (output, new_states)``.

    ``input_t`` is one timestep of the inputs, the same nest without the time axis. ``states`` is
    one tuple, the states followed by the constants. ``output`` is an array, or any nest of arrays,
    each ``(samples, *features)``. ``new_states`` has one entry for each initial state, of the same
    structure, shapes and dtypes.
    """

    def __call__(
        self, input_t: _Input, states: tuple[Any, ...], /
    ) -> tuple[_Output, Sequence[Any]]: ...
