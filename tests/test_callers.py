"""Small examples of what published code makes of this interface: attention, memory, simulation.

Those of conditional random fields are in ``test_crf.py``.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from array_api_compat import array_namespace

from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import Recorder, recurrence
from support.running import rnn

SAMPLES, TIME, FEATURES = 2, 4, 3


def normal(backend, *shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(backend.float)


def softmax(z):
    xp = array_namespace(z)
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + array_namespace(z).exp(-z))


def test_an_ordered_neuron_lstm(backend):
    # Its output is wider than any state, and the first state is not the output.
    weights = normal(backend, 2 * FEATURES, 6 * FEATURES)

    def step(x_t, states):
        c, h, weights = states
        xp = array_namespace(x_t)
        z = xp.concat([x_t, h], axis=1) @ weights
        f, i, o, g, master_f, master_i = (z[:, k * 3 : (k + 1) * 3] for k in range(6))
        master_f = xp.cumulative_sum(softmax(master_f), axis=1)
        master_i = 1 - xp.cumulative_sum(softmax(master_i), axis=1)
        both = master_f * master_i
        f = sigmoid(f) * both + master_f - both
        i = sigmoid(i) * both + master_i - both
        c = f * c + i * xp.tanh(g)
        h = sigmoid(o) * xp.tanh(c)
        return xp.concat([h, master_f, master_i], axis=1), [c, h]

    x, zeros = normal(backend, SAMPLES, TIME, FEATURES), np.zeros((2, FEATURES), backend.float)
    keep = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], dtype=bool)
    inputs, states, constants = backend.arrays((x, [zeros, zeros], [weights]))
    found = rnn(step, inputs, states, mask=keep, constants=constants)
    expected = recurrence(lambda x_t, states: step(x_t, (*states, weights)), x, [zeros] * 2, keep)
    assert_same(backend, found, expected)


def test_a_pointer_network(backend):
    # The whole sequence is a constant, the output a distribution over its timesteps.
    x, encoded = normal(backend, SAMPLES, TIME, FEATURES), normal(backend, SAMPLES, TIME, FEATURES)
    length = 3

    def step(x_t, states):
        query, encoded = states
        xp = array_namespace(x_t)
        query = xp.tanh(query + x_t)
        return softmax(xp.sum(encoded * query[:, None, :], axis=-1)), [query]

    query, expected = np.zeros((SAMPLES, FEATURES), backend.float), []
    for t in [2, 1, 0]:
        output, (query,) = step(x[:, t], (query, encoded))
        expected.append(output)
    inputs, start, constants = backend.arrays((x, [0 * query], [encoded]))
    last, outputs, states = rnn(
        step,
        inputs,
        start,
        go_backwards=True,
        constants=constants,
        input_length=length,
    )
    assert_same(backend, outputs, np.stack(expected, axis=1))
    assert_same(backend, (last, states), (expected[-1], [query]))
    assert outputs.shape == (SAMPLES, length, TIME)


@pytest.mark.needs(Ability.CLOSURES)
def test_a_decoder_that_records_its_attention(backend):
    # The output has an axis more than the input; the sequence comes by closure.
    x, encoded = normal(backend, SAMPLES, TIME, FEATURES), normal(backend, SAMPLES, 5, FEATURES)

    def step_of(encoded):
        def step(x_t, states):
            xp = array_namespace(x_t)
            scores = encoded * (x_t + states[0])[:, None, :]
            weights = softmax(xp.permute_dims(scores, (0, 2, 1)))  # one head a feature
            return weights, [xp.sum(xp.permute_dims(weights, (0, 2, 1)) * encoded, axis=1)]

        return step

    context, expected = np.zeros((SAMPLES, FEATURES), backend.float), []
    for t in range(TIME):
        output, (context,) = step_of(encoded)(x[:, t], (context,))
        expected.append(output)
    inputs, start, encoded = backend.arrays((x, [0 * context], encoded))
    _, outputs, states = rnn(step_of(encoded), inputs, start)
    assert outputs.shape == (SAMPLES, TIME, FEATURES, 5)
    assert_same(backend, (outputs, states), (np.stack(expected, axis=1), [context]))


def test_a_neural_memory(backend):
    # States of rank 3 and 4, held where masked.
    x = normal(backend, SAMPLES, TIME, FEATURES)
    memory, links = normal(backend, SAMPLES, 4, FEATURES), normal(backend, SAMPLES, 2, 4, 4)
    keep = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], dtype=bool)

    def step(x_t, states):
        memory, links = states
        xp = array_namespace(x_t)
        address = softmax(xp.sum(memory * x_t[:, None, :], axis=-1))
        read = xp.sum(address[..., None] * memory, axis=1)
        memory = memory * (1 - address[..., None]) + address[..., None] * x_t[:, None, :]
        links = 0.9 * links + address[:, None, :, None] * address[:, None, None, :]
        return read, [memory, links]

    inputs, states = backend.arrays((x, [memory, links]))
    found = rnn(step, inputs, states, mask=keep)
    assert_same(backend, found, recurrence(step, x, [memory, links], keep))


class Sequence(NamedTuple):
    data: Any
    label: Any


class Cache(NamedTuple):
    keys: Any
    position: Any


def test_a_sequential_monte_carlo_transformer(backend):
    # Namedtuples in, a list out, a cache of four axes.
    particles = 2
    data = normal(backend, SAMPLES, TIME, particles, FEATURES)
    label = normal(backend, SAMPLES, TIME, 1)

    def attend(x_t, states):
        cache, at = states
        xp = array_namespace(x_t.data)
        assert isinstance(x_t, Sequence)
        assert isinstance(cache, Cache)
        here = xp.astype(at == cache.position, x_t.data.dtype)[:, None, :, None]
        keys = cache.keys + here * x_t.data[:, :, None, :]
        mean = xp.sum(keys, axis=2) / (cache.position[..., None] + 1)
        return [mean, mean[..., 0] - x_t.label], [Cache(keys, cache.position + 1)]

    inputs = backend.arrays(Sequence(data, label))
    at = backend.array([range(TIME)], backend.float)
    empty = np.zeros((SAMPLES, particles, TIME, FEATURES), backend.float)
    start = Cache(empty, np.zeros((SAMPLES, 1), backend.float))
    last, outputs, states = rnn(attend, inputs, backend.arrays([start]), constants=[at])

    count = np.arange(1, TIME + 1).reshape(1, TIME, 1, 1)
    mean = (np.cumsum(data, axis=1) / count).astype(backend.float)
    expected = [mean, mean[..., 0] - label]
    assert_same(backend, outputs, expected)
    assert_same(backend, last, [leaf[:, -1] for leaf in expected])
    end = Cache(np.moveaxis(data, 1, 2), np.full((SAMPLES, 1), TIME, backend.float))
    assert_same(backend, states, [end])


def test_the_disparities_of_a_stereo_pair(backend):
    # "Time" is by how many pixels the right image, a shift register, is moved.
    height, width, disparities = 2, 5, 4
    left, right = (normal(backend, SAMPLES, height, width, c)[..., :1] for c in (1, 2))

    def step(x_t, states):
        (register,) = states
        xp = array_namespace(x_t)
        moved = xp.concat([0 * register[:, :, :1, :], register[:, :, :-1, :]], axis=2)
        return xp.abs(x_t - register), [moved]

    shape = (SAMPLES, disparities, height, width, 1)
    inputs = backend.xp.broadcast_to(backend.arrays(left[:, None]), shape)
    outputs = rnn(step, inputs, [backend.arrays(right)], unroll=True)[1]

    expected = np.empty(shape, backend.float)
    for d in range(disparities):
        moved = np.pad(right, [(0, 0), (0, 0), (d, 0), (0, 0)])[:, :, :width]
        expected[:, d] = np.abs(left - moved)
    assert_same(backend, outputs, expected)


def test_a_bucket_of_water_over_years_of_days(backend):
    # JAX compiles for long what joins thousands of arrays.
    days = 100 if backend is Backend.JAX else 3650
    rain = (np.abs(normal(backend, 1, days, 1)) + 0.1).astype(backend.float)

    def step(x_t, states):
        (storage,) = states
        runoff = 0.05 * storage
        return runoff, [storage + x_t - runoff]

    storage, expected = 10.0, []
    for fallen in rain[0, :, 0].tolist():
        expected.append(0.05 * storage)
        storage += fallen - expected[-1]
    _, outputs, states = rnn(step, backend.arrays(rain), [backend.array([[10.0]])])
    outputs, state = backend.numpy(outputs), backend.numpy(states[0])
    np.testing.assert_allclose(outputs[0, :, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(state, [[storage]], rtol=1e-4)


def test_a_text_decoder_whose_inputs_say_nothing_but_how_many_steps(backend):
    # A counter without an axis of samples, and what is to be decoded, held as a state.
    teacher = normal(backend, SAMPLES, TIME, FEATURES)

    def step(x_t, states):
        counter, previous, teacher = states
        forced = array_namespace(x_t).take(teacher, counter, axis=1)[:, 0, :]
        return forced - previous, [counter + 1, forced, teacher]

    nothing = backend.array(np.zeros((SAMPLES, TIME, 1)))
    start = [np.zeros(1, backend.int), np.zeros((SAMPLES, FEATURES), backend.float), teacher]
    _, outputs, states = rnn(step, nothing, backend.arrays(start))
    before = np.concatenate([np.zeros_like(teacher[:, :1]), teacher[:, :-1]], axis=1)
    assert_same(backend, outputs, teacher - before)
    assert_same(backend, states, [np.array([TIME], backend.int), teacher[:, -1], teacher])


def test_one_dense_layer_at_every_timestep(backend):
    x, kernel = normal(backend, SAMPLES, TIME, FEATURES), normal(backend, FEATURES, 5)
    inputs, constants = backend.arrays((x, [kernel]))
    found = rnn(lambda x_t, constants: (x_t @ constants[0], []), inputs, [], constants=constants)
    outputs = np.einsum("stf,fg->stg", x, kernel)
    assert_same(backend, found, (outputs[:, -1], outputs, []))


def test_one_lstm_for_all_libraries(backend):
    x = normal(backend, TIME, SAMPLES, FEATURES)
    kernel, bias = normal(backend, 2 * FEATURES, 4 * FEATURES), normal(backend, 4 * FEATURES)

    def step(x_t, states):
        h, c, kernel, bias = states
        xp = array_namespace(x_t)
        z = xp.concat([x_t, h], axis=1) @ kernel + bias
        i, f, g, o = (z[:, k * 3 : (k + 1) * 3] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = sigmoid(o) * xp.tanh(c)
        return h, [h, c]

    h = c = np.zeros((SAMPLES, FEATURES), backend.float)
    expected = []
    for x_t in x:
        output, (h, c) = step(x_t, (h, c, kernel, bias))
        expected.append(output)
    inputs, start, constants = backend.arrays((x, [0 * h, 0 * c], [kernel, bias]))
    found = rnn(step, inputs, start, constants=constants, time_major=True)
    assert_same(backend, found, (h, np.stack(expected), [h, c]))


def test_a_zero_for_the_states_and_false_for_the_constants(backend):
    step = Recorder(lambda x_t, states: (x_t + 1, states[:1]))
    x = backend.array([[[1.0], [2.0]]])
    _, outputs, states = rnn(step, x, [0], constants=[False])
    assert_same(backend, outputs, np.array([[[2], [3]]], backend.float))
    assert_same(backend, states, [np.array(0, backend.int)])
    assert step.states
    assert all(seen[1] is False for seen in step.states)
