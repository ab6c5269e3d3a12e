"""What some of the tests of loops ask for."""

import pytest

from support.backends import Backend


@pytest.fixture
def jax_only(backend):
    if backend is not Backend.JAX:
        pytest.skip("these tests are about JAX, and choose themselves what is traced")
