"""`linear_scan` and `associative_scan` against loops by hand, JAX's own scan, and one worker."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dask.array as da
import jax
import numpy as np
import pytest
import torch
from distributed import Client, wait

from arrayrnn import associative_scan, compiled, linear_scan
from recurrences import affine, by_hand, by_hand_of_matrices, combined_by_hand, matrices, numbers
from workloads import assert_same

# Time first; at most so much of the time of the loop by hand on NumPy, and on PyTorch.
SHAPES = {
    "10,000 × 4 × 4": ((10_000, 4, 4), ("≤ 0.250", "≤ 0.100")),
    "100,000 × 4 × 4": ((100_000, 4, 4), ("≤ 0.250", "≤ 0.067")),
    "10,000 × 32 × 32": ((10_000, 32, 32), ("≤ 1.100", "≤ 1.100")),
}
SHORT = 2_000  # timesteps

libraries = pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(autouse=True)
def one_thread_in_64_bits() -> Iterator[None]:
    torch.set_num_threads(1)
    with jax.enable_x64(True):
        yield


@libraries
@shapes
def test_linear_scan_against_a_loop_by_hand(xp: Any, shape: str, compare: Any) -> None:
    sizes, targets = SHAPES[shape]
    a, b = numbers(xp, *sizes)
    ours, other = partial(linear_scan, a, b, axis=0), partial(by_hand, xp, a, b)
    assert_same(ours(), other())
    compare(label("by hand", xp, "linear", shape), ours, other, targets[xp is torch])


@libraries
@shapes
def test_associative_scan_against_a_loop_by_hand(xp: Any, shape: str, compare: Any) -> None:
    a, b = numbers(xp, *SHAPES[shape][0])
    ours = partial(associative_scan, affine, (a, b))
    other = partial(combined_by_hand, xp, affine, a, b)
    assert_same(ours(), other())
    compare(label("by hand", xp, "pairs", shape), ours, other)


@shapes
def test_associative_scan_against_jax(shape: str, compare: Any) -> None:
    a, b = numbers(np, *SHAPES[shape][0])
    ours, other = partial(associative_scan, affine, (a, b)), in_jax(a, b)
    assert_same(ours(), other())
    compare(label("jax.jit", np, "pairs", shape), ours, other)


@shapes
@pytest.mark.parametrize("against", ["by hand", "eager", "jax.jit"])
def test_compiled_from_numpy(against: str, shape: str, compare: Any) -> None:
    a, b = numbers(np, *SHAPES[shape][0])
    ours = partial(compiled.associative_scan, affine, (a, b))
    other = {
        "by hand": partial(combined_by_hand, np, affine, a, b),
        "eager": partial(associative_scan, affine, (a, b)),
        "jax.jit": in_jax(a, b),
    }[against]
    assert_same(ours(), other())
    compare(label(against, np, "pairs", shape) + ", compiled", ours, other)


@libraries
@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_matrices_against_a_loop_by_hand(xp: Any, n: int, compare: Any) -> None:
    a, b = matrices(xp, 10_000, n)
    ours, other = partial(linear_scan, a, b, axis=0), partial(by_hand_of_matrices, xp, a, b)
    assert_same(ours(), other())
    name = label("by hand", xp, "linear", f"10,000 matrices {n} × {n}")
    compare(name, ours, other, timesteps=10_000)


@pytest.mark.parametrize("time", [SHORT, 2 * SHORT, 4 * SHORT, 8 * SHORT, 16 * SHORT])
def test_backward_is_linear_in_time(time: int, compare: Any) -> None:
    long, short = (
        [array.requires_grad_() for array in numbers(torch, 1, steps, 16)]
        for steps in (time, SHORT)
    )
    by_loop = gradients(short, lambda a, b: by_hand(torch, a[0], b[0]))
    assert_same(gradients(short), by_loop)

    def many() -> None:
        for _ in range(time // SHORT):
            gradients(short)

    name = f"backward  torch  linear  {time:,} steps, other: {time // SHORT} times {SHORT:,}"
    compare(name, partial(gradients, long), many, "1 if linear", timesteps=time)


@pytest.mark.parametrize("held", [False, True], ids=["drawn", "held"])
def test_two_worker_processes_against_one(clients: list[Client], held: bool, compare: Any) -> None:
    """Sum over all states, so that workers send little; they draw the numbers, or hold them."""
    shape, chunks = (400_000, 16), (25_000, 16)  # 51.2 MB each, in 16 chunks

    def draw(client: Client) -> Any:
        rng = da.random.default_rng(0)
        pair = rng.uniform(0.5, 1, shape, chunks=chunks), rng.normal(size=shape, chunks=chunks)
        if not held:
            return pair
        pair = client.persist(pair)
        with client.as_current():
            wait(pair)
        return pair

    pairs = [draw(client) for client in clients]
    sums = [associative_scan(affine, pair)[1].sum(axis=0) for pair in pairs]
    one, two = (
        partial(client.compute, total, sync=True)
        for client, total in zip(clients, sums, strict=True)
    )
    assert_same(two(), one())
    name = f"one worker  dask  pairs  16 chunks of time {'held' if held else 'drawn'}, 2 workers"
    compare(name, two, one, "≤ 0.625")


def gradients(arrays: Any, loop: Callable[[Any, Any], Any] = linear_scan) -> Any:
    return torch.autograd.grad(loop(*arrays).sum(), arrays)


def in_jax(a: Any, b: Any) -> Callable[[], Any]:
    """Return a call on NumPy arrays, to NumPy arrays."""
    scan = jax.jit(partial(jax.lax.associative_scan, affine))
    return lambda: [np.asarray(array) for array in scan((a, b))]


def label(against: str, xp: Any, what: str, shape: str) -> str:
    return f"{against:8}  {xp.__name__:5}  {what:6}  {shape}"
