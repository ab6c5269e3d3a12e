"""`cells.from_torch`: what `cells.run` computes, on any library, is what the module does."""

import numpy as np
import pytest

from arrayrnn import cells

torch = pytest.importorskip("torch", reason="these tests are about PyTorch")
nn = torch.nn

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from arrayrnn.cells import _fused  # noqa: E402 # imports PyTorch

# PyTorch says so of its own modules, too.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SAMPLES, TIME, FEATURES, UNITS = 4, 6, 3, 5
LENGTHS = [4, 6, 1, 3]
KINDS = {
    "RNN, tanh": (nn.RNN, {}),
    "RNN, relu": (nn.RNN, {"nonlinearity": "relu"}),
    "GRU": (nn.GRU, {}),
    "LSTM": (nn.LSTM, {}),
    "LSTM, projection": (nn.LSTM, {"proj_size": 2}),
}
# The widest dtype tells formulas apart, the other is what people train in.
CLOSE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 2e-5},
}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_depth = pytest.mark.parametrize("layers", [1, 2, 3])
each_direction = pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
each_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
each_dtype = pytest.mark.parametrize("dtype", CLOSE, ids=["float64", "float32"])
each_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


@pytest.fixture(params=["kernels", "loop"])
def way(request, monkeypatch):
    """Let PyTorch's kernels run, and see that they do; or let the loop run."""
    own, found = _fused.run, []

    def run(*arguments):
        found.append(own(*arguments) if request.param == "kernels" else None)
        return found[-1]

    monkeypatch.setattr(_fused, "run", run)
    yield request.param
    assert found
    if request.param == "kernels":
        assert None not in found


def make(kind, *, layers=1, both=False, bias=True, dtype=torch.float64, batch_first=True):
    module, settings = KINDS[kind]
    torch.manual_seed(0)
    return module(
        FEATURES,
        UNITS,
        num_layers=layers,
        bidirectional=both,
        bias=bias,
        batch_first=batch_first,
        dtype=dtype,
        **settings,
    )


def draw(seed, shape, dtype):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def inputs_of(module):
    shape = (SAMPLES, TIME) if module.batch_first else (TIME, SAMPLES)
    return draw(1, (*shape, FEATURES), module.weight_hh_l0.dtype)


def states_of(module):
    """Return initial states as the module takes them."""
    count = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or UNITS, UNITS] if isinstance(module, nn.LSTM) else [UNITS]
    dtype = module.weight_hh_l0.dtype
    states = tuple(draw(2 + k, (count, SAMPLES, size), dtype) for k, size in enumerate(sizes))
    return states if len(states) > 1 else states[0]


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def of_module(module, x, states=None, lengths=None):
    if lengths is None:
        return module(x, states)
    packed = pack_padded_sequence(x, lengths, batch_first=module.batch_first, enforce_sorted=False)
    outputs, last = module(packed, states)
    outputs, _ = pad_packed_sequence(outputs, batch_first=module.batch_first, total_length=TIME)
    return outputs, last


def of_cells(module, x, states=None, lengths=None):
    layers = cells.from_torch(module)
    return cells.run(layers, x, states, input_length=lengths, time_major=not module.batch_first)


def flat(results):
    outputs, states = results
    return [outputs, *as_tuple(states)]


def loss(results):
    """Return a number that depends on each result in a way of its own."""
    return sum((k + 1) * (r * r.cos()).sum() for k, r in enumerate(flat(results)))


def assert_close(found, expected, dtype):
    torch.testing.assert_close(found, expected, **CLOSE[dtype])


@each_kind
@each_depth
@each_direction
@each_length
@each_bias
def test_the_results_are_those_of_the_module(way, kind, layers, both, lengths, bias):
    module = make(kind, layers=layers, both=both, bias=bias)
    x = inputs_of(module)
    found, expected = (of(module, x, None, lengths) for of in (of_cells, of_module))
    assert type(found[1]) is type(expected[1])
    assert_close(flat(found), flat(expected), torch.float64)


@each_kind
@each_direction
@each_length
@each_dtype
def test_states_are_given_as_to_the_module(way, kind, both, lengths, dtype):
    module = make(kind, layers=2, both=both, dtype=dtype)
    x, states = inputs_of(module), states_of(module)
    found, expected = (of(module, x, states, lengths) for of in (of_cells, of_module))
    assert_close(flat(found), flat(expected), dtype)


@each_kind
@each_direction
@each_length
def test_time_comes_first_as_in_the_module(way, kind, both, lengths):
    module = make(kind, layers=2, both=both, batch_first=False)
    x, states = inputs_of(module), states_of(module)
    found, expected = (of(module, x, states, lengths) for of in (of_cells, of_module))
    assert_close(flat(found), flat(expected), torch.float64)


@each_kind
@each_depth
@each_direction
@each_length
def test_the_gradients_are_those_of_the_module(way, kind, layers, both, lengths):
    module = make(kind, layers=layers, both=both)
    x, states = inputs_of(module), states_of(module)
    to = [*module.parameters(), x, *as_tuple(states)]
    found, expected = (
        torch.autograd.grad(loss(of(module, x, states, lengths)), to)
        for of in (of_cells, of_module)
    )
    assert_close(found, expected, torch.float64)


@each_kind
@each_length
@each_bias
def test_the_gradients_in_single_precision(way, kind, lengths, bias):
    module = make(kind, both=True, bias=bias, dtype=torch.float32)
    x, states = inputs_of(module), states_of(module)
    to = [*module.parameters(), x, *as_tuple(states)]
    found, expected = (
        torch.autograd.grad(loss(of(module, x, states, lengths)), to)
        for of in (of_cells, of_module)
    )
    assert_close(found, expected, torch.float32)


@each_kind
@each_depth
@each_direction
@each_length
def test_the_results_on_numpy_are_those_of_the_module(kind, layers, both, lengths):
    module = make(kind, layers=layers, both=both)
    x, states = inputs_of(module), states_of(module)
    expected = of_module(module, x, states, lengths)
    host = tuple(state.detach().numpy() for state in as_tuple(states))
    moved = cells.to(cells.from_torch(module), np)
    found = cells.run(
        moved,
        x.detach().numpy(),
        host if len(host) > 1 else host[0],
        input_length=lengths,
    )
    found, expected = map(torch.from_numpy, flat(found)), (a.detach() for a in flat(expected))
    assert_close([*found], [*expected], torch.float64)


@each_kind
def test_the_gradients_on_jax_are_those_of_the_module(kind):
    jax = pytest.importorskip("jax", reason="this test is about JAX")
    jnp, lengths = jax.numpy, LENGTHS
    module = make(kind, both=True, dtype=torch.float32)
    x, states = inputs_of(module), states_of(module)
    to = [*module.parameters(), x, *as_tuple(states)]
    expected = torch.autograd.grad(loss(of_module(module, x, states, lengths)), to)

    def of_jax(layers, x, states):
        outputs, last = cells.run(layers, x, states, input_length=lengths)
        results = [outputs, *as_tuple(last)]
        return sum((k + 1) * (r * jnp.cos(r)).sum() for k, r in enumerate(results))

    own_x, own_states = jax.tree.map(lambda t: jnp.asarray(t.detach().numpy()), (x, states))
    layers = cells.to(cells.from_torch(module), jnp)
    # The leaves of cells come in the order of the module's parameters.
    found = jax.tree.leaves(jax.jit(jax.grad(of_jax, (0, 1, 2)))(layers, own_x, own_states))
    assert len(found) == len(expected)
    for own, array in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, array.numpy(), **CLOSE[torch.float32])


CELLS = {
    "RNNCell, tanh": (nn.RNNCell, {}),
    "RNNCell, relu": (nn.RNNCell, {"nonlinearity": "relu"}),
    "GRUCell": (nn.GRUCell, {}),
    "LSTMCell": (nn.LSTMCell, {}),
}


@pytest.mark.parametrize("kind", CELLS)
@each_bias
def test_a_cell_of_pytorch_is_one_layer(way, kind, bias):
    make_cell, settings = CELLS[kind]
    module = make_cell(FEATURES, UNITS, bias=bias, dtype=torch.float64, **settings)
    x, states, outputs = draw(1, (SAMPLES, TIME, FEATURES), torch.float64), None, []
    for t in range(TIME):
        states = module(x[:, t], states)
        outputs.append(as_tuple(states)[0])
    expected = [torch.stack(outputs, 1), *(state[None] for state in as_tuple(states))]
    found = flat(cells.run(cells.from_torch(module), x))
    assert_close(found, expected, torch.float64)
    to = [*module.parameters(), x]
    found, expected = (
        torch.autograd.grad(loss((first, tuple(others))), to)
        for first, *others in (found, expected)
    )
    assert_close(found, expected, torch.float64)


@each_kind
def test_the_cells_hold_the_parameters_of_the_module(kind):
    module = make(kind, layers=2, both=True)
    pairs = cells.from_torch(module)
    held = [
        getattr(cell, field)
        for pair in pairs
        for cell in pair
        for field in cell.arrays
        if getattr(cell, field) is not None
    ]
    assert [*map(id, held)] == [*map(id, module.parameters())]


def test_a_module_of_one_direction_gives_cells_and_one_of_both_gives_pairs():
    (layer,) = cells.from_torch(make("GRU"))
    assert isinstance(layer, cells.GRU)
    ((forward, backward),) = cells.from_torch(make("GRU", both=True))
    assert isinstance(forward, cells.GRU)
    assert isinstance(backward, cells.GRU)


def test_a_module_that_was_derived_is_one_of_its_kind():
    class Own(nn.LSTM):
        pass

    (layer,) = cells.from_torch(Own(FEATURES, UNITS))
    assert isinstance(layer, cells.LSTM)


def test_nothing_is_dropped_out():
    module = nn.LSTM(FEATURES, UNITS, 2, dropout=0.9, batch_first=True, dtype=torch.float64)
    x = draw(1, (SAMPLES, TIME, FEATURES), torch.float64)
    found = of_cells(module.train(), x)
    assert_close(flat(found), flat(of_module(module.eval(), x)), torch.float64)


@pytest.mark.parametrize(
    ("module", "came"),
    [(nn.Linear(2, 2), "of type Linear"), (nn.LSTM, "of type type"), (None, "None")],
    ids=["another module", "a class", "None"],
)
def test_anything_else_is_refused(module, came):
    message = f"`module` is {came}; expected torch.nn.RNN, GRU, LSTM, or a cell of these"
    with pytest.raises(TypeError, match=message):
        cells.from_torch(module)


def test_a_module_with_a_forward_of_its_own_is_refused():
    class Doubled(torch.nn.LSTM):
        def forward(self, x, states=None):
            return super().forward(2 * x, states)

    with pytest.raises(TypeError, match=r"with a `forward` of its own; expected that of torch\.nn"):
        cells.from_torch(Doubled(3, 4))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.nn.utils.spectral_norm,
        torch.nn.utils.weight_norm,
        torch.nn.utils.parametrizations.weight_norm,
    ],
    ids=["spectral norm, hook", "weight norm, hook", "weight norm, parametrization"],
)
def test_weights_that_are_computed_are_refused(wrap):
    module = wrap(torch.nn.LSTM(3, 4), "weight_hh_l0")
    with pytest.raises(TypeError, match=r"`module\.weight_hh_l0` is computed, by a hook"):
        cells.from_torch(module)


def test_parameters_that_functional_call_puts_in_place_are_taken():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            return cells.run(cells.from_torch(self.gru), x)[0]

    model, x = Model(), torch.randn(2, 5, 3)
    doubled = {name: 2 * parameter for name, parameter in model.named_parameters()}
    found = torch.func.functional_call(model, doubled, (x,))
    expected, _ = torch.func.functional_call(
        model.gru, {k[4:]: v for k, v in doubled.items()}, (x,)
    )
    torch.testing.assert_close(found, expected)
