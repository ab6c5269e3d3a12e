"""A cell is a nest of its arrays: for optree, and for JAX and PyTorch where they are in use."""

import copy
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import optree
import pytest

from arrayrnn import cells, rnn

ABOUT_JAX, ABOUT_TORCH = "this test is about JAX", "this test is about PyTorch"
X = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)

FIELDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def new(kind, **settings):
    return kind.initialize(3, 2, like=np.zeros(0, np.float32), seed=0, **settings)


CELLS = {
    "simple": (lambda: new(cells.SimpleRNN, activation="Relu"), FIELDS),
    "GRU": (lambda: new(cells.GRU, reset_after=False, clip=2.0), FIELDS),
    "no bias": (lambda: new(cells.GRU, bias=False), FIELDS[:2]),
    "one bias": (lambda: replace(new(cells.GRU), bias_ih=None), (*FIELDS[:2], "bias_hh")),
    "LSTM": (lambda: new(cells.LSTM, output_activation=("ScaledTanh", 1, 2)), FIELDS),
    "projection": (lambda: new(cells.LSTM, projection=1), (*FIELDS, "weight_hr")),
    "peepholes": (
        lambda: replace(new(cells.LSTM, bias=False), peepholes=np.ones(6, np.float32)),
        (*FIELDS[:2], "peepholes"),
    ),
}
every_cell = pytest.mark.parametrize(("make", "names"), CELLS.values(), ids=CELLS)


def arrays_of(cell, names):
    return [getattr(cell, name) for name in names]


def assert_same(found, expected):
    """Assert that cells have the same arrays and settings."""
    assert type(found) is type(expected)
    for field in (f.name for f in fields(expected)):
        own, other = getattr(found, field), getattr(expected, field)
        if other is None or isinstance(other, bool | float | str | tuple):
            assert own == other, field
        else:
            np.testing.assert_array_equal(own, other)


@every_cell
def test_optree_takes_the_arrays_that_are_there_in_the_order_of_fields(make, names):
    cell = make()
    assert [*map(id, optree.tree_leaves(cell))] == [*map(id, arrays_of(cell, names))]
    # None is no array that is missing, so that nothing is there to be found.
    leaves = optree.tree_leaves(cell, none_is_leaf=True)
    assert [*map(id, leaves)] == [*map(id, arrays_of(cell, names))]


@every_cell
def test_optree_knows_the_arrays_by_their_fields(make, names):
    paths, _, _ = optree.tree_flatten_with_path([make()])
    assert paths == [(0, name) for name in names]
    accessors, _, _ = optree.tree_flatten_with_accessor([make()])
    assert [accessor.codify("cells") for accessor in accessors] == [
        f"cells[0].{name}" for name in names
    ]


@every_cell
def test_optree_puts_a_cell_together_with_its_settings(make, names):
    cell = make()
    found = optree.tree_map(lambda array: 2 * array, cell)
    assert_same(found, replace(cell, **{name: 2 * getattr(cell, name) for name in names}))


@every_cell
@pytest.mark.parametrize("filling", [None, "text", 3, (1, 2), object()])
def test_a_cell_may_be_filled_with_anything(make, names, filling):
    cell = make()
    found = optree.tree_unflatten(optree.tree_structure(cell), [filling] * len(names))
    assert arrays_of(found, names) == [filling] * len(names)
    assert found.settings == cell.settings


@pytest.mark.parametrize(
    ("mapped", "shown"),
    [
        (lambda array: array.shape, "GRU(weight_ih=(6, 3), weight_hh=(6, 2))"),
        (lambda array: array.sum().item(), "GRU(weight_ih=0.0, weight_hh=0.0)"),
        (lambda array: array[0, :1], "GRU(weight_ih=array([0.]), weight_hh=array([0.]))"),
    ],
    ids=["shapes", "numbers", "rows"],
)
def test_a_cell_that_is_filled_with_other_things_shows_these(mapped, shown):
    zeros = cells.GRU(np.zeros((6, 3)), np.zeros((6, 2)))
    assert repr(optree.tree_map(mapped, zeros)) == shown


def test_cells_of_other_settings_are_other_nests():
    structures = [
        optree.tree_structure(cell)
        for cell in (
            new(cells.GRU),
            new(cells.GRU, bias=False),
            new(cells.GRU, clip=1.0),
            new(cells.GRU, reset_after=False),
            new(cells.LSTM),
        )
    ]
    for k, structure in enumerate(structures):
        assert [other == structure for other in structures].index(True) == k
    assert optree.tree_structure(new(cells.GRU)) == structures[0]


def test_a_cell_may_be_a_state_of_rnn():
    def step(x_t, states):
        h, cell = states
        (h, _) = cell(x_t, [h])
        return h, [h, cell]

    cell = cells.to(new(cells.GRU), np)
    h = np.zeros((2, 2), np.float32)
    expected = rnn(cell, X, [h])[1]
    _, outputs, (_, found) = rnn(step, X, [h, cell])
    np.testing.assert_array_equal(outputs, expected)
    assert_same(found, cell)


@every_cell
def test_pickling_gives_the_same_cell(make, names):
    cell = make()
    assert_same(pickle.loads(pickle.dumps(cell)), cell)


@every_cell
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_the_same_cell(make, names, copied):
    cell = make()
    found = copied(cell)
    assert_same(found, cell)
    shared = [own is other for own, other in zip(*map(optree.tree_leaves, (found, cell)))]  # noqa: B905
    assert shared == [copied is copy.copy] * len(names)


@every_cell
def test_replacing_a_setting_leaves_the_rest(make, names):
    cell = make()
    found = replace(cell, clip=0.5)
    assert found.clip == 0.5
    assert_same(replace(found, clip=cell.clip), cell)


def test_what_replaces_is_checked():
    with pytest.raises(ValueError, match=r"`GRU\.clip` is -1; expected a number above 0"):
        replace(new(cells.GRU), clip=-1)


@every_cell
def test_fields_cannot_be_set_or_deleted(make, names):
    cell = make()
    for field in (*names, "clip"):
        with pytest.raises(FrozenInstanceError, match=field):
            setattr(cell, field, None)
        with pytest.raises(FrozenInstanceError, match=field):
            delattr(cell, field)


@pytest.fixture
def jax():
    return pytest.importorskip("jax", reason=ABOUT_JAX)


@every_cell
def test_jax_takes_a_cell_apart(jax, make, names):
    cell = cells.to(make(), jax.numpy)
    found, _ = jax.tree_util.tree_flatten_with_path(cell)
    shown = [(jax.tree_util.keystr(path), id(leaf)) for path, leaf in found]
    assert shown == [(f".{name}", id(getattr(cell, name))) for name in names]


@every_cell
def test_jax_puts_a_cell_together(jax, make, names):
    cell = make()
    found = jax.tree.map(lambda array: 2 * array, cell)
    assert_same(found, replace(cell, **{name: 2 * getattr(cell, name) for name in names}))


@every_cell
def test_jax_gives_gradients_as_a_cell(jax, make, names):
    cell = cells.to(make(), jax.numpy)
    x = jax.numpy.asarray(X)
    found = jax.grad(lambda cell: (cells.run(cell, x)[0] ** 2).sum())(cell)
    assert type(found) is type(cell)
    assert found.settings == cell.settings
    for name in names:
        weight, gradient = getattr(cell, name), getattr(found, name)
        assert (gradient.shape, gradient.dtype) == (weight.shape, weight.dtype)
        assert abs(gradient).max() > 0


def test_jax_compiles_once_for_equal_settings(jax):
    traced = []

    @jax.jit
    def outputs(cell, x):
        traced.append(cell)
        return cells.run(cell, x)[0]

    def made(seed, **settings):
        like = jax.numpy.zeros(0, dtype="float32")
        return cells.GRU.initialize(3, 2, like=like, seed=seed, **settings)

    x = jax.numpy.asarray(X)
    first, other = outputs(made(0), x), outputs(made(1), x)
    assert len(traced) == 1
    assert abs(first - other).max() > 0
    outputs(made(0, activation=("elu", 0.5)), x)
    assert len(traced) == 2
    outputs(made(1, activation=["ELU", 0.5]), x)
    assert len(traced) == 2
    found = outputs(made(0, clip=0.1), x)
    assert len(traced) == 3
    np.testing.assert_allclose(found, cells.run(made(0, clip=0.1), x)[0], rtol=1e-6, atol=1e-6)
    outputs(made(0, bias=False), x)
    assert len(traced) == 4


def test_jax_maps_over_a_stack_of_cells(jax):
    x = jax.numpy.asarray(X)
    each = [cells.to(new(cells.GRU), jax.numpy), cells.to(new(cells.GRU), jax.numpy)]
    each[1] = jax.tree.map(lambda weight: weight / 2, each[1])
    stack = jax.tree.map(lambda *weights: jax.numpy.stack(weights), *each)
    found = jax.vmap(lambda cell: cells.run(cell, x)[0])(stack)
    for k in range(2):
        np.testing.assert_allclose(found[k], cells.run(each[k], x)[0], rtol=1e-6, atol=1e-6)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason=ABOUT_TORCH)


@every_cell
def test_pytorch_takes_a_cell_apart_and_puts_it_together(torch, make, names):
    from torch.utils import _pytree

    cell = cells.to(make(), torch)
    leaves, spec = _pytree.tree_flatten(cell)
    assert [*map(id, leaves)] == [*map(id, arrays_of(cell, names))]
    found = _pytree.tree_unflatten([2 * leaf for leaf in leaves], spec)
    assert_same(found, replace(cell, **{name: 2 * getattr(cell, name) for name in names}))


@every_cell
def test_torch_func_gives_gradients_as_a_cell(torch, make, names):
    cell, x = cells.to(make(), torch), torch.from_numpy(X)
    found = torch.func.grad(lambda cell: cells.run(cell, x)[0].square().sum())(cell)
    assert type(found) is type(cell)
    assert found.settings == cell.settings
    for name in names:
        assert getattr(found, name).shape == getattr(cell, name).shape
        assert getattr(found, name).abs().max() > 0


def in_a_new_process(script, **given):
    code = "\n".join(line.removeprefix("        ") for line in script.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **given
    )
    assert done.returncode == 0, done.stderr


# What is converted, copied and unpickled is made anew, without the checks.
MADE_BEFORE = """
import pickle, sys
import numpy as np
from arrayrnn import cells
cell = cells.GRU.initialize(3, 2, like=np.zeros(0, np.float32), seed=0)
text = pickle.dumps(cell)
assert not {"jax", "torch"} & {*sys.modules}
"""


def test_jax_knows_a_cell_that_was_made_before_it_was_imported_once_it_is_converted(jax):
    in_a_new_process(f"""{MADE_BEFORE}
        import jax
        assert len(jax.tree.leaves(cells.to([cell], jax.numpy))) == 4
    """)


def test_pytorch_knows_a_cell_that_was_made_before_it_was_imported_once_it_is_converted(torch):
    in_a_new_process(f"""{MADE_BEFORE}
        import torch
        from torch.utils import _pytree
        assert len(_pytree.tree_leaves(cells.to([cell], torch))) == 4
    """)


def test_jax_knows_a_cell_that_was_unpickled(jax, tmp_path):
    (tmp_path / "cell").write_bytes(pickle.dumps(new(cells.GRU)))
    in_a_new_process(
        """
        import pickle
        import jax
        with open("cell", "rb") as file:
            cell = pickle.load(file)
        assert len(jax.tree.leaves(cell)) == 4
        """,
        cwd=tmp_path,
    )
