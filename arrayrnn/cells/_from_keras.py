"""Cells from layers of Keras 3 and of tf-keras, whichever made them."""

import sys
from typing import Any

import numpy as np

from arrayrnn._recurrence.errors import describe
from arrayrnn.cells._activations import Activation, activated, read_activation
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._names import Layer
from arrayrnn.cells._simple_rnn import SimpleRNN

_KINDS: dict[str, type[Cell]] = {"SimpleRNNCell": SimpleRNN, "GRUCell": GRU, "LSTMCell": LSTM}
# Gates of Keras in the order of PyTorch's: Keras has z before r.
_GATES = {SimpleRNN: (0,), GRU: (1, 0, 2), LSTM: (0, 1, 2, 3)}
# What layers may have been given; that of the same name differs between versions.
_ACTIVATIONS: tuple[Activation, ...] = (
    "tanh",
    "sigmoid",
    "relu",
    ("affine", 1.0, 0.0),
    ("hardsigmoid", 1 / 6, 0.5),
    ("hardsigmoid", 0.2, 0.5),
    ("hardsigmoid", 0.5, 0.5),
    "elu",
    "softplus",
    "softsign",
    ("leakyrelu", 0.2),
    ("leakyrelu", 0.3),
    ("leakyrelu", 0.01),
)
# Far from zero, too, or what is bounded there (relu6) passes for what is not.
_PROBE = np.concatenate([np.linspace(-4, 4, 33), [-100, -10, 10, 100]]).astype(np.float32)
_EXPECTED = (
    "expected a layer SimpleRNN, GRU, LSTM, RNN of their cells, or Bidirectional of one of these"
)


def from_keras(layer: Any) -> list[Layer]:
    """Return the cells of a recurrent layer of Keras, with its weights as NumPy arrays.

    Parameters
    ----------
    layer : keras.layers.SimpleRNN, GRU, LSTM, RNN or Bidirectional
        Of Keras 3, on any backend, or of tf-keras; ``RNN`` of their cells, or of several that are
        stacked. It has to be built.

    Returns
    -------
    list of layers
        Each a cell, or a pair (forward, backward), as `run` takes them. A layer that goes backwards
        becomes the pair (None, backward): `run` gives its outputs in the order of the inputs, where
        Keras gives them in the order computed.

    Raises
    ------
    TypeError
        If it is another layer, or has other cells.
    ValueError
        If it has no weights yet, or an activation that ONNX has no name for; if it merges its
        directions other than by 'concat', or stacks cells in each of them.

    Notes
    -----
    Dropout, and what a layer does between calls or returns, is left out: this is what ``layer(x,
    training=False)`` computes with ``return_sequences=True``. At masked timesteps Keras repeats the
    previous output, as `run` does with ``zero_output_for_mask=False``; ``Bidirectional`` gives
    zeros, as `run` does by default.

    Examples
    --------
    >>> import keras
    >>> from arrayrnn import cells
    >>> layer = keras.layers.LSTM(4, go_backwards=True)
    >>> layer.build((None, None, 3))
    >>> cells.from_keras(layer)
    [(None, LSTM(features=3, units=4, float32, numpy))]
    """
    if not _is_own(layer):
        raise TypeError(f"`layer` is {describe(layer)}, with a `call` of its own; {_EXPECTED}.")
    if hasattr(layer, "forward_layer") and hasattr(layer, "backward_layer"):
        if layer.merge_mode != "concat":
            raise ValueError(
                f"`layer.merge_mode` is {layer.merge_mode!r}; expected 'concat'. Take the cells "
                "of `layer.forward_layer` and `layer.backward_layer`, and merge what they give."
            )
        if layer.forward_layer.go_backwards:
            raise ValueError(
                "`layer.forward_layer.go_backwards` is True; expected False. Take the cells of "
                "`layer.forward_layer` and `layer.backward_layer`."
            )
        return _both(layer.forward_layer, layer.backward_layer)
    cells = _cells(layer, "layer")
    return [(None, cell) for cell in cells] if layer.go_backwards else [*cells]


def _is_own(layer: Any) -> bool:
    """Tell whether it is Keras's own, since what others make of its layers is not known."""
    defined_in = getattr(getattr(type(layer), "call", None), "__module__", "")
    return str(defined_in).partition(".")[0] in ("keras", "tf_keras")


def _both(forward: Any, backward: Any) -> list[Layer]:
    one, other = _cells(forward, "layer.forward_layer"), _cells(backward, "layer.backward_layer")
    if len(one) > 1 or len(other) > 1:
        # Keras runs all of one direction before the directions meet; `run` joins each layer's.
        raise ValueError(
            f"`layer` has {len(one)} stacked cells in one direction; expected one cell in each. "
            "Take the cells of `layer.forward_layer` and `layer.backward_layer`."
        )
    return [(one[0], other[0])]


def _cells(layer: Any, path: str) -> list[Cell]:
    cell = getattr(layer, "cell", None)
    if cell is None:
        raise TypeError(f"`{path}` is {describe(layer)}; {_EXPECTED}.")
    if type(cell).__name__ == "StackedRNNCells":
        return [_cell(own, f"{path}.cell.cells[{k}]") for k, own in enumerate(cell.cells)]
    return [_cell(cell, f"{path}.cell")]


def _cell(cell: Any, path: str) -> Cell:
    kind = _KINDS.get(type(cell).__name__) if _is_own(cell) else None
    if kind is None:
        raise TypeError(f"`{path}` is {describe(cell)}; {_EXPECTED}.")
    if getattr(cell, "kernel", None) is None:
        raise ValueError(
            f"`{path}` has no weights yet; expected a built layer. Call it on inputs once, or its "
            "`build`."
        )
    fields: dict[str, Any] = {
        "weight_ih": _gates(cell.kernel, kind).T,
        "weight_hh": _gates(cell.recurrent_kernel, kind).T,
        "activation": _activation(cell, "activation", path),
    }
    if kind is not SimpleRNN:
        fields["recurrent_activation"] = _activation(cell, "recurrent_activation", path)
    if kind is LSTM:
        fields["output_activation"] = fields["activation"]
    if kind is GRU:
        fields["reset_after"] = bool(cell.reset_after)
    if cell.use_bias:
        bias = _gates(cell.bias, kind)
        # Two rows with `reset_after`: of the inputs, and of the state.
        rows = bias if bias.ndim == 2 else [bias]
        fields |= dict(zip(("bias_ih", "bias_hh"), rows, strict=False))
    return kind(**{field: _owned(value) for field, value in fields.items()})


def _owned(value: Any) -> Any:
    return np.array(value, order="C") if isinstance(value, np.ndarray) else value


def _gates(variable: Any, kind: type[Cell]) -> "np.ndarray[Any, Any]":
    """Return a weight ``(..., gates * units)`` with the gates in our order."""
    # Where it has a method of this name, it is TensorFlow's; Keras's own `numpy` warns on NumPy 2.
    values = _on_host(variable if callable(variable.value) else variable.value)
    parts = np.split(values, kind.gates, axis=-1)
    return np.concatenate([parts[k] for k in _GATES[kind]], axis=-1)


def _on_host(values: Any) -> "np.ndarray[Any, Any]":
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values.numpy() if hasattr(values, "numpy") else values)


def _activation(cell: Any, field: str, path: str) -> Activation:
    """Find out which activation a function is, by what it computes."""
    function, path = getattr(cell, field), f"{path}.{field}"
    # Some take tensors only. The library is there already: it made the layer.
    if callable(cell.kernel.value):
        probe = sys.modules["tensorflow"].convert_to_tensor(_PROBE)
    else:
        probe = sys.modules["keras"].ops.convert_to_tensor(_PROBE)
    with np.errstate(all="ignore"):  # of other functions, on the backend that is NumPy
        values = _on_host(function(probe))
    for candidate in _ACTIVATIONS:
        activation = read_activation(candidate, path)
        expected: Any = activated(np, activation, _PROBE)
        if np.allclose(expected, values, rtol=1e-4, atol=1e-5):
            return activation
    name = getattr(function, "__name__", type(function).__name__)
    known = ", ".join(str(candidate) for candidate in _ACTIVATIONS)
    raise ValueError(
        f"`{path}` is {name}; expected one that computes what one of ONNX does: {known}."
    )
