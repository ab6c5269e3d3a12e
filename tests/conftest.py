"""Runs every test that takes `backend` (or `xp`, `device`) on each backend asked for."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from arrayrnn._loops import blocks as _blocks
from support import running
from support.abilities import Ability
from support.backends import Backend

pytest_plugins = ["support.refusals"]

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
    config.addinivalue_line(
        "markers", "needs(*abilities): skip on backends that lack one, see docs/libraries.md"
    )
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        abilities: list[Ability] = [a for mark in item.iter_markers("needs") for a in mark.args]
        backend = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        for ability in abilities:
            if backend is not None and ability.is_lacked_by(backend):
                item.add_marker(pytest.mark.skip(f"{backend} has not: {ability}"))


@pytest.fixture(autouse=True)
def traced_or_not(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `running.rnn` run as the backend of the test says."""
    known = "backend" in request.fixturenames
    with running.on(request.getfixturevalue("backend") if known else None):
        yield


@pytest.fixture(autouse=True)
def short_blocks() -> Iterator[None]:
    """Let blocks of small timesteps be as short as others: a test of a hundred sees several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "_FEWEST_SMALL", 64)
        yield


@pytest.fixture
def xp(backend: Backend) -> Any:
    return backend.xp


@pytest.fixture
def device(backend: Backend) -> Any:
    return backend.device


_BACKENDS = pytest.StashKey[list[Backend]]()
