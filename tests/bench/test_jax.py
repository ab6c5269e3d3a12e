"""`rnn` inside `jax.jit` against a `lax.scan` written by hand, its masking included."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from arrayrnn import rnn
from workloads import Workload, assert_same, lstm, small

steps = pytest.mark.parametrize("step", [small, lstm], ids=["small", "lstm"])
masks = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
times = pytest.mark.parametrize("time", [100, 10_000])


@masks
@steps
@times
def test_running(time: int, step: Any, masked: bool, compare: Any) -> None:
    case = step(jnp, time=time)
    arguments = arguments_of(case, masked)
    ours, other = (jax.jit(partial(loop, case.step)) for loop in (by_rnn, by_scan))
    assert_same(ours(*arguments), other(*arguments))
    name = f"scan      jax    {case.name:6}  {word(masked)}, {time:,} steps, run"
    compare(name, blocking(ours, arguments), blocking(other, arguments), "≤ 1.05")


@masks
@steps
@times
def test_compiling(time: int, step: Any, masked: bool, compare: Any) -> None:
    case = step(jnp, time=time)
    arguments = arguments_of(case, masked)

    def compiling(loop: Callable[..., Any]) -> Callable[[], object]:
        # A function of its own each time: `jit` would know the last one again.
        return lambda: jax.jit(partial(loop, case.step)).lower(*arguments).compile()

    name = f"scan      jax    {case.name:6}  {word(masked)}, {time:,} steps, compile"
    compare(name, compiling(by_rnn), compiling(by_scan), "≤ 1.15")


def arguments_of(case: Workload, masked: bool) -> tuple[Any, ...]:
    return case.inputs, case.states, case.mask if masked else None


def word(masked: bool) -> str:
    return "masked" if masked else "unmasked"


def blocking(run: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], object]:
    # JAX returns before it has computed.
    return lambda: jax.block_until_ready(run(*arguments))


def by_rnn(step: Any, inputs: Any, states: Any, mask: Any) -> Any:
    last, outputs, states = rnn(step, inputs, states, mask=mask)
    return last, outputs, tuple(states)


def by_scan(step: Any, inputs: Any, states: Any, mask: Any) -> Any:
    if mask is None:

        def body(states: Any, x: Any) -> Any:
            y, states = step(x, states)
            return states, y

        states, outputs = jax.lax.scan(body, states, jnp.swapaxes(inputs, 0, 1))
    else:

        def masked_body(carry: Any, slices: Any) -> Any:
            (states, last), (x, keep) = carry, slices
            y, new_states = step(x, states)
            keep = keep[:, None]
            y = jnp.where(keep, y, last)
            states = jax.tree.map(lambda new, old: jnp.where(keep, new, old), new_states, states)
            return (states, y), y

        like, _ = jax.eval_shape(step, inputs[:, 0], states)
        carry = (states, jnp.zeros(like.shape, like.dtype))
        slices = (jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(mask, 0, 1))
        (states, _), outputs = jax.lax.scan(masked_body, carry, slices)
    return outputs[-1], jnp.swapaxes(outputs, 0, 1), states
