"""`save` and `load`: cells in safetensors files, under PyTorch's names."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from arrayrnn import cells

numpy_files = pytest.importorskip(
    "safetensors.numpy", reason="`cells.save` and `cells.load` need safetensors"
)

FEATURES, UNITS = 3, 2
X = np.random.default_rng(0).normal(size=(4, 5, FEATURES))
TORCH = "this test is about PyTorch"


def zeros(*shape, dtype="float64"):
    return np.zeros(shape, dtype)


def new(kind, features=FEATURES, *, dtype="float64", seed=0, **settings):
    return kind.initialize(features, UNITS, like=zeros(0, dtype=dtype), seed=seed, **settings)


CELLS = {
    "simple": lambda: new(cells.SimpleRNN),
    "simple, no bias": lambda: new(cells.SimpleRNN, bias=False),
    "simple, activation": lambda: new(cells.SimpleRNN, activation=("LeakyRelu", 0.2), clip=2),
    "GRU": lambda: new(cells.GRU),
    "GRU, no bias": lambda: new(cells.GRU, bias=False),
    "GRU, reset before": lambda: new(cells.GRU, reset_after=False),
    "GRU, activations": lambda: new(
        cells.GRU, activation="softsign", recurrent_activation=("HardSigmoid", 0.3, 0.4)
    ),
    "LSTM": lambda: new(cells.LSTM),
    "LSTM, no bias": lambda: new(cells.LSTM, bias=False),
    "LSTM, projection": lambda: new(cells.LSTM, projection=1),
    "LSTM, peepholes": lambda: replace(new(cells.LSTM), peepholes=np.arange(3.0 * UNITS)),
    "LSTM, activations": lambda: new(
        cells.LSTM, output_activation=("ScaledTanh", 0.5, 2), activation="Relu", clip=0.25
    ),
}
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def assert_equal(found, expected):
    """Assert that layers hold the same cells."""
    assert len(found) == len(expected)
    for own, other in zip(found, expected, strict=True):
        if isinstance(other, tuple):
            assert isinstance(own, tuple)
            assert_equal(own, other)
        elif other is None:
            assert own is None
        else:
            assert_cells_equal(own, other)


def assert_cells_equal(found, expected):
    assert type(found) is type(expected)
    for field in (f.name for f in fields(expected)):
        own, other = getattr(found, field), getattr(expected, field)
        if isinstance(other, np.ndarray):
            assert own.dtype == other.dtype
            np.testing.assert_array_equal(own, other)
        else:
            assert own == other, field


@every_cell
def test_a_cell_comes_back_as_the_only_layer(tmp_path, make):
    cell = make()
    cells.save(cell, tmp_path / "cell.safetensors")
    assert_equal(cells.load(tmp_path / "cell.safetensors"), [cell])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_come_back(tmp_path, dtype):
    cell = new(cells.LSTM, dtype=dtype)
    cells.save(cell, tmp_path / "cell")
    assert_equal(cells.load(tmp_path / "cell"), [cell])


LAYERS = {
    "layers": lambda: [new(cells.GRU), new(cells.GRU, UNITS, seed=1)],
    "directions": lambda: [(new(cells.LSTM), new(cells.LSTM, seed=1))],
    "layers of directions": lambda: [
        tuple(new(cells.LSTM, features, seed=(features, k)) for k in range(2))
        for features in (FEATURES, 2 * UNITS)
    ],
    "backward only": lambda: [(None, new(cells.GRU)), new(cells.GRU, UNITS)],
    "other kinds": lambda: [
        (new(cells.LSTM), new(cells.GRU, reset_after=False)),
        new(cells.SimpleRNN, 2 * UNITS, activation="relu"),
    ],
    "eleven layers": lambda: [new(cells.SimpleRNN, UNITS, seed=k) for k in range(11)],
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_come_back(tmp_path, make):
    layers = make()
    cells.save(layers, tmp_path / "layers")
    assert_equal(cells.load(tmp_path / "layers"), layers)


@pytest.mark.parametrize("form", [lambda c: [[c, None]], lambda c: ((c, None),), lambda c: (c,)])
def test_a_layer_that_only_goes_forward_comes_back_as_its_cell(tmp_path, form):
    cell = new(cells.GRU)
    cells.save(form(cell), tmp_path / "cell")
    assert_equal(cells.load(tmp_path / "cell"), [cell])


@pytest.mark.parametrize("missing", ["bias_ih", "bias_hh"])
@pytest.mark.parametrize("kind", [cells.SimpleRNN, cells.GRU, cells.LSTM])
def test_a_missing_bias_comes_back_as_zeros(tmp_path, kind, missing):
    whole = new(kind)
    cells.save(replace(whole, **{missing: None}), tmp_path / "cell")
    expected = replace(whole, **{missing: np.zeros_like(whole.bias_ih)})
    assert_equal(cells.load(tmp_path / "cell"), [expected])


def test_a_missing_bias_is_zero_even_where_the_other_is_infinite(tmp_path):
    cell = replace(new(cells.GRU), bias_ih=np.full(3 * UNITS, np.inf), bias_hh=None)
    cells.save(cell, tmp_path / "cell")
    (found,) = cells.load(tmp_path / "cell")
    np.testing.assert_array_equal(found.bias_hh, zeros(3 * UNITS))


def test_arrays_may_be_of_any_layout_and_library(tmp_path):
    strict = pytest.importorskip(
        "array_api_strict", reason="the other library of this test is array-api-strict"
    )
    cell = new(cells.GRU)
    turned = replace(cell, weight_ih=np.asfortranarray(cell.weight_ih))
    for k, given in enumerate([turned, cells.to(cell, strict)]):
        cells.save(given, tmp_path / str(k))
        assert_equal(cells.load(tmp_path / str(k)), [cell])


def test_the_names_are_those_of_pytorch(tmp_path):
    cells.save([(new(cells.LSTM, bias=False),) * 2, new(cells.LSTM, 4)], tmp_path / "file")
    assert {*numpy_files.load_file(tmp_path / "file")} == {
        "weight_ih_l0",
        "weight_hh_l0",
        "weight_ih_l0_reverse",
        "weight_hh_l0_reverse",
        "weight_ih_l1",
        "weight_hh_l1",
        "bias_ih_l1",
        "bias_hh_l1",
    }


def test_paths_may_be_text(tmp_path):
    cell = new(cells.GRU)
    cells.save(cell, str(tmp_path / "cell"))
    assert_equal(cells.load(str(tmp_path / "cell")), [cell])


def module_of(torch, kind, **options):
    torch.manual_seed(0)
    made = {"RNN": torch.nn.RNN, "GRU": torch.nn.GRU, "LSTM": torch.nn.LSTM}[kind]
    return made(FEATURES, UNITS, batch_first=True, dtype=torch.float64, **options)


MODULES = {
    "RNN": ("RNN", {}),
    "GRU, no bias": ("GRU", {"bias": False}),
    "LSTM": ("LSTM", {}),
    "GRU, layers of directions": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "LSTM, projection": ("LSTM", {"num_layers": 2, "proj_size": 1}),
}
every_module = pytest.mark.parametrize(("kind", "options"), MODULES.values(), ids=MODULES)
quiet = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


@every_module
@quiet
def test_what_pytorch_wrote_is_read(tmp_path, kind, options):
    torch = pytest.importorskip("torch", reason=TORCH)
    from safetensors.torch import save_file

    module = module_of(torch, kind, **options)
    save_file(module.state_dict(), tmp_path / "file")
    expected, _ = module(torch.from_numpy(X))
    found, _ = cells.run(cells.load(tmp_path / "file"), X)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_the_prefix_finds_one_part_of_a_model_that_pytorch_wrote(tmp_path):
    torch = pytest.importorskip("torch", reason=TORCH)
    from safetensors.torch import save_file

    parts = {"conv": torch.nn.Conv1d(1, 1, 1), "lstm": module_of(torch, "LSTM")}
    model = torch.nn.ModuleDict({**parts, "gru": module_of(torch, "GRU", num_layers=2)})
    save_file(model.state_dict(), tmp_path / "file")
    for prefix, kind, layers in [("lstm.", cells.LSTM, 1), ("gru.", cells.GRU, 2)]:
        found = cells.load(tmp_path / "file", prefix=prefix)
        assert [*map(type, found)] == [kind] * layers


@every_module
@quiet
def test_what_was_saved_is_read_by_pytorch(tmp_path, kind, options):
    torch = pytest.importorskip("torch", reason=TORCH)
    from safetensors.torch import load_file

    layers = cells.from_torch(module_of(torch, kind, **options))
    cells.save(layers, tmp_path / "file")
    module = module_of(torch, kind, **options)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    module.load_state_dict(load_file(tmp_path / "file"), strict=True)
    found, _ = module(torch.from_numpy(X))
    expected, _ = cells.run(cells.to(layers, np), X)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_single_bias_is_read_by_pytorch(tmp_path):
    torch = pytest.importorskip("torch", reason=TORCH)
    from safetensors.torch import load_file

    cell = replace(new(cells.GRU), bias_hh=None)
    cells.save(cell, tmp_path / "file")
    module = module_of(torch, "GRU")
    module.load_state_dict(load_file(tmp_path / "file"), strict=True)
    found, _ = module(torch.from_numpy(X))
    expected, _ = cells.run(cell, X)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


WHOLE = {"weight_ih_l0": zeros(8, 3), "weight_hh_l0": zeros(8, 2)}
UNREADABLE = {
    "holds nothing": ({}, "holds no weights; expected names such as `weight_ih_l0`"),
    "foreign name": (
        WHOLE | {"conv.weight": zeros(2)},
        "holds `conv.weight`; expected names such as `weight_ih_l0` only. Give the `prefix`",
    ),
    "foreign field": (WHOLE | {"gain_l0": zeros(8)}, "holds `gain_l0`, which LSTM does not have"),
    "peepholes of a GRU": (
        {"weight_ih_l0": zeros(6, 3), "weight_hh_l0": zeros(6, 2), "peepholes_l0": zeros(6)},
        "holds `peepholes_l0`, which GRU does not have",
    ),
    "no weight_hh": ({"weight_ih_l0": zeros(8, 3)}, "lacks `weight_hh_l0`"),
    "no weight_ih": ({"weight_hh_l0": zeros(8, 2)}, "lacks `weight_ih_l0`"),
    "no weight_hh backward": (
        WHOLE | {"weight_ih_l0_reverse": zeros(8, 3)},
        "lacks `weight_hh_l0_reverse`",
    ),
    "no first layer": (
        {"weight_ih_l1": zeros(8, 3), "weight_hh_l1": zeros(8, 2)},
        "lacks `weight_ih_l0`",
    ),
    "no second layer": (
        WHOLE | {"weight_ih_l2": zeros(8, 2), "weight_hh_l2": zeros(8, 2)},
        "lacks `weight_ih_l1`",
    ),
    "two gates": (
        {"weight_ih_l0": zeros(4, 3), "weight_hh_l0": zeros(4, 2)},
        "holds `weight_hh_l0` of shape (4, 2); expected 1, 3 or 4 times as many rows as units",
    ),
    "half a gate": (
        {"weight_ih_l0": zeros(7, 3), "weight_hh_l0": zeros(7, 2)},
        "holds `weight_hh_l0` of shape (7, 2); expected 1, 3 or 4 times as many rows as units",
    ),
    "one dimension": (
        {"weight_ih_l0": zeros(4, 3), "weight_hh_l0": zeros(4)},
        "holds `weight_hh_l0` of shape (4,); expected 1, 3 or 4 times as many rows as units",
    ),
    "no dimension": (
        {"weight_ih_l0": zeros(4, 3), "weight_hh_l0": zeros()},
        "holds `weight_hh_l0` of shape (); expected 1, 3 or 4 times as many rows as units",
    ),
    "another shape": (
        WHOLE | {"bias_ih_l0": zeros(7)},
        (
            "holds weights such as `weight_hh_l0` that make no LSTM: `LSTM.bias_ih` is an array of "
            "shape (7,) and dtype float64; expected the shape"
        ),
    ),
    "another dtype": (
        WHOLE | {"bias_ih_l0": zeros(8, dtype="float32")},
        (
            "that make no LSTM: `LSTM.bias_ih` is an array of shape (8,) and dtype float32; "
            "expected the dtype that goes with `LSTM.weight_hh` (4 gates of 2 units), float64"
        ),
    ),
    "integers": (
        {name: array.astype("int32") for name, array in WHOLE.items()},
        "of dtype int32; expected one of float16, float32, float64",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_makes_no_cell_is_refused(tmp_path, arrays, message):
    path = tmp_path / "file"
    numpy_files.save_file(arrays, path)
    with pytest.raises(ValueError, match=re.escape(f"`{path}` ") + ".*" + re.escape(message)):
        cells.load(path)


def test_a_prefix_that_nothing_has_is_named(tmp_path):
    cells.save(new(cells.GRU), tmp_path / "file")
    with pytest.raises(ValueError, match=r"file` under 'lstm\.' holds no weights; expected names"):
        cells.load(tmp_path / "file", prefix="lstm.")


METADATA = {
    "no JSON": ("LSTM", "holds metadata that are no JSON: Expecting value"),
    "list": ("[]", "holds the metadata []; expected an object with an object for each cell"),
    "number": ("3", "holds the metadata 3; expected an object with an object for each cell"),
    "number for a cell": (
        '{"cell_l0": 3}',
        'holds the metadata {"cell_l0": 3}; expected an object with an object for each cell',
    ),
    "no kind": ('{"cell_l0": {}}', "tells of `cell_l0`, of a kind that is not known here"),
    "unknown kind": (
        '{"cell_l0": {"kind": "TCN"}}',
        "tells of `cell_l0`, of a kind that is not known here",
    ),
    "list of kinds": (
        '{"cell_l0": {"kind": ["LSTM"]}}',
        "tells of `cell_l0`, of a kind that is not known here",
    ),
    "unknown setting": (
        '{"cell_l0": {"kind": "LSTM", "zoneout": 0.1}}',
        "tells of `cell_l0`, of a kind that is not known here",
    ),
    "weight among the settings": (
        '{"cell_l0": {"kind": "LSTM", "weight_ih": 1}}',
        "tells of `cell_l0`, of a kind that is not known here",
    ),
    "another kind": (
        '{"cell_l0": {"kind": "GRU"}}',
        (
            "that make no GRU: `GRU.weight_hh` is an array of shape (8, 2) and dtype float64; "
            "expected 6 rows: 3 gates of 2 units"
        ),
    ),
    "wrong setting": (
        '{"cell_l0": {"kind": "LSTM", "clip": -1}}',
        "that make no LSTM: `LSTM.clip` is -1; expected a number above 0, or None",
    ),
}


@pytest.mark.parametrize(("text", "message"), METADATA.values(), ids=METADATA)
def test_metadata_that_tell_of_no_cell_are_refused(tmp_path, text, message):
    path = tmp_path / "file"
    numpy_files.save_file(WHOLE, path, metadata={"arrayrnn": text})
    with pytest.raises(ValueError, match=re.escape(f"`{path}` ") + ".*" + re.escape(message)):
        cells.load(path)


def test_metadata_of_others_are_ignored(tmp_path):
    numpy_files.save_file(WHOLE, tmp_path / "file", metadata={"format": "pt"})
    assert isinstance(cells.load(tmp_path / "file")[0], cells.LSTM)


@pytest.fixture
def saved(tmp_path):
    """Return a path, and the bytes of the good file there."""
    cells.save(new(cells.GRU), tmp_path / "file")
    return tmp_path / "file", (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    "spoiled",
    [lambda _: b"", lambda whole: whole[:-9], lambda whole: whole[:20], lambda _: b"weights\n" * 9],
    ids=["empty", "truncated", "truncated header", "text"],
)
def test_what_is_no_safetensors_file_is_refused(saved, spoiled):
    path, whole = saved
    path.write_bytes(spoiled(whole))
    with pytest.raises(ValueError, match=re.escape(f"`{path}` cannot be read as safetensors: ")):
        cells.load(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        cells.load(tmp_path / "nowhere")


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(OSError, match=re.escape(f"`{path}` cannot be written: ")):
        cells.save(new(cells.GRU), path)


def test_what_is_no_cell_is_not_saved(saved):
    path, whole = saved
    with pytest.raises(TypeError, match="`cells` is of type dict; expected a cell, or a list"):
        cells.save({}, path)
    assert path.read_bytes() == whole


def test_a_dtype_that_numpy_lacks_is_not_saved(saved):
    torch = pytest.importorskip("torch", reason=TORCH)
    path, whole = saved
    cell = cells.to(new(cells.GRU), torch, dtype=torch.bfloat16)
    message = "`GRU.weight_ih` is .* dtype bfloat16; expected one of float16, float32, float64"
    with pytest.raises(TypeError, match=message):
        cells.save(cell, path)
    assert path.read_bytes() == whole


def test_a_dtype_that_numpy_lacks_is_not_read(tmp_path):
    torch = pytest.importorskip("torch", reason=TORCH)
    from safetensors.torch import save_file

    save_file(module_of(torch, "GRU").bfloat16().state_dict(), tmp_path / "file")
    # NumPy may know it from another package.
    message = (
        "file` (cannot be read as safetensors: .*bfloat16|holds .* of dtype bfloat16; expected)"
    )
    with pytest.raises(ValueError, match=message):
        cells.load(tmp_path / "file")


@pytest.mark.parametrize("when", ["writing", "replacing"])
def test_a_save_that_fails_leaves_the_old_file_and_no_other(saved, monkeypatch, when):
    path, whole = saved

    def fail(*_, **__):
        raise OSError("no space left")

    if when == "writing":

        def write_some(_, part, **__):
            part.write_bytes(whole[:9])
            fail()

        monkeypatch.setattr(numpy_files, "save_file", write_some)
    else:
        monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        cells.save(new(cells.LSTM), path)
    assert path.read_bytes() == whole
    assert [*path.parent.iterdir()] == [path]


def test_a_save_replaces_the_old_file_and_leaves_no_other(saved):
    path, _ = saved
    cells.save(new(cells.LSTM), path)
    assert isinstance(cells.load(path)[0], cells.LSTM)
    assert [*path.parent.iterdir()] == [path]


def test_the_metadata_tell_the_kind_and_settings_of_each_cell(tmp_path):
    from safetensors import safe_open

    cells.save([(None, new(cells.GRU, reset_after=False))], tmp_path / "file")
    with safe_open(tmp_path / "file", "numpy") as file:
        told = json.loads(file.metadata()["arrayrnn"])
    assert told == {
        "cell_l0_reverse": {
            "kind": "GRU",
            "clip": None,
            "reset_after": False,
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
        }
    }


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        ("_l1_reverse", "bias_hh_l1_reverse"),
        ("bias_hh_l1", "bias_hh_l1"),
        ("bias_ih_l0_reverse", "bias_ih_l0_reverse"),
    ],
)
def test_a_file_of_pytorch_that_lacks_a_weight_is_refused(tmp_path, left_out, named):
    from safetensors.numpy import save_file

    path, sizes = tmp_path / "module.safetensors", {"weight_hh": (12, 4), "bias_ih": 12}
    places = ("l0", "l0_reverse", "l1", "l1_reverse")
    arrays = {f"weight_ih_{place}": np.zeros((12, 8 if "1" in place else 3)) for place in places}
    for field, size in {**sizes, "bias_hh": 12}.items():
        arrays |= {f"{field}_{place}": np.zeros(size) for place in places}
    save_file(arrays, path)
    assert [len(layer) for layer in cells.load(path)] == [2, 2]
    save_file({name: a for name, a in arrays.items() if not name.endswith(left_out)}, path)
    message = f"lacks `{named}`; expected the same names in all layers and directions"
    with pytest.raises(ValueError, match=message):
        cells.load(path)


def test_a_file_that_lacks_a_cell_of_its_metadata_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = tmp_path / "cells.safetensors"
    layers = [cells.GRU.initialize(n, 4, like=np.zeros(0)) for n in (3, 4)]
    cells.save(layers, path)
    with safe_open(path, "numpy") as file:
        arrays = {n: file.get_tensor(n) for n in file.keys() if n.endswith("l0")}  # noqa: SIM118
        metadata = file.metadata()
    save_file(arrays, path, metadata)
    with pytest.raises(ValueError, match="lacks `weight_ih_l1`, of a cell that its metadata"):
        cells.load(path)
