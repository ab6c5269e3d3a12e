"""What the tests about PyTorch share; where it is not installed, importing this skips them."""

import numpy as np
import pytest

from support.backends import release

torch = pytest.importorskip("torch", reason="these tests are about PyTorch")
dynamo = pytest.importorskip("torch._dynamo")
counting = pytest.importorskip("torch._dynamo.testing")

__all__ = [
    "MASK",
    "OTHER_MASK",
    "counting",
    "decaying",
    "dynamo",
    "in_one_graph",
    "quiet_about_caches",
    "quiet_about_script",
    "quiet_about_shapes",
    "torch",
]

# docs/libraries.md says what becomes of such calls before.
in_one_graph = pytest.mark.skipif(
    release(torch) < (2, 10), reason="Dynamo takes nests apart from PyTorch 2.10 on"
)
# What PyTorch says about itself.
quiet_about_script = pytest.mark.filterwarnings(r"ignore:`torch.jit.\w+` is deprecated")
quiet_about_shapes = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
# Which is array-api-compat's matter, and comes once for each of its cached functions.
quiet_about_caches = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")


def decaying(x_t, states):
    """Compute a smooth step whose output is not its state."""
    (h,) = states
    h = torch.tanh(0.5 * h + x_t)
    return 2 * h, [h]


MASK = np.asarray([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)
OTHER_MASK = np.asarray([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 0, 1, 0]], dtype=bool)
