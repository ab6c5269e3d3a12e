"""
Digits: trained in PyTorch, run on NumPy and JAX
================================================

An LSTM reads handwritten digits from top to bottom. It is trained in PyTorch; NumPy and JAX get no
more than the file that its weights are saved to. The digits are those that scikit-learn ships, of
8 × 8 pixels: 8 timesteps of 8 features.
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from arrayrnn import cells, rnn

data = load_digits()
images = (data.images / 16).astype(np.float32)  # (samples, time, features)
split = train_test_split(images, data.target, random_state=0, stratify=data.target)
images, test_images, digits, test_digits = split

# %%
# The model in PyTorch scores the ten digits after each row, and learns from the scores at the end.

torch.manual_seed(0)
torch.set_num_threads(1)  # batches this small gain nothing from more
lstm, readout = torch.nn.LSTM(8, 64, batch_first=True), torch.nn.Linear(64, 10)
module = torch.nn.ModuleDict({"lstm": lstm, "readout": readout})
optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
x, y = torch.from_numpy(images), torch.from_numpy(digits)
for _ in range(20):
    for batch in torch.randperm(len(x)).split(64):
        optimiser.zero_grad()
        outputs, _ = lstm(x[batch])
        torch.nn.functional.cross_entropy(readout(outputs[:, -1]), y[batch]).backward()
        optimiser.step()

with torch.inference_mode():
    found = {"PyTorch": readout(lstm(torch.from_numpy(test_images))[0]).numpy()}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "digits.safetensors"
    save_file(module.state_dict(), file)
    (cell,), arrays = cells.load(file, prefix="lstm."), load_file(file)
model = cell, arrays["readout.weight"], arrays["readout.bias"]

# %%
# A cell is a step. This one calls it, and scores the digits; its states are those of the cell.


def scores(model, images):
    cell, weight, bias = model

    def step(row, states):
        h, states = cell(row, states)
        return h @ weight.T + bias, states

    _, outputs, _ = rnn(step, images, cell.initial_states(images))
    return outputs  # (samples, time, digits)


# %%
# JAX compiles the same function, the loop as one ``lax.scan``. :func:`arrayrnn.cells.to` takes the
# model to another library.

found["NumPy"] = scores(model, test_images)
on_jax = cells.to(model, jax.numpy), jax.numpy.asarray(test_images)
found["JAX"] = np.asarray(jax.jit(scores)(*on_jax))

for name, scored in found.items():
    right = scored[:, -1].argmax(axis=1) == test_digits
    largest = abs(scored - found["PyTorch"]).max()
    print(f"{name:8} {right.mean():.2%} of {len(right)} digits, within {largest:.0e} of PyTorch")

# %%
# Of the digits that it reads right, on the left the one where it changes its mind most often on
# the way down; on the right its mistakes.

import matplotlib.pyplot as plt

shares = np.exp(found["NumPy"])
shares /= shares.sum(axis=2, keepdims=True)
said = shares.argmax(axis=2)  # (samples, time)
changes = (said[:, 1:] != said[:, :-1]).sum(axis=1)
hard, wrong = (changes * right).argmax(), np.flatnonzero(~right)

figure = plt.figure(figsize=(10, 4.5), layout="constrained")
left, mistakes = figure.subfigures(1, 2, width_ratios=[3, 2])
image, mind = left.subplots(1, 2, sharey=True, width_ratios=[10, 9])
image.imshow(test_images[hard], cmap="gray_r", aspect="auto")
image.set(xticks=[], yticks=range(8), yticklabels=range(1, 9), ylabel="row")
mind.imshow(shares[hard], cmap="Oranges", vmin=0, vmax=1.4, aspect="auto")
mind.set(xticks=range(10), xlabel="digit", title="what it reads so far [%]")
for row, digit in enumerate(said[hard]):
    percent = f"{100 * shares[hard, row, digit]:.0f}"
    mind.text(digit, row, percent, ha="center", va="center", size=12)
mistakes.suptitle(f"{len(wrong)} of {len(right)} misread:")
for place, k in enumerate(wrong):
    panel = mistakes.add_subplot(-(-len(wrong) // 4), 4, place + 1)
    panel.imshow(test_images[k], cmap="gray_r")
    panel.set_title(f"{test_digits[k]} as {said[k, -1]}", size=11)
    panel.axis("off")

# %%
# On a GPU
# --------
#
# In PyTorch, move ``module``, ``x``, ``y`` and the test images with ``.to("cuda")``, and the scores
# back with ``.cpu()``. CuPy is used as JAX is, without ``jit``: ``scores(cells.to(model, cupy),
# cupy.asarray(test_images))``. JAX takes the GPU that it finds.
