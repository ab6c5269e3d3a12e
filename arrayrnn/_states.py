"""Reading initial states: one array or many, Python numbers among them."""

from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._checks import arguments
from arrayrnn._operations import device_of
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace

__all__ = ["from_python", "read_states", "states_apart"]


def read_states(
    xp: Namespace, initial_states: Any, inputs: Sequence[Array], name: str
) -> tuple[tuple[Array, ...], Nest]:
    """Return the leaves of the states, all arrays, and their nest; `name` is the argument's."""
    leaves, nest = states_apart(initial_states, name)
    return tuple(from_python(xp, leaf, inputs) for leaf in leaves), nest


def states_apart(initial_states: Any, name: str) -> tuple[tuple[Any, ...], Nest]:
    """Return the leaves of the states, and their nest: a tuple with one entry for each state."""
    if array_api_compat.is_array_api_obj(initial_states):
        initial_states = (initial_states,)
    hint = "Put a single state into a list; [] means none."
    arguments.sequence(initial_states, name, hint)
    return Nest.of(tuple(initial_states))


def from_python(xp: Namespace, number: Any, inputs: Sequence[Array]) -> Any:
    """Return a Python number as a 0-d array, and anything else as it is."""
    # NumPy's float64 is a Python float as well.
    if not isinstance(number, int | float | complex) or array_api_compat.is_array_api_obj(number):
        return number
    device = device_of(inputs[0])
    defaults = xp.__array_namespace_info__().default_dtypes(device=device)
    if isinstance(number, bool):
        dtype = xp.bool
    elif isinstance(number, int):
        dtype = defaults["integral"]
    else:
        kind = "real floating" if isinstance(number, float) else "complex floating"
        own = (x.dtype for x in inputs if xp.isdtype(x.dtype, kind))
        dtype = next(own, defaults[kind])
    return xp.asarray(number, dtype=dtype, device=device)
