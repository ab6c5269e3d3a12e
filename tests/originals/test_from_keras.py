"""`cells.from_keras`: what `cells.run` computes on NumPy is what the layer of Keras 3 does."""

import functools
import os

import numpy as np
import optree
import pytest

# The backend that compiles nothing, for hundreds of layers that are called once.
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from keras import layers

from arrayrnn import cells

SAMPLES, TIME, FEATURES, UNITS = 5, 6, 4, 3
SHAPE = (SAMPLES, TIME, FEATURES)
X = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")

MASKS = {
    "right padded": np.arange(TIME) < np.array([[6], [1], [3], [5], [2]]),
    "left padded": np.arange(TIME) >= np.array([[0], [5], [3], [1], [4]]),
    "gaps": np.array(
        [
            [1, 1, 1, 1, 1, 1],
            [0, 1, 0, 1, 1, 0],
            [1, 0, 0, 1, 0, 1],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 1, 0, 0, 0],
        ],
        dtype=bool,
    ),
}
KINDS = {
    "SimpleRNN": layers.SimpleRNN,
    "GRU, reset after": layers.GRU,
    "GRU, reset before": functools.partial(layers.GRU, reset_after=False),
    "LSTM": layers.LSTM,
}
CELLS = {
    "SimpleRNN": layers.SimpleRNNCell,
    "GRU, reset after": layers.GRUCell,
    "GRU, reset before": functools.partial(layers.GRUCell, reset_after=False),
    "LSTM": layers.LSTMCell,
}
ACTIVATIONS = [
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "sparse_sigmoid",
    "relu",
    "leaky_relu",
    "linear",
    "elu",
    "celu",
    "softplus",
    "softsign",
]
GATED = [name for name in KINDS if name != "SimpleRNN"]

of_each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
of_each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
under_each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def sequences(kind, units=UNITS, **settings):
    return kind(units, return_sequences=True, return_state=True, **settings)


def array(x):
    """Read a tensor; `keras.ops.convert_to_numpy` warns with PyTorch and NumPy 2."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def weights_of(layer):
    return [array(weight.value) for weight in layer.weights]


def built(layer, features=FEATURES, seed=1):
    """Build it, with biases that are not zero."""
    rng = np.random.default_rng(seed)
    layer.build((SAMPLES, TIME, features))
    layer.set_weights([0.5 * rng.standard_normal(w.shape) for w in weights_of(layer)])
    return layer


def host(nest):
    return optree.tree_map(array, nest)


def called(layer, x=X, **arguments):
    """Give the outputs and a flat list of the last states, of one cell after the other."""
    outputs, *states = host(layer(x, **arguments))
    return outputs, optree.tree_leaves(states)


def run(layer, x=X, **arguments):
    """Give the same of the cells that the layer becomes."""
    outputs, states = cells.run(cells.from_keras(layer), x, **arguments)
    return outputs, cell_by_cell(states)


def cell_by_cell(states):
    if isinstance(states, list):
        return optree.tree_leaves(states)
    columns = states if isinstance(states, tuple) else (states,)
    return [state for own in zip(*columns, strict=True) for state in own]


def assert_same(found, expected):
    outputs, states = found
    expected_outputs, expected_states = expected
    assert_close(outputs, expected_outputs)
    assert len(states) == len(expected_states)
    for state, expected_state in zip(states, expected_states, strict=True):
        assert_close(state, expected_state)


def assert_close(found, expected):
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def numbers(*shape, seed=2):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# One layer


@of_each_kind
def test_outputs_and_last_states_are_the_layers(kind):
    layer = built(sequences(kind))
    assert_same(run(layer), called(layer))


@of_each_kind
def test_a_layer_without_biases_becomes_a_cell_without(kind):
    layer = built(sequences(kind, use_bias=False))
    (cell,) = cells.from_keras(layer)
    assert cell.bias_ih is None
    assert cell.bias_hh is None
    assert_same(run(layer), called(layer))


@of_each_kind
def test_what_a_layer_returns_does_not_matter(kind):
    layer = built(kind(UNITS))
    assert_close(run(layer)[0][:, -1], host(layer(X)))


@of_each_kind
def test_dropout_is_left_out(kind):
    layer = built(sequences(kind, dropout=0.5, recurrent_dropout=0.5))
    assert_same(run(layer), called(layer, training=False))


@of_each_kind
def test_initial_states_are_the_layers(kind):
    layer = built(sequences(kind))
    states = numbers(len(called(layer)[1]), SAMPLES, UNITS)
    ours = tuple(states[:, None]) if len(states) > 1 else states
    assert_same(run(layer, states=ours), called(layer, initial_state=[*states]))


@of_each_kind
def test_outputs_of_a_layer_that_goes_backwards_are_in_the_order_of_the_inputs(kind):
    layer = built(sequences(kind, go_backwards=True))
    ((forward, backward),) = cells.from_keras(layer)
    assert forward is None
    assert backward.units == UNITS
    outputs, states = called(layer)
    assert_same(run(layer), (outputs[:, ::-1], states))


# Activations


@pytest.mark.parametrize("name", ACTIVATIONS)
@of_each_kind
def test_activations_are_the_layers(kind, name):
    layer = built(sequences(kind, activation=name))
    assert_same(run(layer), called(layer))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", [KINDS[name] for name in GATED], ids=GATED)
def test_recurrent_activations_are_the_layers(kind, name):
    layer = built(sequences(kind, recurrent_activation=name))
    assert_same(run(layer), called(layer))


def test_no_activation_is_the_identity():
    layer = built(sequences(layers.SimpleRNN, activation=None))
    (cell,) = cells.from_keras(layer)
    assert cell.activation == ("affine", 1.0, 0.0)
    assert_same(run(layer), called(layer))


def test_an_activation_is_known_by_what_it_computes():
    def mine(x):
        return keras.ops.maximum(x, 0)

    layer = built(sequences(layers.GRU, activation=mine))
    (cell,) = cells.from_keras(layer)
    assert cell.activation == "relu"
    assert_same(run(layer), called(layer))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="its function is that of PyTorch")
def test_an_activation_may_take_tensors_only():
    import torch

    layer = built(sequences(layers.GRU, activation=torch.relu))
    (cell,) = cells.from_keras(layer)
    assert cell.activation == "relu"
    assert_same(run(layer), called(layer))


def test_an_activation_may_be_a_layer():
    layer = built(sequences(layers.GRU, activation=layers.LeakyReLU()))
    (cell,) = cells.from_keras(layer)
    assert cell.activation == ("leakyrelu", 0.3)
    assert_same(run(layer), called(layer))


# Masks


@under_each_mask
@of_each_kind
def test_masked_timesteps_repeat_outputs_as_the_layers_do(kind, mask):
    layer = built(sequences(kind))
    found = run(layer, mask=mask, zero_output_for_mask=False)
    assert_same(found, called(layer, mask=mask))


@under_each_mask
@of_each_kind
def test_masked_timesteps_are_zeros_as_of_a_layer_that_is_told_so(kind, mask):
    layer = built(sequences(kind, zero_output_for_mask=True))
    assert_same(run(layer, mask=mask), called(layer, mask=mask))


@under_each_mask
@of_each_kind
def test_backwards_under_a_mask_it_is_the_layer(kind, mask):
    layer = built(sequences(kind, go_backwards=True))
    outputs, states = called(layer, mask=mask)
    found = run(layer, mask=mask, zero_output_for_mask=False)
    assert_same(found, (outputs[:, ::-1], states))


@under_each_mask
def test_initial_states_stay_while_masked_as_the_layers_do(mask):
    layer = built(sequences(layers.LSTM))
    states = numbers(2, SAMPLES, UNITS)
    found = run(layer, states=tuple(states[:, None]), mask=mask, zero_output_for_mask=False)
    outputs, ends = called(layer, initial_state=[*states], mask=mask)
    if keras.backend.backend() in ("jax", "numpy"):
        # There Keras shows the initial state until a first timestep; elsewhere, zeros.
        outputs = np.where(np.logical_or.accumulate(mask, axis=1)[..., None], outputs, 0)
    assert_same(found, (outputs, ends))


# Bidirectional


@of_each_kind
def test_bidirectional_becomes_a_pair(kind):
    layer = built(layers.Bidirectional(sequences(kind)))
    ((forward, backward),) = cells.from_keras(layer)
    assert forward.units == backward.units == UNITS
    assert_same(run(layer), called(layer))


@under_each_mask
@of_each_kind
def test_bidirectional_gives_zeros_at_masked_timesteps_as_run_does(kind, mask):
    layer = built(layers.Bidirectional(sequences(kind)))
    assert_same(run(layer, mask=mask), called(layer, mask=mask))


def test_bidirectional_starts_from_the_states_of_both_directions():
    layer = built(layers.Bidirectional(sequences(layers.LSTM)))
    h, c = states = numbers(2, 2, SAMPLES, UNITS)
    keras_states = [h[0], c[0], h[1], c[1]]
    assert_same(run(layer, states=tuple(states)), called(layer, initial_state=keras_states))


@pytest.mark.parametrize("mask", [None, MASKS["gaps"]], ids=["no mask", "gaps"])
def test_directions_may_differ_in_kind_and_units(mask):
    backward = sequences(layers.LSTM, UNITS + 2, go_backwards=True)
    both = layers.Bidirectional(sequences(layers.GRU), backward_layer=backward)
    assert_same(run(built(both), mask=mask), called(both, mask=mask))


def test_bidirectional_of_rnn_of_a_cell_becomes_a_pair():
    own = layers.RNN(layers.GRUCell(UNITS), return_sequences=True, return_state=True)
    layer = built(layers.Bidirectional(own))
    assert_same(run(layer), called(layer))


# RNN of cells


def rnn_of(cell, **settings):
    return built(layers.RNN(cell, return_sequences=True, return_state=True, **settings))


@of_each_cell
def test_rnn_of_a_cell_becomes_a_cell(cell):
    layer = rnn_of(cell(UNITS))
    assert len(cells.from_keras(layer)) == 1
    assert_same(run(layer), called(layer))


@of_each_cell
def test_rnn_of_a_list_of_cells_becomes_layers(cell):
    layer = rnn_of([cell(UNITS), cell(UNITS)])
    assert len(cells.from_keras(layer)) == 2
    assert_same(run(layer), called(layer))


def stack():
    return [layers.LSTMCell(2), layers.SimpleRNNCell(5), layers.GRUCell(3)]


def test_stacked_cells_become_layers():
    layer = rnn_of(layers.StackedRNNCells(stack()))
    assert [cell.units for cell in cells.from_keras(layer)] == [2, 5, 3]
    assert_same(run(layer), called(layer))


@under_each_mask
def test_stacked_cells_under_a_mask_are_the_layers(mask):
    layer = rnn_of(stack())
    found = run(layer, mask=mask, zero_output_for_mask=False)
    assert_same(found, called(layer, mask=mask))


@under_each_mask
def test_stacked_cells_that_go_backwards_are_the_layers(mask):
    layer = rnn_of(stack(), go_backwards=True)
    assert [forward for forward, _ in cells.from_keras(layer)] == [None, None, None]
    outputs, states = called(layer, mask=mask)
    found = run(layer, mask=mask, zero_output_for_mask=False)
    assert_same(found, (outputs[:, ::-1], states))


def test_stacked_cells_start_from_a_list_of_the_states_of_each():
    layer = rnn_of(stack())
    states = [
        [numbers(SAMPLES, 2, seed=3), numbers(SAMPLES, 2, seed=4)],
        [numbers(SAMPLES, 5, seed=5)],
        [numbers(SAMPLES, 3, seed=6)],
    ]
    assert_same(run(layer, states=states), called(layer, initial_state=states))


# Layers after one another


@pytest.mark.parametrize("mask", [None, *MASKS.values()], ids=["no mask", *MASKS])
def test_lists_of_several_layers_are_joined_into_one(mask):
    first = built(layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)))
    second = built(layers.GRU(5, return_sequences=True, go_backwards=True), 2 * UNITS)
    third = built(layers.SimpleRNN(2, return_sequences=True), 5)
    expected = keras.ops.flip(second(first(X, mask=mask), mask=mask), axis=1)
    expected = host(third(expected, mask=mask))
    joined = [layer for own in (first, second, third) for layer in cells.from_keras(own)]
    outputs, _ = cells.run(joined, X, mask=mask, zero_output_for_mask=False)
    assert_close(outputs, expected)


# Gradients


def in_our_order(kind, weight):
    """Reorder gates: z, r and n of Keras's GRU."""
    if kind is layers.GRU:
        z, r, n = np.split(weight, 3, axis=-1)
        weight = np.concatenate([r, z, n], axis=-1)
    return weight


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="autograd is that of PyTorch")
@pytest.mark.parametrize("mask", [None, *MASKS.values()], ids=["no mask", *MASKS])
@pytest.mark.parametrize("kind", [layers.GRU, layers.LSTM], ids=["GRU", "LSTM"])
def test_gradients_are_the_layers(kind, mask):
    import torch

    layer = built(sequences(kind))
    (cell,) = cells.to(cells.from_keras(layer), torch)
    weights = numbers(SAMPLES, TIME, UNITS)

    def gradients(outputs, variables):
        return [
            g.numpy()
            for g in torch.autograd.grad((outputs * torch.tensor(weights)).sum(), variables)
        ]

    own = [cell.weight_ih, cell.weight_hh, cell.bias_ih]
    own += [] if cell.bias_hh is None else [cell.bias_hh]
    for weight in own:
        weight.requires_grad_()
    outputs, _ = cells.run(
        cell,
        torch.tensor(X),
        mask=None if mask is None else torch.tensor(mask),
        zero_output_for_mask=False,
    )
    found = gradients(outputs, own)

    variables = [layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias]
    expected = gradients(layer(X, mask=mask)[0], [v.value for v in variables])
    kernel, recurrent, bias = (in_our_order(kind, g) for g in expected)
    expected = [kernel.T, recurrent.T, *(bias if bias.ndim == 2 else [bias])]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


# Copies


@of_each_kind
def test_cells_keep_their_weights_when_the_layers_change(kind):
    layer = built(sequences(kind))
    converted = cells.from_keras(layer)
    before, _ = cells.run(converted, X)
    layer.set_weights([np.zeros_like(w) for w in weights_of(layer)])
    after, _ = cells.run(converted, X)
    np.testing.assert_array_equal(after, before)


@of_each_kind
def test_layers_keep_their_weights_when_those_of_the_cells_change(kind):
    layer = built(sequences(kind))
    expected = called(layer)
    (cell,) = cells.from_keras(layer)
    for weight in optree.tree_leaves(cell):
        weight[...] = 0
    assert_same(called(layer), expected)


def test_conversion_leaves_the_layer_as_it_is():
    layer = built(layers.Bidirectional(sequences(layers.GRU, activation=layers.LeakyReLU())))
    weights, config = weights_of(layer), layer.get_config()
    cells.from_keras(layer)
    assert layer.get_config() == config
    for weight, before in zip(weights_of(layer), weights, strict=True):
        np.testing.assert_array_equal(weight, before)


@of_each_kind
def test_weights_are_arrays_of_numpy_in_the_layers_dtype(kind):
    # JAX has no float64 unless told so, and PyTorch makes nothing orthogonal in float16.
    layer = built(sequences(kind, dtype="float16", recurrent_initializer="zeros"))
    (cell,) = cells.from_keras(layer)
    for weight in optree.tree_leaves(cell):
        assert type(weight) is np.ndarray
        assert weight.dtype == np.float16


# Errors


def assert_refused(layer, error, *words):
    with pytest.raises(error) as caught:
        cells.from_keras(layer)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (layers.Dense(3), "of type Dense"),
        (layers.TimeDistributed(layers.Dense(3)), "of type TimeDistributed"),
        (keras.Sequential([layers.LSTM(3)]), "of type Sequential"),
        (None, "None"),
    ],
    ids=["Dense", "TimeDistributed", "Sequential", "None"],
)
def test_another_layer_is_refused(value, came):
    expected = "expected a layer SimpleRNN, GRU, LSTM, RNN of their cells, or Bidirectional"
    assert_refused(value, TypeError, f"`layer` is {came}", expected)


class OwnCell(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.state_size = self.output_size = units

    def call(self, x, states):
        return states[0], states


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        (lambda: OwnCell(UNITS), "layer.cell"),
        (lambda: [layers.GRUCell(UNITS), OwnCell(UNITS)], "layer.cell.cells[1]"),
    ],
    ids=["alone", "stacked"],
)
def test_another_cell_is_refused(cell, path):
    layer = layers.RNN(cell())
    layer.build(SHAPE)
    assert_refused(layer, TypeError, f"`{path}` is of type OwnCell", "RNN of their cells")


def test_another_cell_of_one_direction_is_refused():
    own = layers.RNN(OwnCell(UNITS), go_backwards=True)
    layer = layers.Bidirectional(layers.GRU(UNITS), backward_layer=own)
    layer.build(SHAPE)
    assert_refused(layer, TypeError, "`layer.backward_layer.cell` is of type OwnCell")


def test_a_layer_of_another_recurrence_is_refused():
    layer = layers.ConvLSTM1D(2, 3)
    assert_refused(layer, TypeError, "`layer.cell` is of type ConvLSTMCell")


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        (lambda: layers.LSTM(3), "layer.cell"),
        (lambda: layers.RNN([layers.GRUCell(3)] * 2), "layer.cell.cells[0]"),
        (lambda: layers.Bidirectional(layers.GRU(3)), "layer.forward_layer.cell"),
    ],
    ids=["layer", "stacked", "Bidirectional"],
)
def test_a_layer_that_is_not_built_is_refused(layer, path):
    asked = "expected a built layer. Call it on inputs once, or its `build`."
    assert_refused(layer(), ValueError, f"`{path}` has no weights yet; {asked}")


@pytest.mark.parametrize("merge", ["sum", "mul", "ave", None])
def test_other_merges_than_concat_are_refused(merge):
    layer = built(layers.Bidirectional(sequences(layers.LSTM), merge_mode=merge))
    came = f"`layer.merge_mode` is {merge!r}; expected 'concat'."
    cure = "Take the cells of `layer.forward_layer` and `layer.backward_layer`"
    assert_refused(layer, ValueError, came, cure)


def test_directions_of_another_merge_are_taken_one_by_one():
    layer = built(layers.Bidirectional(sequences(layers.LSTM), merge_mode="sum"))
    outputs = sum(run(own)[0] for own in (layer.forward_layer, layer.backward_layer))
    assert_close(outputs, called(layer)[0])


def test_bidirectional_of_stacked_cells_is_refused():
    own = layers.RNN([layers.GRUCell(3), layers.GRUCell(3)], return_sequences=True)
    layer = built(layers.Bidirectional(own))
    came = "`layer` has 2 stacked cells in one direction; expected one cell in each."
    cure = "Take the cells of `layer.forward_layer` and `layer.backward_layer`."
    assert_refused(layer, ValueError, came, cure)


def test_bidirectional_whose_forward_layer_goes_backwards_is_refused():
    layer = built(
        layers.Bidirectional(
            sequences(layers.GRU, go_backwards=True), backward_layer=sequences(layers.GRU)
        )
    )
    came = "`layer.forward_layer.go_backwards` is True; expected False."
    cure = "Take the cells of `layer.forward_layer` and `layer.backward_layer`."
    assert_refused(layer, ValueError, came, cure)


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "selu", "softmax", "hard_tanh", "exponential", "relu6"]
)
def test_an_activation_that_onnx_has_no_name_for_is_refused(name):
    layer = built(sequences(layers.GRU, activation=name))
    came = f"`layer.cell.activation` is {name}; expected one that computes what one of ONNX does"
    assert_refused(layer, ValueError, came, "tanh", "hardsigmoid", "leakyrelu")


def test_a_recurrent_activation_that_onnx_has_no_name_for_is_refused():
    layer = built(layers.Bidirectional(sequences(layers.LSTM, recurrent_activation="gelu")))
    came = "`layer.forward_layer.cell.recurrent_activation` is gelu; expected"
    assert_refused(layer, ValueError, came)


def test_a_layer_with_a_call_of_its_own_is_refused():
    class Doubled(keras.layers.GRU):
        def call(self, sequences, *args, **kwargs):
            return super().call(2 * sequences, *args, **kwargs)

    layer = Doubled(4)
    layer.build((None, None, 3))
    with pytest.raises(TypeError, match="with a `call` of its own; expected a layer SimpleRNN"):
        cells.from_keras(layer)
