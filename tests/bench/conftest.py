"""One thread or more for everything, timing in pairs, and the table printed at the end."""

import gc
import logging
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any, Protocol

import pytest

import figures
from figures import Row
from timing import seconds

# A BLAS reads these when it is loaded, so they come before any array library; XLA, which takes as
# many threads as there are cores else, reads NPROC.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"),
    os.environ.get("ARRAYRNN_BENCH_THREADS", "1"),
)
ARE_SET = "numpy" not in sys.modules or THREADS.items() <= os.environ.items()
os.environ.update(THREADS)
os.environ["KERAS_BACKEND"] = "numpy"  # the `rnn` of another backend can be imported beside it

SECONDS_PER_ROW = 5.0


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[list[Any]]:
    """Give Dask's clients of one and of two worker processes, of one thread each."""
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        clusters = [
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",  # else a fixed port, which may be taken
                silence_logs=logging.CRITICAL,  # heartbeats that come when all is over
                local_directory=str(tmp_path),
            )
            for workers in (1, 2)
        ]
        for cluster in clusters:
            stack.enter_context(cluster)
        yield [stack.enter_context(Client(cluster, set_as_default=False)) for cluster in clusters]


class Compare(Protocol):
    """Times two contenders in pairs and adds a line to the table."""

    def __call__(
        self,
        name: str,
        ours: Callable[[], object],
        other: Callable[[], object],
        target: str = "",
        *,
        timesteps: int | None = None,
        calls: int | None = None,
        rest: float = 0,
    ) -> None: ...


ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def add_row(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Add a line to the table."""
    rows = request.config.stash.setdefault(ROWS, [])
    topic = request.module.__name__.removeprefix("test_")
    test = request.function.__name__.removeprefix("test_")

    def add_row(*fields: Any) -> None:
        row = Row(topic, test, *fields)
        assert row.parts()
        rows.append(row)

    return add_row


@pytest.fixture
def compare(benchmark: Any, add_row: Callable[..., None]) -> Compare:
    """Time two contenders in alternation; the ratio is the median of the ratios of the pairs."""

    def compare(
        name: str,
        ours: Callable[[], object],
        other: Callable[[], object],
        target: str = "",
        *,
        timesteps: int | None = None,
        calls: int | None = None,
        rest: float = 0,  # seconds before each call: idle threads of libraries spin for a while
    ) -> None:
        def resting() -> None:
            other_times.append(seconds(other))
            sleep(rest)

        # Or whoever's turn it is pays for going through the modules of four array libraries.
        gc.collect()
        gc.freeze()
        pair = seconds(ours) + seconds(other) + 2 * rest
        rounds = max(7, min(101, round(SECONDS_PER_ROW / pair)))
        # `pedantic` times a single contender: the other has its turn in the untimed set-up.
        other_times: list[float] = []
        benchmark.pedantic(ours, setup=resting, teardown=lambda: sleep(rest), rounds=rounds)
        if benchmark.disabled:
            return
        our_times = benchmark.stats.stats.data
        ratios = [one / another for one, another in zip(our_times, other_times, strict=True)]
        ratio = statistics.median(ratios)
        benchmark.extra_info.update(other=other_times, ratio=ratio, target=target)
        unit, scale = "ms", 1e3
        if timesteps:
            unit, scale = "µs/step", 1e6 / timesteps
        elif calls:
            unit, scale = "µs/call", 1e6 / calls
        medians = [scale * statistics.median(times) for times in (our_times, other_times)]
        lower, _, upper = statistics.quantiles(ratios)
        add_row(name, *medians, unit, rounds, ratio, target, (lower, upper))

    return compare


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ask for a file."""
    help_text = "put the figures into this JSON file, in the place of earlier ones of the same rows"
    parser.addoption("--figures", type=Path, help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the table of pytest-benchmark, which knows no pairs."""
    config.option.benchmark_quiet = True


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and write the file."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    if file := config.getoption("--figures"):
        threads = int(os.environ["OMP_NUM_THREADS"])
        figures.write(file, [row.as_dict(threads) for row in rows])
    width = max(len(row.name) for row in rows)
    write = terminalreporter.write_line
    terminalreporter.section("arrayrnn and the other, in alternation: medians")
    head = f"{'other     on     step':{width}}  {'arrayrnn':>9} {'other':>9} {'unit':7} rounds"
    write(f"{head} {'ratio':>7}  target")
    for row in rows:
        shown = f"{row.ours:>9.2f} {row.other:>9.2f} {row.unit:7} {row.rounds:>6} {row.ratio:>7.3f}"
        write(f"{row.name:{width}}  {shown}  {row.target}".rstrip())
    if not ARE_SET:
        write(f"NumPy was imported before {', '.join(THREADS)} were set: it may use more threads.")
