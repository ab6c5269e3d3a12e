"""Cells and `run` refuse what does not fit: the field, what was expected, and what came."""

import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from arrayrnn import cells

SAMPLES, TIME, FEATURES, UNITS = 2, 4, 3, 2


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def new(kind, features=FEATURES, units=UNITS, **settings):
    return kind.initialize(features, units, like=zeros(0), seed=0, **settings)


X = zeros(SAMPLES, TIME, FEATURES)
RNN, GRU, LSTM = map(new, (cells.SimpleRNN, cells.GRU, cells.LSTM))
PROJECTED = new(cells.LSTM, units=3, projection=2)


def strict(array):
    """Return an array of another library."""
    xp = pytest.importorskip(
        "array_api_strict", reason="the other library of these tests is array-api-strict"
    )
    return xp.asarray(array.copy())


def refused(error, message):
    return pytest.raises(error, match=re.escape(message))


SHAPES = {
    "weight_ih": (
        GRU,
        zeros(8, 3),
        (
            "`GRU.weight_ih` is an array of shape (8, 3) and dtype float32; expected the shape "
            "that goes with `GRU.weight_hh` (3 gates of 2 units), (6, 3)."
        ),
    ),
    "weight_hh of other gates": (
        GRU,
        zeros(8, 2),
        (
            "`GRU.weight_hh` is an array of shape (8, 2) and dtype float32; expected 6 rows: 3 "
            "gates of 2 units."
        ),
    ),
    "weight_hh of one gate": (
        RNN,
        zeros(3, 2),
        (
            "`SimpleRNN.weight_hh` is an array of shape (3, 2) and dtype float32; expected 2 rows: "
            "1 gate of 2 units."
        ),
    ),
    "weight_hh turned": (
        LSTM,
        zeros(2, 8),
        (
            "`LSTM.weight_hh` is an array of shape (2, 8) and dtype float32; expected 32 rows: 4 "
            "gates of 8 units."
        ),
    ),
    "bias_ih": (
        LSTM,
        zeros(5),
        (
            "`LSTM.bias_ih` is an array of shape (5,) and dtype float32; expected the shape that "
            "goes with `LSTM.weight_hh` (4 gates of 2 units), (8,)."
        ),
    ),
    "bias_hh of two dimensions": (
        LSTM,
        zeros(8, 1),
        (
            "`LSTM.bias_hh` is an array of shape (8, 1) and dtype float32; expected the shape that "
            "goes with `LSTM.weight_hh` (4 gates of 2 units), (8,)."
        ),
    ),
    "weight_hr": (
        PROJECTED,
        zeros(3, 3),
        (
            "`LSTM.weight_hr` is an array of shape (3, 3) and dtype float32; expected the shape "
            "that goes with `LSTM.weight_hh` (4 gates of 3 units), (2, 3)."
        ),
    ),
    "peepholes": (
        LSTM,
        zeros(8),
        (
            "`LSTM.peepholes` is an array of shape (8,) and dtype float32; expected the shape that "
            "goes with `LSTM.weight_hh` (4 gates of 2 units), (6,)."
        ),
    ),
}


@pytest.mark.parametrize(("name", "case"), SHAPES.items(), ids=SHAPES)
def test_a_weight_of_another_shape(name, case):
    cell, weight, message = case
    with refused(ValueError, message):
        replace(cell, **{name.split()[0]: weight})


@pytest.mark.parametrize("field", ["weight_ih", "weight_hh", "weight_hr"])
def test_a_matrix_of_another_number_of_dimensions(field):
    message = (
        f"`LSTM.{field}` is an array of shape (2, 3, 1) and dtype float32; expected 2 dimensions."
    )
    with refused(ValueError, message):
        replace(PROJECTED, **{field: zeros(2, 3, 1)})


def test_a_weight_of_another_dtype():
    message = (
        "`LSTM.bias_ih` is an array of shape (8,) and dtype float64; expected the dtype that goes "
        "with `LSTM.weight_hh` (4 gates of 2 units), float32."
    )
    with refused(TypeError, message):
        replace(LSTM, bias_ih=zeros(8, dtype="float64"))


@pytest.mark.parametrize("dtype", ["int32", "complex64"])
def test_weights_of_no_real_floating_dtype(dtype):
    message = (
        f"`GRU.weight_hh` is an array of shape (6, 2) and dtype {dtype}; expected a real floating "
        "dtype."
    )
    with refused(TypeError, message):
        cells.GRU(zeros(6, 3, dtype=dtype), zeros(6, 2, dtype=dtype))


def test_a_weight_of_another_library():
    message = (
        "`LSTM.weight_ih` is an array of shape (8, 3) and dtype float32, of array_api_strict; "
        "expected an array of numpy, like `LSTM.weight_hh`. Convert it."
    )
    with refused(TypeError, message):
        replace(LSTM, weight_ih=strict(LSTM.weight_ih))


NO_ARRAYS = {
    "None": (None, "None"),
    "number": (1.0, "of type float"),
    "text": ("w", "of type str"),
    "list of numbers": ([[0.0, 0.0]], "of type list"),
    "list of an array": ([zeros(8, 3)], "of type list"),
    "cell": (GRU, "of type GRU"),
}


@pytest.mark.parametrize("field", ["weight_ih", "weight_hh"])
@pytest.mark.parametrize(("value", "came"), NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_a_weight_that_is_no_array(field, value, came):
    with refused(TypeError, f"`LSTM.{field}` is {came}; expected an array."):
        replace(LSTM, **{field: value})


@pytest.mark.parametrize("field", ["bias_ih", "bias_hh", "weight_hr", "peepholes"])
def test_something_optional_that_is_no_array(field):
    with refused(TypeError, f"`LSTM.{field}` is of type list; expected an array."):
        replace(LSTM, **{field: [zeros(8)]})


FIELDS = {
    cells.SimpleRNN: ["activation"],
    cells.GRU: ["activation", "recurrent_activation"],
    cells.LSTM: ["activation", "recurrent_activation", "output_activation"],
}
each_field = pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, known in FIELDS.items() for field in known]
)


@each_field
@pytest.mark.parametrize("value", ["swish", "", None, 3, (), (0.1, "elu"), np.tanh])
def test_an_unknown_activation(kind, field, value):
    message = f"`{kind.__name__}.{field}` is {value!r}; expected one of 'affine', 'elu', "
    with refused(ValueError, message):
        new(kind, **{field: value})


ACTIVATIONS = {
    "none taken": (("tanh", 1), "expected no parameters with 'tanh'."),
    "one taken": (("elu", 1, 2), "expected alpha with 'elu'."),
    "two taken": (("HardSigmoid", 1, 2, 3), "expected alpha and beta with 'HardSigmoid'."),
    "text": (("elu", "1"), "expected alpha with 'elu'."),
    "None": (("affine", 1, None), "expected alpha and beta with 'affine'."),
}


@each_field
@pytest.mark.parametrize(("value", "expected"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_parameters_that_an_activation_does_not_take(kind, field, value, expected):
    with refused(ValueError, f"`{kind.__name__}.{field}` is {value!r}; {expected}"):
        new(kind, **{field: value})


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("clip", [0, 0.0, -1, float("nan"), "1", [1.0]])
def test_a_clip_that_is_no_number_above_zero(kind, clip):
    message = f"`{kind.__name__}.clip` is {clip!r}; expected a number above 0, or None."
    with refused(ValueError, message):
        new(kind, clip=clip)


@pytest.mark.parametrize(("value", "came"), [("no", "'no'"), (1, "1"), (None, "None")])
def test_a_reset_after_that_is_neither_true_nor_false(value, came):
    with refused(TypeError, f"`GRU.reset_after` is {came}; expected True or False."):
        new(cells.GRU, reset_after=value)


def test_a_setting_that_a_cell_does_not_have():
    with refused(TypeError, "unexpected keyword argument 'reset_after'"):
        new(cells.LSTM, reset_after=True)


@pytest.mark.parametrize("name", ["features", "units"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True])
def test_a_number_of_features_or_units_that_is_no_integer_above_zero(name, value):
    with refused(ValueError, f"`{name}` is {value!r}; expected an integer of at least 1."):
        cells.GRU.initialize(**{"features": 3, "units": 2, name: value}, like=zeros(0))


@pytest.mark.parametrize("value", [0, 1.5])
def test_a_projection_that_is_no_integer_above_zero(value):
    with refused(ValueError, f"`projection` is {value!r}; expected an integer of at least 1."):
        new(cells.LSTM, projection=value)


@pytest.mark.parametrize("value", [None, [0.0], "float32"])
def test_new_weights_like_something_that_is_no_array(value):
    with refused(TypeError, "`like` is "):
        cells.GRU.initialize(3, 2, like=value)


def test_a_field_that_is_set():
    with refused(FrozenInstanceError, "weight_ih"):
        GRU.weight_ih = zeros(6, 3)


EXPECTED = (
    "expected a cell, or a list of layers, each a cell or a pair (forward, backward) of cells, of "
    "which one may be None."
)
NO_CELLS = {
    "None": (None, "`cells` is None"),
    "number": (3, "`cells` is of type int"),
    "text": ("LSTM", "`cells` is of type str"),
    "class": (cells.LSTM, "`cells` is of type type"),
    "array": (X, "`cells` is an array of shape (2, 4, 3) and dtype float32"),
    "empty list": ([], "`cells` is of type list and empty"),
    "empty tuple": ((), "`cells` is of type tuple and empty"),
    "pair of None": ([GRU, (None, None)], "`cells[1]` is of type tuple of length 2"),
    "triple": ([(GRU, GRU, GRU)], "`cells[0]` is of type tuple of length 3"),
    "list of one": ([[GRU]], "`cells[0]` is of type list of length 1"),
    "pair with something else": ([(GRU, 3)], "`cells[0]` is of type tuple of length 2"),
    "something else among layers": ([GRU, 3], "`cells[1]` is of type int"),
}


@pytest.mark.parametrize(("given", "came"), NO_CELLS.values(), ids=NO_CELLS)
def test_what_is_no_cell(given, came):
    with refused(TypeError, f"{came}; {EXPECTED}"):
        cells.run(given, X)


@pytest.mark.parametrize(
    ("given", "path"),
    [(GRU, "cells"), ([GRU], "cells[0]"), ([(None, GRU)], "cells[0][1]")],
    ids=["cell", "layer", "backward"],
)
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 5), (2, 4, 1, 3), (3,), ()])
def test_inputs_of_another_shape(given, path, shape):
    message = (
        f"`inputs` is an array of shape {shape} and dtype float32; expected 3 dimensions, the last "
        f"of 3 features, as `{path}.weight_ih` has them."
    )
    with refused(ValueError, message):
        cells.run(given, zeros(*shape))


def test_inputs_that_fit_one_direction_only():
    message = (
        "`inputs` is an array of shape (2, 4, 3) and dtype float32; expected 3 dimensions, the "
        "last of 4 features, as `cells[0][1].weight_ih` has them."
    )
    with refused(ValueError, message):
        cells.run([(GRU, new(cells.GRU, 4))], X)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_inputs_of_another_dtype(dtype):
    message = (
        f"`inputs` is an array of shape (2, 4, 3) and dtype {dtype}; expected the dtype of "
        "`cells.weight_ih`, float32. Convert the inputs, or the cells by `cells.to`."
    )
    with refused(TypeError, message):
        cells.run(GRU, X.astype(dtype))


def test_inputs_of_another_library():
    message = (
        "`inputs` is an array of array_api_strict, `cells.weight_ih` of numpy; expected one "
        "library. Convert the inputs, or the cells by `cells.to`."
    )
    with refused(TypeError, message):
        cells.run(GRU, strict(X))


@pytest.mark.parametrize(
    ("given", "came"), [(X.tolist(), "of type list"), ([X], "of type list"), (None, "None")]
)
def test_inputs_that_are_no_array(given, came):
    with refused(TypeError, f"`inputs` is {came}; expected an array."):
        cells.run(GRU, given)
    with refused(TypeError, f"`inputs` is {came}; expected an array."):
        GRU.initial_states(given)


def test_initial_states_for_inputs_of_another_shape():
    with refused(ValueError, "expected 3 dimensions, the last of 3 features, as `GRU.weight_ih`"):
        GRU.initial_states(X[0])


@pytest.mark.parametrize(
    ("below", "outputs"),
    [(LSTM, 2), ((LSTM, LSTM), 4), (PROJECTED, 2), ((LSTM, None), 2)],
    ids=["one direction", "both", "projection", "a missing one"],
)
def test_a_layer_that_does_not_take_what_the_one_below_gives(below, outputs):
    message = (
        "`cells[1].weight_ih` is an array of shape (6, 3) and dtype float32; expected the shape "
        f"that the {outputs} outputs of layer 0 ask for, (6, {outputs})."
    )
    with refused(ValueError, message):
        cells.run([below, GRU], X)


def test_a_layer_of_another_dtype():
    message = (
        "`cells[1][1].weight_ih` is an array of shape (6, 2) and dtype float64; expected the dtype "
        "that the 2 outputs of layer 0 ask for, float32."
    )
    other = cells.GRU.initialize(2, 2, like=zeros(0, dtype="float64"))
    with refused(TypeError, message):
        cells.run([LSTM, (None, other)], X)


def test_a_layer_of_another_library():
    message = (
        "`cells[1].weight_ih` is an array of shape (6, 2) and dtype float32, of array_api_strict; "
        "expected an array of numpy, like `cells[0]`. Convert it."
    )
    above = new(cells.GRU, 2)
    other = cells.GRU(strict(above.weight_ih), strict(above.weight_hh))
    with refused(TypeError, message):
        cells.run([LSTM, other], X)


H = zeros(1, SAMPLES, UNITS)
STATES = {
    "no axis of cells": (
        LSTM,
        (H[0], H),
        ValueError,
        (
            "`states[0]` is an array of shape (2, 2) and dtype float32; expected the shape of the "
            "states that the cells have, (1, 2, 2)."
        ),
    ),
    "other cells": (
        LSTM,
        (H, zeros(2, 2, 2)),
        ValueError,
        (
            "`states[1]` is an array of shape (2, 2, 2) and dtype float32; expected the shape of "
            "the states that the cells have, (1, 2, 2)."
        ),
    ),
    "other samples": (
        GRU,
        zeros(1, 3, 2),
        ValueError,
        (
            "`states` is an array of shape (1, 3, 2) and dtype float32; expected the shape of the "
            "states that the cells have, (1, 2, 2)."
        ),
    ),
    "another dtype": (
        LSTM,
        (H, H.astype("float64")),
        TypeError,
        (
            "`states[1]` is an array of shape (1, 2, 2) and dtype float64; expected the dtype of "
            "the states that the cells have, float32."
        ),
    ),
    "one of two": (
        LSTM,
        H,
        ValueError,
        "; expected the pair (h, c), each (layers * directions, samples, units).",
    ),
    "None for one of two": (
        LSTM,
        (H, None),
        ValueError,
        "`states` is a nest of the structure (*, None); expected that of the states of the cells",
    ),
    "a tuple of one": (
        GRU,
        (H,),
        TypeError,
        "`states` is of type tuple; expected an array.",
    ),
    "those of cells that are alike": (
        [(LSTM, GRU)],
        (H, H),
        ValueError,
        (
            "`states` is a nest of the structure (*, *); expected that of the states of the cells, "
            "[[*, *], [*]]"
        ),
    ),
    "a number": (GRU, 0.0, TypeError, "`states` is of type float; expected an array."),
}


@pytest.mark.parametrize(("given", "states", "error", "message"), STATES.values(), ids=STATES)
def test_states_that_do_not_fit(given, states, error, message):
    with refused(error, message):
        cells.run(given, X, states)


def test_states_of_another_library():
    message = (
        "`states` is an array of shape (1, 2, 2) and dtype float32, of array_api_strict; expected "
        "an array of numpy, like `inputs`. Convert it."
    )
    with refused(TypeError, message):
        cells.run(GRU, X, strict(H))


@pytest.mark.parametrize("name", ["compiled", "time_major", "zero_output_for_mask"])
@pytest.mark.parametrize(("value", "came"), [(1, "1"), (None, "None"), ("no", "'no'")])
def test_a_switch_that_is_neither_true_nor_false(name, value, came):
    with refused(TypeError, f"`{name}` is {came}; expected True or False."):
        cells.run(GRU, X, **{name: value})


LIMITS = {
    "length": ({"input_length": [5, 1]}, "`input_length[0]` is 5; expected 0 <= length <= 4"),
    "lengths": ({"input_length": [1, 2, 3]}, "`input_length` is "),
    "mask": ({"mask": np.ones((2, 5), bool)}, "`mask` is an array of shape (2, 5) and dtype bool"),
    "checkpoint": ({"checkpoint": 0}, "`checkpoint` is 0"),
}


@pytest.mark.parametrize(("options", "message"), LIMITS.values(), ids=LIMITS)
def test_options_are_read_as_those_of_rnn(options, message):
    with refused(ValueError, message):
        cells.run(GRU, X, **options)


def test_inputs_without_timesteps():
    message = "`inputs` is an array of shape (2, 0, 3) and dtype float32, without timesteps"
    with refused(ValueError, message):
        cells.run(GRU, X[:, :0])


def test_weights_that_are_traced_have_no_values_for_another_library():
    jax = pytest.importorskip("jax", reason="the tracer of this test is JAX")
    cell = cells.to(GRU, jax.numpy)
    message = "has no values that could be read now; expected one that is neither traced nor lazy"
    with refused(TypeError, message):
        jax.jit(lambda cell: cells.to(cell, np).weight_ih.sum())(cell)


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.bool])
def test_cells_of_no_floats_are_refused(dtype):
    with pytest.raises(TypeError, match=r"`dtype` is .*; expected a real floating dtype"):
        cells.to(GRU, np, dtype=dtype)


@pytest.mark.parametrize("xp", ["numpy", dict])
def test_what_is_no_library_is_refused(xp):
    with pytest.raises(TypeError, match=r"`xp` is .*; expected the namespace of a library"):
        cells.to(GRU, xp)
