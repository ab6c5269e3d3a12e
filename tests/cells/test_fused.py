"""On tensors PyTorch's kernels run wherever they compute what the cells say, and only there."""

from dataclasses import replace

import numpy as np
import pytest

from arrayrnn import cells
from support import running

torch = pytest.importorskip("torch", reason="these tests are about PyTorch's kernels")

from torch.autograd import forward_ad  # noqa: E402

from arrayrnn.cells import _fused  # noqa: E402 # imports PyTorch
from support.on_torch import quiet_about_caches, quiet_about_script  # noqa: E402

# PyTorch says so of its own modules, too.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SAMPLES, TIME, FEATURES, UNITS = 3, 5, 4, 2
LENGTHS = [2, 5, 3]
PADDING = (np.arange(TIME) < np.array(LENGTHS)[:, None]).tolist()
GAPS = (np.arange(TIME) >= np.array(LENGTHS)[:, None] - 1).tolist()
X = np.random.default_rng(0).normal(size=(SAMPLES, TIME, FEATURES))


@pytest.fixture
def calls(monkeypatch):
    """Return the names of the kernels that have been called."""
    found = []

    def counting(kernel):
        def counted(*arguments):
            found.append(kernel.__name__)
            return kernel(*arguments)

        return counted

    for key, kernel in _fused._KERNELS.items():  # noqa: SLF001 # what is counted
        monkeypatch.setitem(_fused._KERNELS, key, counting(kernel))  # noqa: SLF001
    return found


def new(kind=cells.LSTM, features=FEATURES, units=UNITS, *, seed=0, **settings):
    return kind.initialize(features, units, like=torch.zeros(0).double(), seed=seed, **settings)


def pair(features=FEATURES, **settings):
    return new(features=features, seed=1, **settings), new(features=features, seed=2, **settings)


def inputs():
    return torch.from_numpy(X.copy())


def on_numpy(layers, **options):
    """Return what the loop gives on NumPy."""
    return cells.run(cells.to(layers, np), X, **options)


def flat(results):
    outputs, states = results
    return [outputs, *(states if isinstance(states, tuple | list) else [states])]


def assert_same(found, expected):
    structure = torch.utils._pytree.tree_flatten  # noqa: SLF001 # takes lists of lists, too
    own, others = structure(found)[0], structure(expected)[0]
    assert len(own) == len(others)
    for tensor, array in zip(own, others, strict=True):
        np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=1e-9, atol=1e-12)


RUN = {
    "LSTM": ("lstm", new, {}),
    "GRU": ("gru", lambda: new(cells.GRU), {}),
    "tanh": ("rnn_tanh", lambda: new(cells.SimpleRNN), {}),
    "relu": ("rnn_relu", lambda: new(cells.SimpleRNN, activation="Relu"), {}),
    "layers": ("lstm", lambda: [new(), new(features=UNITS), new(features=UNITS)], {}),
    "both directions": ("lstm", lambda: [pair(), pair(2 * UNITS)], {}),
    "projection": ("lstm", lambda: [pair(projection=1), pair(2, projection=1)], {}),
    "no bias": ("gru", lambda: new(cells.GRU, bias=False), {}),
    "bias of the inputs": ("gru", lambda: replace(new(cells.GRU), bias_hh=None), {}),
    "bias of the states": ("gru", lambda: replace(new(cells.GRU), bias_ih=None), {}),
    "lengths": ("lstm", lambda: [pair(), pair(2 * UNITS)], {"input_length": LENGTHS}),
    "one length": ("lstm", new, {"input_length": 3}),
    "padding on the right": ("lstm", lambda: [pair()], {"mask": PADDING}),
    "a mask that masks nothing": ("lstm", new, {"mask": np.ones((SAMPLES, TIME), bool).tolist()}),
    "no mask to show zeros for": ("lstm", new, {"zero_output_for_mask": False}),
}
DO_NOT_RUN = {
    "clip": (lambda: new(clip=0.1), {}),
    "peepholes": (lambda: replace(new(), peepholes=torch.ones(3 * UNITS).double()), {}),
    "activation": (lambda: new(activation="relu"), {}),
    "recurrent activation": (lambda: new(recurrent_activation="hardsigmoid"), {}),
    "output activation": (lambda: new(output_activation="relu"), {}),
    "activation of a simple cell": (lambda: new(cells.SimpleRNN, activation="sigmoid"), {}),
    "relu in a GRU": (lambda: new(cells.GRU, activation="relu"), {}),
    "reset before": (lambda: new(cells.GRU, reset_after=False), {}),
    "backward only": (lambda: [(None, new())], {}),
    "backward only, above": (lambda: [new(), (None, new(features=UNITS))], {}),
    "one direction above both": (lambda: [pair(), new(features=2 * UNITS)], {}),
    "other units": (lambda: [new(units=3), new(features=3)], {}),
    "another kind": (lambda: [new(), new(cells.GRU, features=UNITS)], {}),
    "a bias in one layer only": (lambda: [new(), new(features=UNITS, bias=False)], {}),
    "peepholes above": (
        lambda: [new(), replace(new(features=UNITS), peepholes=torch.ones(3 * UNITS).double())],
        {},
    ),
    "a projection above": (lambda: [new(), new(features=UNITS, projection=UNITS)], {}),
    "another activation above": (lambda: [new(), new(features=UNITS, activation="relu")], {}),
    "a mask with gaps": (new, {"mask": GAPS}),
    "an empty sample": (new, {"input_length": [2, 0, 3]}),
    "previous outputs at padding": (
        new,
        {"input_length": LENGTHS, "zero_output_for_mask": False},
    ),
    "checkpoint": (new, {"checkpoint": 2}),
    "unroll": (new, {"unroll": True}),
}


@pytest.mark.parametrize(("kernel", "make", "options"), RUN.values(), ids=RUN)
def test_the_kernels_run(calls, kernel, make, options):
    layers = make()
    found = cells.run(layers, inputs(), **options)
    assert calls == [kernel]
    assert_same(found, on_numpy(layers, **options))


@pytest.mark.parametrize(("make", "options"), DO_NOT_RUN.values(), ids=DO_NOT_RUN)
def test_the_loop_runs(calls, make, options):
    layers = make()
    found = cells.run(layers, inputs(), **options)
    assert calls == []
    assert_same(found, on_numpy(layers, **options))


@pytest.mark.parametrize(("kernel", "make", "options"), RUN.values(), ids=RUN)
def test_the_gradients_are_those_of_the_loop(calls, monkeypatch, kernel, make, options):
    layers, x = make(), inputs().requires_grad_()
    weights, _ = torch.utils._pytree.tree_flatten(layers)  # noqa: SLF001 # knows cells
    to = [x, *(weight.requires_grad_() for weight in weights)]

    def gradients():
        results = flat(cells.run(layers, x, **options))
        return torch.autograd.grad(sum((r * r.cos()).sum() for r in results), to)

    found = gradients()
    assert calls == [kernel]
    monkeypatch.setattr(_fused, "run", lambda *_: None)
    torch.testing.assert_close(found, gradients())
    assert calls == [kernel]


@pytest.mark.parametrize("options", [{}, {"input_length": LENGTHS}], ids=["whole", "ragged"])
def test_initial_states_reach_the_kernels(calls, options):
    layers = [pair(), pair(2 * UNITS)]
    generator = np.random.default_rng(3)
    states = tuple(generator.normal(size=(4, SAMPLES, UNITS)) for _ in range(2))
    found = cells.run(layers, inputs(), tuple(map(torch.from_numpy, states)), **options)
    assert calls == ["lstm"]
    assert_same(found, on_numpy(layers, states=states, **options))


@pytest.mark.parametrize("options", [{}, {"input_length": LENGTHS}], ids=["whole", "ragged"])
def test_time_may_come_first(calls, options):
    cell = new()
    outputs, states = cells.run(cell, inputs().swapaxes(0, 1), time_major=True, **options)
    assert calls == ["lstm"]
    assert_same((outputs.swapaxes(0, 1), states), on_numpy(cell, **options))


def test_no_samples_at_all(calls):
    outputs, (h, c) = cells.run(new(), inputs()[:0], input_length=[])
    assert calls == []
    assert (outputs.shape, h.shape, c.shape) == ((0, TIME, UNITS), (1, 0, UNITS), (1, 0, UNITS))


def test_padding_that_is_nan_reaches_neither_results_nor_gradients(calls):
    cell, x = new(), inputs()
    x[~torch.tensor(PADDING)] = torch.nan
    cell.weight_ih.requires_grad_()
    outputs, states = cells.run(cell, x, input_length=LENGTHS)
    assert calls == ["lstm"]
    assert_same((outputs, states), on_numpy(cell, input_length=LENGTHS))
    outputs.sum().backward()
    assert cell.weight_ih.grad.isfinite().all()


@pytest.mark.parametrize("of", ["weights", "inputs", "states"])
@pytest.mark.parametrize("options", [{}, {"input_length": LENGTHS}], ids=["whole", "ragged"])
def test_results_require_gradients_if_anything_does(calls, of, options):
    cell, x = new(), inputs()
    states = tuple(torch.zeros(2, 1, SAMPLES, UNITS).double().unbind())
    {"weights": cell.weight_hh, "inputs": x, "states": states[1]}[of].requires_grad_()
    results = flat(cells.run(cell, x, states, **options))
    assert calls == ["lstm"]
    assert all(result.requires_grad for result in results)


def test_results_require_no_gradients_if_nothing_does(calls):
    assert not any(result.requires_grad for result in flat(cells.run(new(), inputs())))
    assert calls == ["lstm"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("options", [{}, {"input_length": LENGTHS}], ids=["whole", "ragged"])
def test_results_require_no_gradients_where_there_are_none(calls, context, options):
    cell = new()
    cell.weight_ih.requires_grad_()
    with context():
        found = cells.run(cell, inputs(), **options)
    assert calls == ["lstm"]
    assert not any(result.requires_grad for result in flat(found))
    assert_same(found, on_numpy(cell, **options))


def loss_of(cell, x):
    outputs, (h, c) = cells.run(cell, x)
    return (outputs * outputs.cos()).sum() + (h * c).sum()


def test_torch_func_grad_follows_the_loop(calls):
    cell, x = new(), inputs()
    weights = [getattr(cell, field).requires_grad_() for field in cell.arrays[:4]]
    expected = torch.autograd.grad(loss_of(cell, x), weights)
    assert calls == ["lstm"]
    found = torch.func.grad(loss_of)(cell, x)
    assert calls == ["lstm"]
    for field, gradient in zip(cell.arrays, expected, strict=False):
        torch.testing.assert_close(getattr(found, field), gradient)


def test_vmap_follows_the_loop(calls):
    cell, xs = new(), torch.stack([inputs(), -inputs()])
    found = torch.func.vmap(lambda x: cells.run(cell, x))(xs)
    assert calls == []
    expected = [cells.run(cell, x) for x in xs]
    assert calls == ["lstm"] * 2
    for own, *others in zip(flat(found), *map(flat, expected), strict=True):
        torch.testing.assert_close(own, torch.stack(others))


def slope(cell, x, tangent, by=1e-5):
    """Return a directional derivative from differences."""
    with torch.no_grad():
        return (loss_of(cell, x + by * tangent) - loss_of(cell, x - by * tangent)) / (2 * by)


@quiet_about_script
def test_jvp_follows_the_loop(calls):
    cell, x, tangent = new(), inputs(), inputs().flip(1)
    value, found = torch.func.jvp(lambda x: loss_of(cell, x), (x,), (tangent,))
    assert calls == []
    torch.testing.assert_close(value, loss_of(cell, x))
    torch.testing.assert_close(found, slope(cell, x, tangent), rtol=1e-7, atol=1e-9)


@quiet_about_script
def test_dual_tensors_follow_the_loop(calls):
    cell, x, tangent = new(), inputs(), inputs().flip(1)
    with forward_ad.dual_level():
        value = loss_of(cell, forward_ad.make_dual(x, tangent))
        found = forward_ad.unpack_dual(value).tangent
    assert calls == []
    torch.testing.assert_close(found, slope(cell, x, tangent), rtol=1e-7, atol=1e-9)


def test_tensors_without_values_follow_the_loop(calls):
    cell = cells.to(new(), torch, device="meta")
    outputs, (h, c) = cells.run(cell, inputs().to("meta"))
    assert calls == []
    assert outputs.is_meta
    assert (outputs.shape, h.shape, c.shape) == (
        (SAMPLES, TIME, UNITS),
        (1, SAMPLES, UNITS),
        (1, SAMPLES, UNITS),
    )


def test_fake_tensors_follow_the_loop(calls):
    fakes = pytest.importorskip(
        "torch._subclasses.fake_tensor", reason="this release of PyTorch has no fake tensors"
    )
    with fakes.FakeTensorMode() as mode:
        cell = with_each(mode.from_tensor, new())
        outputs, _ = cells.run(cell, mode.from_tensor(inputs()))
    assert calls == []
    assert isinstance(outputs, fakes.FakeTensor)
    assert outputs.shape == (SAMPLES, TIME, UNITS)


def with_each(function, cell):
    changed = {f: function(a) for f in cell.arrays if (a := getattr(cell, f)) is not None}
    return replace(cell, **changed)


def test_a_subclass_of_tensors_follows_the_loop(calls):
    class Own(torch.Tensor):
        pass

    cell = new()
    found = cells.run(cell, inputs().as_subclass(Own))
    assert calls == []
    assert_same([r.as_subclass(torch.Tensor) for r in flat(found)], flat(on_numpy(cell)))


def test_what_is_traced_into_a_graph_follows_the_loop(calls):
    proxies = pytest.importorskip(
        "torch.fx.experimental.proxy_tensor", reason="this release of PyTorch has no make_fx"
    )
    cell = new()
    graph = proxies.make_fx(lambda x: cells.run(cell, x)[0])(inputs())
    assert calls == []
    assert_same([graph(inputs())], [on_numpy(cell)[0]])


@quiet_about_caches
def test_torch_compile_takes_in_what_is_unrolled_without_the_kernels(calls):
    cell = new()
    compiled = torch.compile(lambda x: cells.run(cell, x, unroll=True), backend="eager")
    assert_same(compiled(inputs()), on_numpy(cell))
    assert calls == []


@quiet_about_caches
def test_torch_compile_steps_aside_for_anything_else(calls):
    cell = new()
    compiled = torch.compile(lambda x: cells.run(cell, x), backend="eager")
    assert_same(compiled(inputs()), on_numpy(cell))
    assert calls == ["lstm"]


def test_a_compiled_run_is_that_of_the_loop(calls):
    running.needs_compiled()
    cell = new()
    found = cells.run(cell, inputs(), compiled=True)
    assert calls == []
    assert_same(found, on_numpy(cell))


def test_second_derivatives_come_from_rnn(calls):
    from arrayrnn import rnn

    cell, x = new(), inputs().requires_grad_()
    _, outputs, _ = rnn(cell, x, cell.initial_states(x))
    (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert calls == []
    assert second.abs().max() > 0
