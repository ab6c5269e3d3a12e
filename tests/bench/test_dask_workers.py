"""How blocks of Dask scale: with worker processes, and the graph with the number of timesteps."""

from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from arrayrnn import rnn
from workloads import lstm

if TYPE_CHECKING:
    from distributed import Client

SAMPLES, TIME, CHAINS = 512, 400, 8


def test_two_worker_processes_against_one(clients: "list[Client]", compare: Any) -> None:
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
    name = "tasks       dask  chain  4 × 8 blocks of 100,000 and of 1,000 timesteps"
    add_row(name, long, short, "tasks", 1, long / short, "1 if flat")


def tasks(time: int) -> int:
    inputs = da.zeros((8, time, 1), chunks=(2, time // 8, 1))
    states = [da.zeros((8, 1), chunks=2)]
    outputs = rnn(lambda x, states: (x, states), inputs, states, samplewise=True)[1]
    (outputs,) = dask.optimize(outputs)
    return len(dict(outputs.__dask_graph__()))
