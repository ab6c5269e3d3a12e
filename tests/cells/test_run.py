"""`run`: layers of cells, in one or both directions, on every library."""

from dataclasses import replace

import numpy as np
import optree
import pytest

from arrayrnn import cells, rnn
from support.backends import Backend, assert_same
from support.formulas import over_time
from support.running import run

SAMPLES, TIME, FEATURES, UNITS = 9, 5, 3, 2  # samples enough for weights to be joined
LENGTHS = [5, 2, 3, 1, 5, 4, 0, 4, 2]
KINDS = {"simple": cells.SimpleRNN, "GRU": cells.GRU, "LSTM": cells.LSTM}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def draw(backend, *shape):
    return np.random.default_rng(shape).normal(size=shape).astype(backend.float)


def new(backend, kind, features=FEATURES, units=UNITS, seed=0, **settings):
    return kind.initialize(features, units, like=np.zeros(0, backend.float), seed=seed, **settings)


def expected(layers, x, starts=None, lengths=None):
    """Return what `run` should, from pairs of cells of NumPy arrays."""
    last, starts = [], None if starts is None else iter(starts)
    for layer in layers:
        parts = []
        for direction, cell in enumerate(layer):
            if cell is None:
                continue
            zeros = [np.zeros((len(x), size), x.dtype) for size in cell.state_sizes]
            own = zeros if starts is None else next(starts)
            outputs, states = over_time(cell, x, own, lengths, go_backwards=bool(direction))
            parts.append(outputs)
            last.append(states)
        x = np.concatenate(parts, axis=2)
    return x, last


def stacked(last):
    """Return the states of each cell as PyTorch does those of all."""
    columns = [np.stack(column) for column in zip(*last, strict=True)]
    return tuple(columns) if len(columns) > 1 else columns[0]


def own(backend, layers):
    return cells.to(layers, backend.xp, device=backend.device)


@every_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
def test_one_cell(backend, kind, lengths):
    cell, x = new(backend, kind), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(cell,)], x, lengths=lengths)
    found = run(own(backend, cell), backend.array(x), input_length=lengths)
    assert_same(backend, found, (outputs, stacked(last)))


@every_kind
def test_layers_of_both_directions(backend, kind):
    widths = (FEATURES, 2 * UNITS)
    layers = [tuple(new(backend, kind, w, seed=(w, k)) for k in range(2)) for w in widths]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected(layers, x, lengths=LENGTHS)
    found = run(own(backend, layers), backend.array(x), input_length=LENGTHS)
    assert_same(backend, found, (outputs, stacked(last)))


@every_kind
def test_states_go_in_as_they_come_out(backend, kind):
    layers = [(new(backend, kind, w, seed=w),) for w in (FEATURES, UNITS)]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected(layers, x)
    flat = own(backend, [cell for (cell,) in layers])
    first, between = run(flat, backend.array(x[:, :2]))
    then, end = run(flat, backend.array(x[:, 2:]), between)
    assert_same(backend, (first, then, end), (outputs[:, :2], outputs[:, 2:], stacked(last)))


def test_few_samples(backend):
    cell, x = new(backend, cells.LSTM), draw(backend, 2, TIME, FEATURES)
    outputs, last = expected([(cell,)], x, lengths=[3, 5])
    found = run(own(backend, cell), backend.array(x), input_length=[3, 5])
    assert_same(backend, found, (outputs, stacked(last)))


def test_a_projection(backend):
    layers = [
        tuple(new(backend, cells.LSTM, w, seed=(w, k), projection=1) for k in range(2))
        for w in (FEATURES, 2)
    ]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected(layers, x, lengths=LENGTHS)
    found = run(own(backend, layers), backend.array(x), input_length=LENGTHS)
    assert_same(backend, found, (outputs, stacked(last)))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projection_without_padding(backend):
    cell, x = new(backend, cells.LSTM, projection=1), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(cell,)], x)
    assert_same(backend, run(own(backend, cell), backend.array(x)), (outputs, stacked(last)))


def test_a_layer_may_go_backwards_only(backend):
    cell, x = new(backend, cells.GRU), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(None, cell)], x, lengths=LENGTHS)
    found = run([(None, own(backend, cell))], backend.array(x), input_length=LENGTHS)
    assert_same(backend, found, (outputs, stacked(last)))


def test_what_differs_from_pytorch(backend):
    cell = new(backend, cells.LSTM, activation="relu", clip=0.5)
    layers = [
        (replace(cell, peepholes=draw(backend, 3 * UNITS)),),
        (new(backend, cells.LSTM, UNITS, output_activation="softsign"),),
        (new(backend, cells.LSTM, UNITS, recurrent_activation="hardsigmoid"),),
    ]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected(layers, x, lengths=LENGTHS)
    found = run(own(backend, [c for (c,) in layers]), backend.array(x), input_length=LENGTHS)
    assert_same(backend, found, (outputs, stacked(last)))


def test_cells_that_differ_give_the_states_of_each(backend):
    layers = [
        (new(backend, cells.LSTM), new(backend, cells.LSTM, units=3)),
        (new(backend, cells.GRU, 5),),
    ]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    starts = [[draw(backend, SAMPLES, n) for n in sizes] for sizes in ((2, 2), (3, 3), (2,))]
    outputs, last = expected(layers, x, starts)
    moved = own(backend, [layers[0], layers[1][0]])
    found = run(moved, *backend.arrays((x, starts)))
    assert_same(backend, found, (outputs, last))


@pytest.mark.parametrize("is_padding", [True, False], ids=["padding", "gaps"])
def test_a_mask_holds_states_and_shows_zeros(backend, is_padding):
    cell, x = new(backend, cells.LSTM), draw(backend, SAMPLES, TIME, FEATURES)
    keep = np.arange(TIME)[None, :] < np.asarray(LENGTHS)[:, None]
    if not is_padding:
        keep = np.roll(keep, 1, axis=1)
    order = np.argsort(~keep, axis=1, kind="stable")  # what counts first
    moved = np.take_along_axis(x, order[..., None], axis=1)
    shown, last = expected([(cell,)], moved, lengths=LENGTHS)
    outputs = np.zeros_like(shown)
    np.put_along_axis(outputs, order[..., None], shown, axis=1)
    found = run(own(backend, cell), backend.array(x), mask=backend.array(keep))
    assert_same(backend, found, (outputs, stacked(last)))


def test_a_masked_output_may_be_the_previous_one(backend):
    cell, x = new(backend, cells.GRU), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(cell,)], x, lengths=LENGTHS)
    for s, length in enumerate(LENGTHS):
        outputs[s, length:] = outputs[s, length - 1] if length else 0
    found = run(
        own(backend, cell), backend.array(x), input_length=LENGTHS, zero_output_for_mask=False
    )
    assert_same(backend, found, (outputs, stacked(last)))


def test_one_length_for_all(backend):
    cell, x = new(backend, cells.LSTM), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(cell,)], x[:, :3])
    found = run(own(backend, cell), backend.array(x), input_length=3)
    assert_same(backend, found, (outputs, stacked(last)))


def test_time_may_come_first(backend):
    layers = [(new(backend, cells.LSTM), new(backend, cells.LSTM, seed=1))]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected(layers, x, lengths=LENGTHS)
    found = run(
        own(backend, layers),
        backend.array(np.swapaxes(x, 0, 1)),
        input_length=LENGTHS,
        time_major=True,
    )
    assert_same(backend, found, (np.swapaxes(outputs, 0, 1), stacked(last)))


@every_kind
def test_padding_may_hold_anything(backend, kind):
    layers = [(new(backend, kind), new(backend, kind, seed=1)), (new(backend, kind, 2 * UNITS),)]
    x = draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([layers[0], (layers[1][0],)], x, lengths=LENGTHS)
    x[np.arange(TIME)[None, :] >= np.asarray(LENGTHS)[:, None]] = np.inf
    moved = own(backend, [layers[0], layers[1][0]])
    outputs_found, states = run(moved, backend.array(x), input_length=LENGTHS)
    assert_same(backend, (outputs_found, states), (outputs, stacked(last)))


def test_checkpoints_change_nothing(backend):
    cell, x = new(backend, cells.LSTM), draw(backend, SAMPLES, TIME, FEATURES)
    outputs, last = expected([(cell,)], x)
    found = run(own(backend, cell), backend.array(x), checkpoint=2)
    assert_same(backend, found, (outputs, stacked(last)))


def test_the_arguments_stay_as_they_are():
    backend = Backend.NUMPY
    cell, x = new(backend, cells.LSTM), draw(backend, SAMPLES, TIME, FEATURES)
    x.flags.writeable = False
    states = tuple(draw(backend, 1, SAMPLES, UNITS) for _ in range(2))
    before = [s.copy() for s in states]
    outputs, new_states = cells.run(cell, x, states)
    outputs[...] = 0
    for state in new_states:
        state[...] = 0
    assert all(map(np.array_equal, states, before))


def test_numbers_may_be_in_another_byte_order():
    cell, x = new(Backend.NUMPY, cells.LSTM), draw(Backend.NUMPY, SAMPLES, TIME, FEATURES)
    swapped = cells.LSTM(**{f: getattr(cell, f).astype(">f8") for f in cells.LSTM.arrays[:4]})
    outputs, _ = cells.run(swapped, x.astype(">f8"))
    assert_same(Backend.NUMPY, outputs, cells.run(cell, x)[0], exact=True)
    assert swapped.initial_states(x.astype(">f8"))[0].dtype.isnative


@pytest.mark.parametrize("call", ["run", "rnn"])
@every_kind
def test_padding_reaches_no_gradient(backend, kind, call):
    if not backend.has_autograd or backend.is_compiled or backend is Backend.JAX_JIT:
        pytest.skip("has no gradients here")
    cell, x = own(backend, new(backend, kind)), draw(backend, SAMPLES, TIME, FEATURES)
    padding = np.arange(TIME)[None, :, None] >= np.asarray(LENGTHS)[:, None, None]

    def loss(cell, x):
        if call == "run":
            outputs, _ = cells.run(cell, x, input_length=LENGTHS)
        else:
            start = cell.initial_states(x)
            _, outputs, _ = rnn(cell, x, start, input_length=LENGTHS, zero_output_for_mask=True)
        return (outputs**2).sum()

    expected = gradients(backend, loss, cell, backend.array(np.where(padding, 0, x)))
    found = gradients(backend, loss, cell, backend.array(np.where(padding, np.nan, x)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def gradients(backend, loss, cell, x):
    """Return the gradient of each weight."""
    if backend.library == "jax":
        leaves = optree.tree_leaves(backend.module.grad(loss)(cell, x))
    else:
        cell = optree.tree_map(lambda weight: weight.detach().requires_grad_(), cell)
        leaves = backend.module.autograd.grad(loss(cell, x), optree.tree_leaves(cell))
    return [backend.numpy(leaf) for leaf in leaves]


def test_arrays_of_jax_are_told_of_jit_where_compiled_is_asked_for():
    jax = pytest.importorskip("jax", reason="these arrays are JAX's")
    cell = cells.to(new(Backend.NUMPY, cells.GRU), jax.numpy, dtype="float32")
    with pytest.raises(TypeError, match=r"jax\.jit"):
        cells.run(cell, jax.numpy.ones((2, 3, FEATURES), dtype="float32"), compiled=True)
