"""A cell is a step function: what it computes is what its formulas say, on every library."""

from dataclasses import replace

import numpy as np
import pytest

from arrayrnn import cells
from support.backends import assert_same
from support.formulas import over_time
from support.running import known_shapes, rnn

SAMPLES, TIME, FEATURES, UNITS = 3, 5, 4, 2


def draw(backend, *shape):
    return np.random.default_rng(shape).normal(size=shape).astype(backend.float)


def new(backend, kind, **settings):
    return kind.initialize(FEATURES, UNITS, like=np.zeros(0, backend.float), seed=1, **settings)


def with_peepholes(backend):
    return replace(new(backend, cells.LSTM), peepholes=draw(backend, 3 * UNITS))


def with_one_bias(backend, kind):
    return replace(new(backend, kind), bias_hh=None)


CELLS = {
    "simple": lambda b: new(b, cells.SimpleRNN),
    "simple, no bias": lambda b: new(b, cells.SimpleRNN, bias=False),
    "simple, one bias": lambda b: with_one_bias(b, cells.SimpleRNN),
    "simple, relu, clipped": lambda b: new(b, cells.SimpleRNN, activation="Relu", clip=0.5),
    "GRU": lambda b: new(b, cells.GRU),
    "GRU, no bias": lambda b: new(b, cells.GRU, bias=False),
    "GRU, one bias": lambda b: with_one_bias(b, cells.GRU),
    "GRU, reset before": lambda b: new(b, cells.GRU, reset_after=False),
    "GRU, reset before, one bias": lambda b: replace(
        with_one_bias(b, cells.GRU), reset_after=False
    ),
    "GRU, other activations, clipped": lambda b: new(
        b,
        cells.GRU,
        activation=("LeakyRelu", 0.1),
        recurrent_activation=("HardSigmoid", 0.3, 0.4),
        clip=0.5,
    ),
    "LSTM": lambda b: new(b, cells.LSTM),
    "LSTM, no bias": lambda b: new(b, cells.LSTM, bias=False),
    "LSTM, one bias": lambda b: with_one_bias(b, cells.LSTM),
    "LSTM, projection": lambda b: new(b, cells.LSTM, projection=1),
    "LSTM, peepholes": with_peepholes,
    "LSTM, other activations, clipped": lambda b: new(
        b,
        cells.LSTM,
        activation="softsign",
        recurrent_activation="hardsigmoid",
        output_activation=("ScaledTanh", 0.5, 2),
        clip=0.3,
    ),
}
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def own(backend, cell):
    return cells.to(cell, backend.xp, device=backend.device)


def start(backend, cell):
    return [draw(backend, SAMPLES, size) for size in cell.state_sizes]


@every_cell
def test_a_cell_is_a_step_of_rnn(backend, make):
    cell, x = make(backend), draw(backend, SAMPLES, TIME, FEATURES)
    states = start(backend, cell)
    outputs, last = over_time(cell, x, states)
    found = rnn(own(backend, cell), *backend.arrays((x, states)))
    assert_same(backend, found, (outputs[:, -1], outputs, last))


@pytest.mark.parametrize("name", ["simple", "GRU", "GRU, reset before, one bias", "LSTM, no bias"])
def test_the_product_with_the_inputs_can_be_taken_out_of_the_loop(backend, name):
    cell, x = CELLS[name](backend), draw(backend, SAMPLES, TIME, FEATURES)
    states = start(backend, cell)
    outputs, last = over_time(cell, x, states)
    moved = own(backend, cell)
    projected = moved.project(backend.array(x))
    assert tuple(projected.shape) == (SAMPLES, TIME, cell.gates * UNITS)
    with known_shapes():
        found = rnn(moved.projected, projected, backend.arrays(states))
    assert_same(backend, found, (outputs[:, -1], outputs, last))


@pytest.mark.parametrize("kind", [cells.SimpleRNN, cells.GRU, cells.LSTM])
def test_the_initial_states_are_zeros(backend, kind):
    cell, x = new(backend, kind), backend.array(draw(backend, SAMPLES, TIME, FEATURES))
    states = own(backend, cell).initial_states(x)
    zeros = np.zeros((SAMPLES, UNITS), backend.float)
    assert_same(backend, states, [zeros] * len(cell.state_sizes), exact=True)


def test_the_initial_states_have_the_samples_of_inputs_with_time_first(backend):
    cell, x = new(backend, cells.GRU), backend.array(draw(backend, TIME, SAMPLES, FEATURES))
    (state,) = own(backend, cell).initial_states(x, time_major=True)
    assert tuple(state.shape) == (SAMPLES, UNITS)


def test_the_initial_states_do_not_hold_what_the_inputs_do(backend):
    x = np.full((SAMPLES, TIME, FEATURES), np.nan, backend.float)
    (state,) = own(backend, new(backend, cells.GRU)).initial_states(backend.array(x))
    assert_same(backend, state, np.zeros((SAMPLES, UNITS), backend.float), exact=True)


@pytest.mark.parametrize("kind", [cells.SimpleRNN, cells.GRU, cells.LSTM])
def test_padding_never_reaches_a_cell(backend, kind):
    cell, lengths = new(backend, kind), [5, 0, 2]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    x[1], x[2, 2:] = np.nan, np.inf
    states = start(backend, cell)
    outputs, last = over_time(cell, x, states, lengths)
    found = rnn(
        own(backend, cell),
        *backend.arrays((x, states)),
        input_length=lengths,
        zero_output_for_mask=True,
    )
    assert_same(backend, found[1:], (outputs, last))


def test_new_weights_are_the_same_on_every_library(backend):
    like = backend.array(np.zeros(0, backend.float))
    for kind in (cells.SimpleRNN, cells.GRU, cells.LSTM):
        expected = new(backend, kind)
        assert_same(backend, kind.initialize(FEATURES, UNITS, like=like, seed=1), expected)


def test_new_weights_are_uniform_up_to_the_inverse_root_of_the_units():
    weight = cells.LSTM.initialize(50, 100, like=np.zeros(0), seed=0).weight_ih
    assert np.abs(weight).max() <= 0.1
    assert np.abs(np.histogram(weight, 10, (-0.1, 0.1))[0] / weight.size - 0.1).max() < 0.01


def test_a_generator_draws_on():
    generator, like = np.random.default_rng(0), np.zeros(0)
    one, other = (cells.GRU.initialize(2, 2, like=like, seed=generator) for _ in range(2))
    assert not np.array_equal(one.weight_ih, other.weight_ih)


def test_a_cell_shows_what_it_is_and_not_its_weights():
    cell = cells.LSTM.initialize(3, 4, like=np.zeros(0, np.float32))
    assert repr(cell) == "LSTM(features=3, units=4, float32, numpy)"


def test_a_sigmoid_is_within_a_millionth_of_the_plain_form_over_a_sequence():
    cell = cells.LSTM.initialize(64, 128, like=np.zeros(0, np.float32), seed=0)
    x = np.random.default_rng(0).normal(size=(2, 200, 64)).astype(np.float32)
    states = [np.zeros((2, 128), np.float32)] * 2
    _, found, _ = rnn(cell, x, states)
    np.testing.assert_allclose(found, over_time(cell, x, states)[0], rtol=0, atol=1e-6)


def test_bfloat16_goes_from_library_to_library():
    torch = pytest.importorskip("torch", reason="NumPy has no bfloat16")
    narrow = cells.GRU.initialize(3, 4, like=torch.zeros(0, dtype=torch.bfloat16), seed=0)
    wide = cells.to(narrow, np, dtype=np.float32)
    np.testing.assert_array_equal(wide.weight_ih, narrow.weight_ih.float().numpy())
    with pytest.raises(TypeError, match="has no bfloat16; expected another `dtype`, float32 say"):
        cells.to(narrow, np)
