"""`from_onnx` and `run` against ONNX: the vectors of its package, and onnxruntime."""

import importlib
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arrayrnn import cells

onnx = pytest.importorskip("onnx", reason="these tests are about ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="these tests run ONNX models")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

KINDS = {"RNN": cells.SimpleRNN, "GRU": cells.GRU, "LSTM": cells.LSTM}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = {
    "RNN": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
    "GRU": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
    "LSTM": ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"],
}
WEIGHTS = ["W", "R", "B", "P"]
STATES = {"RNN": ["initial_h"], "GRU": ["initial_h"], "LSTM": ["initial_h", "initial_c"]}
OUTPUTS = {"RNN": ["Y", "Y_h"], "GRU": ["Y", "Y_h"], "LSTM": ["Y", "Y_h", "Y_c"]}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

# What each activation takes of `activation_alpha` and `activation_beta`.
TAKEN = {
    "Relu": [],
    "Tanh": [],
    "Sigmoid": [],
    "Affine": ["alpha", "beta"],
    "LeakyRelu": ["alpha"],
    "ThresholdedRelu": ["alpha"],
    "ScaledTanh": ["alpha", "beta"],
    "HardSigmoid": ["alpha", "beta"],
    "Elu": ["alpha"],
    "Softsign": [],
    "Softplus": [],
}
# What is not given of these is 0 in onnxruntime. ONNX says: "Default values are the same as of
# corresponding ONNX operators". That of ThresholdedRelu is 1; of the operators that were removed,
# Affine had 1 and 0, and ScaledTanh had none.
NOT_DEFAULT_IN_ONNXRUNTIME = ["ThresholdedRelu", "Affine", "ScaledTanh"]

EACH_KIND = pytest.mark.parametrize("op", KINDS)
EACH_ACTIVATION = pytest.mark.parametrize("name", TAKEN)
EACH_PLACE = pytest.mark.parametrize(
    ("op", "place"), [(op, place) for op, names in DEFAULTS.items() for place in range(len(names))]
)


def random_arrays(op, seed=0, *, directions=1, time=5, samples=3, features=2, units=3):
    """Return all that a node can be given."""
    generator, gates = np.random.default_rng(seed), GATES[op]
    shapes = {
        "X": (time, samples, features),
        "W": (directions, gates * units, features),
        "R": (directions, gates * units, units),
        "B": (directions, 2 * gates * units),
        **dict.fromkeys(STATES[op], (directions, samples, units)),
    }
    if op == "LSTM":
        shapes["P"] = (directions, 3 * units)
    # Small weights keep states small, whatever the activations.
    bounds = dict.fromkeys(WEIGHTS, 0.5)
    arrays = {
        name: generator.uniform(-1, 1, shape).astype(np.float32) * bounds.get(name, 1)
        for name, shape in shapes.items()
    }
    lengths = generator.integers(1, time, samples, endpoint=True).astype(np.int32)
    return {**arrays, "sequence_lens": lengths}


def taken(arrays, names):
    return {name: array for name, array in arrays.items() if name in names}


def without(arrays, names):
    return {name: array for name, array in arrays.items() if name not in names}


def node_of(op, arrays, **attributes):
    present = [name if name in arrays else "" for name in INPUTS[op]]
    attributes = {"hidden_size": arrays["R"].shape[-1], **attributes}
    return helper.make_node(op, present, OUTPUTS[op], **attributes)


def model_of(nodes, fed, stored, outputs):
    """Return a model of nodes, with some arrays as inputs, and some stored in it."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in fed.items()
        ],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def model_with(op, arrays, **attributes):
    """Return a model of one node whose weights are stored."""
    node = node_of(op, arrays, **attributes)
    return model_of([node], without(arrays, WEIGHTS), taken(arrays, WEIGHTS), OUTPUTS[op])


def small_model(op="LSTM", **attributes):
    count = DIRECTIONS[attributes.get("direction", "forward")]
    return model_with(op, taken(random_arrays(op, directions=count), "XWR"), **attributes)


def two_layers():
    """Return a model of two nodes of which the second has no name."""
    first, second = random_arrays("GRU"), random_arrays("GRU", features=3)
    stored = {f"{n}_{k}": a[n] for k, a in enumerate([first, second]) for n in "WR"}
    nodes = [
        helper.make_node("GRU", ["X", "W_0", "R_0"], ["Y_0", "h_0"], "lower", hidden_size=3),
        helper.make_node("Squeeze", ["Y_0", "axes"], ["X_1"]),
        helper.make_node("GRU", ["X_1", "W_1", "R_1"], ["Y_1", "h_1"], hidden_size=3),
    ]
    model = model_of(nodes, taken(first, "X"), {**stored, "axes": np.asarray([1])}, ["Y_1", "h_1"])
    return model, stored


def by_run(model, op, fed, layout=0):
    """Return what `run` makes of a node, in the form of the node."""
    if any(name in fed for name in STATES[op]):
        # ONNX takes zeros for a state that is not given.
        like = next(fed[name] for name in STATES[op] if name in fed)
        given_states = [fed.get(name, np.zeros_like(like)) for name in STATES[op]]
        states = tuple(s.swapaxes(0, 1) if layout else s for s in given_states)
        states = states if op == "LSTM" else states[0]
    else:
        states = None
    lengths = fed.get("sequence_lens")
    outputs, last = cells.run(
        cells.from_onnx(model), fed["X"], states, input_length=lengths, time_major=not layout
    )
    last = last if op == "LSTM" else (last,)
    directions = last[0].shape[0]
    y = np.stack(np.split(outputs, directions, axis=-1), axis=2 if layout else 1)
    last = [state.swapaxes(0, 1) if layout else state for state in last]
    return dict(zip(OUTPUTS[op], [y, *last], strict=True))


def by_onnxruntime(model, fed):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, fed), strict=True))


def expect_close(found, expected):
    for name, array in expected.items():
        np.testing.assert_allclose(
            found[name], array, rtol=1e-5, atol=1e-5, err_msg=name, strict=True
        )


def expect_as_onnxruntime(op, arrays, **attributes):
    model, fed = model_with(op, arrays, **attributes), without(arrays, WEIGHTS)
    expect_close(by_run(model, op, fed), by_onnxruntime(model, fed))


def refused(error, message, model, **arguments):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        cells.from_onnx(model, **arguments)


# What the onnx package holds.


def vectors():
    package = importlib.import_module("onnx.backend.test.case.node")
    for op in KINDS:
        importlib.import_module(f"onnx.backend.test.case.node.{op.lower()}")
    # Its `collect_testcases` would compute those of all operators, with warnings, for seconds.
    known = vars(package)["_NodeTestCases"]
    return [case for case in known if case.model.graph.node[0].op_type in KINDS]


VECTORS = vectors()


@EACH_KIND
def test_onnx_has_vectors_of_each_kind(op):
    assert sum(case.model.graph.node[0].op_type == op for case in VECTORS) >= 6


@pytest.mark.parametrize("case", VECTORS, ids=[case.name for case in VECTORS])
def test_vectors_of_onnx_give_their_outputs(case):
    graph = case.model.graph
    (node,), ((inputs, expected),) = graph.node, case.data_sets
    layout = {a.name: a.i for a in node.attribute}.get("layout", 0)
    arrays = dict(zip([value.name for value in graph.input], inputs, strict=True))
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    stored = taken(arrays, WEIGHTS)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in stored.items())
    found = by_run(model, node.op_type, arrays, layout)
    names = [value.name for value in graph.output]
    expect_close(found, dict(zip(names, expected, strict=True)))


# What onnxruntime makes of the same models. It refuses layout=1, which vectors above have.


@st.composite
def drawn_activations(draw, op, directions):
    count = directions * len(DEFAULTS[op])
    names = draw(st.lists(st.sampled_from(list(TAKEN)), min_size=count, max_size=count))
    attributes = {"activations": names}
    for parameter in ("alpha", "beta"):
        in_line = [name for name in names if parameter in TAKEN[name]]
        needed = [k + 1 for k, name in enumerate(in_line) if name in NOT_DEFAULT_IN_ONNXRUNTIME]
        length = draw(st.integers(max(needed, default=0), len(in_line)), label=parameter)
        values = st.lists(st.floats(0.125, 0.75, width=32), min_size=length, max_size=length)
        if length:
            attributes[f"activation_{parameter}"] = draw(values)
    return attributes


@st.composite
def drawn_nodes(draw, op):
    """Draw arrays and attributes."""
    direction = draw(st.sampled_from(list(DIRECTIONS)))
    # From 8 samples on `run` joins the weights.
    most = {"time": 6, "samples": 10, "features": 4, "units": 5}
    sizes = {name: draw(st.integers(1, size), label=name) for name, size in most.items()}
    seed, directions = draw(st.integers(0, 2**32)), DIRECTIONS[direction]
    arrays = random_arrays(op, seed, directions=directions, **sizes)
    optional = [name for name in arrays if name not in "XWR"]
    arrays = without(arrays, draw(st.sets(st.sampled_from(optional)), label="without"))
    attributes = {"direction": direction}
    if draw(st.booleans(), label="has activations"):
        attributes |= draw(drawn_activations(op, directions))
    if draw(st.booleans(), label="has clip"):
        attributes["clip"] = draw(st.floats(0.125, 2, width=32))
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    return arrays, attributes


@EACH_KIND
@settings(max_examples=60)
@given(data=st.data())
def test_drawn_nodes_give_what_they_do_in_onnxruntime(op, data):
    arrays, attributes = data.draw(drawn_nodes(op))
    model, fed = model_with(op, arrays, **attributes), without(arrays, WEIGHTS)
    expected = by_onnxruntime(model, fed)
    # Where gates are above 1, states can grow fast. Rounding errors do too then, and onnxruntime's
    # Softplus is infinite above 88, where that of ONNX is not: it takes exp in float32.
    assume(all(np.abs(array).max() < 20 for array in expected.values()))
    expect_close(by_run(model, op, fed), expected)


@EACH_KIND
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nodes_with_all_their_inputs_give_what_they_do_in_onnxruntime(op, direction):
    arrays = random_arrays(op, directions=DIRECTIONS[direction])
    expect_as_onnxruntime(op, arrays, direction=direction)


@EACH_PLACE
@EACH_ACTIVATION
def test_each_activation_takes_its_alpha_and_beta_at_each_place(op, place, name):
    activations = [*DEFAULTS[op]]
    activations[place] = name
    parameters = {"activation_alpha": [0.25], "activation_beta": [0.75]}
    expect_as_onnxruntime(op, random_arrays(op), activations=activations, **parameters)


@EACH_PLACE
@pytest.mark.parametrize("name", [n for n in TAKEN if n not in NOT_DEFAULT_IN_ONNXRUNTIME])
def test_each_activation_has_the_defaults_of_onnxruntime(op, place, name):
    activations = [*DEFAULTS[op]]
    activations[place] = name
    expect_as_onnxruntime(op, random_arrays(op), activations=activations)


@pytest.mark.parametrize("name", ["LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Elu"])
def test_activations_have_the_defaults_of_the_operators_of_onnx(name):
    operator = onnx.defs.get_schema(name).attributes
    (cell,) = cells.from_onnx(small_model("RNN", activations=[name]))
    defaults = [operator[parameter].default_value.f for parameter in TAKEN[name]]
    assert cell.activation == (name.lower(), *map(pytest.approx, defaults))


@pytest.mark.parametrize(("name", "same"), [("Affine", [1, 0]), ("ScaledTanh", [1, 1])])
def test_activations_that_are_no_operators_scale_by_1(name, same):
    (cell,) = cells.from_onnx(small_model("RNN", activations=[name]))
    assert cell.activation == (name.lower(), *same)


def test_alphas_and_betas_go_to_the_next_activation_that_takes_one():
    model = small_model(
        direction="bidirectional",
        activations=["HardSigmoid", "Tanh", "LeakyRelu", "Sigmoid", "Affine", "Elu"],
        activation_alpha=[0.5, 0.25, 0.75],
        activation_beta=[0.125],
    )
    ((forward, backward),) = cells.from_onnx(model)
    assert forward.recurrent_activation == ("hardsigmoid", 0.5, 0.125)
    assert forward.activation == "tanh"
    assert forward.output_activation == ("leakyrelu", 0.25)
    assert backward.recurrent_activation == "sigmoid"
    assert backward.activation == ("affine", 0.75, 0.0)
    assert backward.output_activation == ("elu", 1.0)


def test_a_beta_is_none_of_alphas_that_are_not_given():
    model = small_model("RNN", activations=["HardSigmoid"], activation_beta=[0.25])
    (cell,) = cells.from_onnx(model)
    assert cell.activation == ("hardsigmoid", 0.2, 0.25)


def clipped(op, weights, fed, **attributes):
    """Return Y and the like of one unit, with sums as they are but for a clip of 2."""
    count = len(DEFAULTS[op])
    identity = {"activation_alpha": [1.0] * count, "activation_beta": [0.0] * count}
    attributes = {"activations": ["Affine"] * count, "clip": 2.0, **identity, **attributes}
    zeros = {"W": (1, GATES[op], 1), "R": (1, GATES[op], 1)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    for name, values in {**weights, **fed}.items():
        ndim = 2 if name in "BP" else 3
        arrays[name] = np.reshape(np.asarray(values, np.float32), (1, -1, 1)[:ndim])
    model, fed = model_with(op, arrays, **attributes), without(arrays, WEIGHTS)
    found = by_run(model, op, fed)
    expect_close(found, by_onnxruntime(model, fed))
    return {name: array.item() for name, array in found.items()}


def test_clip_bounds_the_sum_in_a_simple_rnn():
    found = clipped("RNN", {"W": [5]}, {"X": [1]})
    assert found == {"Y": 2, "Y_h": 2}


def test_clip_bounds_the_gates_of_an_lstm_but_not_its_cell_state():
    # "Clipping […] is applied to the input of activations", says ONNX, and c is the input of one.
    # But onnxruntime applies it to sums of products only: c = 2 * 1 + 2 * 2, and h = 2 * c.
    found = clipped("LSTM", {"W": [5, 5, 5, 5]}, {"X": [1], "initial_c": [1]})
    assert found == {"Y": 12, "Y_h": 12, "Y_c": 6}


def test_clip_bounds_the_gates_of_an_lstm_with_what_peepholes_see():
    found = clipped("LSTM", {"W": [1, 1, 1, 1], "P": [5, 5, 5]}, {"X": [1], "initial_c": [1]})
    assert found == {"Y": 8, "Y_h": 8, "Y_c": 4}


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_clip_bounds_the_whole_sum_of_the_new_gate_of_a_gru(linear_before_reset):
    # Both r and z are 0.5, so the sum is 5 - 0.5 * 8 = 1; of its parts clip would leave 2 and -2.
    found = clipped(
        "GRU",
        {"W": [0, 0, 5], "R": [0, 0, -1]},
        {"X": [1], "initial_h": [8]},
        linear_before_reset=linear_before_reset,
        activation_alpha=[0.0, 1.0],
        activation_beta=[0.5, 0.0],
    )
    assert found["Y"] == 0.5 * 1 + 0.5 * 8


def test_thresholded_relu_is_zero_at_its_threshold():
    # As the operator of ONNX is; the text of RNN, GRU and LSTM has "x if x >= alpha".
    found = clipped(
        "RNN", {"W": [5]}, {"X": [1]}, activations=["ThresholdedRelu"], activation_alpha=[2.0]
    )
    assert found == {"Y": 0, "Y_h": 0}


# Which node, and where its weights are.


def test_the_only_node_needs_no_name():
    (cell,) = cells.from_onnx(small_model("GRU"))
    assert isinstance(cell, cells.GRU)


@EACH_KIND
def test_nodes_become_cells_of_their_kind(op):
    (cell,) = cells.from_onnx(small_model(op))
    assert type(cell) is KINDS[op]


@pytest.mark.parametrize(
    ("direction", "present"),
    [("forward", [True]), ("reverse", [False, True]), ("bidirectional", [True, True])],
)
def test_directions_become_pairs(direction, present):
    (layer,) = cells.from_onnx(small_model(direction=direction))
    pair = layer if isinstance(layer, tuple) else [layer]
    assert [cell is not None for cell in pair] == present


def test_cells_hold_numpy_arrays():
    (cell,) = cells.from_onnx(small_model())
    assert type(cell.weight_ih) is np.ndarray
    assert cell.weight_ih.dtype == np.float32


@pytest.mark.parametrize(("node", "which"), [("lower", 0), ("Y_0", 0), ("h_0", 0), ("h_1", 1)])
def test_a_node_is_found_by_its_name_or_that_of_an_output(node, which):
    model, stored = two_layers()
    (cell,) = cells.from_onnx(model, node=node)
    assert set(cell.weight_ih.flat) == set(stored[f"W_{which}"].flat)


def test_layers_of_several_nodes_run_together():
    model, _ = two_layers()
    fed = taken(random_arrays("GRU"), "X")
    layers = cells.from_onnx(model, node="lower") + cells.from_onnx(model, node="Y_1")
    outputs, h = cells.run(layers, fed["X"], time_major=True)
    found = {"Y_1": outputs[:, None], "h_1": h[1:]}
    expect_close(found, by_onnxruntime(model, fed))


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_model_is_read_from_a_path(tmp_path, kind):
    model, path = small_model(), tmp_path / "model.onnx"
    onnx.save(model, path)
    (found,), (expected,) = cells.from_onnx(kind(path)), cells.from_onnx(model)
    np.testing.assert_array_equal(found.weight_ih, expected.weight_ih)
    np.testing.assert_array_equal(found.weight_hh, expected.weight_hh)


def test_weights_are_read_from_a_file_beside_the_model(tmp_path):
    model, path = small_model(), tmp_path / "model.onnx"
    (expected,) = cells.from_onnx(model)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    (found,) = cells.from_onnx(path)
    np.testing.assert_array_equal(found.weight_ih, expected.weight_ih)


def test_weights_may_be_computed_from_what_is_stored():
    arrays = random_arrays("LSTM")
    w, r, b = (arrays[name][0] for name in "WRB")
    stored = {"w_i": w[:3], "w_ofc": w[3:], "r": r, "b_ih": b[:12], "b_hh": b[12:]}
    constant = helper.make_node(
        "Constant", [], ["first"], value=numpy_helper.from_array(np.asarray([0]))
    )
    nodes = [
        constant,
        helper.make_node("Concat", ["w_i", "w_ofc"], ["w"], axis=0),
        helper.make_node("Concat", ["b_ih", "b_hh"], ["b"], axis=0),
        *(helper.make_node("Unsqueeze", [n.lower(), "first"], [n]) for n in "WRB"),
        node_of("LSTM", taken(arrays, "XWRB")),
    ]
    fed = taken(arrays, "X")
    model = model_of(nodes, fed, stored, OUTPUTS["LSTM"])
    expect_close(by_run(model, "LSTM", fed), by_onnxruntime(model, fed))


def test_weights_may_be_inputs_with_a_stored_default():
    arrays = taken(random_arrays("RNN"), "XWR")
    node = node_of("RNN", arrays)
    (found,) = cells.from_onnx(model_of([node], arrays, taken(arrays, "WR"), OUTPUTS["RNN"]))
    np.testing.assert_array_equal(found.weight_ih, arrays["W"][0])


# What is refused.


def test_a_model_of_another_type_is_refused():
    message = "`model` is of type int; expected an onnx.ModelProto or a path."
    refused(TypeError, message, 3)


def test_a_graph_is_no_model():
    refused(TypeError, "`model` is", small_model().graph)


def test_a_model_without_such_a_node_is_refused():
    x = np.ones((2, 2), np.float32)
    model = model_of([helper.make_node("Relu", ["X"], ["Y"])], {"X": x}, {}, ["Y"])
    message = "`model` holds no such node: expected an RNN, GRU or LSTM node; it has Relu."
    refused(ValueError, message, model)


def test_a_name_of_no_node_is_refused():
    message = "`model` holds no such node: expected an RNN, GRU or LSTM node called 'upper'"
    refused(ValueError, message, two_layers()[0], node="upper")


def test_a_node_of_another_kind_is_refused():
    message = "`model` holds no such node: expected an RNN, GRU or LSTM node called 'X_1'"
    refused(ValueError, message, two_layers()[0], node="X_1")


def test_several_nodes_ask_for_one():
    message = "`model` holds 2 such nodes; expected `node`, one of 'lower', 'Y_1'."
    refused(ValueError, message, two_layers()[0])


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_inputs_are_refused(name):
    arrays = random_arrays("LSTM")
    stored = without(taken(arrays, WEIGHTS), name)
    fed = without(arrays, stored)
    model = model_of([node_of("LSTM", arrays)], fed, stored, OUTPUTS["LSTM"])
    message = (
        f"`{name}` of LSTM node 'Y' depends on `{name}`, an input of the model; expected weights "
        "that are stored in it."
    )
    refused(ValueError, message, model)


def test_weights_that_are_computed_from_inputs_are_refused():
    arrays = taken(random_arrays("RNN"), "XWR")
    nodes = [helper.make_node("Neg", ["w"], ["W"]), node_of("RNN", arrays, name="last")]
    fed = {"X": arrays["X"], "w": arrays["W"]}
    model = model_of(nodes, fed, taken(arrays, "R"), OUTPUTS["RNN"])
    refused(ValueError, "`W` of RNN node 'last' depends on `w`, an input of the model", model)


def test_unknown_activations_are_refused():
    model = small_model("GRU", activations=["Sigmoid", "Gelu"])
    message = "`activations[1] of GRU node 'Y'` is 'Gelu'; expected one of 'affine', 'elu',"
    refused(ValueError, message, model)


@pytest.mark.parametrize(
    ("op", "direction", "names", "expected"),
    [
        ("RNN", "bidirectional", ["Tanh"], 2),
        ("GRU", "forward", ["Sigmoid"], 2),
        ("LSTM", "forward", ["Sigmoid", "Tanh", "Tanh", "Tanh"], 3),
        ("LSTM", "bidirectional", ["Sigmoid", "Tanh", "Tanh"], 6),
    ],
)
def test_a_wrong_number_of_activations_is_refused(op, direction, names, expected):
    model = small_model(op, direction=direction, activations=names)
    message = f"{op} node 'Y' has {len(names)} activations; expected {expected}."
    refused(ValueError, message, model)


def test_coupled_gates_are_refused():
    message = "LSTM node 'Y' has input_forget = 1; expected 0: gates that are not coupled."
    refused(ValueError, message, small_model(input_forget=1))


def test_gates_that_are_not_coupled_may_be_said_to_be():
    assert len(cells.from_onnx(small_model(input_forget=0))) == 1
