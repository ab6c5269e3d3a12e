"""Where nothing is unmasked, no result depends on the call that shows what an output is like."""

import numpy as np
import pytest
from array_api_compat import array_namespace

import arrayrnn
from arrayrnn import Stream, compiled
from arrayrnn._loops import packing as plan
from support.abilities import Ability
from support.backends import assert_same
from support.oracle import draw, halving
from support.running import rnn

SAMPLES, TIME = 2, 4
SWITCHES = [
    {},
    {"go_backwards": True},
    {"unroll": True},
    {"time_major": True},
    {"return_all_outputs": False},
    {"zero_output_for_mask": True},
    {"zero_output_for_mask": True, "return_all_outputs": False},
    {"checkpoint": 2},
    {"checkpoint": 2, "return_all_outputs": False},
]
each_switch = pytest.mark.parametrize("options", SWITCHES, ids=str)
promises = pytest.mark.parametrize("samplewise", [False, True], ids=["mixing", "samplewise"])


def logarithm(x_t, states):
    """Compute a step of which zeros are no arguments."""
    level, divisor, w = states
    level = level / divisor + w * array_namespace(x_t).log(x_t)
    return level, [level, divisor]


# ---------------------------------------------------------------------------------- values


def run(backend, step, x, states, options, **others):
    """Return what comes out and what is right, of a run in which nothing is unmasked."""
    mask = np.zeros(x.shape[:2], bool)
    if options.get("time_major"):
        x, mask = np.swapaxes(x, 0, 1), mask.T
    found = rnn(step, *backend.arrays((x, states)), mask=mask, **others, **options)
    time = TIME if options.get("return_all_outputs", True) else 1
    major = options.get("time_major")
    zeros = np.zeros((time, SAMPLES, 1) if major else (SAMPLES, time, 1), backend.float)
    return found, (np.zeros((SAMPLES, 1), backend.float), zeros, states)


@each_switch
@pytest.mark.parametrize("padding", [0.0, np.nan, -1.0])
def test_with_the_promise_the_call_is_harmless(backend, padding, options):
    # Warnings are errors.
    x = np.full((SAMPLES, TIME, 1), padding, backend.float)
    states = [draw(backend, SAMPLES, 1), np.zeros((SAMPLES, 1), backend.float)]
    weight = backend.array(np.asarray([2.0]))
    others = {"constants": [weight], "samplewise": True}
    found, expected = run(backend, logarithm, x, states, options, **others)
    assert_same(backend, found, expected, exact=True)


@each_switch
@pytest.mark.parametrize("padding", [np.nan, np.inf])
@promises
def test_its_values_show_nowhere(backend, padding, options, samplewise):
    x = np.full((SAMPLES, TIME, 1), padding, backend.float)
    states = [np.full((SAMPLES, 1), 3, backend.float)]
    found, expected = run(backend, halving, x, states, options, samplewise=samplewise)
    assert_same(backend, found, expected, exact=True)


@each_switch
@promises
def test_the_initial_output_is_shown_unless_zeros_are(backend, options, samplewise):
    x = np.full((SAMPLES, TIME, 1), np.nan, backend.float)
    before, states = draw(backend, 1, SAMPLES, 1)[0], [draw(backend, SAMPLES, 1)]
    own = {"initial_output": backend.arrays(before), "samplewise": samplewise}
    found, (_, zeros, _) = run(backend, halving, x, states, options, **own)
    before = np.zeros_like(before) if options.get("zero_output_for_mask") else before
    outputs = zeros + np.expand_dims(before, 0 if options.get("time_major") else 1)
    assert_same(backend, found, (before, outputs, states), exact=True)


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("options", [{}, {"zero_output_for_mask": True}], ids=str)
@pytest.mark.parametrize("all_outputs", [False, True])
def test_a_first_chunk_may_be_padding(backend, options, all_outputs):
    states = [np.zeros((1, 1), backend.float), np.full((1, 1), 2, backend.float)]
    constants = [backend.array(np.asarray([2.0]))]
    x = np.array([[[0.0], [0.0], [2.0], [3.0]]], backend.float)
    stream = Stream(
        logarithm,
        backend.arrays(states),
        constants=constants,
        samplewise=True,
        return_all_outputs=all_outputs,
        **options,
    )
    last, _, held = stream(backend.arrays(x[:, :2]), mask=[[0, 0]])
    assert_same(backend, (last, held), (np.zeros((1, 1), backend.float), states), exact=True)
    last = stream(backend.arrays(x[:, 2:]))[0]
    assert_same(backend, last, np.array([[np.log(2) + 2 * np.log(3)]], backend.float))


# ---------------------------------------------------------------------------------- PyTorch


@pytest.fixture
def torch(backend):
    if backend.library != "torch" or backend.is_compiled:
        pytest.skip("this test is about PyTorch")
    return backend.module


def gradients(torch, results, leaves):
    """Return what the sum of all results has as gradients; zeros where nothing depends on it."""
    total = sum(result.sum() for result in results)
    found = torch.autograd.grad(total, leaves, materialize_grads=True)
    return [gradient.cpu().tolist() for gradient in found]


def leaves_of(backend, torch):
    """Return inputs of zeros, a state, a divisor of zeros and a weight."""
    shapes = (1, 3, 1), (1, 1), (1, 1)
    x, h, divisor = (backend.array(np.zeros(shape)).requires_grad_() for shape in shapes)
    return x, h, divisor, backend.array(0.5).requires_grad_()


@each_switch
@promises
def test_gradients_are_zeros_on_pytorch(backend, torch, options, samplewise):
    x, h, divisor, w = leaves = leaves_of(backend, torch)
    x = x.swapaxes(0, 1) if options.get("time_major") else x
    options = options | {"input_length": [0], "samplewise": samplewise}
    last, outputs, states = rnn(logarithm, x, [h, divisor], constants=[w], **options)
    assert gradients(torch, [last, outputs, *states], leaves) == [[[[0]] * 3], [[1]], [[1]], 0]


@pytest.mark.parametrize(
    "options", [{}, {"zero_output_for_mask": True}, {"checkpoint": 2}], ids=str
)
@promises
def test_gradients_are_zeros_in_both_directions_on_pytorch(backend, torch, options, samplewise):
    x, h, divisor, w = leaves = leaves_of(backend, torch)
    options = options | {"input_length": [0], "samplewise": samplewise, "constants": [w]}
    states = [h, divisor]
    last, outputs, (forwards, backwards) = arrayrnn.bidirectional(
        logarithm, logarithm, x, states, states, **options
    )
    found = gradients(torch, [last, outputs, *forwards, *backwards], leaves)
    assert found == [[[[0]] * 3], [[2]], [[2]], 0]


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("worth", [0, float("inf")], ids=["packed", "selected"])
@pytest.mark.parametrize("kept", [[0, 0, 0, 0], [0, 0, 1, 0]], ids=str)
def test_samples_that_are_left_out_have_no_part_in_gradients_on_pytorch(
    backend, torch, monkeypatch, checkpoint, worth, kept
):
    monkeypatch.setattr(plan, "_WORTH_A_CHANGE", worth)
    x = backend.array(np.asarray([[[0.0]] * 4, [[0.0], [0.0], [3.0], [0.0]]]))
    h = backend.array(np.zeros((2, 1))).requires_grad_()
    divisor = backend.array(np.asarray([[0.0], [2.0]]))
    w = backend.array(0.5).requires_grad_()
    options = {"mask": [[0] * 4, kept], "samplewise": True, "checkpoint": checkpoint}
    last, _, _ = rnn(logarithm, x, [h, divisor], constants=[w], **options)
    total = last.sum() + 0 * w  # so that there is a gradient at all
    found = torch.autograd.grad(total, (h, w), materialize_grads=True)
    expected = [[[0], [0.5 * any(kept)]], any(kept) * np.log(3)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.cpu(), other)


@promises
@pytest.mark.parametrize(
    "options", [{}, {"zero_output_for_mask": True}, {"return_all_outputs": False}], ids=str
)
def test_gradients_of_a_stream_whose_first_chunk_is_padding_on_pytorch(
    backend, torch, options, samplewise
):
    x = backend.array([[[0.0], [0.0], [2.0], [3.0]]])
    w = backend.array(0.5).requires_grad_()
    states = backend.arrays([np.zeros((1, 1)), np.ones((1, 1))])
    stream = Stream(logarithm, states, constants=[w], samplewise=samplewise, **options)
    stream(x[:, :2], mask=[[0, 0]])
    (found,) = torch.autograd.grad(stream(x[:, 2:])[0].sum(), w)
    np.testing.assert_allclose(found.cpu(), np.log(6))


def test_the_gradient_of_an_empty_sample_under_vmap_on_pytorch(backend, torch):
    x = backend.array([[[2.0], [3.0]], [[0.0], [0.0]]])

    def loss(w, x, n):
        states = [torch.zeros_like(x[:1]), torch.ones_like(x[:1])]
        options = {"input_length": n[None], "samplewise": True, "constants": [w]}
        return rnn(logarithm, x[None], states, **options)[0].sum()

    gradient = torch.vmap(torch.func.grad(loss), (None, 0, 0))
    found = gradient(backend.array(0.5), x, backend.array([2, 0]))
    np.testing.assert_allclose(found.cpu(), [np.log(6), 0])


def test_gradients_through_compiled_are_zeros_on_pytorch(torch, backend):
    pytest.importorskip("jax")
    x, h, divisor, w = leaves = leaves_of(backend, torch)
    options = {"input_length": [0], "samplewise": True, "constants": [w]}
    last, outputs, states = compiled.rnn(logarithm, x, [h, divisor], **options)
    assert gradients(torch, [last, outputs, *states], leaves) == [[[[0]] * 3], [[1]], [[1]], 0]


# ---------------------------------------------------------------------------------- JAX


@pytest.fixture
def jax(backend):
    if backend.library != "jax" or backend.is_compiled:
        pytest.skip("this test is about JAX")
    return backend.module


@each_switch
@pytest.mark.parametrize("known", [False, True], ids=["traced", "known"])
def test_gradients_are_zeros_on_jax(jax, options, known):
    x, h = jax.numpy.zeros((1, 3, 1)), jax.numpy.zeros((1, 1))
    x = x.swapaxes(0, 1) if options.get("time_major") else x

    def total(x, h, divisor, w, lengths):
        own = options | {"input_length": lengths, "samplewise": True, "constants": [w]}
        results = arrayrnn.rnn(logarithm, x, [h, divisor], **own)
        return sum(leaf.sum() for leaf in jax.tree.leaves(results))

    gradient = jax.grad(total, (0, 1, 2, 3))
    gradient = gradient if known else jax.jit(gradient)
    found = gradient(x, h, h, 0.5, np.asarray([0]))
    assert [leaf.ravel().tolist() for leaf in found] == [[0] * 3, [1], [1], [0]]


@each_switch
def test_the_gradient_of_an_empty_sample_under_vmap_on_jax(jax, options):
    x = jax.numpy.asarray([[[2.0], [3.0]], [[0.0], [0.0]]])

    def loss(w, x, n):
        states, x = [jax.numpy.zeros((1, 1)), jax.numpy.ones((1, 1))], x[None]
        x = x.swapaxes(0, 1) if options.get("time_major") else x
        own = options | {"input_length": n[None], "samplewise": True, "constants": [w]}
        return arrayrnn.rnn(logarithm, x, states, **own)[2][0].sum()

    found = jax.vmap(jax.grad(loss), (None, 0, 0))(0.5, x, jax.numpy.asarray([2, 0]))
    np.testing.assert_allclose(found, [np.log(6), 0])


def test_gradients_are_zeros_in_both_directions_on_jax(jax):
    x, h = jax.numpy.zeros((1, 3, 1)), jax.numpy.zeros((1, 1))

    @jax.jit
    @jax.grad
    def slope(w, lengths):
        options = {"input_length": lengths, "samplewise": True, "constants": [w]}
        both = arrayrnn.bidirectional(logarithm, logarithm, x, [h, h], [h, h], **options)
        return sum(leaf.sum() for leaf in jax.tree.leaves(both))

    assert slope(0.5, np.asarray([0])) == 0
