"""PyTorch sees ordinary code: under autograd, transforms and tracers, and without values."""

import shutil
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

from arrayrnn import rnn
from support.backends import assert_same, release

torch = pytest.importorskip("torch", reason="these tests are about PyTorch")
dynamo = pytest.importorskip("torch._dynamo")
counting = pytest.importorskip("torch._dynamo.testing")

# docs/backends.md says what becomes of such calls before.
in_one_graph = pytest.mark.skipif(
    release(torch) < (2, 10), reason="Dynamo takes nests apart from PyTorch 2.10 on"
)
# What PyTorch says about itself.
quiet_about_script = pytest.mark.filterwarnings(r"ignore:`torch.jit.\w+` is deprecated")
quiet_about_shapes = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


@pytest.fixture(autouse=True)
def torch_only(backend):
    if backend.library != "torch":
        pytest.skip("these tests are about PyTorch")


@pytest.fixture
def tensor(backend):
    """Make tensors on the device under test."""

    def tensor(values, dtype=torch.float64, **options):
        return torch.tensor(values, dtype=dtype, device=backend.device, **options)

    return tensor


@pytest.fixture
def randn(backend):
    """Draw tensors, the same for the same shape."""

    def randn(*shape, dtype=torch.float64, **options):
        drawn = np.random.default_rng(shape).standard_normal(shape)
        return torch.tensor(drawn, dtype=dtype, device=backend.device, **options)

    return randn


def decaying(x_t, states):
    """Compute a smooth step whose output is not its state."""
    (h,) = states
    h = torch.tanh(0.5 * h + x_t)
    return 2 * h, [h]


MASK = np.asarray([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)
OTHER_MASK = np.asarray([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 0, 1, 0]], dtype=bool)


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


@pytest.fixture
def masked_run(tensor, randn):
    """A run as a function of the inputs and the mask."""
    h = randn(3, 2)
    return lambda x, mask: rnn(decaying, x, [h], mask=mask)[1]


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


# ---------------------------------------------------------------------------------- tracers


def test_a_compiled_step_gives_the_same(randn, backend):
    x, h = randn(3, 5, 2), randn(3, 2)
    compiled = torch.compile(decaying, backend="eager")
    expected = [torch_to_numpy(r) for r in rnn(decaying, x, [h], mask=MASK)[:2]]
    assert_same(backend, [*rnn(compiled, x, [h], mask=MASK)[:2]], expected)


def test_a_compiled_run_takes_another_mask(masked_run, randn, tensor):
    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    compiled = torch.compile(masked_run, backend="eager")
    torch.testing.assert_close(compiled(x, mask), masked_run(x, mask))
    torch.testing.assert_close(compiled(x, other), masked_run(x, other))


def test_make_fx_does_not_bake_the_mask_in(masked_run, randn, tensor):
    from torch.fx.experimental.proxy_tensor import make_fx

    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    torch.testing.assert_close(make_fx(masked_run)(x, mask)(x, other), masked_run(x, other))


@quiet_about_script
@quiet_about_shapes
def test_jit_trace_does_not_bake_the_mask_in(masked_run, randn, tensor):
    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    traced = torch.jit.trace(masked_run, (x, mask))
    torch.testing.assert_close(traced(x, other), masked_run(x, other))


@quiet_about_script
@quiet_about_shapes
def test_jit_trace_does_not_bake_lengths_in(randn, tensor):
    def run(x, lengths):
        return rnn(decaying, x, [x[:, 0]], input_length=lengths)[1]

    x, lengths = randn(3, 5, 2), tensor([5, 2, 0], torch.int64)
    traced = torch.jit.trace(run, (x, tensor([1, 5, 3], torch.int64)))
    torch.testing.assert_close(traced(x, lengths), run(x, lengths))


@pytest.mark.parametrize(
    "masking",
    [{}, {"mask": MASK}, {"mask": torch.tensor(MASK).to("meta")}, {"input_length": [5, 2, 0]}],
    ids=["whole", "NumPy mask", "meta mask", "lengths"],
)
def test_meta_tensors_give_shapes_and_dtypes(masking):
    x = torch.empty(3, 5, 2, 4, dtype=torch.float32, device="meta")
    count = torch.empty(3, dtype=torch.int16, device="meta")

    def step(x_t, states):
        (count,) = states
        return {"sum": x_t.sum(axis=-1), "positive": x_t > 0}, [count + 1]

    last, outputs, (new,) = rnn(step, x, [count], **masking)
    found = [outputs["sum"], outputs["positive"], last["positive"], new]
    assert [tuple(a.shape) for a in found] == [(3, 5, 2), (3, 5, 2, 4), (3, 2, 4), (3,)]
    assert [a.dtype for a in found] == [torch.float32, torch.bool, torch.bool, torch.int16]
    assert {a.device.type for a in found} == {"meta"}


@pytest.mark.parametrize("kind", ["fake", "NumPy"])
def test_fake_tensors_give_shapes_and_dtypes(randn, tensor, kind):
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with FakeTensorMode() as mode:
        x, h, mask = map(mode.from_tensor, (randn(3, 5, 2), randn(3, 2), tensor(MASK, torch.bool)))
        _, outputs, (new,) = rnn(decaying, x, [h], mask=mask if kind == "fake" else MASK)
    assert isinstance(outputs, FakeTensor)
    assert (outputs.shape, outputs.dtype, outputs.device) == ((3, 5, 2), torch.float64, x.device)
    assert (new.shape, new.dtype, new.device) == ((3, 2), torch.float64, x.device)


# ---------------------------------------------------------------------------------- torch.compile

# Which is array-api-compat's matter, and comes once for each of its cached functions.
quiet_about_caches = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")


class Pair(NamedTuple):
    first: Any
    second: Any


def nested(x_t, states):
    """Compute a step all of whose arguments and results are nests."""
    state, (c,) = states
    h = torch.tanh(x_t["b"] + state["h"][0]) * x_t["a"][1]
    # A tuple where the initial state has a list.
    return Pair(h, [h.sum(dim=1), {"c": c}]), ({"h": (h,)}, [c + h * h])


def run_nested(x, step=nested, **options):
    states = [{"h": [x[:, 0]]}, (x[:, 1],)]
    return rnn(step, {"b": x, "a": (x, 2 * x)}, states, unroll=True, **options)


def run_decaying(x, **options):
    return rnn(decaying, x, [x[:, 0]], unroll=True, **options)


LISTED = MASK.tolist()
UNROLLED = {
    "whole": lambda x, mask: run_decaying(x),
    "mask": lambda x, mask: run_decaying(x, mask=mask),
    "list mask": lambda x, mask: run_decaying(x, mask=LISTED),
    "NumPy mask": lambda x, mask: run_decaying(x, mask=MASK),
    "mask, backwards": lambda x, mask: run_decaying(x, mask=mask, go_backwards=True),
    "mask, time-major": lambda x, mask: rnn(
        decaying, x.swapaxes(0, 1), [x[:, 0]], mask=mask.T, time_major=True, unroll=True
    ),
    "mask, zero outputs": lambda x, mask: run_decaying(x, mask=mask, zero_output_for_mask=True),
    "mask, last output only": lambda x, mask: run_decaying(x, mask=mask, return_all_outputs=False),
    "mask, initial output": lambda x, mask: run_decaying(x, mask=mask, initial_output=x[:, 1]),
    "lengths": lambda x, mask: run_decaying(x, input_length=mask.sum(dim=1)),
    "list of lengths": lambda x, mask: run_decaying(x, input_length=[5, 2, 0]),
    "one length": lambda x, mask: run_decaying(x, input_length=3),
    "one state": lambda x, mask: rnn(decaying, x, x[:, 0], unroll=True),
    "Python number": lambda x, mask: rnn(
        lambda x_t, states: (x_t * states[0], [1.5 * states[0]]), x, [2.0], unroll=True
    ),
    "constants": lambda x, mask: rnn(
        lambda x_t, states: (x_t * states[1], [states[0] * states[2] + x_t]),
        x,
        [x[:, 0]],
        mask=mask,
        constants=[x[:, 1], 0.5],
        unroll=True,
    ),
    "nests": lambda x, mask: run_nested(x),
    "nests, mask": lambda x, mask: run_nested(x, mask=mask),
    "nests, initial output": lambda x, mask: run_nested(
        x, mask=mask, initial_output=Pair(x[:, 2], [x[:, 2, 0], {"c": x[:, 3]}])
    ),
}


def compiled(function, backend="eager", **options):
    dynamo.reset()
    return torch.compile(function, backend=backend, **options)


def assert_same_gradients(found, expected, x):
    leaves, spec = optree.tree_flatten(found)
    expected_leaves, expected_spec = optree.tree_flatten(expected)
    assert spec == expected_spec
    torch.testing.assert_close(leaves, expected_leaves)
    (slope,) = torch.autograd.grad(sum(leaf.sum() for leaf in leaves), x)
    (expected_slope,) = torch.autograd.grad(sum(leaf.sum() for leaf in expected_leaves), x)
    torch.testing.assert_close(slope, expected_slope)


@in_one_graph
@quiet_about_caches
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("run", UNROLLED.values(), ids=UNROLLED)
def test_an_unrolled_run_compiles_to_one_graph(randn, tensor, run, compiler):
    x, mask = randn(3, 5, 2, requires_grad=True), tensor(MASK, torch.bool)
    assert_same_gradients(compiled(run, compiler, fullgraph=True)(x, mask), run(x, mask), x)


@in_one_graph
@quiet_about_caches
@quiet_about_script
@pytest.mark.skipif(shutil.which("c++") is None, reason="Inductor needs a C++ compiler")
def test_an_unrolled_run_compiles_to_machine_code(randn, tensor):
    x, mask, run = randn(3, 5, 2, requires_grad=True), tensor(MASK, torch.bool), run_nested
    assert_same_gradients(
        compiled(run, "inductor", fullgraph=True)(x, mask=mask), run(x, mask=mask), x
    )


@in_one_graph
@quiet_about_caches
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "mask"])
def test_an_unrolled_run_is_not_compiled_for_each_number_of_samples(randn, tensor, masked):
    graphs = counting.CompileCounter()
    run = compiled(lambda x, mask: run_decaying(x, mask=mask), graphs, fullgraph=True)
    for samples in (3, 4, 5, 6):
        x = randn(samples, 5, 2)
        mask = tensor(np.tile(MASK[0], (samples, 1)), torch.bool) if masked else None
        torch.testing.assert_close(run(x, mask), run_decaying(x, mask=mask))
    # The first is for 3, the second for any number.
    assert graphs.frame_count == 2


@quiet_about_caches
@pytest.mark.parametrize("time", [10, 1000])
@pytest.mark.parametrize("unroll", [False, 4])
def test_a_run_that_is_not_unrolled_is_not_compiled(randn, tensor, time, unroll):
    def run(x, h):
        return rnn(decaying, torch.sin(x), [h], unroll=unroll)[1] + 1

    ops = counting.CompileCounter()
    x, h = randn(3, time, 2), randn(3, 2)
    torch.testing.assert_close(compiled(run, ops)(x, h), run(x, h))
    # The sine before it and the sum behind it.
    assert ops.op_count == 2


@quiet_about_caches
def test_a_compiled_step_stays_so_in_a_compiled_caller(randn):
    ops = counting.CompileCounter()
    step = compiled(decaying, ops)
    run = torch.compile(lambda x, h: rnn(step, x, [h])[1], backend="eager")
    x, h = randn(3, 5, 2), randn(3, 2)
    torch.testing.assert_close(run(x, h), rnn(decaying, x, [h])[1])
    assert ops.frame_count == 1
    assert ops.op_count == 4  # two products, a sum, a tangent


@quiet_about_caches
@pytest.mark.parametrize("masking", [{}, {"mask": MASK}], ids=["whole", "mask"])
def test_an_unrolled_run_that_cannot_be_one_graph_is_not_compiled(randn, masking):
    def step(x_t, states):
        dynamo.graph_break()
        return nested(x_t, states)

    def run(x):
        return run_nested(x, step, **masking)

    graphs = counting.CompileCounter()
    x = randn(3, 5, 2)
    torch.testing.assert_close(compiled(run, graphs)(x), run(x))
    # What the caller computes of `x`; none is a timestep's.
    assert graphs.frame_count <= 1


@quiet_about_caches
def test_before_dynamo_follows_nests_an_unrolled_run_is_not_compiled(randn, monkeypatch):
    monkeypatch.setattr("arrayrnn._compilers._follows_nests", lambda: False)

    def run(x):
        return run_decaying(torch.sin(x))[1] + 1

    ops = counting.CompileCounter()
    x = randn(3, 5, 2)
    torch.testing.assert_close(compiled(run, ops)(x), run(x))
    assert ops.op_count == 3  # the sine and the first timestep before it, the sum behind it
    with pytest.raises(dynamo.exc.Unsupported):
        compiled(run, ops, fullgraph=True)(x)


@quiet_about_caches
def test_errors_of_an_unrolled_run_are_those_of_any(randn):
    run = compiled(lambda x: rnn(lambda x_t, _: (x_t, [x_t[:, :1]]), x, [x[:, 0]], unroll=True))
    with pytest.raises(ValueError, match=r"new_states\[0\]`.* shape \(3, 1\)") as caught:
        run(randn(3, 5, 2))
    assert caught.value.__notes__ == ["arrayrnn.rnn: at timestep 0 of 5, counted from 0."]


@in_one_graph
@quiet_about_caches
def test_errors_of_a_run_that_has_to_be_one_graph_are_quoted_by_the_compilers(randn):
    def run(x):
        return rnn(lambda x_t, _: (x_t, [x_t[:, :1]]), x, [x[:, 0]], unroll=True)

    with pytest.raises(dynamo.exc.Unsupported, match=r"new_states\[0\]`.* shape \(3, 1\)"):
        compiled(run, fullgraph=True)(randn(3, 5, 2))


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


def torch_to_numpy(array):
    return array.detach().cpu().numpy()


# ---------------------------------------------------------------------------------- open sizes


def of_open_samples(kind, *, samplewise):
    """Return a function of ``(x, mask, lengths)``, for any number of samples."""

    def run(x, mask, lengths):
        masking = {"mask": {"mask": mask}, "lengths": {"input_length": lengths}}.get(kind, {})
        h = x[:, 0] * 0.0
        last, outputs, states = rnn(decaying, x, [h], unroll=True, samplewise=samplewise, **masking)
        return last, outputs, *states

    return run


def some_samples(samples):
    drawn = torch.Generator().manual_seed(samples)
    x = torch.randn(samples, 5, 3, generator=drawn)
    mask = torch.rand(samples, 5, generator=drawn) < 0.6
    return x, mask, torch.randint(0, 6, (samples,), generator=drawn)


open_samples = pytest.mark.parametrize("samplewise", [False, True])
each_kind = pytest.mark.parametrize("kind", ["unmasked", "mask", "lengths"])


@in_one_graph
@quiet_about_caches
@each_kind
@open_samples
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_model_takes_any_number_of_samples(kind, samplewise, strict):
    class Model(torch.nn.Module):
        def forward(self, *arguments):
            return run(*arguments)

    run, samples = (
        of_open_samples(kind, samplewise=samplewise),
        torch.export.Dim("samples", max=4096),
    )
    exported = torch.export.export(
        Model(), some_samples(4), dynamic_shapes={"arguments": ({0: samples},) * 3}, strict=strict
    ).module()
    for count in (2, 3, 500):
        torch.testing.assert_close(exported(*some_samples(count)), run(*some_samples(count)))


@in_one_graph
@quiet_about_caches
@each_kind
@open_samples
def test_one_dynamic_graph_serves_any_number_of_samples(kind, samplewise):
    run, counter = of_open_samples(kind, samplewise=samplewise), counting.CompileCounter()
    dynamo.reset()
    dynamic = torch.compile(run, backend=counter, dynamic=True, fullgraph=True)
    for count in (2, 3, 500):
        torch.testing.assert_close(dynamic(*some_samples(count)), run(*some_samples(count)))
    assert counter.frame_count == 1


@in_one_graph
@quiet_about_caches
def test_a_step_that_writes_gives_the_same_in_a_graph():
    def writing(x_t, states):
        (h,) = states
        h.mul_(0.5).add_(x_t)
        return h, [h]

    def run(step):
        return lambda x, h: rnn(step, x, [h], unroll=True)

    x, h = torch.randn(3, 5, 2), torch.randn(3, 2)
    expected = run(lambda x_t, states: (0.5 * states[0] + x_t,) * 1 + ([0.5 * states[0] + x_t],))
    before = h.clone()
    dynamo.reset()
    found = torch.compile(run(writing), backend="aot_eager", fullgraph=True)(x, h)
    torch.testing.assert_close(found, expected(x, h))
    torch.testing.assert_close(h, before)


@quiet_about_script
@quiet_about_shapes
def test_progress_is_not_called_while_anything_traces():
    from torch.fx.experimental.proxy_tensor import make_fx

    reports = []

    def run(x):
        return rnn(decaying, x, [x[:, 0]], progress=lambda *report: reports.append(report))[0]

    make_fx(run)(torch.ones(2, 3, 1))
    torch.jit.trace(run, torch.ones(2, 3, 1), check_trace=False)
    assert reports == []
