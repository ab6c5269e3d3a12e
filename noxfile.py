# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.2.9"]
# ///
"""The test matrix: ``nox`` runs what runs by default, ``nox --list`` shows the rest."""

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = [
    "lint", "types", "tests", "newer-3.13", "originals", "reference", "wheel"
]  # fmt: skip
# A session whose interpreter is missing is skipped, and says so.
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
CONSTRAINTS = Path("tests/constraints.txt").resolve()
# torch has a CPU build there; elsewhere it brings gigabytes of CUDA.
TORCH_PYTHON = "3.11"
# What the tests need beside the extra of a library.
MORE = {
    "compiled": "test-compiled",
    "numpy": "test-plots",
    "dask": "test-dask",
    "onnx": "test-onnx",
}
LOOP = (
    "test_rnn.py",
    "test_scan.py",
    "arguments/test_states.py",
    "recurrence/test_masking.py",
    "recurrence/test_states_handed_on.py",
)
ABOUT_JAX = tuple(
    f"loops/test_jax_{part}.py"
    for part in ("transforms", "scan", "associative_scan", "checkpoints")
)
ABOUT_TORCH = tuple(
    f"libraries/test_torch_{part}.py"
    for part in ("derivatives", "associative_scan", "tracers", "compile")
)
# What depends on the version of a library, and runs on several: paths in tests/, or None for all.
CONCERNED: dict[str, dict[str, tuple[str, ...] | None]] = {
    "numpy": {"numpy": None},
    "strict": {"strict:CPU_DEVICE": None},
    "jax": {
        "jax": (
            *LOOP,
            *ABOUT_JAX,
            "loops/test_checkpointing.py",
            "libraries/test_sharding.py",
            "libraries/test_foreign.py",
        ),
        "jax:jit": (*LOOP, "test_reverse_sequence.py", "recurrence/test_samplewise_padding.py"),
    },
    "compiled": {
        "numpy:compiled": (
            *LOOP,
            "compiled",
            "loops/test_checkpointing.py",
            "test_associative_scan.py",
        ),
    },
    "dask": {"dask": (*LOOP, "loops/test_dask.py", "loops/test_dask_associative_scan.py")},
    "onnx": {"onnx": (*LOOP, "loops/test_onnx.py", "test_documentation.py")},
    "dpnp": {"dpnp": (*LOOP, "libraries/test_arrays.py", "recurrence/test_purity.py")},
    "cells": {"numpy": ("cells",)},
    "progress": {"numpy": ("loops/test_progress.py",)},
    "torch": {
        "torch:cpu": (
            *LOOP,
            *ABOUT_TORCH,
            "libraries/test_host.py",
            "libraries/test_foreign.py",
            "loops/test_checkpointing.py",
            "recurrence/test_purity.py",
        )
    },
}


def threads(number: int) -> dict[str, str]:
    """Give the environment in which libraries use as many threads."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    count = str(number)
    return {
        **{f"{name}_NUM_THREADS": count for name in names},
        "NPROC": count,  # XLA's
        "ARRAYRNN_BENCH_THREADS": count,
    }


def install(session: nox.Session, *packages: str, constraints: Path = CONSTRAINTS) -> None:
    """Install ``packages`` in the tested versions, what builds them included."""
    build = {"PIP_BUILD_CONSTRAINT": str(CONSTRAINTS)}
    session.install("-c", str(constraints), *packages, env=build)


def group(name: str) -> tuple[str, ...]:
    """Give the packages of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def leaves_room(run: Callable[..., None]) -> Callable[..., None]:
    """Delete a session's environment when it ends, where nobody will use it again.

    Together they take 10 GB, which a small disk may not have.
    """

    @functools.wraps(run)
    def run_and_delete(session: nox.Session, *args: str, **parameters: str) -> None:
        try:
            run(session, *args, **parameters)
        finally:
            if os.environ.get("ARRAYRNN_DELETE_ENVIRONMENTS") == "1":
                shutil.rmtree(session.virtualenv.location)

    return run_and_delete


def named(*values: str) -> list[nox.param]:
    """Give parameters that sessions are called by: ``newer-3.13(jax)``."""
    return [nox.param(value, id=value) for value in values]


def pins() -> list[str]:
    """Give the versions that are tested."""
    lines = CONSTRAINTS.read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def packages(name: str) -> list[str]:
    """Give what the tests of a library, or of an extra, need in any case."""
    return ["-e", f".[{name}]" if name in EXTRAS else ".", *group("test")]


def more(name: str) -> tuple[str, ...]:
    """Give what some of the tests of a library need."""
    return group(MORE[name]) if name in MORE else ()


def without_torch(name: str) -> tuple[str, ...]:
    """Give the same without PyTorch, of which there is no build for CPUs everywhere."""
    return () if name == "compiled" else more(name)


def prepare(session: nox.Session, name: str) -> None:
    """Tell OpenCL of the CPU driver, which it does not find in a virtual environment."""
    if name == "dpnp":
        driver = Path(session.virtualenv.location, "lib", "libintelocl.so")
        session.env["OCL_ICD_FILENAMES"] = str(driver)


def workers(backend: str) -> list[str]:
    """Give all cores to the tests; what has a device of its own waits for it.

    There is one worker then: should it hang or crash, xdist names the test and goes on.
    """
    alone = backend in {"cupy", "dpnp", "torch:cuda"}
    return ["-n", "1" if alone else "auto"]


def run_concerned(session: nox.Session, name: str) -> None:
    """Run the tests that depend on the version of a library, or all of them with ``-- --whole``."""
    prepare(session, name)
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")
    posargs = [argument for argument in session.posargs if argument != "--whole"]
    for backend, files in CONCERNED[name].items():
        whole = files is None or "--whole" in session.posargs
        paths = [] if whole else [f"tests/{path}" for path in files or ()]
        session.run("pytest", "--backend", backend, *workers(backend), *paths, *posargs)


def missing_gpu(session: nox.Session) -> str | None:
    """Say why CUDA tests cannot run here; that is an error where a GPU is required."""
    smi = shutil.which("nvidia-smi")
    if smi and subprocess.run([smi, "-L"], capture_output=True, check=False).returncode == 0:
        return None
    reason = "no NVIDIA driver on this machine"
    if os.environ.get("ARRAYRNN_REQUIRE_GPU") == "1":
        session.error(f"{reason}, and ARRAYRNN_REQUIRE_GPU=1")
    return reason


@nox.session
@nox.parametrize(
    ("python", "backend"),
    [
        nox.param(TORCH_PYTHON if name in ("torch", "compiled") else None, name, id=name)
        for name in ("numpy", "strict", "torch", "jax", "compiled", "dask", "onnx", "dpnp", "cupy")
    ],
)
@leaves_room
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on one array library."""
    gpu_missing = missing_gpu(session) if backend in {"cupy", "torch"} else None
    if backend == "cupy" and gpu_missing:
        session.skip(gpu_missing)
    if backend == "dpnp" and platform.machine() not in {"x86_64", "AMD64"}:
        session.skip("dpnp is built for x86-64 only")

    install(session, *packages(backend), *more(backend))
    prepare(session, backend)
    names = {
        "compiled": ["numpy:compiled", "torch:compiled"],
        "jax": ["jax", "jax:jit"],
        "torch": ["torch:cpu"] if gpu_missing else ["torch:cpu", "torch:cuda"],
    }
    for name in names.get(backend, [backend]):
        options = workers(name)
        if backend == "compiled":
            # About what is not compiled, and run in other sessions.
            others = "test_linear_scan.py", "test_linear_scan_errors.py"
            paths = (*ABOUT_JAX, *ABOUT_TORCH, *others)
            options += [f"--ignore=tests/{path}" for path in paths]
        session.run("pytest", "--backend", name, *options, *session.posargs)
    if backend == "torch" and gpu_missing:
        session.warn(f"torch:cuda skipped: {gpu_missing}")
    if backend == "numpy" and not session.posargs:
        # What is about one library can only be imported beside it.
        about_one = [
            f"--ignore=arrayrnn/{path}"
            for path in ("cells", "compiled", "_combining", "_loops", "_libraries/onnx.py")
        ]
        session.run("pytest", "--doctest-modules", "arrayrnn", *about_one)
    if backend == "compiled" and not session.posargs:
        session.run("pytest", "--doctest-modules", "arrayrnn/compiled")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the code and its format."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package and of a file that uses it."""
    install(session, "-e", ".", *group("types"))
    session.run("mypy", "arrayrnn", "tests/typed_usage.py", *session.posargs)


@nox.session(python=TORCH_PYTHON)
@leaves_room
def reference(session: nox.Session) -> None:
    """Compare with tf_keras itself, on 1,000 drawn cases or ``-- --cases 5000``."""
    posargs = list(session.posargs)
    if "--cases" in posargs:
        at = posargs.index("--cases")
        session.env["ARRAYRNN_REFERENCE_CASES"] = posargs[at + 1]
        del posargs[at : at + 2]
    install(session, "-e", ".", *group("reference"))
    session.run("pytest", "tests/reference", *posargs)


@nox.session(python=TORCH_PYTHON)
@leaves_room
def originals(session: nox.Session) -> None:
    """Compare with PyTorch, Keras, ONNX, pandas and SciPy, and run the pages that need them."""
    install(session, "-e", ".", *group("originals"))
    session.run("pytest", "tests/originals", "-n", "auto", *session.posargs)
    if not session.posargs:
        session.run("pytest", "tests/test_documentation.py", "-n", "auto")
        environment = {"KERAS_BACKEND": "torch"}
        session.run("pytest", "--doctest-modules", "arrayrnn/cells", env=environment)


@nox.session(python=["3.12", "3.13"])
@nox.parametrize("backend", named("numpy", "strict", "jax", "compiled", "dask", "onnx"))
@leaves_room
def newer(session: nox.Session, backend: str) -> None:
    """Run what can differ on a newer Python and the libraries that need it; all with -- --whole."""
    install(session, *packages(backend), *without_torch(backend))
    run_concerned(session, backend)


@nox.session(python="3.11", default=False)
@nox.parametrize("extra", named("numpy", "strict", *sorted(set(EXTRAS) & set(CONCERNED))))
@leaves_room
def minimums(session: nox.Session, extra: str) -> None:
    """Run the tests on the lowest versions of everything that an extra, or none, depends on."""
    bounds = PYPROJECT["project"]["dependencies"] + EXTRAS.get(extra, [])
    lowest = [bound.replace(">=", "==") for bound in bounds if ">=" in bound]
    names = {pin.partition("==")[0].partition("[")[0] for pin in lowest}
    tools = [pin for pin in pins() if pin.partition("==")[0] in {*group("test")} - names]
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join([*tools, *(pin.replace("[array]", "") for pin in lowest)]))
    # What the lowest versions need and do not ask for: jax.export imports absl, and dpctl 0.21.1
    # warns of what dpnp 0.19 imports from it.
    old = {"jax": ["absl-py"], "dpnp": ["dpctl<0.21.1"]}.get(extra, [])
    install(session, *packages(extra), *without_torch(extra), *old, constraints=constraints)
    run_concerned(session, extra)


@nox.session(python="3.13", default=False)
@nox.parametrize("extra", named("numpy", "strict", *sorted(set(EXTRAS) & set(CONCERNED))))
@leaves_room
def newest(session: nox.Session, extra: str) -> None:
    """Run the tests on the newest releases of everything."""
    session.install("--upgrade", *packages(extra), *without_torch(extra))
    run_concerned(session, extra)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the distributions, and use the wheel in an environment that holds nothing else."""
    install(session, *group("wheel"))
    folder = Path(session.create_tmp(), "wheel").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder))
    (built,) = folder.glob("*.whl")

    empty = folder / "empty"
    session.run("python", "-m", "venv", str(empty))
    python = str(empty / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "-c", str(CONSTRAINTS), str(built), external=True)
    smoke = str(Path("tests/smoke.py").resolve())
    with session.chdir(folder):
        session.run(python, "-I", smoke, external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time the loop on one thread, the cells on two, against what one would use instead."""
    install(session, "-e", ".", *group("bench"))
    of_cells, none_selected = "tests/bench/test_cells.py", 5
    figures = Path("docs/performance/figures.json")  # which the site makes a page of
    if not session.posargs:
        figures.unlink(missing_ok=True)
    options = ["--figures", str(figures), *session.posargs]
    for number, paths in (1, ["tests/bench", f"--ignore={of_cells}"]), (2, [of_cells]):
        codes = [0, none_selected]
        session.run("pytest", *paths, *options, env=threads(number), success_codes=codes)


@nox.session(python=TORCH_PYTHON, default=False)
def docs(session: nox.Session) -> None:
    """Run every example of the documentation, build the site, and follow its links."""
    install(session, "-e", ".[cells,dask,jax,onnx,progress]", *group("docs"))
    if "--only-build" not in session.posargs:
        session.run("pytest", "--backend", "numpy", "tests/test_documentation.py", "-n", "auto")
        environment = {"KERAS_BACKEND": "torch"}
        session.run("pytest", "--doctest-modules", "arrayrnn", "-n", "auto", env=environment)
    site = Path("docs/_build/html")
    shutil.rmtree(site, ignore_errors=True)
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", str(site))
    session.run("python", "docs/links.py", str(site))


if __name__ == "__main__":
    nox.main()
