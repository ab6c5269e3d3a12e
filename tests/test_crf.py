"""Linear-chain conditional random fields as published code writes them, against all their paths."""

import itertools

import numpy as np
from array_api_compat import array_namespace

from support.backends import assert_same
from support.running import rnn

SAMPLES, TIME, LABELS = 2, 4, 3
LENGTHS = [4, 2]


def normal(backend, *shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(backend.float)


def all_paths(energies, chain):
    """Return every path over one sample's energies ``(time, labels)``, and their scores."""
    paths = list(itertools.product(range(LABELS), repeat=len(energies)))
    scores = [
        sum(energies[t, label] for t, label in enumerate(path))
        + sum(chain[i, j] for i, j in itertools.pairwise(path))
        for path in paths
    ]
    return paths, np.array(scores)


def log_partition(energies, chain):
    return np.log(np.sum(np.exp(all_paths(energies, chain)[1])))


def log_sum_exp(z, axis):
    xp = array_namespace(z)
    highest = xp.max(z, axis=axis, keepdims=True)
    return xp.squeeze(highest, axis=axis) + xp.log(xp.sum(xp.exp(z - highest), axis=axis))


def test_the_forward_algorithm_with_a_counter_and_the_mask_among_the_constants(backend):
    tokens = np.random.default_rng(0).integers(0, 5, (SAMPLES, TIME, 1)).astype(backend.int)
    table, chain = normal(backend, 5, LABELS), normal(backend, 1, LABELS, LABELS)
    flags = np.zeros((SAMPLES, TIME + 1), backend.float)
    for s, length in enumerate(LENGTHS):
        flags[s, :length] = 1
    at = np.arange(TIME + 1, dtype=backend.float)[None, :]
    inputs, constants = backend.arrays((tokens, [chain, flags, table, at]))

    def step(x_t, states):
        score, counter, chain, flags, table, at = states
        xp = array_namespace(score)
        energy = xp.take(table, x_t[:, 0], axis=0)
        keep = xp.sum(xp.where(at == counter, flags, xp.zeros_like(flags)), axis=1, keepdims=True)
        paths = log_sum_exp(score[..., None] + chain, axis=1)
        paths = xp.where(counter == 0, energy, paths + energy)
        # What is shown is no state at all: the logarithm of the sum over the labels.
        score = keep * paths + (1 - keep) * score
        return xp.expand_dims(log_sum_exp(score, axis=1), axis=1), [score, counter + 1]

    start = [np.zeros((SAMPLES, LABELS), backend.float), np.zeros((SAMPLES, 1), backend.float)]
    last, outputs, states = rnn(step, inputs, backend.arrays(start), constants=constants)
    expected = [
        [log_partition(table[tokens[s, : min(t + 1, length), 0]], chain[0]) for t in range(TIME)]
        for s, length in enumerate(LENGTHS)
    ]
    expected = np.array(expected, backend.float)[..., None]
    assert_same(backend, (last, outputs), (expected[:, -1], expected))
    assert_same(backend, states[1], np.full((SAMPLES, 1), TIME, backend.float))


def test_viterbi_there_by_scores_and_back_by_integers(backend):
    energies, chain = normal(backend, SAMPLES, TIME, LABELS), normal(backend, 1, LABELS, LABELS)
    each_label = backend.array([range(LABELS)])

    def best_of(scores, labels):  # argmax makes an int64, which not every device has
        xp = array_namespace(scores)
        highest = xp.max(scores, axis=1, keepdims=True)
        return xp.max(xp.where(scores == highest, labels, 0 * labels), axis=1)

    def forwards(x_t, states):
        score, counter, chain, each_label = states
        xp = array_namespace(score)
        paths = score[..., None] + xp.where(counter[..., None] == 0, 0 * chain, chain)
        pointers = best_of(paths, each_label[..., None])
        return pointers, [xp.max(paths, axis=1) + x_t, counter + 1]

    start = [np.zeros((SAMPLES, LABELS), backend.float), np.zeros((SAMPLES, 1), backend.int)]
    inputs, states, chain_ = backend.arrays((energies, start, chain))
    constants = [chain_, each_label]
    _, pointers, (score, counter) = rnn(forwards, inputs, states, constants=constants)

    def backwards(x_t, states):
        label, each_label = states
        xp = array_namespace(label)
        here = xp.where(each_label == label, x_t, xp.zeros_like(x_t))
        return label, [xp.max(here, axis=1, keepdims=True)]

    label = best_of(score, each_label)[:, None]
    labels = rnn(backwards, pointers, [label], go_backwards=True, constants=[each_label])[1]

    expected, best = [], []
    for sample in energies:
        paths, scores = all_paths(sample, chain[0])
        expected.append(paths[np.argmax(scores)][::-1])
        best.append(np.max(scores))
    assert_same(backend, labels, np.array(expected, backend.int)[..., None])
    np.testing.assert_allclose(backend.numpy(score).max(axis=1), best, rtol=1e-5)
    assert_same(backend, counter, np.full((SAMPLES, 1), TIME, backend.int))


def test_the_mask_as_the_last_channel_of_the_inputs(backend):
    energies, chain = normal(backend, SAMPLES, TIME, LABELS), normal(backend, LABELS, LABELS)
    flags = (np.arange(TIME) < np.array(LENGTHS)[:, None])[..., None].astype(backend.float)
    inputs, constants = backend.arrays((np.concatenate([energies, flags], axis=-1), [chain]))

    def step(x_t, states):
        score, chain = states
        energy, keep = x_t[:, :-1], x_t[:, -1:]
        after = log_sum_exp(score[..., None] + chain[None, ...], axis=1) + energy
        score = keep * after + (1 - keep) * score
        return score, [score]

    # The first timestep is the initial state.
    first, rest = inputs[:, 0, :-1], inputs[:, 1:, :]
    score = backend.numpy(rnn(step, rest, [first], constants=constants)[0])
    found = np.log(np.sum(np.exp(score), axis=1))
    expected = [log_partition(energies[s, :length], chain) for s, length in enumerate(LENGTHS)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
