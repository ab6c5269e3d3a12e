"""An exported LSTM in onnxruntime, against NumPy's loop and onnxruntime's own LSTM operator."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ndonnx
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from arrayrnn import rnn
from workloads import Workload, assert_same, lstm, lstm_weights

masks = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
FEATURES = 64
UNITS = 2 * FEATURES
OUTPUTS = ["outputs", "h", "c"]


@masks
def test_against_numpy(masked: bool, compare: Any) -> None:
    case = lstm(np, features=FEATURES)
    feeds = feeds_of(case, masked)
    other = partial(run, case, **feeds)
    ours = session(exported(masked), feeds)
    assert_same(ours(), other())
    compare(label("NumPy", masked), ours, other)


@masks
def test_against_the_lstm_operator(masked: bool, compare: Any) -> None:
    feeds = feeds_of(lstm(np, features=FEATURES), masked)
    ours, other = (session(model(masked), feeds) for model in (exported, operator))
    assert_same(ours(), other())
    compare(label("operator", masked), ours, other)


def label(against: str, masked: bool) -> str:
    return f"{against:8}  onnx   lstm    {'masked' if masked else 'unmasked'}"


def feeds_of(case: Workload, masked: bool) -> dict[str, Any]:
    h, c = case.states
    lengths = {"lengths": case.mask.sum(axis=1, dtype=np.int32)} if masked else {}
    return {"x": case.inputs, "h0": h, "c0": c, **lengths}


def run(case: Workload, x: Any, h0: Any, c0: Any, lengths: Any = None) -> list[Any]:
    # Masked outputs are zeros, since the operator's are.
    zero = lengths is not None
    _, outputs, (h, c) = rnn(
        case.step, x, [h0, c0], input_length=lengths, zero_output_for_mask=zero
    )
    return [outputs, h, c]


def session(model: onnx.ModelProto, feeds: dict[str, Any]) -> Callable[[], list[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return partial(session.run, None, feeds)


def exported(masked: bool) -> onnx.ModelProto:
    """Export the LSTM of the workloads, samples and time open."""
    inputs = {
        "x": ndonnx.argument(shape=("samples", "time", FEATURES), dtype=ndonnx.float32),
        "h0": ndonnx.argument(shape=("samples", UNITS), dtype=ndonnx.float32),
        "c0": ndonnx.argument(shape=("samples", UNITS), dtype=ndonnx.float32),
    }
    if masked:
        inputs["lengths"] = ndonnx.argument(shape=("samples",), dtype=ndonnx.int32)
    results = run(lstm(ndonnx, features=FEATURES), **inputs)
    return ndonnx.build(inputs, dict(zip(OUTPUTS, results, strict=True)))


def operator(masked: bool) -> onnx.ModelProto:
    """Write the same LSTM with ONNX's operator for it, which is time-major."""
    kernel, recurrent, bias = lstm_weights(np, FEATURES, 2 * FEATURES)
    weights = {
        "W": in_order(kernel).T,
        "R": in_order(recurrent).T,
        "B": np.concat([in_order(bias), np.zeros_like(bias)]),
        "first axis": np.asarray([0]),
        "second axis": np.asarray([1]),
    }
    for name in "WRB":
        weights[name] = np.ascontiguousarray(weights[name])[None]
    lengths = "lengths" if masked else ""
    results = ["Y", "Y_h", "Y_c"]
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["X"], perm=[1, 0, 2]),
        node("Unsqueeze", ["h0", "first axis"], ["H"]),
        node("Unsqueeze", ["c0", "first axis"], ["C"]),
        node("LSTM", ["X", "W", "R", "B", lengths, "H", "C"], results, hidden_size=UNITS),
        node("Squeeze", ["Y", "second axis"], ["Y_1"]),
        node("Transpose", ["Y_1"], ["outputs"], perm=[1, 0, 2]),
        node("Squeeze", ["Y_h", "first axis"], ["h"]),
        node("Squeeze", ["Y_c", "first axis"], ["c"]),
    ]

    def value(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value("x", "samples", "time", FEATURES)]
    inputs += [value(name, "samples", UNITS) for name in ("h0", "c0")]
    if masked:
        inputs.append(value("lengths", "samples", kind=TensorProto.INT32))
    outputs = [value("outputs", "samples", "time", UNITS)]
    outputs += [value(name, "samples", UNITS) for name in ("h", "c")]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def in_order(gates: Any) -> Any:
    """Return the gates in the operator's order: input, output, forget, candidate."""
    forget, write, read, candidate = np.split(gates, 4, axis=-1)
    return np.concat([write, read, forget, candidate], axis=-1)
