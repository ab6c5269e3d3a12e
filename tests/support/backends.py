"""The array libraries and devices that the tests run on, and what the tests need of each."""

import enum
import importlib
import os
import re
from typing import Any

import array_api_compat
import numpy as np
import optree

__all__ = ["Backend", "assert_same", "release"]


class Backend(enum.Enum):
    """A library, as ``library:device`` or ``library:transformation``, or both, where it matters."""

    NUMPY = "numpy"
    NUMPY_COMPILED = "numpy:compiled"
    STRICT = "strict:CPU_DEVICE"
    STRICT_DEVICE1 = "strict:device1"
    STRICT_DEVICE2 = "strict:device2"
    STRICT_NO_FLOAT64 = "strict:no_float64"
    STRICT_NO_X64 = "strict:no_x64"
    TORCH = "torch:cpu"
    TORCH_CUDA = "torch:cuda"
    TORCH_COMPILED = "torch:compiled"
    TORCH_CUDA_COMPILED = "torch:cuda:compiled"
    JAX = "jax"
    JAX_JIT = "jax:jit"
    DASK = "dask"
    ONNX = "onnx"
    DPNP = "dpnp"
    CUPY = "cupy"
    CUPY_COMPILED = "cupy:compiled"

    @classmethod
    def asked_for(cls, name: str) -> "list[Backend]":
        """Return the backends that `name` means: one, or a library on all devices it has here."""
        found = [b for b in cls if name == b.value]
        found = found or [b for b in cls if name == b.library and not b.is_compiled]
        if name == "torch" and not cls.TORCH.module.cuda.is_available():
            found.remove(cls.TORCH_CUDA)
        return found

    def __str__(self) -> str:
        return self.value

    @property
    def library(self) -> str:
        return self.value.partition(":")[0]

    @property
    def module(self) -> Any:
        names = {"strict": "array_api_strict", "dask": "dask.array", "onnx": "ndonnx"}
        return importlib.import_module(names.get(self.library, self.library))

    def prepare(self) -> None:
        """Set the library up for the tests; raise if it, or the device, is not there."""
        if self.is_compiled or self.library == "jax":
            _compile_fast()
        module = self.module
        if self.library == "strict":
            module.set_array_api_strict_flags(
                boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
            )
        if self.library == "jax":
            module.config.update("jax_enable_x64", True)
            if hasattr(module.config, "jax_num_cpu_devices"):
                # For tests/libraries/test_sharding.py.
                module.config.update("jax_num_cpu_devices", 4)
        if self.library == "dask":
            importlib.import_module("dask").config.set(scheduler="synchronous")
        assert self.array([1.0]).shape == (1,)

    @property
    def xp(self) -> Any:
        """The namespace, as `array_namespace` gives it."""
        module = self.module
        zeros = module.numpy.zeros if self.library == "jax" else module.zeros
        return array_api_compat.array_namespace(zeros(1))

    @property
    def device(self) -> Any:
        if self.library == "strict":
            return self.module.Device(self.value.partition(":")[2])
        if self.library == "torch":
            return self.module.zeros(0, device="cuda" if ":cuda" in self.value else "cpu").device
        return array_api_compat.device(self.xp.zeros(1))

    @property
    def is_traced(self) -> bool:
        """Whether the step runs on something that has no values."""
        return self.is_compiled or self in (Backend.JAX_JIT, Backend.DASK, Backend.ONNX)

    @property
    def is_compiled(self) -> bool:
        """Whether `running.rnn` is that of `arrayrnn.compiled`."""
        return self.value.endswith(":compiled")

    @property
    def has_autograd(self) -> bool:
        return self.library in ("torch", "jax")

    def supports(self, dtype: str) -> bool:
        """Whether the device has a dtype; the library, if it is none of the standard's."""
        if dtype in ("float16", "bfloat16"):
            return hasattr(self._of_dtypes, dtype)
        info = self.xp.__array_namespace_info__()
        return dtype in info.dtypes(device=self.device, kind=None)

    @property
    def float(self) -> str:
        """The widest real floating dtype of the device."""
        return "float64" if self.supports("float64") else "float32"

    @property
    def int(self) -> str:
        """The default integer dtype of the device."""
        return self.name_of(
            self.xp.__array_namespace_info__().default_dtypes(device=self.device)["integral"]
        )

    def dtype(self, name: str) -> Any:
        return getattr(self._of_dtypes, name)

    @property
    def _of_dtypes(self) -> Any:
        # Dask's dtypes are those of its blocks.
        return np if self.library == "dask" else self.xp

    def name_of(self, dtype: Any) -> str:
        """Return the standard's name of a dtype."""
        return re.split(r"[.']", str(dtype).rstrip("'>"))[-1]

    def array(self, values: Any, dtype: str | None = None) -> Any:
        """Return an array of the library on the device; floats are the widest it has."""
        host = np.asarray(values)
        if dtype is None:
            dtype = {"float64": self.float, "int64": self.int}.get(host.dtype.name, host.dtype.name)
        native = host.astype(dtype) if dtype != "bfloat16" else host.astype("float32")
        if self.library == "dask":
            # Several chunks along samples and time, and few of them.
            chunks = [max(2, -(-n // 5)) if axis < 2 else n for axis, n in enumerate(host.shape)]
            return self.module.from_array(native, chunks=chunks)
        return self.xp.asarray(native, dtype=self.dtype(dtype), device=self.device)

    def arrays(self, tree: Any) -> Any:
        """Return a nest of NumPy arrays as one of the library's arrays, dtypes kept."""
        return optree.tree_map(lambda leaf: self.array(leaf, str(leaf.dtype)), tree)

    def numpy(self, array: Any) -> np.ndarray:
        """Return the values of an array."""
        if self.library == "torch":
            array = array.detach().cpu()
            return (array.float() if "bfloat16" in str(array.dtype) else array).numpy()
        if self.library in ("dpnp", "cupy"):
            return self.module.asnumpy(array)
        if self.library == "strict":
            return np.from_dlpack(array, device="cpu")
        if self.library == "dask":
            return np.asarray(array.compute())
        if self.library == "onnx":
            return array.unwrap_numpy()
        return np.asarray(array)


def release(module: Any) -> tuple[int, int]:
    """Return the first two numbers of a library's version."""
    major, minor, *_ = module.__version__.split(".")
    return int(major), int(minor)


def _compile_fast() -> None:
    """Let XLA compile as fast as it can: programs run once or twice here."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_disable_most_optimizations", True)
    if (0, 9) <= release(jax) < (0, 11):
        # Saves a third of the time. Other versions end the process at a flag they do not know.
        os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"


def assert_same(backend: Backend, actual: Any, expected: Any, *, exact: bool = False) -> None:
    """Assert that a nest has the structure, values, dtypes, shapes, device and library expected.

    `expected` is a nest of NumPy arrays, or of anything that becomes one; `actual` has to be a nest
    of the backend's own arrays. Floats may differ by rounding unless `exact`.
    """
    leaves, spec = optree.tree_flatten(actual)
    expected_leaves, expected_spec = optree.tree_flatten(
        expected, is_leaf=lambda node: isinstance(node, np.ndarray)
    )
    assert spec == expected_spec, f"structure {spec}, expected {expected_spec}"
    paths = [accessor.codify("actual") for accessor in spec.accessors()]
    wanted = map(np.asarray, expected_leaves)
    for leaf, want, path in zip(leaves, wanted, paths, strict=True):
        assert array_api_compat.array_namespace(leaf) is backend.xp, path
        assert array_api_compat.device(leaf) == backend.device, path
        assert tuple(leaf.shape) == want.shape, f"{path}: {leaf.shape}, expected {want.shape}"
        assert backend.name_of(leaf.dtype) == want.dtype.name, f"{path}: {leaf.dtype}"
        compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
        tolerance = {} if exact or want.dtype.kind not in "fc" else _tolerance(want.dtype)
        compare(backend.numpy(leaf), want, err_msg=path, **tolerance)


def _tolerance(dtype: np.dtype) -> dict[str, float]:
    epsilon = float(np.finfo(dtype).eps)
    return {"rtol": 100 * epsilon, "atol": 100 * epsilon}
