"""`cells.run` against `torch.nn.LSTM`, onnxruntime and Keras, on two threads; float32."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from arrayrnn import cells

THREADS = 2
REST = 0.03  # seconds
# Samples, timesteps, features, units.
SIZES = {
    "1 × 200 × 64→128": (1, 200, 64, 128),
    "32 × 200 × 64→128": (32, 200, 64, 128),
    "64 × 500 × 128→512": (64, 500, 128, 512),
}
LARGER = [*SIZES][1:]
KERAS = ("numpy", "jax", "torch")

of_size = pytest.mark.parametrize("size", SIZES)
of_larger_size = pytest.mark.parametrize("size", LARGER)
other = pytest.mark.parametrize("other", ["torch.nn.LSTM", "onnxruntime"])


@pytest.fixture(autouse=True)
def on_two_threads() -> Any:
    if os.environ["OMP_NUM_THREADS"] != str(THREADS):
        pytest.skip(f"needs ARRAYRNN_BENCH_THREADS={THREADS}, as `nox -s bench` sets it")
    torch.set_num_threads(THREADS)
    with torch.inference_mode():
        yield


def draw(size: str) -> tuple[Any, Any, Any]:
    """Return inputs, lengths, and a module."""
    samples, time, features, units = SIZES[size]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, time, features)).astype(np.float32)
    lengths = rng.integers(time // 4, time, samples, endpoint=True)
    lengths[0] = time
    torch.manual_seed(0)
    return x, lengths, torch.nn.LSTM(features, units, batch_first=True)


def contender(other: str, x: Any, module: Any) -> Callable[[], Any]:
    if other == "torch.nn.LSTM":
        given = torch.from_numpy(x)
        return lambda: module(given)[0]
    return in_onnxruntime(x, module)


def in_onnxruntime(x: Any, module: Any) -> Callable[[], Any]:
    """Return a call of an LSTM node with the weights of a module."""
    (cell,) = cells.to(cells.from_torch(module), np)
    order = (0, 3, 1, 2)  # i, f, g, o as i, o, f, c

    def gates(array: Any) -> Any:
        return np.concatenate([np.split(array, 4)[k] for k in order])

    bias = np.concatenate([gates(cell.bias_ih), gates(cell.bias_hh)])
    weights = {"W": gates(cell.weight_ih), "R": gates(cell.weight_hh), "B": bias}
    stored = [onnx.numpy_helper.from_array(w[None], name) for name, w in weights.items()]
    node = onnx.helper.make_node("LSTM", ["X", *weights], ["Y"], hidden_size=cell.units)
    given, found = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("X", (None, None, cell.features)), ("Y", (None, 1, None, cell.units)))
    )
    graph = onnx.helper.make_graph([node], "lstm", [given], [found], stored)
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    time_first = np.ascontiguousarray(x.swapaxes(0, 1))
    return lambda: session.run(None, {"X": time_first})[0][:, 0].swapaxes(0, 1)


def same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-5)


@of_size
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
def test_pytorch(compare: Any, size: str, ragged: bool) -> None:
    x, lengths, module = draw(size)
    given, layers = torch.from_numpy(x), cells.from_torch(module)
    of_torch = torch.from_numpy(lengths)

    def theirs() -> Any:
        if not ragged:
            return module(given)[0]
        packed = pack_padded_sequence(given, of_torch, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(module(packed)[0], batch_first=True)[0]

    def ours() -> Any:
        return cells.run(layers, given, input_length=of_torch if ragged else None)[0]

    same(ours(), theirs())
    name = f"torch.nn.LSTM  torch  lstm    {size}{', ragged' * ragged}"
    compare(name, ours, theirs, "≤ 1.05", rest=REST)


@of_larger_size
@other
def test_numpy(compare: Any, size: str, other: str) -> None:
    x, _, module = draw(size)
    layers, theirs = cells.to(cells.from_torch(module), np), contender(other, x, module)
    same(cells.run(layers, x)[0], theirs())
    name = f"{other:13}  numpy  lstm    {size}"
    compare(name, lambda: cells.run(layers, x)[0], theirs, "≤ 1.15", rest=REST)


@of_size
@other
def test_numpy_compiled(compare: Any, size: str, other: str) -> None:
    x, _, module = draw(size)
    layers, theirs = cells.to(cells.from_torch(module), np), contender(other, x, module)

    def ours() -> Any:
        return cells.run(layers, x, compiled=True)[0]

    same(ours(), theirs())
    compare(f"{other:13}  numpy  lstm    {size}, compiled", ours, theirs, "≤ 1.10", rest=REST)


@of_size
@pytest.mark.parametrize("keras", KERAS)
def test_keras(add_row: Any, size: str, keras: str) -> None:
    script = Path(__file__).with_name("keras_layer.py")
    command = [sys.executable, str(script), *map(str, SIZES[size])]
    environment = os.environ | {"KERAS_BACKEND": keras}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    ours, theirs = json.loads(shown.stdout.splitlines()[-1])
    name = f"Keras          {keras:5}  lstm    {size}"
    add_row(name, 1e3 * ours, 1e3 * theirs, "ms", 5, ours / theirs, "< 1")
