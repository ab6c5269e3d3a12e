"""
An LSTM as a model of ONNX
==========================

A step that is written once computes with arrays of NumPy, and becomes a model with arrays of
ndonnx, which have no values. The loop over time is then one ``Loop``: one file takes any number of
sequences of any lengths, and runs wherever ONNX does, without Python; here in onnxruntime.
"""

import tempfile
from pathlib import Path

import ndonnx
import numpy as np
import onnx
import onnxruntime
from array_api_compat import array_namespace

from arrayrnn import rnn

FEATURES, UNITS = 2, 24
rng = np.random.default_rng(1997)  # draws weights in place of those that training would give
shapes = (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)
weights = [0.4 * rng.standard_normal(shape, dtype=np.float32) for shape in shapes]

# %%
# One timestep of an LSTM, its four gates side by side. Operators and ``array_namespace`` let it run
# on every library.


def step(x_t, states):
    h, c, kernel, recurrent, bias = states
    xp = array_namespace(x_t)
    gates = x_t @ kernel + h @ recurrent + bias
    i, f, o = (1 / (1 + xp.exp(-gates[:, k * UNITS : (k + 1) * UNITS])) for k in range(3))
    c = f * c + i * xp.tanh(gates[:, 3 * UNITS :])
    h = o * xp.tanh(c)
    return h, [h, c]


def lstm(x, lengths):
    xp = array_namespace(x)
    # How many samples there are is open while a model is built: the zeros take it from `x`.
    zeros = xp.zeros_like(x[:, 0, :1]) + xp.zeros(UNITS, dtype=x.dtype)
    last, outputs, _ = rnn(step, x, [zeros, zeros], constants=weights, input_length=lengths)
    return last, outputs


# %%
# The export: axes with a name stay open, and lengths are an input of the model.

x = ndonnx.argument(shape=("samples", "time", FEATURES), dtype=ndonnx.float32)
lengths = ndonnx.argument(shape=("samples",), dtype=ndonnx.int64)
last, outputs = lstm(x, lengths)
model = ndonnx.build({"x": x, "lengths": lengths}, {"last": last, "outputs": outputs})
onnx.checker.check_model(model, full_check=True)

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "lstm.onnx"
    onnx.save(model, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
loops = sum(node.op_type == "Loop" for node in model.graph.node)
print(f"{loops} Loop; inputs", *(f"{given.name} {given.shape}" for given in session.get_inputs()))

# %%
# onnxruntime and NumPy run the LSTM over waves, each a little faster than the one before. Behind
# the end of each there is NaN, which no result may show.


def waves(samples, time):
    t, speeds = np.arange(time), np.linspace(0.1, 0.4, samples)[:, None]
    x = np.stack([np.sin(speeds * t), np.cos(speeds * t)], axis=2, dtype=np.float32)
    lengths = np.sort(rng.integers(1, time, size=samples, endpoint=True))
    x[t >= lengths[:, None]] = np.nan
    return x, lengths


differences = {}
for samples, time in ((1, 1), (3, 10), (5, 400), (80, 120)):
    x, lengths = waves(samples, time)
    last, outputs = session.run(["last", "outputs"], {"x": x, "lengths": lengths})
    last_here, outputs_here = lstm(x, lengths)
    largest = np.maximum(abs(last - last_here).max(), abs(outputs - outputs_here).max())
    differences[f"{samples} × {time}"] = largest

# %%
# One unit of the last run: behind its end, each sequence keeps its last output. The differences are
# those of rounding, in float32.

import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 4.5), width_ratios=[5, 2], layout="constrained"
)
drawn = left.imshow(outputs[:, :, 0], cmap="RdBu_r", vmin=-0.7, vmax=0.7, aspect="auto")
edges = np.arange(len(lengths) + 1) - 0.5
left.stairs(lengths - 0.5, edges, orientation="horizontal", baseline=None, color="black", lw=1.5)
left.set(title="output from onnxruntime, held behind the end", xlabel="timestep", ylabel="sequence")
figure.colorbar(drawn, ax=left, ticks=[-0.5, 0, 0.5], pad=0.01)
right.barh([*differences], [1e7 * d for d in differences.values()], height=0.6, color="0.6")
resolution = 1e7 * np.finfo(np.float32).eps
right.axvline(resolution, color="black", ls=":")
right.text(resolution + 0.15, 0, "resolution\nof float32", va="center", size=11)
_ = right.set(title="sequences × timesteps", xlabel="largest difference\nfrom NumPy [$10^{-7}$]")

# %%
# On a GPU
# --------
#
# Install ``onnxruntime-gpu`` in place of ``onnxruntime``, and name the GPU first:
# ``providers=["CUDAExecutionProvider", "CPUExecutionProvider"]``. The file stays the same. More is
# in :doc:`/guide/onnx`. A trained LSTM is exported from its :doc:`cells </guide/cells>`.
