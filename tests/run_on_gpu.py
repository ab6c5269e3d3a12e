"""Run the tests of all GPU backends side by side: no nox, no network, nothing to install.

    python tests/run_on_gpu.py [arguments of pytest]

It needs an NVIDIA GPU and the packages in ``NEEDED``, installed or found through PYTHONPATH. With
pytest-xdist the cores are shared out, and a test that hangs fails, by its name. A table says at the
end what was run, on which versions; failures are printed in full above it. Versions that nobody has
tried may warn, and warnings are errors: ``-W default`` lets them pass.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("array_api_compat", "cupy", "hypothesis", "jax", "numpy", "optree", "pytest", "torch")
BACKENDS = ("cupy", "torch:cuda", "cupy:compiled", "torch:cuda:compiled")
OUTCOMES = ("passed", "failed", "skipped")
# What is compiled takes longest, and gets most of the workers.
SHARES = {"cupy": 2, "torch:cuda": 4, "cupy:compiled": 5, "torch:cuda:compiled": 5}


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


@dataclass
class Run:
    """The tests of one backend, running in processes of their own."""

    backend: str
    process: subprocess.Popen[bytes]
    output: Path
    report: Path
    started: float

    @classmethod
    def start(cls, backend: str, folder: Path, arguments: list[str]) -> "Run":
        name = backend.replace(":", "-")
        output, report = folder / f"{name}.txt", folder / f"{name}.xml"
        command = [sys.executable, "-m", "pytest", "--backend", backend]
        command += [f"--junitxml={report}", *workers(backend, arguments), *arguments]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT
            )
        return cls(backend, process, output, report, monotonic())

    def finish(self) -> tuple[dict[str, int], float]:
        """Wait for the end; return how many tests came out how, and the seconds it took."""
        code = self.process.wait()
        seconds = monotonic() - self.started
        counts = counted(self.report) if self.report.exists() else dict.fromkeys(OUTCOMES, 0)
        if code or not counts["passed"]:
            counts["failed"] = max(1, counts["failed"])  # what could not be run is no pass
        if counts["failed"]:
            print(f"---- {self.backend}\n{self.output.read_text(errors='replace')}")
        return counts, seconds


def workers(backend: str, arguments: list[str]) -> list[str]:
    """Share the cores out, where pytest-xdist is there and nobody has asked for a number."""
    if find_spec("xdist") is None or any(a.startswith("-n") for a in arguments):
        return []
    cores = os.cpu_count() or 1
    return ["-n", str(max(1, cores * SHARES[backend] // sum(SHARES.values())))]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {
        "PYTHONPATH": path,
        "ARRAYRNN_REQUIRE_GPU": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # each process would take most of the memory
    }


def counted(report: Path) -> dict[str, int]:
    (suite,) = ET.parse(report).getroot().iter("testsuite")
    number = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    passed = number["tests"] - failed - number["skipped"]
    return {"passed": passed, "failed": failed, "skipped": number["skipped"]}


def versions() -> Iterator[str]:
    import torch

    properties = torch.cuda.get_device_properties(0)
    yield f"{properties.name}, CUDA {torch.version.cuda}, Python {platform.python_version()}"
    of = packages_distributions()
    found = []
    for name in (*NEEDED, "jaxlib", "xdist"):
        try:
            found.append(f"{name} {version(of.get(name, [name])[0])}")
        except PackageNotFoundError:
            found.append(f"{name} of unknown version")
    yield ", ".join(found)


def main(arguments: list[str]) -> int:
    if found := obstacles():
        sys.exit(f"run_on_gpu: {'; '.join(found)}")
    with tempfile.TemporaryDirectory() as folder:
        runs = [Run.start(backend, Path(folder), arguments) for backend in BACKENDS]
        ended = [(run.backend, *run.finish()) for run in runs]
    print("\n".join(["", *versions(), ""]))
    print(f"{'backend':<22}" + "".join(f"{name:>9}" for name in (*OUTCOMES, "seconds")))
    for backend, counts, seconds in ended:
        numbers = (*(counts[name] for name in OUTCOMES), round(seconds))
        print(f"{backend:<22}" + "".join(f"{number:>9}" for number in numbers))
    return int(any(counts["failed"] for _, counts, _ in ended))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
