"""`compiled.rnn`, the recording of each call included, against what one would run in its place."""

import gc
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import ndonnx
import numpy as np
import psutil
import pytest
import torch

from arrayrnn import compiled, rnn
from by_hand import KINDS
from nile import COMPILED, EXAMPLE, FLOWS, filter_in_numba, grid
from test_jax import arguments_of, blocking, by_rnn, by_scan
from test_onnx import session
from timing import seconds
from workloads import (
    Workload,
    assert_same,
    in_float64,
    leaves,
    lstm,
    lstm_step,
    lstm_weights,
    small,
    traceable,
)

masks = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def small_of(time: int) -> Workload:
    return in_float64(small(np, time=time))


# Those that have targets, which are how many times as fast compiled.rnn has to be.
CASES = {
    "4 × 10,000 × 4": (partial(small_of, 10_000), 25),
    "4 × 100,000 × 4": (partial(small_of, 100_000), 45),
    "1 × 2,000 × 8": (partial(lstm, np, 1, 2_000, 8), 16),
    "32 × 200 × 64": (partial(lstm, np, 32, 200, 64), 1.6),
}
shapes = pytest.mark.parametrize("shape", CASES)


@pytest.fixture(autouse=True)
def in_64_bits() -> Any:
    torch.set_num_threads(1)
    with jax.enable_x64(True):
        yield


@shapes
@masks
@pytest.mark.parametrize("kind", KINDS)
def test_against_loops_by_hand(kind: str, shape: str, masked: bool, compare: Any) -> None:
    """Compare with the fastest loop of a kind."""
    make, times = CASES[shape]
    case = make()
    ours = compiling(case, masked)
    others = {loop.__name__: partial(loop, case) for loop in KINDS[kind][case.name, masked]}
    for other in others.values():
        assert_same(other(), ours())
    took = {name: min(seconds(other) for _ in range(5)) for name, other in others.items()}
    name = min(took, key=lambda name: took[name])
    label = f"by hand   numpy  {case.name:6}  {word(masked)}, {shape}, {name}"
    compare(label, ours, others[name], f"≤ {1 / times:.3f}")


@pytest.mark.parametrize("time", [100, 2_000])
def test_the_overhead_of_a_call(time: int, add_row: Any) -> None:
    """Count what a call takes beyond `jax.jit(lax.scan)` in timesteps of the loop in Python."""
    case = lstm(np, 1, time, 8)
    ours, other = compiling(case), in_jax(by_scan, case)
    eager = in_another_way("eager", case)
    assert_same(ours(), other())
    gc.collect()
    gc.freeze()  # as `compare` does
    timestep = statistics.median(seconds(eager) for _ in range(21)) / time
    pairs = [(1e3 * seconds(ours), 1e3 * seconds(other)) for _ in range(101)]
    one, another = map(statistics.median, zip(*pairs, strict=True))
    more = statistics.median(a - b for a, b in pairs) / (1e3 * timestep)
    ratio = statistics.median(a / b for a, b in pairs)
    name = f"lax.scan  numpy  {case.name:6}  unmasked, {time:,} steps"
    target = f"{more:+.1f} timesteps of {1e6 * timestep:.1f} µs, ≤ {12 if time == 100 else 18}"
    add_row(name, one, another, "ms", len(pairs), ratio, target)


WAYS = ["eager", "jax.jit", "onnx"]
sizes = pytest.mark.parametrize("shape", ["4 × 100 × 4", "4 × 1,000 × 4", "1 × 100 × 8", *CASES])


@sizes
@pytest.mark.parametrize("way", WAYS)
def test_against_other_ways(way: str, shape: str, compare: Any) -> None:
    case = case_of(shape)
    ours, other = compiling(case), in_another_way(way, case)
    assert_same([*leaves(other())], [*leaves(ours())])
    target = "≤ 0.250" if (way, shape) == ("eager", "1 × 100 × 8") else ""
    compare(f"{way:8}  numpy  {case.name:6}  unmasked, {shape}", ours, other, target)


@sizes
@pytest.mark.parametrize("way", WAYS[1:])
def test_the_first_call(way: str, shape: str, compare: Any) -> None:
    case = case_of(shape)

    def ours() -> Any:
        compiled.cache_clear()
        return compiling(case)()

    def other() -> Any:
        return in_another_way(way, case)()

    name = f"{way:8}  numpy  {case.name:6}  unmasked, {shape}, first call"
    compare(name, ours, other)


@pytest.mark.parametrize("what", ["results", "gradients"])
@pytest.mark.parametrize("step", [small, lstm], ids=["small", "lstm"])
def test_on_pytorch_against_eager(step: Any, what: str, compare: Any) -> None:
    case = step(torch)
    features, units = case.inputs.shape[-1], case.states[0].shape[-1]
    weights = lstm_weights(torch, features, units) if step is lstm else ()
    for array in (case.inputs, *weights):
        array.requires_grad_(what == "gradients")
    function = lstm_step(torch, *weights) if weights else case.step

    def run(loop: Callable[..., Any]) -> Any:
        _, outputs, _ = loop(function, case.inputs, case.states)
        if what == "results":
            return outputs
        return torch.autograd.grad(outputs.sum(), (case.inputs, *weights))

    ours, other = partial(run, compiled.rnn), partial(run, rnn)
    for one, another in zip(leaves(ours()), leaves(other()), strict=True):
        # Sums over all samples and timesteps, in another order.
        torch.testing.assert_close(one, another, rtol=1e-3, atol=1e-3)
    compare(f"eager     torch  {case.name:6}  unmasked, {what}", ours, other)


@pytest.mark.parametrize("other", ["eager", "numba", "jax.jit"])
def test_the_grid_of_the_nile(other: str, compare: Any) -> None:
    arguments = grid()
    contenders = {
        "eager": partial(EXAMPLE.kalman_filter, *arguments),
        "numba": partial(filter_in_numba, *arguments),
        "jax.jit": blocking(jax.jit(EXAMPLE.kalman_filter), arguments),
    }
    ours = partial(COMPILED.kalman_filter, *arguments)
    assert_same(contenders[other](), ours())
    target = "≤ 0.500" if other == "eager" else ""
    compare(f"{other:8}  numpy  Nile     625 filters, 100 steps", ours, contenders[other], target)


def test_all_grids_of_the_nile(compare: Any) -> None:
    def ours() -> Any:
        compiled.cache_clear()
        return COMPILED.fit(FLOWS)

    compare(
        "eager     numpy  Nile    6 grids, compiling included", ours, partial(EXAMPLE.fit, FLOWS)
    )


@pytest.mark.parametrize("step", [small, lstm], ids=["small", "lstm"])
def test_fresh_closures(step: Any, add_row: Any) -> None:
    """Call 1,000 times with steps that close over new arrays."""
    case = step(np, 4, 100, 4)

    def call(k: int) -> None:
        scale = np.full((4, 1), 1 + k / 1000, dtype=np.float32)
        compiled.rnn(lambda x, h: case.step(scale * x, h), case.inputs, case.states)

    def mib() -> float:
        gc.collect()
        return psutil.Process().memory_info().rss / 2**20

    compiled.cache_clear()
    for k in range(1_000):
        call(k)
    before = mib()
    for k in range(1_000):
        call(1_000 + k)
    after = mib()
    name = f"memory    numpy  {case.name:6}  1,000 fresh closures, after and before"
    add_row(name, after, before, "MiB", 1, after / before, f"{after - before:+.2f} MiB, 1 if flat")
    programs = compiled.cache_info().misses
    name = f"programs  numpy  {case.name:6}  2,000 fresh closures, compilations and calls"
    add_row(name, programs, 2_000, "calls", 1, programs / 2_000, "1 compilation")


def case_of(shape: str) -> Workload:
    if shape in CASES:
        return CASES[shape][0]()
    if shape == "1 × 100 × 8":
        return lstm(np, 1, 100, 8)
    return small_of(int(shape.split(" × ")[1].replace(",", "")))


def compiling(case: Workload, masked: bool = False) -> Callable[[], Any]:
    mask = case.mask if masked else None
    return partial(compiled.rnn, case.step, case.inputs, case.states, mask=mask)


def in_jax(loop: Callable[..., Any], case: Workload) -> Callable[[], Any]:
    run = jax.jit(partial(loop, traceable(case).step))
    return blocking(run, arguments_of(case, masked=False))


def in_another_way(way: str, case: Workload) -> Callable[[], Any]:
    if way == "eager":
        return partial(rnn, case.step, case.inputs, case.states)
    return in_jax(by_rnn, case) if way == "jax.jit" else in_onnxruntime(case)


def in_onnxruntime(case: Workload) -> Callable[[], Any]:
    """Export for any numbers of samples and timesteps; run with one thread."""
    given = {"x": case.inputs, **{f"h{k}": h for k, h in enumerate(case.states)}}
    shapes = {"x": ("samples", "time", case.inputs.shape[-1])}
    arguments = {
        name: ndonnx.argument(
            shape=shapes.get(name, ("samples", array.shape[-1])),
            dtype=getattr(ndonnx, str(array.dtype)),
        )
        for name, array in given.items()
    }
    x, *states = arguments.values()
    last, outputs, states = rnn(traceable(case).step, x, states)
    results = {"last": last, "outputs": outputs}
    results |= {f"new h{k}": h for k, h in enumerate(states)}
    return session(ndonnx.build(arguments, results), given)


def word(masked: bool) -> str:
    return "masked" if masked else "unmasked"
