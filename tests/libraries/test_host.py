"""`host.read` brings values to the host where that can be done, and else says that it cannot."""

from types import ModuleType

import numpy as np
import pytest

from arrayrnn._libraries import host
from support.abilities import Ability


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("values", [[0, 1, 2], [7], []], ids=str)
def test_values_of_every_library_are_read(backend, xp, values, dtype):
    read = host.read(xp, backend.array(np.asarray(values, dtype=dtype), dtype))
    assert isinstance(read, np.ndarray)
    assert read.tolist() == values


def test_numpys_own_values_are_not_copied():
    values = np.arange(3)
    assert host.read(np, values) is values


@pytest.fixture
def torch(backend):
    if backend.library != "torch":
        pytest.skip("this test is about PyTorch")
    import torch

    return torch


@pytest.fixture
def counts(torch, device):
    return torch.tensor([1, 2], device=device)


def test_a_tensor_that_requires_no_copy_is_read_while_gradients_are_recorded(torch, xp, counts):
    with torch.enable_grad():
        assert host.read(xp, counts).tolist() == [1, 2]


def test_a_meta_tensor_has_no_values(torch, xp):
    assert host.read(xp, torch.empty(2, dtype=torch.uint8, device="meta")) is None


@pytest.mark.parametrize("shape_env", [False, True], ids=["", "with symbols"])
def test_a_fake_tensor_has_no_values(torch, xp, counts, shape_env):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with FakeTensorMode(shape_env=ShapeEnv() if shape_env else None) as mode:
        assert host.read(xp, mode.from_tensor(counts)) is None


def test_vmap_hides_the_values(torch, xp, counts):
    seen = []
    torch.vmap(lambda row: seen.append(host.read(xp, row)) or row)(counts[:, None])
    assert seen == [None]


def test_make_fx_would_record_values_as_constants(torch, xp, counts):
    from torch.fx.experimental.proxy_tensor import make_fx

    seen = []
    make_fx(lambda row: seen.append(host.read(xp, row)) or row + 1)(counts)
    assert seen == [None]


@pytest.mark.filterwarnings(r"ignore:`torch.jit.\w+` is deprecated")
def test_jit_trace_would_record_values_as_constants(torch, xp, counts):
    seen = []
    torch.jit.trace(lambda row: seen.append(host.read(xp, row)) or row + 1, counts)
    assert seen[0] is None  # it is called again, without a tracer, to check the trace


def test_the_compiler_would_record_values_as_constants(torch, xp, counts, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert host.read(xp, counts) is None


def test_values_are_read_again_after_tracing(torch, xp, counts):
    from torch.fx.experimental.proxy_tensor import make_fx

    make_fx(lambda row: row + 1)(counts)
    assert host.read(xp, counts).tolist() == [1, 2]


@pytest.mark.parametrize("transform", ["jit", "vmap", "grad"])
def test_a_jax_tracer_has_no_values(backend, xp, transform):
    if backend.library != "jax":
        pytest.skip("this test is about JAX")
    jax, seen = backend.module, []

    def function(row):
        seen.append(host.read(xp, row))
        return (row * row).sum()

    rows = backend.array([[1.0, 2.0]])
    getattr(jax, transform)(function)(rows)
    assert seen == [None]


def test_an_array_that_cannot_be_exported_has_no_values():
    class Unreadable:
        def __dlpack__(self, **options):
            raise BufferError("not now")

        def __dlpack_device__(self):
            return 1, 0

    assert host.read(ModuleType("some_library"), Unreadable()) is None


def test_a_nested_list_becomes_an_array_of_the_host():
    found = host.to_numpy([[1, 0], [0, 1]])
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[1, 0], [0, 1]]


class WithoutAxes:
    """An integer of a library whose arrays do not stand for one in Python, as those of CuPy."""

    ndim, shape, dtype = 0, (), np.dtype("int64")

    def __array_namespace__(self, api_version=None):
        return np

    def __dlpack__(self, **options):
        return np.asarray(2).__dlpack__(**options)

    def __dlpack_device__(self):
        return np.asarray(2).__dlpack_device__()


def test_an_array_without_axes_is_an_integer_though_python_takes_it_for_none(monkeypatch):
    monkeypatch.setattr(host.array_api_compat, "is_numpy_namespace", lambda _: False)
    assert host.index(WithoutAxes()) == 2


@pytest.mark.parametrize("value", [2.0, np.asarray(2.0), np.asarray([2, 3]), None])
def test_what_is_no_integer_is_none(value):
    with pytest.raises(TypeError):
        host.index(value)
