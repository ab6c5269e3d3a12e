"""`rnn` against loops written by hand, against Keras and, masked, against itself."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import torch
from keras.src.backend.numpy.rnn import rnn as keras_on_numpy
from keras.src.backend.torch.rnn import rnn as keras_on_torch

import workloads
from arrayrnn import rnn
from workloads import Workload, assert_same, lstm, nested, small

libraries = pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
steps = pytest.mark.parametrize("step", [small, lstm], ids=["small", "lstm"])
masks = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


@pytest.fixture(autouse=True, scope="module")
def one_thread_without_gradients() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


@libraries
@steps
@masks
def test_against_a_loop_by_hand(xp: Any, step: Any, masked: bool, compare: Any) -> None:
    case = step(xp)
    loop = workloads.by_hand_masked if masked else workloads.by_hand
    ours, other = call(rnn, case, masked), partial(loop, case)
    masked_small = "≤ 0.70" if xp is np else "≤ 0.62"
    target = {small: ("≤ 0.95", masked_small), lstm: ("≤ 1.03", "≤ 1.02")}[step][masked]
    assert_same(ours(), other())
    compare(label("by hand", case, masked), ours, other, target)


@libraries
@steps
def test_with_the_promise_against_a_loop_by_hand(xp: Any, step: Any, compare: Any) -> None:
    case = step(xp)
    ours = call(partial(rnn, samplewise=True), case, masked=True)
    other = partial(workloads.by_hand_masked, case)
    assert_same(ours(), other())
    name = label("by hand", case, masked=True) + ", samplewise"
    compare(name, ours, other, {small: "≤ 0.75", lstm: "≤ 1.05"}[step])


@libraries
@steps
@masks
def test_against_keras(xp: Any, step: Any, masked: bool, compare: Any) -> None:
    case = step(xp)
    keras_rnn = keras_on_torch if xp is torch else keras_on_numpy
    ours, other = call(rnn, case, masked), call(keras_rnn, case, masked)
    target = "< 1.00"
    if xp is torch and step is small:
        target = "≤ 0.33"
    elif xp is np and not masked:
        target = "≤ 1.10"
    assert_same(ours(), other())
    compare(label("Keras", case, masked), ours, other, target)


def test_nested_states_and_outputs(compare: Any) -> None:
    case = nested(np)
    ours, other = call(rnn, case, masked=False), partial(workloads.by_hand_nested, case)
    assert_same(ours(), other())
    compare(label("by hand", case, masked=False), ours, other)


@pytest.mark.parametrize("xp", [np, torch, jax.numpy], ids=["numpy", "torch", "jax"])
def test_masked_against_unmasked(xp: Any, compare: Any) -> None:
    case = small(xp, time=500)
    masked, unmasked = call(rnn, case, masked=True), call(rnn, case, masked=False)
    keep = np.asarray(case.mask)
    assert_same(*(np.asarray(contender()[1])[keep] for contender in (masked, unmasked)))
    compare(label("unmasked", case, masked=True) + ", 500 steps", masked, unmasked)


def call(loop: Callable[..., Any], case: Workload, masked: bool) -> Callable[[], Any]:
    mask = case.mask if masked else None
    run = partial(loop, case.step, case.inputs, case.states, mask=mask)
    # JAX returns before it has computed.
    return (lambda: jax.block_until_ready(run())) if case.xp is jax.numpy else run


def label(against: str, case: Workload, masked: bool) -> str:
    library = case.xp.__name__.partition(".")[0]
    return f"{against:8}  {library:5}  {case.name:6}  {'masked' if masked else 'unmasked'}"
