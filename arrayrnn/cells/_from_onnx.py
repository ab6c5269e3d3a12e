"""Cells from the RNN, GRU and LSTM nodes of ONNX models."""

from os import PathLike
from typing import Any

import numpy as np

from arrayrnn._recurrence.errors import describe
from arrayrnn.cells._activations import Activation, read_activation
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._names import Layer
from arrayrnn.cells._simple_rnn import SimpleRNN

_KINDS: dict[str, type[Cell]] = {"RNN": SimpleRNN, "GRU": GRU, "LSTM": LSTM}
# Gates and peepholes of ONNX in the order of PyTorch's.
_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
_PEEPHOLES = (0, 2, 1)
# Fields in the order of ONNX's activations: f, g, h.
_ACTIVATIONS = {
    "RNN": ("activation",),
    "GRU": ("recurrent_activation", "activation"),
    "LSTM": ("recurrent_activation", "activation", "output_activation"),
}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_INPUTS = {"W": 1, "R": 2, "B": 3, "P": 7}


def from_onnx(model: Any, node: str | None = None) -> list[Layer]:
    """Return the cells of an RNN, GRU or LSTM node of an ONNX model, as NumPy arrays.

    Parameters
    ----------
    model : onnx.ModelProto, or path
        The weights have to be in it: stored, or computed from what is stored.
    node : str, optional
        Name of the node, or of one of its outputs; needed if there are several.

    Returns
    -------
    list of layers
        One layer: a cell, or a pair (forward, backward) of which the first may be None, as `run`
        takes them.

    Raises
    ------
    ValueError
        If there is no such node, or there are several; if weights are not in the model; if the node
        has an unknown activation, or couples its gates (``input_forget``).

    Notes
    -----
    What a node is given with each call is given to `run`: ``sequence_lens`` as `input_length`,
    ``initial_h`` and ``initial_c`` as `states`. With ``layout=0``, ONNX's default, time comes first
    in its inputs: ``time_major=True``. Its output ``(time, directions, samples, units)`` is
    ``(time, samples, directions * units)`` here.

    Examples
    --------
    >>> import numpy as np
    >>> from onnx import TensorProto, helper, numpy_helper
    >>> from arrayrnn import cells
    >>> node = helper.make_node("GRU", ["X", "W", "R"], ["Y"], hidden_size=4)
    >>> weights = {"W": np.ones((1, 12, 3), np.float32), "R": np.ones((1, 12, 4), np.float32)}
    >>> stored = [numpy_helper.from_array(weight, name) for name, weight in weights.items()]
    >>> x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XY")
    >>> model = helper.make_model(helper.make_graph([node], "model", [x], [y], stored))
    >>> cells.from_onnx(model)
    [GRU(features=3, units=4, float32, numpy)]
    """
    import onnx

    if not isinstance(model, onnx.ModelProto):
        if not isinstance(model, str | PathLike):
            raise TypeError(f"`model` is {describe(model)}; expected an onnx.ModelProto or a path.")
        model = onnx.load(model)
    found = _find(model, node)
    kind, path = found.op_type, f"{found.op_type} node {found.name or found.output[0]!r}"
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in found.attribute}
    if attributes.get("input_forget"):
        raise ValueError(f"{path} has input_forget = 1; expected 0: gates that are not coupled.")
    arrays = {
        field: _stored(model, found.input[k], f"`{field}` of {path}")
        for field, k in _INPUTS.items()
        if len(found.input) > k and found.input[k]
    }
    direction = attributes.get("direction", b"forward").decode()
    count = 2 if direction == "bidirectional" else 1
    names = [name.decode() for name in attributes.get("activations", ())]
    activations = _activations(names or _DEFAULTS[kind] * count, attributes, path)
    each = len(_DEFAULTS[kind])
    if len(activations) != count * each:
        raise ValueError(f"{path} has {len(activations)} activations; expected {count * each}.")
    cells = []
    for k in range(count):
        own = dict(zip(_ACTIVATIONS[kind], activations[k * each :], strict=False))
        settings: dict[str, Any] = {**own, "clip": attributes.get("clip")}
        if kind == "GRU":
            settings["reset_after"] = bool(attributes.get("linear_before_reset", 0))
        cells.append(_cell(kind, {name: a[k] for name, a in arrays.items()}, settings))
    if direction == "forward":
        return [cells[0]]
    return [(None, cells[0]) if direction == "reverse" else (cells[0], cells[1])]


def _cell(kind: str, arrays: dict[str, Any], settings: dict[str, Any]) -> Cell:
    fields = {"weight_ih": arrays["W"], "weight_hh": arrays["R"]}
    if "B" in arrays:
        fields |= dict(zip(("bias_ih", "bias_hh"), np.split(arrays["B"], 2), strict=True))
    fields = {name: _reordered(array, _GATES[kind]) for name, array in fields.items()}
    if "P" in arrays:
        fields["peepholes"] = _reordered(arrays["P"], _PEEPHOLES)
    return _KINDS[kind](**fields, **settings)


def _reordered(array: Any, order: tuple[int, ...]) -> Any:
    parts = np.split(array, len(order))
    return np.concatenate([parts[k] for k in order])


def _find(model: Any, name: str | None) -> Any:
    of_onnx = ("", "ai.onnx")  # domains
    nodes = [n for n in model.graph.node if n.op_type in _KINDS and n.domain in of_onnx]
    if name is not None:
        nodes = [node for node in nodes if name == node.name or name in node.output]
    if len(nodes) == 1:
        return nodes[0]
    wanted = "an RNN, GRU or LSTM node" + (f" called {name!r}" if name is not None else "")
    if not nodes:
        operations = ", ".join(sorted({node.op_type for node in model.graph.node})) or "nothing"
        raise ValueError(f"`model` holds no such node: expected {wanted}; it has {operations}.")
    shown = ", ".join(repr(node.name or node.output[0]) for node in nodes)
    raise ValueError(f"`model` holds {len(nodes)} such nodes; expected `node`, one of {shown}.")


def _activations(names: list[str], attributes: dict[str, Any], path: str) -> list[Activation]:
    """Return activations, each with the parameters that are next in line for it."""
    left = {name: [*attributes.get(f"activation_{name}", ())] for name in ("alpha", "beta")}
    found = []
    for k, name in enumerate(names):
        activation = read_activation(name, f"activations[{k}] of {path}")
        if not isinstance(activation, str):
            kind, *defaults = activation
            parameters = zip(left.values(), defaults, strict=False)
            activation = (kind, *(own.pop(0) if own else default for own, default in parameters))
        found.append(activation)
    return found


def _stored(model: Any, name: str, path: str) -> Any:
    """Return a tensor that is stored in the model, or computed from such only."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    needed, nodes, kept = [name], [], []
    makers = {output: node for node in model.graph.node for output in node.output}
    while needed:
        wanted = needed.pop()
        if wanted in stored:
            kept.append(stored[wanted])
        elif wanted in makers:
            if makers[wanted] not in nodes:
                nodes.append(makers[wanted])
                needed += [i for i in makers[wanted].input if i]
        else:
            raise ValueError(
                f"{path} depends on `{wanted}`, an input of the model; expected weights that are "
                "stored in it."
            )
    ordered = [node for node in model.graph.node if node in nodes]
    output = helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
    graph = helper.make_graph(ordered, "weights", [], [output], kept)
    versions = {"opset_imports": model.opset_import, "ir_version": model.ir_version}
    part = helper.make_model(graph, **versions)
    (value,) = ReferenceEvaluator(part).run(None, {})
    return value
