"""What a stranger does first with the installed wheel. Run it from outside the checkout."""

import sys
from importlib import metadata

import numpy as np

import arrayrnn
from arrayrnn import cells

LIBRARIES = {"array_api_strict", "cupy", "dask", "dpnp", "jax", "ndonnx", "tensorflow", "torch"}


def main() -> None:
    assert not LIBRARIES & set(sys.modules), "importing arrayrnn imports an array library"
    version = metadata.version("arrayrnn")
    assert version == arrayrnn.__version__

    files = metadata.files("arrayrnn")
    assert files
    assert {file.parts[0] for file in files} == {"arrayrnn", f"arrayrnn-{version}.dist-info"}
    assert "arrayrnn/py.typed" in map(str, files)

    def running_sum(x, states):
        total = states[0] + x
        return total, [total]

    inputs = np.ones((2, 3, 1))
    mask = np.array([[True, True, True], [True, False, True]])
    last, outputs, states = arrayrnn.rnn(running_sum, inputs, [np.zeros((2, 1))], mask=mask)
    np.testing.assert_array_equal(outputs[..., 0], [[1, 2, 3], [1, 1, 2]])
    np.testing.assert_array_equal(last, states[0])

    lstm = cells.LSTM.initialize(1, 2, like=inputs, seed=0)
    outputs, (h, c) = cells.run([lstm], inputs, input_length=[3, 1])
    assert outputs.shape == (2, 3, 2)
    assert h.shape == c.shape == (1, 2, 2)
    assert not outputs[1, 1:].any()
    assert not LIBRARIES & set(sys.modules), "running on NumPy imports another array library"
    print(f"arrayrnn {version} works from {arrayrnn.__file__}")


if __name__ == "__main__":
    main()
