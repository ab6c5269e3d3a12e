"""Run the CuPy and the torch-CUDA tests with a bare pytest: no nox, no network, nothing to install.

    python tests/run_on_gpu.py [arguments of pytest]

Compiled loops are among them. It needs an NVIDIA GPU and the packages in ``NEEDED``, installed or
found through PYTHONPATH. Versions that nobody has tried may warn, and warnings are errors:
``-W default`` lets them pass.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("array_api_compat", "cupy", "hypothesis", "jax", "numpy", "optree", "pytest", "torch")


def gpus_of_cupy() -> int:
    import cupy

    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def gpus_of_torch() -> int:
    import torch

    return torch.cuda.device_count()


def gpus_of_jax() -> int:
    import jax

    try:
        return len(jax.devices("cuda"))
    except RuntimeError:
        return 0


def obstacles() -> list[str]:
    missing = [name for name in NEEDED if find_spec(name) is None]
    found = [f"these packages are missing: {', '.join(missing)}"] if missing else []
    if "cupy" not in missing and not gpus_of_cupy():
        found.append("CuPy sees no GPU")
    if "torch" not in missing and not gpus_of_torch():
        found.append("PyTorch sees no GPU")
    if "jax" not in missing and not gpus_of_jax():
        found.append("JAX sees no GPU")
    return found


def main(arguments: list[str]) -> int | str:
    if found := obstacles():
        sys.exit(f"run_on_gpu: {'; '.join(found)}")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "ARRAYRNN_REQUIRE_GPU": "1"}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # it would take most of the memory
    failed = []
    for backend in ("cupy", "torch:cuda", "cupy:compiled", "torch:cuda:compiled"):
        command = [sys.executable, "-m", "pytest", "tests", "--backend", backend, *arguments]
        print(f"run_on_gpu: {backend}", flush=True)
        if subprocess.call(command, cwd=ROOT, env=environment):
            failed.append(backend)
    return f"run_on_gpu: failed on {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
