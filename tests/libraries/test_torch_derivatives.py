"""PyTorch differentiates the loop as ordinary code: by autograd and by `torch.func`."""

import numpy as np
import pytest

from arrayrnn import rnn
from support.on_torch import MASK, OTHER_MASK, decaying, quiet_about_script, torch

pytestmark = pytest.mark.usefixtures("torch_only")


# ---------------------------------------------------------------------------------- derivatives

MASKINGS = {
    "whole": {},
    "mask": {"mask": MASK[:2, :3]},
    "mask, zero outputs": {"mask": MASK[:2, :3], "zero_output_for_mask": True},
    "mask, backwards": {"mask": MASK[:2, :3], "go_backwards": True},
    "lengths": {"input_length": [1, 3]},
    "lengths, backwards": {"input_length": [3, 0], "go_backwards": True},
    "one length": {"input_length": 2},
    "last output only": {"mask": MASK[:2, :3], "return_all_outputs": False},
}


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("options", MASKINGS.values(), ids=MASKINGS)
def test_first_and_second_derivatives_are_those_of_finite_differences(randn, check, options):
    def run(x, h, w, initial_output):
        def step(x_t, states):
            h = torch.tanh(x_t @ w + states[0])
            return (h * h).sum(axis=1), [h]

        last, outputs, (h,) = rnn(step, x, [h], initial_output=initial_output, **options)
        return last, outputs, h

    drawn = [randn(*s, requires_grad=True) for s in ((2, 3, 1), (2, 2), (1, 2), (2,))]
    assert check(run, drawn)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_go_through_nests(randn, check):
    def run(a, b, h, c):
        def step(x_t, states):
            state, (c,) = states
            h = torch.tanh(x_t["b"] + state["h"]) * x_t["a"][:, 0]
            return (h, {"c": c}), [{"h": h}, (c + h * h,)]

        states = [{"h": h}, (c,)]
        last, (first, second), new = rnn(step, {"b": b, "a": a}, states, mask=MASK[:2, :3])
        return *last[1].values(), first, second["c"], new[0]["h"], *new[1]

    drawn = [randn(2, 3, 1, 1), randn(2, 3, 1), randn(2, 1), randn(2, 1) + 1]
    assert check(run, [leaf.requires_grad_() for leaf in drawn])


# What is NaN or infinite, or has such a slope, at a zero, at huge values, or where no timestep is.
TREACHEROUS = {
    "log(x)": lambda x, aux: (torch.log(x), aux),
    "sqrt(x)": lambda x, aux: (torch.sqrt(x), aux),
    "x / |x|": lambda x, aux: (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True), aux),
    "exp(x)": lambda x, aux: (torch.exp(x), aux),
    "log|x - previous x|": lambda x, aux: (torch.log(torch.abs(x - aux)), x),
    "x / remaining": lambda x, aux: (x / aux, aux - 1),
}
PLACES = {
    "right": [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    "left": [[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
    "middle": [[1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]],
}


def ordinary(shape, device):
    """Return positive numbers no two of which are the same; on the device, differentiable."""
    count = int(np.prod(shape))
    drawn = np.random.default_rng(count).permutation(count).reshape(shape) / count + 1.0
    return torch.tensor(drawn, device=device, requires_grad=True)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("padding", [np.nan, 0.0, 1e300, -1.0])
@pytest.mark.parametrize("name", TREACHEROUS)
def test_gradients_are_those_of_each_sample_without_its_padding(
    device, name, padding, place, go_backwards
):
    function, keep = TREACHEROUS[name], torch.tensor(PLACES[place], dtype=torch.bool, device=device)
    samples, time = keep.shape
    w = ordinary((2, 3), device)
    x, h = ordinary((samples, time, 2), device), ordinary((samples, 3), device)
    if name == "x / remaining":
        aux = keep.sum(axis=1).to(x.dtype)[:, None].expand(samples, 2).clone().requires_grad_()
    else:
        aux = torch.zeros(samples, 2, dtype=x.dtype, device=device, requires_grad=True)
    padded = torch.where(keep[..., None], x.detach(), padding).requires_grad_()
    at_outputs, at_states = ordinary((samples, time, 3), device), ordinary((samples, 3), device)

    def step(x_t, states):
        h, aux = states
        value, aux = function(x_t, aux)
        h = torch.tanh(0.5 * h + 0.1 * value @ w)
        return 3.0 * h, [h, aux]

    def alone(s):
        """Return the loss of one sample, run without arrayrnn and without its padding."""
        states, loss = [h[s : s + 1], aux[s : s + 1]], 0.0
        for t in reversed(range(time)) if go_backwards else range(time):
            if keep[s, t]:
                output, states = step(x[s : s + 1, t], states)
                i = time - 1 - t if go_backwards else t
                loss = loss + (output * at_outputs[s, i]).sum()
        return loss + (states[0] * at_states[s]).sum() + states[1].sum()

    expected = torch.autograd.grad(sum(alone(s) for s in range(samples)), (w, x, h, aux))
    options = {"zero_output_for_mask": True, "samplewise": True}
    _, outputs, states = rnn(step, padded, [h, aux], go_backwards, keep, **options)
    loss = (outputs * at_outputs).sum() + (states[0] * at_states).sum() + states[1].sum()
    found = torch.autograd.grad(loss, (w, padded, h, aux))
    torch.testing.assert_close(found, expected)
    assert not found[1][~keep].any()


@pytest.mark.parametrize(
    ("samplewise", "expected"), [(False, np.nan), (True, np.log(12))], ids=["mixing", "samplewise"]
)
def test_without_the_promise_the_gradient_of_the_padding_is_there(tensor, samplewise, expected):
    x, w = tensor([[[2.0], [0.0]], [[2.0], [3.0]]]), tensor(0.5, requires_grad=True)
    step = lambda x_t, states: ((h := states[0] + w * torch.log(x_t)), [h])  # noqa: E731
    options = {"mask": [[1, 0], [1, 1]], "samplewise": samplewise}
    last = rnn(step, x, [tensor([[0.0], [0.0]])], **options)[0]
    np.testing.assert_allclose(last.detach().cpu(), [[0.5 * np.log(2)], [0.5 * np.log(6)]])
    (found,) = torch.autograd.grad(last.sum(), w)
    np.testing.assert_allclose(found.cpu(), expected)


def test_the_gradient_of_a_masked_timesteps_output_goes_to_the_last_unmasked_one(tensor):
    x = tensor([[[1.0], [2.0], [3.0]]], requires_grad=True)
    step = lambda x_t, states: (x_t * x_t, states)  # noqa: E731
    _, outputs, _ = rnn(step, x, [tensor([0.0])], mask=[[1, 1, 0]])
    outputs.sum().backward()
    assert x.grad.tolist() == [[[2.0], [8.0], [0.0]]]


def test_parameters_serve_as_states(tensor):
    h = torch.nn.Parameter(tensor([[1.0], [1.0]]))
    step = lambda x_t, states: (x_t * states[0], [x_t * states[0]])  # noqa: E731
    _, _, (new,) = rnn(step, tensor([[[2.0], [3.0]], [[5.0], [7.0]]]), [h], input_length=[2, 1])
    new.sum().backward()
    assert h.grad.tolist() == [[6.0], [5.0]]


def test_expanded_inputs_will_do(tensor):
    row = tensor([[[1.0], [2.0]]], requires_grad=True)
    step = lambda x_t, states: (x_t, [states[0] + x_t])  # noqa: E731
    _, _, (total,) = rnn(step, row.expand(3, 2, 1), [tensor([[0.0]] * 3)], input_length=[2, 1, 1])
    total.sum().backward()
    assert total[:, 0].tolist() == [3.0, 1.0, 1.0]
    assert row.grad.tolist() == [[[3.0], [1.0]]]


def test_no_tensor_is_written_to(randn, tensor):
    lengths = tensor([2, 1, 0], dtype=torch.int64)
    mask, x, h, before = tensor(MASK, torch.bool), randn(3, 5, 2), randn(3, 2), randn(2, 3).mT
    for options in ({"mask": mask}, {"input_length": lengths}, {}):
        rnn(decaying, x, [h], initial_output=before, **options)
    assert [a._version for a in (mask, lengths, x, h, before)] == [0] * 5  # noqa: SLF001


def test_backward_computes_a_number_of_elements_linear_in_time(device):
    from support.counting import Counting

    def elements(time):
        x = torch.ones(2, time, 3, device=device, requires_grad=True)
        mask = torch.ones(2, time, device=device)
        mask[0, ::3] = 0
        _, outputs, _ = rnn(decaying, x, [torch.zeros(2, 3, device=device)], mask=mask)
        with Counting() as counting:
            outputs.sum().backward()
        return counting.elements

    assert elements(2000) < 4.4 * elements(500)


# ---------------------------------------------------------------------------------- torch.func


def test_func_grad_is_autograds(masked_run, randn, tensor):
    mask, x = tensor(MASK, torch.bool), randn(3, 5, 2, requires_grad=True)
    (expected,) = torch.autograd.grad(masked_run(x, mask).sum(), x)
    found = torch.func.grad(lambda x: masked_run(x, mask).sum())(x.detach())
    torch.testing.assert_close(found, expected)


@quiet_about_script
def test_func_jvp_is_the_slope_along_a_tangent(masked_run, randn, tensor):
    mask, x, tangent = tensor(MASK, torch.bool), randn(3, 5, 2), randn(3, 5, 2) ** 2
    value, slope = torch.func.jvp(lambda x: masked_run(x, mask), (x,), (tangent,))
    ahead, behind = masked_run(x + 1e-6 * tangent, mask), masked_run(x - 1e-6 * tangent, mask)
    torch.testing.assert_close(value, masked_run(x, mask))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)


def test_func_jacrev_is_autograds_jacobian(masked_run, randn, tensor):
    mask, x = tensor(MASK, torch.bool), randn(3, 5, 2)
    expected = torch.autograd.functional.jacobian(lambda x: masked_run(x, mask), x)
    torch.testing.assert_close(torch.func.jacrev(lambda x: masked_run(x, mask))(x), expected)


def test_vmap_over_inputs_is_a_loop_over_them(masked_run, randn, tensor):
    mask, xs = tensor(MASK, torch.bool), randn(4, 3, 5, 2)
    found = torch.vmap(lambda x: masked_run(x, mask))(xs)
    torch.testing.assert_close(found, torch.stack([masked_run(x, mask) for x in xs]))


def test_vmap_over_masks_is_a_loop_over_them(masked_run, randn, tensor):
    x, masks = randn(3, 5, 2), tensor(np.stack([MASK, OTHER_MASK]), torch.bool)
    found = torch.vmap(lambda mask: masked_run(x, mask))(masks)
    torch.testing.assert_close(found, torch.stack([masked_run(x, mask) for mask in masks]))


def test_vmap_over_lengths_is_a_loop_over_them(randn, tensor):
    x, h, lengths = randn(3, 5, 2), randn(3, 2), tensor([[5, 2, 0], [1, 1, 4]], torch.int64)

    def run(lengths):
        return rnn(decaying, x, [h], input_length=lengths)[1]

    torch.testing.assert_close(torch.vmap(run)(lengths), torch.stack([*map(run, lengths)]))


# ---------------------------------------------------------------------------------- dtypes


def test_a_state_that_autocast_narrows_is_an_error_that_names_autocast(randn, device):
    w = randn(2, 2, dtype=torch.float32)

    def step(x_t, states):
        h = x_t @ w + states[0] @ w
        return h, [h]

    x, h = randn(3, 5, 2, dtype=torch.float32), randn(3, 2, dtype=torch.float32)
    with (
        torch.autocast(device.type, dtype=torch.bfloat16),
        pytest.raises(TypeError, match=r"bfloat16.*float32.*autocast"),
    ):
        rnn(step, x, [h])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_mask_keeps_short_floats(randn, dtype):
    x, h = randn(3, 5, 2, dtype=dtype), randn(3, 2, dtype=dtype)
    last, outputs, (new,) = rnn(decaying, x, [h], mask=MASK)
    assert {last.dtype, outputs.dtype, new.dtype} == {dtype}
    assert new[2].tolist() == h[2].tolist()
