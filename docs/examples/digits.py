"""An LSTM trained with PyTorch, and run on NumPy, on JAX, and in onnxruntime.

It reads the handwritten digits that scikit-learn ships, 8 × 8 pixels, row by row: 8 timesteps of 8
features. The file that PyTorch's model is saved to is all that the others are given.

    python docs/examples/digits.py [--epochs 30] [--folder .]

needs torch, scikit-learn, safetensors, jax, ndonnx and onnxruntime.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from arrayrnn import cells

UNITS = 64


def read_digits() -> list[Any]:
    """Return the rows of images to train on and to test with, and which digits they show."""
    images, digits = load_digits(return_X_y=True)
    rows = images.reshape(-1, 8, 8).astype(np.float32) / 16  # (samples, time, features)
    split: list[Any] = train_test_split(rows, digits, random_state=0, stratify=digits)
    return split


def train(rows: Any, digits: Any, epochs: int, path: Path) -> Any:
    """Train a model of PyTorch, save its weights, and return it."""
    import torch
    from safetensors.torch import save_file

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(8, UNITS, batch_first=True)
            self.readout = torch.nn.Linear(UNITS, 10)

        def forward(self, rows: Any) -> Any:
            outputs, _ = self.lstm(rows)
            return self.readout(outputs[:, -1])

    torch.manual_seed(0)
    model, x, y = Model(), torch.from_numpy(rows), torch.from_numpy(digits)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    save_file(model.state_dict(), path)
    return model.eval()


def load(path: Path) -> tuple[Any, Any, Any]:
    """Return what a model consists of, as NumPy arrays."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    return cells.load(path, prefix="lstm."), arrays["readout.weight"], arrays["readout.bias"]


def scores(model: tuple[Any, Any, Any], rows: Any) -> Any:
    """Return a score for each digit, ``(samples, 10)``, on the library of the arrays."""
    layers, weight, bias = model
    _, (h, _) = cells.run(layers, rows)
    return h[-1, ...] @ array_api_compat.array_namespace(rows).matrix_transpose(weight) + bias


def on_numpy(model: Any, rows: Any) -> Any:
    """Return the scores, computed by NumPy."""
    return scores(model, rows)


def on_jax(model: Any, rows: Any) -> Any:
    """Return the scores, computed by a program that JAX compiles: cells are its arguments."""
    import jax

    return jax.jit(scores)(cells.to(model, jax.numpy), jax.numpy.asarray(rows))


def in_onnxruntime(model: Any, rows: Any, path: Path) -> Any:
    """Return the scores, computed from a file of ONNX that takes any number of samples."""
    import ndonnx
    import onnx
    import onnxruntime

    x = ndonnx.argument(shape=("samples", 8, 8), dtype=ndonnx.float32)
    onnx.save(ndonnx.build({"rows": x}, {"scores": scores(cells.to(model, ndonnx), x)}), path)
    return onnxruntime.InferenceSession(path).run(None, {"rows": rows})[0]


def main() -> None:
    """Train, run everywhere, and print how many digits are recognised."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the weights are written")
    asked = parser.parse_args()
    rows, test_rows, digits, test_digits = read_digits()
    weights = asked.folder / "digits.safetensors"

    start = time.perf_counter()
    trained = train(rows, digits, asked.epochs, weights)
    print(f"trained on {len(rows)} digits in {time.perf_counter() - start:.1f} s")

    def report(name: str, scores: Any) -> None:
        right = np.asarray(scores).argmax(axis=1) == test_digits
        print(f"{name:12} {right.mean():.2%} of {len(right)} digits")

    import torch

    with torch.inference_mode():
        report("PyTorch", trained(torch.from_numpy(test_rows)))
    model = load(weights)
    report("NumPy", on_numpy(model, test_rows))
    report("JAX", on_jax(model, test_rows))
    report("onnxruntime", in_onnxruntime(model, test_rows, asked.folder / "digits.onnx"))


if __name__ == "__main__":
    main()
