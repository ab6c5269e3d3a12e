"""A million timesteps in chunks of a thousand, against one call over all of them."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from arrayrnn import Stream, rnn
from workloads import Workload, assert_same, lstm, normal, small

CHUNK = 1_000  # timesteps
# A pair of a million takes PyTorch up to 40 seconds.
TIMESTEPS = {
    (np, small): 1_000_000,
    (torch, small): 200_000,
    (np, lstm): 10_000,
    (torch, lstm): 10_000,
}
HERE = Path(__file__).parent
PROCESS = Path("/proc/self")


class Run(NamedTuple):
    """A workload and how to run it."""

    case: Workload
    masked: bool
    every: bool  # all outputs are returned

    def whole(self) -> tuple[Any, Any, Any]:
        case, mask = self.case, self.case.mask if self.masked else None
        return rnn(case.step, case.inputs, case.states, mask=mask, return_all_outputs=self.every)

    def chunks(self) -> Iterator[tuple[Any, Any]]:
        case = self.case
        for start in range(0, case.inputs.shape[1], CHUNK):
            piece = slice(start, start + CHUNK)
            yield case.inputs[:, piece], case.mask[:, piece] if self.masked else None

    def stream(self) -> Stream[Any, Any]:
        case = self.case
        return Stream(case.step, case.states, return_all_outputs=self.every)

    def streamed(self) -> tuple[Any, Any]:
        """Use the outputs of a chunk before the next one comes, by leaving them."""
        stream = self.stream()
        for chunk, mask in self.chunks():
            last, _, states = stream(chunk, mask)
        return last, states

    def joined(self) -> tuple[Any, Any, Any]:
        """Keep the outputs."""
        stream, found = self.stream(), []
        for chunk, mask in self.chunks():
            last, outputs, states = stream(chunk, mask)
            found.append(outputs)
        return last, self.case.xp.concat(found, axis=1), states


@pytest.mark.parametrize(
    ("make", "masked", "every"),
    [
        (small, False, True),
        (small, True, True),
        (small, False, False),
        (small, True, False),
        (lstm, False, True),
    ],
    ids=["small", "small-masked", "small-last", "small-masked-last", "lstm"],
)
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_overhead_of_chunks(xp: Any, make: Any, masked: bool, every: bool, compare: Any) -> None:
    torch.set_num_threads(1)
    run = Run(make(xp, time=TIMESTEPS[xp, make]), masked, every)
    whole = run.whole()
    assert_same(run.streamed(), (whole[0], whole[2]))
    if every:
        assert_same(run.joined(), whole)
    del whole
    kind = "all outputs" if every else "the last ones"
    kind = f"masked, {kind}" if masked else kind
    name = f"chunks    {xp.__name__:6} {run.case.name:7} {kind}"
    compare(name, run.streamed, run.whole, "<= 1.05")


@pytest.mark.skipif(not PROCESS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_memory_is_flat_in_the_number_of_chunks(xp: Any, masked: bool, add_row: Any) -> None:
    few, many = (peak_mib(xp, chunks, masked) for chunks in (100, 1_000))
    kind = f"{'masked, ' if masked else ''}1,000 and 100 chunks"
    name = f"memory    {xp.__name__:6} small   {kind}"
    add_row(name, many, few, "MiB", 1, many / few, "all: 15 MiB")


def peak_mib(xp: Any, chunks: int, masked: bool) -> float:
    """Return how much memory a process of its own takes at most, beyond that of a first chunk."""
    code = f"import test_stream; test_stream.print_growth({xp.__name__!r}, {chunks}, {masked})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE)
    return float(done.stdout)


def print_growth(library: str, chunks: int, masked: bool) -> None:
    """Print by how many MiB this process grows over chunks that are made when their turn comes."""
    xp = import_module(library)
    case = small(xp, time=CHUNK)
    mask = case.mask if masked else None
    stream = Stream(case.step, case.states)
    stream(case.inputs, mask)
    (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
    before = resident_mib("VmHWM")
    for _ in range(chunks):
        stream(normal(xp, *case.inputs.shape), mask)
    print(resident_mib("VmHWM") - before)


def resident_mib(which: str) -> float:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1024
