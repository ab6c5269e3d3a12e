"""What the tests about ONNX share; where it is not installed, importing this skips them."""

from collections import Counter

import numpy as np
import optree
import pytest

ndonnx = pytest.importorskip("ndonnx", reason="these tests are about ONNX")
onnx = pytest.importorskip("onnx", reason="these tests are about ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="these tests run ONNX models")

__all__ = ["Exported", "assert_as_numpy", "check", "ndonnx", "normal", "onnx", "symbol"]


class Exported:
    """A function of arrays, as a model that was checked and is called with NumPy arrays."""

    def __init__(self, function, **arguments):
        leaves, self.spec = optree.tree_flatten(function(**arguments))
        outputs = {f"output_{k}": leaf for k, leaf in enumerate(leaves)}
        self.model = ndonnx.build(arguments, outputs)
        onnx.checker.check_model(self.model, full_check=True)
        self.session = onnxruntime.InferenceSession(
            self.model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def __call__(self, **arrays):
        return optree.tree_unflatten(self.spec, self.session.run(None, arrays))

    @property
    def nodes(self):
        return Counter(node.op_type for node in self.model.graph.node)

    @property
    def body(self):
        """Count the operators in the body of the only loop."""
        (loop,) = (node for node in self.model.graph.node if node.op_type == "Loop")
        (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
        return Counter(node.op_type for node in body.node)


def symbol(*shape, dtype="float32"):
    """Return an array without values; lengths may be numbers, names or None."""
    return ndonnx.argument(shape=shape, dtype=getattr(ndonnx, dtype))


def normal(*shape, dtype="float32"):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def assert_as_numpy(function, model, **arrays):
    """Assert that a model gives what its function gives on NumPy arrays."""
    found, spec = optree.tree_flatten(model(**arrays))
    expected, expected_spec = optree.tree_flatten(function(**arrays))
    assert spec == expected_spec
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        exact = one.dtype.kind not in "fc"
        np.testing.assert_allclose(one, other, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-6)


def check(function, symbols, **arrays):
    """Export a function and assert that its model gives what NumPy gives."""
    model = Exported(function, **symbols)
    assert_as_numpy(function, model, **arrays)
    return model
