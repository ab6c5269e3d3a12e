"""Prints in JSON how long a layer of Keras takes, called eagerly, and `cells.run` in its place.

KERAS_BACKEND says which Keras; both are given arrays of its backend.
"""

import json
import statistics
import sys
from typing import Any

import array_api_compat
import keras
import numpy as np

from arrayrnn import cells
from timing import seconds

ROUNDS = 5


def main() -> None:
    samples, time, features, units = map(int, sys.argv[1:])
    drawn = np.random.default_rng(0).normal(size=(samples, time, features)).astype(np.float32)
    x = keras.ops.convert_to_tensor(drawn)
    layer = keras.layers.LSTM(units, return_sequences=True)
    expected = layer(x)
    xp = array_api_compat.array_namespace(x)
    layers = cells.to(cells.from_keras(layer), xp)

    def ours() -> Any:
        return finished(cells.run(layers, x)[0])

    def theirs() -> Any:
        return finished(layer(x, training=False))

    without_gradients(xp)
    difference = keras.ops.convert_to_numpy(expected) - keras.ops.convert_to_numpy(ours())
    assert np.abs(difference).max() < 1e-5
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    print(json.dumps([statistics.median(times) for times in zip(*pairs, strict=True)]))


def finished(array: Any) -> Any:
    """Wait for an array of JAX."""
    return array.block_until_ready() if hasattr(array, "block_until_ready") else array


def without_gradients(xp: Any) -> None:
    """Let PyTorch keep nothing for gradients."""
    if array_api_compat.is_torch_namespace(xp):
        import torch

        torch.set_grad_enabled(False)


if __name__ == "__main__":
    main()
