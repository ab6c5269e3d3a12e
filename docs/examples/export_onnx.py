"""A masked LSTM as an ONNX model: one file for any number of sequences, of any lengths.

The step function is written once. NumPy arrays make the step compute. ndonnx arrays have no values:
`rnn` traces the step with them, and makes it the body of one ONNX `Loop`. The model then runs
wherever ONNX does, without Python; here in onnxruntime, compared with NumPy.

    python -m pip install '.[onnx]' onnxruntime
    python export_onnx.py                  # writes model.onnx
    python export_onnx.py lstm.onnx        # or another file
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ndonnx
import numpy as np
import onnx
import onnxruntime
from array_api_compat import array_namespace

from arrayrnn import rnn

Array = Any  # of NumPy or ndonnx

FEATURES, UNITS = 8, 16
RUNS = ((1, 1), (3, 10), (32, 50), (5, 400))  # numbers of samples and timesteps


class Weights(NamedTuple):
    """Weights of the four gates, side by side: input, forget, output, candidate."""

    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray


def draw_weights(rng: np.random.Generator) -> Weights:
    """Draw weights in place of those that training would give."""
    shapes = (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)
    return Weights(*(0.3 * rng.standard_normal(shape, dtype=np.float32) for shape in shapes))


def lstm_step(x: Array, states: tuple[Any, ...]) -> tuple[Array, list[Array]]:
    """One timestep of an LSTM."""
    h, c, w = states
    xp = array_namespace(x)
    gates = x @ w.kernel + h @ w.recurrent + w.bias
    i, f, o = (1 / (1 + xp.exp(-gates[:, k * UNITS : (k + 1) * UNITS])) for k in range(3))
    c = f * c + i * xp.tanh(gates[:, 3 * UNITS :])
    h = o * xp.tanh(c)
    return h, [h, c]


def lstm(x: Array, lengths: Array, weights: Weights) -> tuple[Array, Array]:
    """Run the LSTM over padded sequences; return its last output and all outputs."""
    xp = array_namespace(x)
    # The number of samples is unknown while tracing: `x` itself brings it when the model runs.
    zeros = xp.zeros_like(x[:, 0, :1]) + xp.zeros(UNITS, dtype=x.dtype)
    states, constants = [zeros, zeros], [weights]
    last, outputs, _ = rnn(lstm_step, x, states, constants=constants, input_length=lengths)
    return last, outputs


def export(weights: Weights) -> onnx.ModelProto:
    """Trace the LSTM, with the numbers of samples and timesteps left open."""
    x = ndonnx.argument(shape=("samples", "time", FEATURES), dtype=ndonnx.float32)
    lengths = ndonnx.argument(shape=("samples",), dtype=ndonnx.int64)
    last, outputs = lstm(x, lengths, weights)
    model = ndonnx.build({"x": x, "lengths": lengths}, {"last": last, "outputs": outputs})
    onnx.checker.check_model(model, full_check=True)
    return model


def padded(samples: int, time: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw sequences, with NaN behind the end of each, and their lengths."""
    x = rng.standard_normal((samples, time, FEATURES), dtype=np.float32)
    lengths = rng.integers(1, time, size=samples, endpoint=True)
    x[np.arange(time) >= lengths[:, None]] = np.nan
    return x, lengths


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the model, run it at several sizes, and print its differences from NumPy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    file = {"nargs": "?", "type": Path, "default": Path("model.onnx")}
    parser.add_argument("file", help="where to write the model, default: %(default)s", **file)
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(1997)
    weights = draw_weights(rng)
    model = export(weights)
    onnx.save(model, options.file)
    session = onnxruntime.InferenceSession(options.file, providers=["CPUExecutionProvider"])

    (opset,) = (entry.version for entry in model.opset_import)
    loops = sum(node.op_type == "Loop" for node in model.graph.node)
    print(f"model    LSTM of {UNITS} units on padded sequences, {loops} Loop, ONNX opset {opset}")
    print(f"file     {options.file}, {options.file.stat().st_size / 1e3:.1f} kB")
    for given in session.get_inputs():
        print(f"input    {given.name} ({', '.join(map(str, given.shape))})")

    print(f"\n{'samples':>8}{'timesteps':>12}{'lengths':>14}{'difference':>14}")
    for samples, time in RUNS:
        x, lengths = padded(samples, time, rng)
        found = session.run(["last", "outputs"], {"x": x, "lengths": lengths})
        expected = lstm(x, lengths, weights)
        largest = max(np.max(abs(a - b)) for a, b in zip(found, expected, strict=True))
        span = f"{lengths.min()} to {lengths.max()}"
        print(f"{samples:>8}{time:>12}{span:>14}{largest:>14.1e}")
    print("\ndifference: the largest between onnxruntime's outputs and NumPy's, in float32")


if __name__ == "__main__":
    main()
