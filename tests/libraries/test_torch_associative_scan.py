"""PyTorch differentiates, maps, compiles and traces both scans as ordinary code."""

import numpy as np
import pytest

from arrayrnn import associative_scan, linear_scan
from arrayrnn._combining import blocks
from support.on_torch import dynamo, quiet_about_caches, quiet_about_script, torch

pytestmark = pytest.mark.usefixtures("torch_only")
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
each_check = pytest.mark.parametrize(
    "check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck]
)
TIME = 19  # more than are combined one by one, and some are left over from the blocks
MASK = np.random.default_rng(0).random((3, TIME)) < 0.6
LENGTHS = [TIME, 0, 7]


@pytest.fixture(params=["blocks", "one by one"])
def way(request, monkeypatch):
    if request.param == "one by one":
        monkeypatch.setattr(blocks, "numbers_worth_a_call", lambda *_: -1)


def followed(a, b):
    """Combine two maps ``x -> factor @ x + term`` to one: not commutative."""
    term = (b["factor"] @ a["term"][..., None])[..., 0] + b["term"]
    return {"factor": b["factor"] @ a["factor"], "term": term}


def scanned(factor, term, **options):
    found = associative_scan(followed, {"factor": factor, "term": term}, **options)
    return found["factor"], found["term"]


LINEAR = {
    "numbers": linear_scan,
    "without a state": lambda a, b, h: linear_scan(a, b) * h.sum(),
    "matrices": lambda a, b, h: linear_scan(a[..., None] * b[..., None, :] / 4, b, h),
    "shared": lambda a, b, h: linear_scan(a[:1, :1], b, h),
    "reverse": lambda a, b, h: linear_scan(a, b, h, reverse=True),
    "mask": lambda a, b, h: linear_scan(a, b, h, mask=MASK),
    "mask, matrices": lambda a, b, h: linear_scan(
        a[..., None] * b[..., None, :] / 4, b, h, mask=MASK, reverse=True
    ),
    "mask, shared": lambda a, b, h: linear_scan(a[:, :1], b, h, mask=MASK),
    "lengths": lambda a, b, h: linear_scan(a, b, h, input_length=LENGTHS),
    "lengths, reverse": lambda a, b, h: linear_scan(a, b, h, input_length=LENGTHS, reverse=True),
    "length": lambda a, b, h: linear_scan(a, b, h, input_length=18),
    "last axis": lambda a, b, h: linear_scan(a.mT, b.mT, h, axis=-1),
}
each_linear = pytest.mark.parametrize("run", LINEAR.values(), ids=LINEAR)


@pytest.fixture
def arguments(randn):
    return 0.7 * randn(3, TIME, 2), randn(3, TIME, 2), randn(3, 2)


def differentiable(tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


# ---------------------------------------------------------------------------------- derivatives


@both_ways
@each_check
@pytest.mark.usefixtures("way")
def test_first_and_second_derivatives_are_those_of_finite_differences(randn, check, reverse):
    drawn = differentiable([0.5 * randn(TIME, 2, 2), randn(TIME, 2)])
    assert check(lambda *given: scanned(*given, reverse=reverse), drawn, fast_mode=True)


@each_check
@each_linear
@pytest.mark.usefixtures("way")
def test_derivatives_of_a_linear_recurrence(arguments, run, check):
    assert check(run, differentiable(arguments), fast_mode=True)


@pytest.mark.usefixtures("way")
def test_what_the_function_closes_over_has_a_gradient(randn, tensor):
    w, x = tensor(0.5, requires_grad=True), randn(TIME, 2)

    def run(w):
        return associative_scan(lambda a, b: a + b + w * a * b, x)

    assert torch.autograd.gradcheck(run, w)


@pytest.mark.parametrize("kind", ["numbers", "matrices", "shared"])
@both_ways
@pytest.mark.usefixtures("way")
def test_gradients_are_zero_at_what_is_masked_even_if_it_is_nan(arguments, tensor, kind, reverse):
    a, b, h = arguments
    a = {"numbers": a, "matrices": a[..., None] * b[..., None, :] / 4, "shared": a[:1, :1]}[kind]
    keep, leaves = tensor(MASK, torch.bool), differentiable([a, b, h])
    given = [*leaves]
    for k in range(2):
        if given[k].shape[1] > 1:
            shown = keep.reshape(3, TIME, *[1] * (given[k].ndim - 2))
            leaves[k] = torch.where(shown, given[k], torch.nan).detach().requires_grad_()
    clean = linear_scan(*given, mask=keep, reverse=reverse)
    found = linear_scan(*leaves, mask=keep, reverse=reverse)
    torch.testing.assert_close(found, clean)
    expected = torch.autograd.grad((clean**2).sum(), given)
    slopes = torch.autograd.grad((found**2).sum(), leaves)
    torch.testing.assert_close(slopes, expected)
    for leaf, slope in zip(leaves[:2], slopes, strict=False):
        if leaf.shape[1] > 1:
            assert not slope[~keep].any()
            assert slope[keep].any()


@both_ways
def test_gradients_are_those_of_a_loop(arguments, reverse):
    a, b, h = leaves = differentiable(arguments)
    weights, state, states = arguments[1] ** 2, h, [None] * TIME
    for t in reversed(range(TIME)) if reverse else range(TIME):
        state = states[t] = a[:, t] * state + b[:, t]
    expected = torch.autograd.grad((weights * torch.stack(states, dim=1)).sum(), leaves)
    found = torch.autograd.grad((weights * linear_scan(a, b, h, reverse=reverse)).sum(), leaves)
    torch.testing.assert_close(found, expected)


def nodes_behind(result):
    seen, pending = set(), [result.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending += [function for function, _ in node.next_functions]
    return len(seen)


@pytest.mark.parametrize("kind", ["associative", "linear"])
def test_autograd_has_few_nodes_for_many_elements(device, kind):
    def nodes(time):
        x = torch.ones(1, time, device=device, requires_grad=True)
        if kind == "linear":
            return nodes_behind(linear_scan(0.5 * x, x))
        return nodes_behind(associative_scan(lambda a, b: a + b, x, axis=1))

    few, many = nodes(100), nodes(10_000)
    assert many < 4 * few
    assert many < 1000


def test_backward_computes_a_number_of_elements_linear_in_time(device):
    from support.counting import Counting

    def elements(time):
        x = torch.ones(2, time, 3, device=device, requires_grad=True)
        result = linear_scan(0.5 * x, x)
        with Counting() as counting:
            result.sum().backward()
        return counting.elements

    assert elements(8000) < 4.4 * elements(2000)


def test_no_tensor_is_written_to(arguments, tensor):
    mask = tensor(MASK, torch.bool)
    linear_scan(*arguments, mask=mask)
    associative_scan(torch.add, arguments[0], axis=1)
    assert [a._version for a in (*arguments, mask)] == [0] * 4  # noqa: SLF001


def test_parameters_and_expanded_tensors_will_do(tensor):
    decay = torch.nn.Parameter(tensor([0.5, 2.0]))
    b = tensor([[[1.0]]]).expand(1, 3, 2)
    found = linear_scan(decay.expand(1, 1, 2), b)
    assert found.tolist() == [[[1.0, 1.0], [1.5, 3.0], [1.75, 7.0]]]
    found[:, -1].sum().backward()
    assert decay.grad.tolist() == [2.0, 5.0]  # of 1 + a + a²


# ---------------------------------------------------------------------------------- torch.func


@each_linear
def test_func_grad_is_autograds(arguments, run):
    leaves = differentiable(arguments)
    expected = torch.autograd.grad((run(*leaves) ** 2).sum(), leaves)
    found = torch.func.grad(lambda *given: (run(*given) ** 2).sum(), argnums=(0, 1, 2))(*arguments)
    torch.testing.assert_close(found, expected)


@quiet_about_script
def test_func_jvp_is_the_slope_along_a_tangent(arguments, randn):
    a, b, h = arguments
    cases = [
        (LINEAR["mask"], (a, b, h)),
        (lambda *given: scanned(*given)[1], (0.5 * randn(TIME, 2, 2), randn(TIME, 2))),
    ]
    for run, given in cases:
        tangents = tuple(x**2 for x in given)
        value, slope = torch.func.jvp(run, given, tangents)
        ahead, behind = (
            run(*(x + step * v for x, v in zip(given, tangents, strict=True)))
            for step in (1e-6, -1e-6)
        )
        torch.testing.assert_close(value, run(*given))
        torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("way")
def test_vmap_is_a_loop_over_what_it_maps(arguments, tensor, randn):
    a, b, h = (torch.stack([x, 2 * x, -x]) / 2 for x in arguments)
    masks = tensor(np.stack([MASK, ~MASK, MASK]), torch.bool)
    lengths = tensor([LENGTHS, LENGTHS[::-1], LENGTHS], torch.int64)
    cases = [
        (linear_scan, (a, b, h)),
        (lambda mask: linear_scan(a[0], b[0], mask=mask), (masks,)),
        (lambda lengths: linear_scan(a[0], b[0], input_length=lengths), (lengths,)),
        (lambda h: linear_scan(a[0], b[0], h, reverse=True), (h,)),
        (lambda *given: scanned(*given)[1], (0.5 * randn(3, TIME, 2, 2), randn(3, TIME, 2))),
    ]
    for run, given in cases:
        one_by_one = [run(*each) for each in zip(*given, strict=True)]
        torch.testing.assert_close(torch.vmap(run)(*given), torch.stack(one_by_one))


def test_vmap_of_grad_is_a_gradient_for_each(arguments):
    a, b, h = (torch.stack([x, 2 * x]) / 2 for x in arguments)
    slope = torch.func.grad(lambda a, b, h: (linear_scan(a, b, h, mask=MASK) ** 2).sum())
    one_by_one = [slope(*each) for each in zip(a, b, h, strict=True)]
    torch.testing.assert_close(torch.vmap(slope)(a, b, h), torch.stack(one_by_one))


# ---------------------------------------------------------------------------------- tracers


@quiet_about_caches
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo's, at its breaks
def test_what_is_compiled_may_call_them(arguments, randn):
    def run(a, b, h, factor, term):
        h = linear_scan(torch.sigmoid(a), b, h, mask=MASK)
        return torch.tanh(h).sum() + scanned(factor, term, reverse=True)[1].sum()

    leaves = differentiable([*arguments, 0.5 * randn(TIME, 2, 2), randn(TIME, 2)])
    dynamo.reset()
    found = torch.compile(run, backend="eager")(*leaves)
    torch.testing.assert_close(found, run(*leaves))
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves), torch.autograd.grad(run(*leaves), leaves)
    )


def test_a_compiled_function_combines(arguments):
    a, _, _ = arguments
    compiled = torch.compile(lambda a, b: a + b, backend="eager", dynamic=True)
    dynamo.reset()
    torch.testing.assert_close(associative_scan(compiled, a, axis=1), torch.cumsum(a, dim=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masking", [{}, {"mask": MASK}, {"input_length": LENGTHS}], ids=str)
def test_meta_tensors_give_shapes_and_dtypes(dtype, masking):
    a, b = (torch.empty(3, TIME, 2, dtype=getattr(torch, dtype), device="meta") for _ in range(2))
    found = linear_scan(a, b, a[:, 0], **masking)
    assert (found.shape, found.dtype, found.device.type) == (b.shape, b.dtype, "meta")
    found = associative_scan(lambda a, b: (a[0] + b[0], b[1]), (a, b), axis=1)
    assert [(x.shape, x.dtype, x.device.type) for x in found] == [(b.shape, b.dtype, "meta")] * 2


def test_a_graph_traced_once_takes_other_masks(arguments, tensor):
    from torch.fx.experimental.proxy_tensor import make_fx

    def run(a, b, mask):
        return linear_scan(a, b, mask=mask)

    a, b, _ = arguments
    mask = tensor(MASK, torch.bool)
    torch.testing.assert_close(make_fx(run)(a, b, mask)(a, b, ~mask), run(a, b, ~mask))


# ---------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_short_floats_stay_short(dtype, randn):
    a, b = (0.5 * randn(3, TIME, 2, dtype=dtype) for _ in range(2))
    found = linear_scan(a, b, mask=MASK)
    exact = linear_scan(a.double(), b.double(), mask=MASK)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps)
    doubled = associative_scan(lambda a, b: a + b, torch.ones_like(a), axis=1)
    assert doubled[0, :, 0].tolist() == [*range(1, TIME + 1)]
