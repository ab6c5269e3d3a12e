"""`checkpoint=k` keeps the states of every k timesteps for PyTorch's autograd, and nothing else.

On JAX it is a matter of how a scan is traced: tests/loops/test_jax_checkpoints.py.
"""

import gc
import re
import weakref

import numpy as np
import pytest

import arrayrnn
from arrayrnn._loops import eager
from arrayrnn._loops.blocks import blocks
from support.abilities import Ability
from support.backends import assert_same, release
from support.oracle import Recorder, draw, halving, recurrence
from support.running import rnn

MASKS = {
    "whole": None,
    "right": np.arange(7) < np.asarray([3, 7, 5])[:, None],
    "left": np.arange(7)[::-1] < np.asarray([3, 7, 5])[:, None],
    "holes": np.asarray(
        [[0, 1, 0, 0, 1, 1, 0], [1, 1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 1, 0, 0]], bool
    ),
    "late": np.asarray([[0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0], [0] * 7], bool),
}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
directions = pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])


@pytest.fixture
def torch(backend):
    if backend.library != "torch" or backend.is_compiled:
        pytest.skip("this test is about PyTorch")
    return backend.module


@pytest.fixture
def randn(torch, backend):
    """Draw tensors, the same for the same shape, that gradients are asked for."""

    def randn(*shape):
        drawn = np.random.default_rng(shape).standard_normal(shape)
        return torch.tensor(drawn, device=backend.device, requires_grad=True)

    return randn


# ------------------------------------------------------------------- what was written into since


def weighted(x_t, states):
    h, w = states
    h = (w * h + w * x_t).tanh()
    return h, [h]


def written(torch, backend, what, **options):
    """Return what backward raises if an argument has been written into, or None."""
    drawn = np.random.default_rng(0).standard_normal((3, 7, 2))
    x = torch.tensor(drawn, device=backend.device)
    mask = torch.tensor(MASKS["holes"], device=backend.device)
    w = torch.tensor(0.5, device=backend.device, requires_grad=True)
    before = torch.ones((3, 2), dtype=x.dtype, device=backend.device)
    closed_over = torch.tensor(0.5, device=backend.device, requires_grad=True)

    def step(x_t, states):
        return weighted(x_t, [states[0] * closed_over, states[1]])

    arguments = {"inputs": x, "mask": mask, "constants": w, "initial_output": before}
    results = rnn(step, x, [before], mask=mask, constants=[w], initial_output=before, **options)
    with torch.no_grad():
        (arguments | {"closed over": closed_over})[what].fill_(True)
    try:
        results[1].sum().backward()
    except RuntimeError as error:
        return error
    return None


@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("k", [1, 2, 100])
@pytest.mark.parametrize("what", ["inputs", "constants", "closed over", "mask", "initial_output"])
def test_what_is_computed_from_again_must_not_be_written_into(torch, backend, what, k, samplewise):
    error = written(torch, backend, what, checkpoint=k, samplewise=samplewise)
    assert "modified by an inplace operation" in str(error)


@pytest.mark.parametrize("where", ["initial states", "states", "last output"])
def test_what_is_not_computed_from_may_be_written_into(torch, backend, where):
    x = torch.ones((3, 7, 2), device=backend.device)
    w = torch.tensor(0.5, device=backend.device, requires_grad=True)

    def gradient(*, is_written, **options):
        h = x[:, 0].clone()
        last, outputs, (state,) = rnn(weighted, x, [h], constants=[w], **options)
        total = outputs.sum()
        if is_written:
            with torch.no_grad():
                {"initial states": h, "states": state, "last output": last}[where].zero_()
        return torch.autograd.grad(total, w)[0]

    # Of the initial states there is a copy, and from results nothing is computed again.
    expected = gradient(is_written=False)
    torch.testing.assert_close(gradient(is_written=True, checkpoint=2), expected)


# ---------------------------------------------------------------------------------- gradients


@masks
@directions
@pytest.mark.parametrize("zero_output", [False, True], ids=["held", "zeros"])
@pytest.mark.parametrize("all_outputs", [True, False], ids=["all", "last"])
@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_gradients_are_the_same(torch, randn, mask, go_backwards, zero_output, all_outputs, k):
    leaves = x, h, before, w, c = randn(3, 7, 2), randn(3, 2), randn(3, 2, 1), randn(2, 2), randn(2)
    weight = w * w  # what the step closes over need not be a leaf

    def step(x_t, states):
        level, scale = states
        level = torch.tanh(level @ weight + scale * x_t)
        return {"level": level[..., None]}, [level]

    def gradients(checkpoint):
        last, outputs, states = rnn(
            step,
            x,
            [h],
            mask=mask,
            constants=[torch.exp(c)],
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output,
            return_all_outputs=all_outputs,
            initial_output={"level": before},
            checkpoint=checkpoint,
        )
        total = (outputs["level"] ** 2).sum() + last["level"].sum() + states[0].prod()
        return total, *torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)

    for found, expected in zip(gradients(k), gradients(None), strict=True):
        assert (found is None) == (expected is None)
        assert found is None or torch.equal(found, expected)


def test_gradients_of_a_scan_are_the_same(torch, randn):
    leaves = xs, init = randn(9, 2), randn(2)

    def f(carry, x):
        carry = torch.sin(carry + x)
        return carry, None

    def gradients(checkpoint):
        carry, _ = arrayrnn.scan(f, init, xs, reverse=True, checkpoint=checkpoint)
        return torch.autograd.grad(carry.sum(), leaves)

    for found, expected in zip(gradients(4), gradients(None), strict=True):
        assert torch.equal(found, expected)


def test_gradients_of_both_directions_are_the_same(torch, randn):
    leaves = x, *states = randn(3, 7, 2), randn(3, 2), randn(2, 3, 2)[1]

    def step(x_t, states):
        level = torch.sin(states[0] + x_t)
        return level, [level]

    def gradients(checkpoint):
        own = [[states[0]], [states[1]]]
        _, outputs, _ = arrayrnn.bidirectional(
            step, step, x, *own, mask=MASKS["right"], checkpoint=checkpoint
        )
        return torch.autograd.grad((outputs**2).sum(), leaves)

    for found, expected in zip(gradients(3), gradients(None), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("check", ["gradcheck", "gradgradcheck"])
def test_derivatives_are_those_of_finite_differences(torch, randn, check):
    def last_and_all(x, h):
        step = lambda x_t, states: (2 * (y := torch.tanh(states[0] + x_t)), [y])  # noqa: E731
        last, outputs, states = rnn(step, x, [h], mask=MASKS["holes"], checkpoint=3)
        return last, outputs, *states

    assert getattr(torch.autograd, check)(last_and_all, [randn(3, 7, 1), randn(3, 1)])


def test_what_is_random_is_the_same_again(torch, randn):
    x, w = randn(3, 40, 2), randn(2)

    def step(x_t, states):
        return torch.nn.functional.dropout(w * x_t, 0.5), states

    def gradients(checkpoint):
        torch.manual_seed(5)
        _, outputs, _ = rnn(step, x, [x[:, 0]], checkpoint=checkpoint)
        return *torch.autograd.grad(outputs.sum(), (x, w)), torch.rand(1)

    for found, expected in zip(gradients(7), gradients(None), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.filterwarnings(r"ignore:`torch.jit.\w+` is deprecated")
def test_transforms_of_torch_func_that_run_forwards(torch, randn):
    x, h = randn(3, 7, 2).detach(), randn(3, 2).detach()

    def outputs(x, checkpoint=2):
        return rnn(halving, x, [h], mask=MASKS["holes"], checkpoint=checkpoint)[1]

    if release(torch) < (2, 12):
        pytest.skip("before PyTorch 2.12 these refuse what checkpoints are made of")
    assert torch.equal(torch.func.vmap(outputs)(x[None]), outputs(x)[None])
    slope = torch.func.jvp(outputs, (x,), (x,))[1]
    assert torch.equal(slope, torch.func.jvp(lambda x: outputs(x, None), (x,), (x,))[1])


def test_transforms_of_torch_func_that_go_back_are_refused(torch, randn):
    x, h = randn(3, 7, 2).detach(), randn(3, 2).detach()

    def outputs(x, checkpoint=2):
        return rnn(halving, x, [h], mask=MASKS["holes"], checkpoint=checkpoint)[1]

    # These keep nothing that could be computed again.
    for transform in (torch.func.grad, torch.func.jacrev):
        with pytest.raises(RuntimeError, match=r"`checkpoint` cannot be used here: torch.func"):
            transform(lambda x: outputs(x).sum())(x)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("unroll", [False, True])
def test_torch_compile_takes_it(torch, randn, unroll):
    x, h = randn(3, 7, 2), randn(3, 2)

    def outputs(x):
        # Dynamo cannot look the backend up that `running.rnn` is to run on.
        return arrayrnn.rnn(halving, x, [h], unroll=unroll, checkpoint=3)[1]

    if unroll and release(torch) < (2, 10):
        pytest.skip("Dynamo takes nests apart from PyTorch 2.10 on")
    compiled = torch.compile(outputs, backend="eager", fullgraph=unroll)
    (found,), (expected,) = (torch.autograd.grad((f(x) ** 2).sum(), x) for f in (compiled, outputs))
    assert torch.equal(found, expected)


# ---------------------------------------------------------------------------------- what is kept


def bytes_kept(torch, function):
    """Return how many bytes autograd keeps for backward."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("mask", [None, np.arange(200) < np.asarray([150, 200, 90])[:, None]])
def test_autograd_keeps_the_states_of_every_k_timesteps(torch, randn, mask):
    x, h, w = randn(3, 200, 2), randn(3, 2), randn(2, 2)

    def step(x_t, states):
        level = torch.tanh(states[0] @ w) + torch.sin(x_t)
        return torch.exp(level), [level]

    def kept(checkpoint):
        return bytes_kept(torch, lambda: rnn(step, x, [h], mask=mask, checkpoint=checkpoint))

    state = h.untyped_storage().nbytes()
    # Under a mask the previous output is kept, too.
    assert kept(20) <= (1 if mask is None else 2) * 10 * state + 2 * state
    assert kept(20) < 0.1 * kept(None)


def test_what_was_computed_is_freed_with_the_results(torch, randn):
    x, h, computed = randn(3, 20, 2), randn(3, 2), []

    def step(x_t, states):
        level = torch.exp(torch.tanh(states[0] + x_t))  # of which autograd keeps the result
        computed.append(weakref.ref(level))
        return level, [level]

    def run():
        rnn(step, x, [h], mask=MASKS["late"].repeat(3, axis=1)[:, :20], checkpoint=4)

    run()  # imports, which leave cycles behind
    gc.collect()
    computed.clear()
    gc.disable()
    try:
        run()
        assert computed
        assert [level() is None for level in computed] == [True] * len(computed)
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------- the step


def test_backward_calls_the_step_again(torch, randn):
    calls = []

    def step(x_t, states):
        calls.append(int(x_t.detach()[0, 0]))
        return torch.sin(x_t), [states[0] * x_t]

    times = torch.arange(7, dtype=torch.float64)[None, :, None].requires_grad_()
    _, outputs, states = rnn(step, times, [torch.ones_like(times[:, 0])], checkpoint=3)
    assert calls == [0, 1, 2, 3, 4, 5, 6]
    calls.clear()
    (outputs.sum() + states[0].sum()).backward()
    assert calls == [6, 3, 4, 5, 0, 1, 2]


def test_without_gradients_it_changes_nothing(torch, randn):
    step = Recorder(halving)
    with torch.no_grad():
        _, outputs, _ = rnn(step, randn(3, 7, 2), [randn(3, 2)], checkpoint=3)
    assert len(step.inputs) == 7
    assert not outputs.requires_grad


@pytest.mark.needs(Ability.CALLS)
@masks
@directions
def test_results_and_calls_are_the_same(backend, mask, go_backwards):
    x, state, step = draw(backend, 3, 7, 2), draw(backend, 3, 2), Recorder(halving)
    found = rnn(
        step, *backend.arrays((x, [state])), go_backwards=go_backwards, mask=mask, checkpoint=2
    )
    expected = recurrence(halving, x, [state], mask, go_backwards=go_backwards)
    assert_same(backend, found, expected, exact=True)
    assert len(step.inputs) == (7 if mask is None else mask.any(axis=0).sum())


@pytest.mark.parametrize("checkpoint", [1, 10_000])
def test_without_autograd_blocks_are_as_ever(monkeypatch, checkpoint):
    sizes = []

    def recording(problem, *arguments):
        sizes.append(problem.options.checkpoint)
        return blocks(problem, *arguments)

    monkeypatch.setattr(eager, "blocks", recording)
    rnn(halving, np.zeros((3, 7, 2)), [np.zeros((3, 2))], checkpoint=checkpoint)
    assert sizes == [None]


@pytest.mark.needs(Ability.PROGRESS)
def test_progress_counts_every_timestep(backend):
    done = []
    arrays = backend.arrays((draw(backend, 3, 7, 2), [draw(backend, 3, 2)]))
    rnn(halving, *arrays, checkpoint=3, progress=lambda *counts: done.append(counts))
    assert done == [(k, 7) for k in range(1, 8)]


@directions
def test_an_error_names_its_timestep(torch, randn, go_backwards):
    def step(x_t, states):
        if x_t[0, 0] == 4:
            raise ArithmeticError("four")
        return x_t, states

    x = torch.arange(7.0)[None, :, None].requires_grad_()
    with pytest.raises(ArithmeticError, match="four") as caught:
        rnn(step, x, [torch.ones((1, 1))], go_backwards=go_backwards, checkpoint=3)
    (note,) = caught.value.__notes__
    assert re.match(r"arrayrnn\.rnn: at timestep 4 of 7, counted from 0", note)


def test_an_output_that_changes_is_an_error(torch, randn):
    def step(x_t, states):
        return x_t[:, : 1 if x_t[0, 0] == 5 else 2], states

    x = torch.arange(7.0)[None, :, None].expand(3, 7, 2)
    with pytest.raises(ValueError, match="expected the first timestep's shape"):
        rnn(step, x, [torch.ones((3, 1), requires_grad=True)], checkpoint=2)
