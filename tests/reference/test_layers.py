"""`arrayrnn.bidirectional` against the layers that run both directions.

`tf_keras.layers.Bidirectional` under masks of all kinds, and a bidirectional `torch.nn.LSTM` on
packed sequences, in its results and gradients.
"""

from functools import partial

import numpy as np
import pytest
import tf_keras
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import arrayrnn

SAMPLES, TIME, FEATURES, UNITS = 4, 6, 3, 2
LENGTHS = [6, 1, 3, 5]
RIGHT = np.arange(TIME) < np.array(LENGTHS)[:, None]
MASKS = {
    "none": None,
    "right": RIGHT,
    "left": RIGHT[:, ::-1],
    "holes": np.random.default_rng(0).integers(0, 2, (SAMPLES, TIME)).astype(bool),
    "nothing of a sample": RIGHT & np.array([[True], [False], [True], [True]]),
}
MERGES = ["concat", "sum", "mul", "ave", None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simple(weights, x_t, states):
    kernel, recurrent, bias = weights
    h = np.tanh(x_t @ kernel + states[0] @ recurrent + bias)
    return h, [h]


def lstm(weights, x_t, states):
    kernel, recurrent, bias = weights
    h, c = states
    i, f, g, o = np.split(x_t @ kernel + h @ recurrent + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, [h, c]


LAYERS = {"SimpleRNN": (simple, 1), "LSTM": (lstm, 2)}


@pytest.fixture(autouse=True)
def in_float64():
    before = tf_keras.backend.floatx()
    tf_keras.backend.set_floatx("float64")
    yield
    tf_keras.backend.set_floatx(before)


@pytest.mark.parametrize("merge", MERGES, ids=str)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("sequences", [True, False], ids=["outputs", "last output"])
@pytest.mark.parametrize("layer", LAYERS)
def test_it_is_the_layer_of_keras(layer, sequences, mask, merge):
    """Which shows zeros at masked timesteps if it returns sequences, and else what was held."""
    step, count = LAYERS[layer]
    kind = getattr(tf_keras.layers, layer)
    own = kind(UNITS, return_sequences=sequences, return_state=True)
    both = tf_keras.layers.Bidirectional(own, merge_mode=merge)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((SAMPLES, TIME, FEATURES))
    both.build(x.shape)
    both.set_weights([rng.standard_normal(weight.shape) for weight in both.get_weights()])
    states = [*rng.standard_normal((2 * count, SAMPLES, UNITS))]
    results = both(x, mask=mask, initial_state=[*map(tf_keras.backend.constant, states)])
    results = [result.numpy() for result in results]
    shown = (results[0], results[1]) if merge is None else results[0]

    weights = both.forward_layer.get_weights(), both.backward_layer.get_weights()
    last, outputs, ends = arrayrnn.bidirectional(
        *(partial(step, own) for own in weights),
        x,
        states[:count],
        states[count:],
        merge=merge,
        mask=mask,
        zero_output_for_mask=sequences,
    )
    same(outputs if sequences else last, shown)
    same([*ends[0], *ends[1]], results[-2 * count :])


def same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def torch_lstm(kernel, recurrent, bias, x_t, states):
    h, c = states
    i, f, g, o = (x_t @ kernel.T + h @ recurrent.T + bias).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h, [h, c]


def of_packed(layer, x, h, c):
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (h, c) = layer(packed, (h, c))
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=TIME)
    return outputs, torch.stack([h[0], c[0], h[1], c[1]])


def of_ours(layer, x, h, c, **masked):
    steps = []
    for end in ("", "_reverse"):
        kernel, recurrent, *biases = (
            getattr(layer, f"{name}_l0{end}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        steps.append(partial(torch_lstm, kernel, recurrent, sum(biases)))
    states = [[h[k], c[k]] for k in range(2)]
    _, outputs, ends = arrayrnn.bidirectional(
        *steps, x, *states, zero_output_for_mask=True, **masked
    )
    return outputs, torch.stack([*ends[0], *ends[1]])


@pytest.mark.parametrize("how", ["lengths", "mask"])
def test_it_is_the_layer_of_pytorch_on_packed_sequences(how):
    """Whose backward direction begins at the last timestep that a sequence has."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True).double()
    x, h, c = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((SAMPLES, TIME, FEATURES), (2, SAMPLES, UNITS), (2, SAMPLES, UNITS))
    )
    wanted = [x, h, c, *layer.parameters()]
    masked = {
        "lengths": {"input_length": torch.tensor(LENGTHS)},
        "mask": {"mask": torch.tensor(RIGHT)},
    }[how]
    found, expected = of_ours(layer, x, h, c, **masked), of_packed(layer, x, h, c)
    weights = [torch.randn_like(leaf) for leaf in expected]
    for one, other in zip(found, expected, strict=True):
        same(one.detach(), other.detach())
    gradients = [
        torch.autograd.grad(
            sum((w * r).sum() for w, r in zip(weights, results, strict=True)), wanted
        )
        for results in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        same(one, other)
