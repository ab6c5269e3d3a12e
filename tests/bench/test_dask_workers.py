"""How blocks of Dask scale: with worker processes, and the graph with the number of timesteps."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from arrayrnn import rnn
from workloads import lstm

SAMPLES, TIME, CHAINS = 512, 400, 8


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[list[Client]]:
    """Give clients of one and of two worker processes, of one thread each."""
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


def test_two_worker_processes_against_one(clients: list[Client], compare: Any) -> None:
    case, chunk = lstm(np, SAMPLES, TIME), SAMPLES // CHAINS
    chunks = (chunk, TIME // 4, case.inputs.shape[-1])
    inputs = da.random.default_rng(0).normal(size=case.inputs.shape, chunks=chunks)
    states = [da.zeros(state.shape, chunks=(chunk, -1)) for state in case.states]
    last, _, _ = rnn(case.step, inputs, states, samplewise=True)
    one, two = (partial(client.compute, last, sync=True) for client in clients)
    np.testing.assert_allclose(two(), one())
    compare("one worker  dask  lstm  8 chunks of samples, 2 workers", two, one, "≤ 0.59")


def test_the_graph_does_not_grow_with_timesteps(add_row: Any) -> None:
    long, short = tasks(100_000), tasks(1_000)
    name = "tasks       dask  4 × 8 blocks of 100,000 and of 1,000 timesteps"
    add_row(name, long, short, "tasks", 1, long / short, "1 if flat")


def tasks(time: int) -> int:
    inputs = da.zeros((8, time, 1), chunks=(2, time // 8, 1))
    states = [da.zeros((8, 1), chunks=2)]
    outputs = rnn(lambda x, states: (x, states), inputs, states, samplewise=True)[1]
    (outputs,) = dask.optimize(outputs)
    return len(dict(outputs.__dask_graph__()))
