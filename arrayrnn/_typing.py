"""The types that the public functions speak of."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

# A module, or something in its place: the standard gives it no type.
Namespace = Any

Input = TypeVar("Input")
Output = TypeVar("Output")
_Input_contra = TypeVar("_Input_contra", contravariant=True)
_Output_co = TypeVar("_Output_co", covariant=True)


class Array(Protocol):
    """An array of any library that follows the array API standard; only what is used of it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class StepFunction(Protocol[_Input_contra, _Output_co]):
    """``step_function(input_t, states) -> (output, new_states)``.

    ``input_t`` is one timestep of the inputs, the same nest without the time axis. ``states`` is
    one tuple, the states followed by the constants. ``output`` is an array, or any nest of arrays,
    each ``(samples, *features)``. ``new_states`` has one entry for each initial state, of the same
    structure, shapes and dtypes.
    """

    def __call__(
        self, input_t: _Input_contra, states: tuple[Any, ...], /
    ) -> tuple[_Output_co, Sequence[Any]]: ...
