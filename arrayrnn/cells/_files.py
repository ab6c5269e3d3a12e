"""Cells in safetensors files, under the names that PyTorch's modules have for their weights."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from arrayrnn._libraries.conversion import converted
from arrayrnn._recurrence.errors import describe, dtype_name
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._layers import Layers
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._names import Layer, expect_all_alike, in_layers, name_of, read_names
from arrayrnn.cells._simple_rnn import SimpleRNN

_KINDS: dict[str, type[Cell]] = {kind.__name__: kind for kind in (SimpleRNN, GRU, LSTM)}
_OF_GATES = {kind.gates: kind for kind in _KINDS.values()}
_DTYPES = ("float16", "float32", "float64")
_METADATA = "arrayrnn"  # what PyTorch's names do not tell, by the name of each cell


def save(cells: Any, path: str | os.PathLike[str]) -> None:
    """Write cells to a safetensors file, under the names that PyTorch has for their weights.

    ``module.load_state_dict(safetensors.torch.load_file(path))`` reads it into a module of PyTorch
    if that computes the same. A single bias is written with zeros for the other.

    Parameters
    ----------
    cells : cell, or list of layers
        As `run` takes them.
    path : path
        Where to write. A file that is there is replaced, once all has been written.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If something is no cell, or has no values that could be read, or a dtype that NumPy lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for k, layer in enumerate(Layers(cells).layers):
        for cell, _, goes_backwards in layer:
            place = (k, int(goes_backwards))
            found = {
                f: _values(a, cell.name_of(f))
                for f in cell.arrays
                if (a := getattr(cell, f)) is not None
            }
            if len({"bias_ih", "bias_hh"} & {*found}) == 1:
                zeros = np.zeros_like(found.get("bias_ih", found.get("bias_hh")))
                found = {"bias_ih": zeros, "bias_hh": zeros, **found}
            arrays |= {name_of(field, *place): values for field, values in found.items()}
            settings[name_of("cell", *place)] = {"kind": type(cell).__name__, **cell.settings}
    whole = Path(path)
    part = whole.with_name(f"{whole.name}.part")
    try:
        save_file(arrays, part, metadata={_METADATA: json.dumps(settings)})
        part.replace(whole)
    except SafetensorError as error:
        raise OSError(f"`{whole}` cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], *, prefix: str = "") -> list[Layer]:
    """Read cells from a safetensors file, written by `save` or from a module of PyTorch.

    Parameters
    ----------
    path : path
        The file.
    prefix : str, default: ''
        What the names of the weights begin with, in a file of a larger model: 'lstm.', say. Others
        are left out.

    Returns
    -------
    list of layers
        Of NumPy arrays, as `run` takes them; `to` makes other arrays of them. In a file that `save`
        did not write, the number of gates tells the kind of a cell, and the activations are those
        of PyTorch by default.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no safetensors file, or is incomplete; if its names or shapes are not those of
        cells.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from arrayrnn import cells
    >>> cell = cells.GRU.initialize(3, 4, like=np.zeros(0), reset_after=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.safetensors")
    ...     cells.save([cell], path)
    ...     (loaded,) = cells.load(path)
    >>> loaded.reset_after, bool((loaded.weight_ih == cell.weight_ih).all())
    (False, True)
    """
    from safetensors import SafetensorError, safe_open

    source = f"`{os.fspath(path)}`"
    try:
        with safe_open(path, "numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            arrays = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, TypeError) as error:  # TypeError: a dtype that NumPy does not have
        raise ValueError(f"{source} cannot be read as safetensors: {error}") from error
    known = _settings(metadata.get(_METADATA, "{}"), source)
    if prefix:
        source += f" under {prefix!r}"
    cells, places = {}, read_names(arrays, source)
    if known:
        _expect_cells(places, known, source)
    else:
        expect_all_alike(places, source)
    for place, found in places.items():
        for field, array in found.items():
            if str(array.dtype) not in _DTYPES:
                raise ValueError(
                    f"{source} holds `{name_of(field, *place)}` of dtype {array.dtype}; expected "
                    f"one of {', '.join(_DTYPES)}."
                )
        name = name_of("cell", *place)
        kind, settings = known[name] if name in known else (_kind(found, source, place), {})
        if unknown := {*found} - {*kind.arrays}:
            field = name_of(min(unknown), *place)
            raise ValueError(f"{source} holds `{field}`, which {kind.__name__} does not have.")
        try:
            cells[place] = kind(**found, **settings)
        except (TypeError, ValueError) as error:
            weights = f"weights such as `{name_of('weight_hh', *place)}`"
            made = f"{source} holds {weights} that make no {kind.__name__}"
            raise ValueError(f"{made}: {error}") from error
    return in_layers(cells)


def _expect_cells(places: Any, known: dict[str, Any], source: str) -> None:
    """Expect weights of all cells that the metadata tell of."""
    missing = {*known} - {name_of("cell", *place) for place in places}
    if missing:
        name = min(missing).replace("cell", "weight_ih", 1)
        raise ValueError(f"{source} lacks `{name}`, of a cell that its metadata tell of.")


def _values(array: Any, name: str) -> Any:
    """Return the values of a weight as NumPy has them; `name` is that of the field."""
    if dtype_name(array.dtype).lower() not in _DTYPES:
        raise TypeError(
            f"`{name}` is {describe(array)}; expected one of {', '.join(_DTYPES)}. `cells.to` "
            "converts cells."
        )
    return np.ascontiguousarray(converted(array, np, device=None, dtype=None))


def _kind(found: dict[str, Any], source: str, place: tuple[int, int]) -> type[Cell]:
    """Tell the kind of a cell by its number of gates."""
    weight, projection = found["weight_hh"], found.get("weight_hr")
    units = (0, *(weight if projection is None else projection).shape)[-1]
    gates, rest = divmod(weight.shape[0], units) if units and weight.ndim == 2 else (0, 0)
    if rest or gates not in _OF_GATES:
        raise ValueError(
            f"{source} holds `{name_of('weight_hh', *place)}` of shape {weight.shape}; expected 1, "
            "3 or 4 times as many rows as units: those of a SimpleRNN, GRU or LSTM."
        )
    return _OF_GATES[gates]


def _settings(text: str, source: str) -> dict[str, tuple[type[Cell], dict[str, Any]]]:
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} holds metadata that are no JSON: {error}") from error
    if not isinstance(told, dict) or not all(isinstance(own, dict) for own in told.values()):
        raise ValueError(
            f"{source} holds the metadata {text}; expected an object with an object for each cell."
        )
    found = {}
    for name, settings in told.items():
        kind = _KINDS.get(str(settings.pop("kind", None)))
        known = set() if kind is None else {f.name for f in fields(kind)} - {*kind.arrays}
        if kind is None or {*settings} - known:
            raise ValueError(f"{source} tells of `{name}`, of a kind that is not known here.")
        found[name] = kind, settings
    return found
