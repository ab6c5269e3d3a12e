"""Calls of few timesteps on small NumPy arrays, where all that counts is what a call costs."""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from keras.src.backend.numpy.rnn import rnn as keras_rnn

from arrayrnn import Stream, rnn
from workloads import assert_same, by_hand, small

CALLS = 100  # timed as one


@pytest.mark.parametrize(
    ("time", "masked", "target"),
    [(1, False, "<= 2.0"), (10, False, "<= 1.6"), (10, True, "<= 0.8")],
    ids=["1", "10", "10-masked"],
)
def test_against_keras(time: int, masked: bool, target: str, compare: Any) -> None:
    case = small(np, time=time)
    arguments = {"mask": case.mask} if masked else {}
    ours, other = (
        partial(loop, case.step, case.inputs, case.states, **arguments) for loop in (rnn, keras_rnn)
    )
    assert_same(ours(), other())
    kind = f"{time} steps, {'masked' if masked else 'unmasked'}"
    compare(f"Keras     numpy  short   {kind}", often(ours), often(other), target, calls=CALLS)


def test_against_a_loop_by_hand(compare: Any) -> None:
    case = small(np, time=10)
    ours, other = partial(rnn, case.step, case.inputs, case.states), partial(by_hand, case)
    assert_same(ours(), other())
    name = "by hand   numpy  short   10 steps, unmasked"
    compare(name, often(ours), often(other), calls=CALLS)


def test_a_chunk_of_a_stream(compare: Any) -> None:
    case = small(np, time=1)
    stream = Stream(case.step, case.states)
    ours, other = (
        partial(stream, case.inputs),
        partial(keras_rnn, case.step, case.inputs, case.states),
    )
    assert_same(ours(), other())
    name = "Keras     numpy  short   a chunk of 1 step"
    compare(name, often(ours), often(other), "<= 2.0", calls=CALLS)


def often(call: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls another many times."""

    def many() -> None:
        for _ in repeat(None, CALLS):
            call()

    return many
