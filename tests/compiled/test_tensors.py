"""`arrayrnn.compiled` on PyTorch: one differentiable operation, on tensors of any kind."""

import numpy as np
import pytest

from arrayrnn import compiled, rnn
from support.backends import Backend

jax = pytest.importorskip("jax", reason="these tests are about programs that JAX compiles")
jnp = pytest.importorskip("jax.numpy")
torch = pytest.importorskip("torch", reason="these tests are about PyTorch")
forward_ad = pytest.importorskip("torch.autograd.forward_ad")
gradcheck = torch.autograd.gradcheck

MASK = torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=torch.bool)


@pytest.fixture(autouse=True)
def torch_compiled_only(backend):
    if backend is not Backend.TORCH_COMPILED:
        pytest.skip("these tests are about programs for PyTorch")
    compiled.cache_clear()


def randn(*shape, dtype=torch.float64, **options):
    drawn = np.random.default_rng(shape).standard_normal(shape)
    return torch.tensor(drawn, dtype=dtype, **options)


def ones(*shape):
    return torch.ones(*shape, dtype=torch.float64)


def squaring(x_t, states):
    """Compute a step whose gradients need its arguments."""
    return x_t * x_t, [states[0] + x_t * x_t]


def scaling(x_t, states):
    """Multiply by the first constant."""
    h, c, *_ = states
    return x_t * c, [h + x_t]


# ---------------------------------------------------------------------------------- precision


@pytest.fixture
def own():
    """PyTorch's own setting of how exactly matrices are multiplied on CUDA, put back afterwards."""
    before = torch.get_float32_matmul_precision()
    yield torch.backends.cuda.matmul
    torch.set_float32_matmul_precision(before)


def set_by_name(own):
    torch.set_float32_matmul_precision("high")


def set_as_a_flag(own):
    own.allow_tf32 = True


def set_as_a_precision(own):
    if not hasattr(own, "fp32_precision"):
        pytest.skip("this PyTorch has only the flag")
    own.fp32_precision = "tf32"


@pytest.mark.parametrize("rounds", [set_by_name, set_as_a_flag, set_as_a_precision])
def test_matrix_products_are_as_exact_as_those_of_pytorch(own, rounds):
    def step(x_t, states):
        found.append(jax.config.jax_default_matmul_precision)
        return x_t @ x_t, states

    found, x = [], torch.ones(2, 3, 2)
    compiled.rnn(step, x, [x[:, 0]])
    rounds(own)
    compiled.rnn(step, x, [x[:, 0]])
    assert found == ["highest", "tensorfloat32"]
    assert compiled.cache_info().misses == 2


# ---------------------------------------------------------------------------------- derivatives

OPTIONS = {
    "whole": {},
    "mask": {"mask": MASK},
    "mask, zero outputs, backwards": {
        "mask": MASK,
        "zero_output_for_mask": True,
        "go_backwards": True,
    },
    "lengths": {"input_length": [1, 3]},
    "unrolled": {"unroll": True, "return_all_outputs": False},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_are_those_of_finite_differences_and_of_the_loop_in_python(name):
    def run(rnn):
        def run(a, b, h, c, w, initial_output):
            def step(x_t, states):
                state, (c,), w = states
                h = (x_t["a"] @ w["w"] + state["h"]) * x_t["b"]
                h = h / (1 + h * h)
                return (h * h, c), [{"h": h}, (c + h * h,)]

            last, outputs, new = rnn(
                step,
                {"a": a, "b": b},
                [{"h": h}, (c,)],
                constants=[{"w": w}],
                initial_output=(initial_output, initial_output) if name == "mask" else None,
                **OPTIONS[name],
            )
            return *last, *outputs, new[0]["h"], *new[1]

        return run

    shapes = ((2, 3, 1), (2, 3, 1), (2, 2), (2, 2), (1, 2), (2, 2))
    drawn = [randn(*shape, requires_grad=True) for shape in shapes]
    drawn = drawn if name == "mask" else [*drawn[:-1], None]
    assert gradcheck(run(compiled.rnn), drawn)
    needed = [x for x in drawn if x is not None]
    found, wanted = (
        torch.autograd.grad(sum(k * r.sum() for k, r in enumerate(run(f)(*drawn), 1)), needed)
        for f in (compiled.rnn, rnn)
    )
    torch.testing.assert_close(found, wanted)


def test_scans_have_gradients():
    def run(carry, xs):
        def f(carry, x):
            a, b = carry
            return (a * x["x"], b + a), {"y": a * a}

        (a, b), ys = compiled.scan(f, carry, {"x": xs}, reverse=True)
        return a, b, ys["y"]

    a, b, xs = randn(2, requires_grad=True), randn(2), randn(3, 2, requires_grad=True)
    assert gradcheck(lambda a, xs: run((a, b), xs), (a, xs))


def test_complex_gradients_are_pytorchs():
    def step(x_t, states):
        h = states[0] * states[1] + x_t
        return h * h.conj() + 1j * h, [h]

    drawn = [randn(*s, dtype=torch.complex128, requires_grad=True) for s in ((1, 2, 2), (1, 2))]
    c = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True, dtype=torch.complex128)
    assert gradcheck(lambda x, h, c: compiled.rnn(step, x, [h], constants=[c])[:2], [*drawn, c])


def test_gradients_flow_to_tensors_that_the_step_closes_over():
    drawn = [randn(*shape, requires_grad=True) for shape in ((2, 2), (2,), (2, 2))]

    def run(rnn, weight, bias, base):
        scale = base * 2  # itself computed from what has a gradient

        def step(x_t, states):
            h = torch.tanh(x_t @ weight.mT + bias) + bias * states[0] @ scale[:, :2]
            return h, [h]

        _, outputs, (h,) = rnn(step, randn(2, 3, 2), [ones(2, 2)], input_length=[3, 1])
        return outputs, h

    assert gradcheck(lambda *weights: run(compiled.rnn, *weights), drawn)
    found, wanted = (
        torch.autograd.grad(sum(y.sum() for y in run(f, *drawn)), drawn)
        for f in (compiled.rnn, rnn)
    )
    torch.testing.assert_close(found, wanted)


def test_no_gradients_flow_where_a_step_turns_them_off():
    def run(rnn, w):
        def step(x_t, states):
            with torch.no_grad():
                gate, (first, _) = x_t @ w, x_t.chunk(2, dim=1)
            h = gate * (x_t @ w) + w.detach() @ states[0].mT
            return h.detach() + h * first, [h.mT]

        return rnn(step, randn(2, 3, 2), [ones(2, 2)])[1].sum()

    w = randn(2, 2, requires_grad=True)
    found, wanted = (torch.autograd.grad(run(f, w), w) for f in (compiled.rnn, rnn))
    torch.testing.assert_close(found, wanted)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_gradient_of_the_users_own_is_refused():
    step = lambda x_t, s: (StraightThrough.apply(x_t), s)  # noqa: E731
    x = randn(2, 3, 2, requires_grad=True)
    with pytest.raises(
        TypeError, match=r"^`step_function` calls a `torch.autograd.Function`, whose"
    ):
        compiled.rnn(step, x, [ones(2, 2)])
    with torch.no_grad():
        torch.testing.assert_close(compiled.rnn(step, x, [ones(2, 2)])[1], x.sign())


def test_a_module_is_trained_through_it():
    def train(rnn):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.GELU())
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        x, losses = torch.rand(5, 7, 3), []
        for _ in range(20):
            step = lambda x_t, s: (h := 0.5 * s[0] + module(x_t), [h])  # noqa: E731
            last, _, _ = rnn(step, x, [torch.zeros(5, 4)])
            loss = ((last - 1) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    losses = train(compiled.rnn)
    assert losses[-1] < losses[0] / 3
    np.testing.assert_allclose(losses, train(rnn), rtol=1e-4)
    assert compiled.cache_info()[:2] == (19, 1)


def test_gradients_of_gradients_are_refused():
    x = randn(2, 3, 1, requires_grad=True)
    last, _, _ = compiled.rnn(squaring, x, [ones(2, 1)])
    with pytest.raises(RuntimeError, match=r"can be differentiated once\. Call `arrayrnn\.rnn`"):
        torch.autograd.grad(last.sum(), x, create_graph=True)


def test_what_is_not_used_has_no_gradient_and_integers_need_none():
    x, h, c = (randn(*s, requires_grad=True) for s in ((2, 3, 1), (2, 1), (1,)))
    counter = torch.zeros(2, 1, dtype=torch.int64)
    step = lambda x_t, s: ((x_t, s[1]), [s[0], s[1] + 1])  # noqa: E731
    last, (outputs, counted), new = compiled.rnn(step, x, [h, counter], constants=[c])
    assert [y.requires_grad for y in (last[1], counted, new[1])] == [False] * 3
    assert counted[:, :, 0].tolist() == [[0, 1, 2]] * 2
    outputs.sum().backward()
    assert x.grad.tolist() == torch.ones(2, 3, 1).tolist()
    for unused in (h.grad, c.grad):
        assert unused is None or not unused.any()


def test_only_what_asks_for_gradients_gets_them():
    for needing in range(3):
        drawn = [ones(2, 3, 1), ones(2, 1), ones(1)]
        drawn[needing].requires_grad_()
        last, _, (h,) = compiled.rnn(scaling, drawn[0], [drawn[1]], constants=[drawn[2]])
        (last.sum() + h.sum()).backward()
        assert [x.grad is not None for x in drawn] == [k == needing for k in range(3)]


def test_results_require_gradients_as_those_of_the_loop_do():
    w = ones(1).requires_grad_()
    steps = {
        "all": lambda x_t, s: (x_t * w, [s[0] + x_t * w, s[1]]),
        "detached": lambda x_t, s: (x_t, [s[0] + (x_t * w).detach(), s[1]]),
        "of the state": lambda x_t, s: (s[0], [s[1] + x_t, s[1] * w]),
        "of integers": lambda x_t, s: ((w * x_t > 1) * x_t, [s[0], s[1]]),
    }
    for name, step in steps.items():
        for options in ({}, {"mask": MASK}, {"initial_output": w * ones(2, 1), "mask": MASK}):
            for of_states in (False, True):
                states = [ones(2, 1), ones(2, 1).requires_grad_(of_states)]
                found, wanted = (
                    f(step, ones(2, 3, 1), states, **options) for f in (compiled.rnn, rnn)
                )
                for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                    assert one.requires_grad == other.requires_grad, (name, options, of_states)


def test_without_gradients_none_are_kept():
    x = randn(2, 3, 1, requires_grad=True)
    with torch.no_grad():
        assert not compiled.rnn(squaring, x, [ones(2, 1)])[0].requires_grad
    with torch.inference_mode():
        inferred, h = x * 2, ones(2, 1)
        last, _, _ = compiled.rnn(squaring, inferred, [h])
        torch.testing.assert_close(last, 4 * x[:, -1] ** 2)
    last, _, _ = compiled.rnn(squaring, inferred, [h])
    torch.testing.assert_close(last, 4 * x.detach()[:, -1] ** 2)


def test_backward_runs_twice_if_the_graph_is_kept_and_calls_hooks():
    x, called = randn(2, 3, 1, requires_grad=True), []
    last, outputs, _ = compiled.rnn(squaring, x * 1, [ones(2, 1)])
    outputs.register_hook(lambda g: called.append("hook") or 2 * g)
    for _ in range(2):
        outputs.sum().backward(retain_graph=True)
    torch.testing.assert_close(x.grad, 8 * x.detach())
    assert called == ["hook"] * 2
    (last.sum() + outputs.sum()).backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        outputs.sum().backward()


def test_gradients_of_any_layout_will_do():
    x = randn(2, 3, 2, requires_grad=True)
    for gradient in (ones(1, 1, 1).expand(2, 3, 2), ones(2, 2, 3).mT, ones(2, 6, 2)[:, ::2]):
        (found,) = torch.autograd.grad(compiled.rnn(squaring, x, [ones(2, 2)])[1], x, gradient)
        torch.testing.assert_close(found, 2 * x.detach())


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("checkpoint", [1, 2, 3, 100])
def test_gradients_with_checkpoints_are_those_without(name, checkpoint):
    def gradients(**how):
        drawn = [randn(*shape, requires_grad=True) for shape in ((2, 3, 1), (2, 2), (1, 2))]

        def step(x_t, states):
            h, w = states
            h = x_t @ w + h * h
            return h * x_t, [h / (1 + h * h)]

        x, h, w = drawn
        _, outputs, (h,) = compiled.rnn(step, x, [h], constants=[w], **OPTIONS[name], **how)
        times = torch.arange(1.0, 1 + outputs.shape[1])[:, None]
        return torch.autograd.grad((times * outputs).sum() + (h * h).sum(), drawn)

    torch.testing.assert_close(gradients(checkpoint=checkpoint), gradients())


@pytest.mark.parametrize("unroll", [False, 2, True])
def test_backward_is_left_the_states_of_every_so_many_timesteps(unroll):
    def step(x_t, states):
        h = states[0] * states[0] + x_t.sum(axis=1)[:, None]
        return h.sum(axis=1), [h / (1 + h * h)]

    def saved(**how):
        x, h = randn(2, 16, 1, requires_grad=True), randn(2, 100)
        _, outputs, _ = compiled.rnn(step, x, [h], **how)
        return sum(array.nbytes for array in outputs.grad_fn.saved_tensors)

    of_states = 2 * 100 * 8
    assert saved() > 16 * of_states
    # Beside those of 4 blocks, the tensors of the caller.
    assert saved(checkpoint=4, unroll=unroll) < 6 * of_states


@pytest.mark.parametrize("unroll", [False, True])
def test_without_gradients_there_are_no_checkpoints(unroll, monkeypatch):
    monkeypatch.setattr(jax, "checkpoint", None)
    for time_major in (False, True):
        x = randn(3, 3, 1)
        how = {"time_major": time_major, "unroll": unroll}
        found, expected = (
            compiled.rnn(squaring, x, [ones(3, 1)], checkpoint=every, **how) for every in (2, None)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


# ---------------------------------------------------------------------------------- never stale


@pytest.mark.parametrize("written", ["inputs", "states", "constants", "closed over"])
@pytest.mark.parametrize("time_major", [False, True])
def test_gradients_are_never_those_of_arguments_that_were_written_into(written, time_major):
    drawn = [randn(3, 3, 1), randn(3, 1), randn(1), randn(2)]
    drawn = [x.requires_grad_() for x in drawn]

    def run(rnn, x, h, c, w):
        step = lambda x_t, s: (x_t * s[1] * s[0] * w, [s[0]])  # noqa: E731
        return rnn(step, x, [h], constants=[c], time_major=time_major)[1].sum()

    wanted = torch.autograd.grad(run(rnn, *drawn), drawn)
    arguments = [x * 1 for x in drawn]
    loss = run(compiled.rnn, *arguments)
    with torch.no_grad():
        arguments[["inputs", "states", "constants", "closed over"].index(written)].add_(1)
    try:
        found = torch.autograd.grad(loss, drawn)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("how", ["closed over", "a constant"])
def test_gradients_use_the_values_that_arrays_of_numpy_had(how):
    weight, x = np.full(2, 3.0), randn(2, 3, 2, requires_grad=True)
    if how == "closed over":
        last, _, _ = compiled.rnn(lambda x_t, s: (x_t * weight, s), x, [ones(2, 2)])
    else:
        last, _, _ = compiled.rnn(scaling, x, [ones(2, 2)], constants=[weight])
    weight[...] = 100.0
    last.sum().backward()
    assert x.grad[:, -1].tolist() == [[3.0, 3.0]] * 2


def test_fresh_closures_share_a_program_and_its_gradients():
    x = randn(2, 3, 2, requires_grad=True)
    for k in range(3):
        w = torch.tensor([1.0, 2.0], dtype=torch.float64) + k
        step = lambda x_t, s, w=w: (torch.logaddexp(x_t, w) * x_t * w, s)  # noqa: E731
        found = torch.autograd.grad(compiled.rnn(step, x, [ones(2, 2)])[1].sum(), x)[0]
        wanted = torch.autograd.grad((torch.logaddexp(x, w) * x * w).sum(), x)[0]
        torch.testing.assert_close(found, wanted)
    assert compiled.cache_info()[:2] == (2, 1)


# ---------------------------------------------------------------------------------- tensors

TENSORS = {
    "contiguous": lambda x: x,
    "leaf": lambda x: x.clone().requires_grad_(),
    "parameter": torch.nn.Parameter,
    "not a leaf": lambda x: x.clone().requires_grad_() * 1,
    "transposed": lambda x: x.mT.contiguous().mT,
    "expanded": lambda x: x[:, :1].expand(2, 3, 2),
    "strided": lambda x: x.repeat_interleave(2, 2)[..., ::2],
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.ravel()])[1:].view(2, 3, 2),
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "negated": lambda x: torch.complex(x, x).conj().imag,
    "no features": lambda x: x[..., :0],
}


@pytest.mark.parametrize("name", TENSORS)
def test_any_layout_of_memory_will_do(name):
    x = TENSORS[name](randn(2, 3, 2))
    before, version = x.detach().clone(), x._version  # noqa: SLF001
    last, outputs, (h,) = compiled.rnn(lambda x_t, s: (x_t, [s[0] + x_t]), x, [x[:, 0]])
    torch.testing.assert_close(outputs.detach(), x.detach().resolve_conj().resolve_neg())
    torch.testing.assert_close(last, outputs[:, -1])
    torch.testing.assert_close(h, x[:, 0] + x.sum(axis=1))
    assert outputs.requires_grad == x.requires_grad
    with torch.no_grad():
        for result in (last, outputs, h):
            result.fill_(torch.nan)
    assert x._version == version  # noqa: SLF001
    torch.testing.assert_close(x.detach(), before)


@pytest.mark.parametrize(
    "name",
    [
        *("bool", "int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"),
        *("bfloat16", "float32", "float64", "complex64", "complex128"),
    ],
)
def test_dtypes_stay(name):
    x = torch.tensor([[[0, 1], [1, 1]]]).to(getattr(torch, name))
    last, outputs, (h,) = compiled.rnn(lambda x_t, s: (x_t, [x_t]), x, [x[:, 0]])
    assert {last.dtype, outputs.dtype, h.dtype} == {x.dtype}
    assert torch.equal(outputs, x)
    assert outputs.device == x.device


@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: np.full(2, 3.0),
        lambda: np.broadcast_to(np.asarray(3.0), 2),
        lambda: np.full(2, 3.0)[::-1],
        lambda: np.full(2, 3.0, ">f8"),
        lambda: np.asarray(jnp.full(2, 3.0).astype("bfloat16")),
        lambda: np.float32(3),
        lambda: torch.tensor(3.0),
        lambda: 3.0,
    ],
    ids=["NumPy", "read-only", "reversed", "other bytes", "bfloat16", "scalar", "0-d", "3"],
)
@pytest.mark.filterwarnings("error")
def test_constants_of_any_library_will_do(make, needs_gradient):
    x = ones(2, 3, 2).requires_grad_(needs_gradient)
    _, outputs, _ = compiled.rnn(scaling, x, [ones(2, 2)], constants=[make(), "text"])
    assert outputs.unique().tolist() == [3.0]
    if needs_gradient:
        outputs.sum().backward()
        assert x.grad.unique().tolist() == [3.0]


def fake(x):
    mode = pytest.importorskip("torch._subclasses.fake_tensor").FakeTensorMode()
    return mode.from_tensor(x)


REFUSED = {
    "meta": lambda x: x.to("meta"),
    "fake": fake,
    "sparse": lambda x: x.to_sparse(),
    "quantized": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8),
    "complex32": lambda x: x.to(torch.complex32),
}


@pytest.mark.filterwarnings("ignore:.*(quant|ComplexHalf)")
@pytest.mark.parametrize("name", REFUSED)
def test_tensors_without_ordinary_values_are_named(name):
    with pytest.raises(TypeError, match=r"^`constants\[0\]` is an array of .*which JAX cannot"):
        compiled.rnn(scaling, ones(2, 3, 1), [ones(2, 1)], constants=[REFUSED[name](ones(2, 1))])


def forward_mode(f):
    def run(w):
        with forward_ad.dual_level():
            return f(forward_ad.make_dual(w, w))

    return run


TRANSFORMS = {
    "grad": torch.func.grad,
    "vmap": torch.func.vmap,
    "jvp": lambda f: lambda w: torch.func.jvp(f, (w,), (w,)),
    "forward mode": forward_mode,
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_pytorch_are_refused(name):
    def of_inputs(w):
        return compiled.rnn(squaring, ones(2, 3, 2) * w, [ones(2, 2)])[0].sum()

    def of_constants(w):
        return compiled.rnn(scaling, ones(2, 3, 2), [ones(2, 2)], constants=[w])[0].sum()

    for run, path in ((of_inputs, "inputs"), (of_constants, r"\w+")):
        with pytest.raises(TypeError, match=f"^`{path}.*which JAX cannot take.*arrayrnn.rnn"):
            TRANSFORMS[name](run)(ones(2))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which Dynamo looks for
def test_torch_compile_leaves_it_as_it_is():
    def run(x, c):
        return compiled.rnn(scaling, x * 2, [ones(2, 1)], constants=[c])[1] * 3

    x, c = randn(2, 3, 1, requires_grad=True), randn(1, requires_grad=True)
    found, wanted = torch.compile(run, backend="eager")(x, c), x * c * 6
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        *(torch.autograd.grad(y.sum(), (x, c)) for y in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_it_computes_inside_of_what_jax_traces():
    def run(scale):
        return scale * compiled.rnn(squaring, ones(2, 3, 1) * 3, [ones(2, 1)])[0][0, 0].item()

    assert jax.jit(run)(2.0) == 18.0
