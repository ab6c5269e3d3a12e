"""`arrayrnn.cells.from_keras`: what `cells.run` computes is what the layers of tf-keras do."""

from functools import partial

import numpy as np
import optree
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers

from arrayrnn import cells

SAMPLES, TIME, FEATURES, UNITS = 4, 6, 3, 2
SHAPE = (SAMPLES, TIME, FEATURES)
X = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")

RIGHT = np.arange(TIME) < np.array([6, 1, 3, 5])[:, None]
MASKS = {
    "none": None,
    "right": RIGHT,
    "left": RIGHT[:, ::-1],
    "holes": np.random.default_rng(0).integers(0, 2, (SAMPLES, TIME)).astype(bool),
    "nothing of a sample": RIGHT & np.array([[True], [False], [True], [True]]),
}
LAYERS = {
    "SimpleRNN": layers.SimpleRNN,
    "GRU, reset after": layers.GRU,
    "GRU, reset before": partial(layers.GRU, reset_after=False),
    "LSTM": layers.LSTM,
}

of_each_layer = pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)
under_each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def sequences(kind, **settings):
    return kind(UNITS, return_sequences=True, return_state=True, **settings)


def built(layer):
    """Build it, with biases that are not zero."""
    rng = np.random.default_rng(1)
    layer.build(SHAPE)
    layer.set_weights([0.5 * rng.standard_normal(w.shape) for w in layer.get_weights()])
    return layer


def check(layer, *, reverse=False, states=None, initial_state=None, **masked):
    """Compare outputs and last states, of one cell after the other."""
    outputs, *ends = layer(X, mask=masked.get("mask"), initial_state=initial_state)
    outputs = outputs.numpy()[:, ::-1] if reverse else outputs.numpy()
    found, last = cells.run(cells.from_keras(layer), X, states, **masked)
    same(found, outputs)
    if not isinstance(last, list):
        last = [*zip(*last, strict=True)] if isinstance(last, tuple) else [*last]
    for own, end in zip(optree.tree_leaves(last), tf.nest.flatten(ends), strict=True):
        same(own, end.numpy())


def same(actual, expected):
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@under_each_mask
@of_each_layer
def test_cells_are_the_layer(kind, mask):
    check(built(sequences(kind)), mask=mask, zero_output_for_mask=False)


@under_each_mask
@of_each_layer
def test_cells_give_zeros_as_the_layer_that_is_told_so(kind, mask):
    check(built(sequences(kind, zero_output_for_mask=True)), mask=mask)


@under_each_mask
@of_each_layer
def test_a_layer_that_goes_backwards_has_its_outputs_in_the_order_of_the_inputs(kind, mask):
    layer = built(sequences(kind, go_backwards=True))
    check(layer, reverse=True, mask=mask, zero_output_for_mask=False)


@of_each_layer
def test_there_may_be_no_biases(kind):
    check(built(sequences(kind, use_bias=False)))


def test_cells_start_from_the_states_of_the_layer():
    states = np.random.default_rng(2).standard_normal((2, SAMPLES, UNITS)).astype("float32")
    initial = [tf_keras.backend.constant(state) for state in states]
    check(built(sequences(layers.LSTM)), states=tuple(states[:, None]), initial_state=initial)


@under_each_mask
@of_each_layer
def test_bidirectional_becomes_a_pair_and_gives_zeros_as_run_does(kind, mask):
    check(built(layers.Bidirectional(sequences(kind))), mask=mask)


@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backward"])
@under_each_mask
def test_stacked_cells_become_layers(mask, backwards):
    stack = [layers.LSTMCell(2), layers.SimpleRNNCell(5), layers.GRUCell(3)]
    layer = layers.RNN(stack, return_sequences=True, return_state=True, go_backwards=backwards)
    check(built(layer), reverse=backwards, mask=mask, zero_output_for_mask=False)


@pytest.mark.parametrize(
    "name",
    [
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "relu",
        "leaky_relu",
        "linear",
        "elu",
        "softplus",
        "softsign",
    ],
)
@of_each_layer
def test_activations_are_the_layers(kind, name):
    check(built(sequences(kind, activation=name)))
    if kind is not layers.SimpleRNN:
        check(built(sequences(kind, recurrent_activation=name)))


def test_hard_sigmoid_has_the_slope_of_tf_keras():
    """Keras 3 has another one under the same name."""
    (cell,) = cells.from_keras(built(sequences(layers.LSTM, recurrent_activation="hard_sigmoid")))
    assert cell.recurrent_activation == ("hardsigmoid", 0.2, 0.5)


@of_each_layer
def test_cells_keep_their_weights_when_the_layers_change(kind):
    layer = built(sequences(kind))
    converted = cells.from_keras(layer)
    before, _ = cells.run(converted, X)
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    after, _ = cells.run(converted, X)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (lambda: layers.Dense(3), TypeError, "`layer` is of type Dense; expected a layer"),
        (lambda: layers.LSTM(3), ValueError, "`layer.cell` has no weights yet; expected a built"),
        (
            lambda: built(layers.Bidirectional(layers.GRU(3), merge_mode="sum")),
            ValueError,
            "`layer.merge_mode` is 'sum'; expected 'concat'",
        ),
        (
            lambda: built(layers.GRU(3, activation="swish")),
            ValueError,
            "`layer.cell.activation` is swish; expected one",
        ),
    ],
    ids=["another layer", "not built", "another merge", "another activation"],
)
def test_what_cannot_become_cells_is_refused(layer, error, words):
    with pytest.raises(error) as caught:
        cells.from_keras(layer())
    assert words in str(caught.value)
