"""Gradients with `checkpoint=` against those without: the memory that they take, and the time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from arrayrnn import rnn
from test_jax import blocking
from workloads import assert_same, lstm, lstm_step, lstm_weights

SAMPLES, TIME, FEATURES, EVERY = 32, 1024, 64, 32
WHAT = f"{TIME:,} steps, checkpoint={EVERY}"


@pytest.fixture(scope="module")
def in_jax() -> Any:
    """Return the arguments, and the compiled gradients with and without checkpoints."""
    case = lstm(jnp, SAMPLES, TIME, FEATURES)
    arguments = case.inputs, lstm_weights(jnp, FEATURES, 2 * FEATURES)

    def loss(checkpoint: int | None, inputs: Any, weights: Any) -> Any:
        step = lstm_step(jnp, *weights)
        _, outputs, _ = rnn(step, inputs, case.states, checkpoint=checkpoint)
        return jnp.sum(outputs**2)

    def gradient(checkpoint: int | None) -> Any:
        run = jax.jit(jax.grad(partial(loss, checkpoint), argnums=(0, 1)))
        return run.lower(*arguments).compile()

    return arguments, gradient(EVERY), gradient(None)


def test_time_in_jax(in_jax: Any, compare: Callable[..., None]) -> None:
    arguments, ours, other = in_jax
    assert_same(as_ratios(ours(*arguments)), as_ratios(other(*arguments)))
    name = f"without   jax    lstm    {WHAT}, run"
    compare(name, blocking(ours, arguments), blocking(other, arguments), "≤ 1.60")


def test_memory_in_jax(in_jax: Any, add_row: Callable[..., None]) -> None:
    _, *gradients = in_jax
    ours, other = (run.memory_analysis().temp_size_in_bytes / 2**20 for run in gradients)
    name = f"without   jax    lstm    {WHAT}, memory"
    add_row(name, ours, other, "MiB", 1, ours / other, "≤ 0.35")


def as_ratios(nest: Any) -> Any:
    """Scale arrays to 1 at most: what is summed over all timesteps can be large."""
    return jax.tree.leaves(jax.tree.map(lambda x: x / jnp.max(jnp.abs(x)), nest))


def in_torch(checkpoint: int | None) -> Any:
    """Return a loss of PyTorch's, and the tensors to differentiate it by."""
    case = lstm(torch, SAMPLES, TIME, FEATURES)
    leaves = case.inputs, *lstm_weights(torch, FEATURES, 2 * FEATURES)
    for leaf in leaves:
        leaf.requires_grad_()
    step = lstm_step(torch, *leaves[1:])
    _, outputs, _ = rnn(step, case.inputs, case.states, checkpoint=checkpoint)
    return torch.sum(outputs**2), leaves


def gradient_in_torch(checkpoint: int | None) -> Any:
    return torch.autograd.grad(*in_torch(checkpoint))


def test_time_in_torch(compare: Callable[..., None]) -> None:
    torch.set_num_threads(1)
    ours, other = partial(gradient_in_torch, EVERY), partial(gradient_in_torch, None)
    for found, expected in zip(ours(), other(), strict=True):
        assert torch.equal(found, expected)
    compare(f"without   torch  lstm    {WHAT}, run", ours, other, "≤ 1.60")


def test_memory_in_torch(add_row: Callable[..., None]) -> None:
    ours, other = (saved_mib(checkpoint) for checkpoint in (EVERY, None))
    add_row(
        f"without   torch  lstm    {WHAT}, memory", ours, other, "MiB", 1, ours / other, "≤ 0.35"
    )


def saved_mib(checkpoint: int | None) -> float:
    """Return how much memory the tensors take that autograd saves for backward."""
    saved = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        in_torch(checkpoint)
    return sum(storage.nbytes() for storage in saved.values()) / 2**20
