"""Checks of weights, and of inputs against them."""

from typing import TYPE_CHECKING, Any

from arrayrnn._libraries.foreign import in_native_order
from arrayrnn._libraries.host import index
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.axes import agree
from arrayrnn._recurrence.errors import (
    Spec,
    describe,
    dtype_name,
    expect_like,
    expect_of_library,
    fail_no_array,
    is_array,
    library,
)
from arrayrnn._recurrence.nests import Named
from arrayrnn.cells._activations import is_number

if TYPE_CHECKING:
    from arrayrnn.cells._cell import Cell


def read_count(value: Any, name: str) -> int:
    """Read a number of features or units."""
    try:
        number = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` is {value!r}; expected an integer of at least 1.")
    return number


def expect_array(value: Any, name: str) -> None:
    """Expect one array: nests that hold arrays, and None, are none."""
    if not is_array(value):
        fail_no_array(value, name)


def expect_floating(value: Any, name: str) -> None:
    """Expect an array of floats."""
    expect_array(value, name)
    if not namespace_of(value).isdtype(value.dtype, "real floating"):
        raise TypeError(f"`{name}` is {describe(value)}; expected a real floating dtype.")


def read_clip(value: Any, name: str) -> float | None:
    """Read a bound above zero, or none."""
    if value is None:
        return None
    if not is_number(value) or not value > 0:
        raise ValueError(f"`{name}` is {value!r}; expected a number above 0, or None.")
    return float(value)


def check_weights(cell: "Cell") -> None:
    """Expect arrays of one library and floating dtype, of shapes that belong together."""
    present = [field for field in cell.arrays if getattr(cell, field) is not None]
    for field in sorted({"weight_ih", "weight_hh", *present}):
        array, name = getattr(cell, field), cell.name_of(field)
        expect_array(array, name)
        if field in ("weight_ih", "weight_hh", "weight_hr") and array.ndim != 2:
            raise ValueError(f"`{name}` is {describe(array)}; expected 2 dimensions.")
    model, of_model = cell.weight_hh, f"`{cell.name_of('weight_hh')}`"
    xp = namespace_of(model)
    expect_floating(model, cell.name_of("weight_hh"))
    # All sizes but that of the features follow from the columns of one weight.
    projection: Any = getattr(cell, "weight_hr", None)
    units = (model if projection is None else projection).shape[1]
    gates = f"{cell.gates} gate{'s' * (cell.gates > 1)} of {units} units"
    if model.shape[0] != cell.gates * units:
        rows = cell.gates * units
        raise ValueError(f"{of_model} is {describe(model)}; expected {rows} rows: {gates}.")
    for field in present:
        named = Named.of(getattr(cell, field), cell.name_of(field))
        expect_of_library(named, xp, of_model)
        spec = Spec(cell.shapes[field], model.dtype)
        expect_like(named, [spec], f"the {{}} that goes with {of_model} ({gates})")


def expect_inputs(cell: "Cell", inputs: Any, path: str) -> None:
    """Expect inputs that fit the weights of a cell; `path` is where the caller has it."""
    weight, of_weight = cell.weight_ih, f"`{path}.weight_ih`"
    expect_array(inputs, "inputs")
    inputs = in_native_order(inputs)
    own, expected = namespace_of(inputs), namespace_of(weight)
    if own is not expected:
        raise TypeError(
            f"`inputs` is an array of {library(own)}, {of_weight} of {library(expected)}; expected "
            "one library. Convert the inputs, or the cells by `cells.to`."
        )
    if inputs.ndim != 3 or not agree(inputs.shape[2:], (cell.features,)):
        raise ValueError(
            f"`inputs` is {describe(inputs)}; expected 3 dimensions, the last of {cell.features} "
            f"features, as {of_weight} has them.{' One sample is `x[None]`.' * (inputs.ndim == 2)}"
        )
    if inputs.dtype != weight.dtype:
        raise TypeError(
            f"`inputs` is {describe(inputs)}; expected the dtype of {of_weight}, "
            f"{dtype_name(weight.dtype)}. Convert the inputs, or the cells by `cells.to`."
        )
