"""The gallery's script about digits trains an LSTM, which reads as well on every library."""

import ndonnx
import numpy as np
import onnxruntime
import pytest
import torch

from arrayrnn import cells
from support.gallery import computed


@pytest.fixture(scope="module")
def digits():
    threads = torch.get_num_threads()
    yield computed("digits")
    torch.set_num_threads(threads)


def accuracy(digits, scored):
    return (scored[:, -1].argmax(axis=1) == digits["test_digits"]).mean()


def test_the_accuracy_is_the_same_everywhere(digits):
    found = {name: accuracy(digits, scored) for name, scored in digits["found"].items()}
    assert {*found} == {"PyTorch", "NumPy", "JAX"}
    assert len({*found.values()}) == 1
    assert found["NumPy"] > 0.9


def test_the_scores_are_the_same_everywhere(digits):
    for scored in digits["found"].values():
        np.testing.assert_allclose(scored, digits["found"]["PyTorch"], rtol=1e-4, atol=1e-4)


def test_the_same_function_exports_a_model_for_any_number_of_images(digits):
    x = ndonnx.argument(shape=("samples", 8, 8), dtype=ndonnx.float32)
    scored = digits["scores"](cells.to(digits["model"], ndonnx), x)
    model = ndonnx.build({"images": x}, {"scores": scored}).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scored,) = session.run(None, {"images": digits["test_images"]})
    assert accuracy(digits, scored) == accuracy(digits, digits["found"]["NumPy"])
