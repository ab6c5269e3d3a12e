"""What the tests about PyTorch ask for."""

import numpy as np
import pytest

from arrayrnn import rnn


@pytest.fixture
def torch_only(backend):
    if backend.library != "torch":
        pytest.skip("these tests are about PyTorch")


@pytest.fixture
def tensor(backend):
    """Make tensors on the device under test."""
    torch = backend.module

    def tensor(values, dtype=torch.float64, **options):
        return torch.tensor(values, dtype=dtype, device=backend.device, **options)

    return tensor


@pytest.fixture
def randn(backend):
    """Draw tensors, the same for the same shape."""
    torch = backend.module

    def randn(*shape, dtype=torch.float64, **options):
        drawn = np.random.default_rng(shape).standard_normal(shape)
        return torch.tensor(drawn, dtype=dtype, device=backend.device, **options)

    return randn


@pytest.fixture
def masked_run(randn):
    """A run as a function of the inputs and the mask."""
    from support.on_torch import decaying

    h = randn(3, 2)
    return lambda x, mask: rnn(decaying, x, [h], mask=mask)[1]
