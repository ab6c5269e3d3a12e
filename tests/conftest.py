"""Runs every test that takes `backend` (or `xp`, `device`) on each backend asked for."""

from typing import Any

import pytest
from hypothesis import settings

from backends import Backend

settings.register_profile("arrayrnn", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("arrayrnn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        metavar="NAME",
        help="library, or library:device, to run on; may be repeated; default: numpy",
    )


def pytest_configure(config: pytest.Config) -> None:
    backends: list[Backend] = []
    for name in config.getoption("--backend") or ["numpy"]:
        found = Backend.asked_for(name)
        if not found:
            known = ", ".join(map(str, Backend))
            raise pytest.UsageError(f"--backend {name} is unknown; there are {known}")
        backends += found
    for backend in backends:
        # What is asked for and missing is an error, never a silent skip.
        try:
            backend.prepare()
        except Exception as error:
            raise pytest.UsageError(f"--backend {backend} cannot be used: {error}") from error
    config.stash[_BACKENDS] = backends


def pytest_report_header(config: pytest.Config) -> str:
    return "backends: " + ", ".join(map(str, config.stash[_BACKENDS]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", metafunc.config.stash[_BACKENDS], ids=str)


@pytest.fixture
def xp(backend: Backend) -> Any:
    return backend.xp


@pytest.fixture
def device(backend: Backend) -> Any:
    return backend.device


_BACKENDS = pytest.StashKey[list[Backend]]()
