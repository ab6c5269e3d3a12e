"""How time and memory of `rnn` grow with the number of timesteps."""

import gc
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from arrayrnn import rnn
from workloads import Workload, assert_same, by_hand, small


@pytest.mark.parametrize("time", [100, 1_000, 10_000])
def test_backward_is_linear_in_time(time: int, compare: Any) -> None:
    torch.set_num_threads(1)
    long, short = small(torch, time=time), small(torch, time=100)
    assert_same(gradient(short), gradient(short, by_hand))

    def hundreds() -> None:
        for _ in range(time // 100):
            gradient(short)

    name = f"backward  torch  small   {time:,} steps, other: {time // 100} times 100"
    compare(name, lambda: gradient(long), hundreds, "1 if linear", timesteps=time)


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_memory_without_all_outputs_is_flat_in_time(masked: bool, add_row: Any) -> None:
    short, long = (peak_kib(time, masked) for time in (1_000, 100_000))
    name = f"memory    numpy  small   {'masked' if masked else 'unmasked'}, 100,000 and 1,000 steps"
    add_row(name, long, short, "KiB", 1, long / short, "1 if flat")


def rnn_on(case: Workload) -> tuple[Any, Any, Any]:
    return rnn(case.step, case.inputs, case.states)


def gradient(case: Workload, loop: Callable[[Workload], Any] = rnn_on) -> torch.Tensor:
    inputs = case.inputs.detach().requires_grad_()
    _, outputs, _ = loop(case._replace(inputs=inputs))
    return torch.autograd.grad(outputs.sum(), inputs)[0]


def peak_kib(time: int, masked: bool) -> float:
    """Return the peak of memory during a call that keeps the last output only."""
    case = small(np, time=time)
    call = partial(rnn, case.step, case.inputs, case.states, mask=case.mask if masked else None)
    every, last = call(), call(return_all_outputs=False)
    assert_same((last[0], last[1][:, 0], last[2]), (every[0], every[1][:, -1], every[2]))
    del every, last
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call(return_all_outputs=False)
        return (tracemalloc.get_traced_memory()[1] - before) / 1024
    finally:
        tracemalloc.stop()
