"""Calls that `rnn` refuses, and how its messages describe what came and when."""

import re
from functools import partial
from typing import Any

import array_api_compat
import numpy as np
import optree
import pytest

from support import running
from support.abilities import Ability
from support.backends import Backend
from support.running import rnn

__all__ = [
    "FEATURES",
    "LATE",
    "LIMITS",
    "LONG",
    "MASK",
    "MASKED",
    "SAMPLES",
    "TIME",
    "add",
    "an_array",
    "changing",
    "echo",
    "first_note",
    "forget",
    "made",
    "note",
    "notes",
    "refused",
    "refused_in_python",
    "times",
    "timesteps",
    "zeros",
]

SAMPLES, TIME, FEATURES = 2, 3, 4
LONG = 100  # timesteps: more than one block of 64
LATE = 70  # a timestep in the second block
MASK = np.asarray([[True, True, False], [True, True, True]])
LIMITS = pytest.mark.parametrize(
    "limit", [{"mask": MASK}, {"input_length": [2, 3]}], ids=["mask", "lengths"]
)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def add(x_t, states):
    total = states[0] + x_t
    return total, [total]


def echo(x_t, states):
    return x_t, list(states)


def forget(x_t, _):
    return x_t, [x_t]


@pytest.fixture
def refused(backend):
    """Return a function that calls `rnn`, by default with valid arguments, and checks its error.

    It is exactly of the type, with the message in its own, and comes after so many calls of the
    step function (None: any number of them); nothing that was given has changed. Where the step is
    traced, calls are counted with `unroll` only; the shapes to trace for are known then, since they
    are in the messages.
    """

    def refused(error, message, *, calls=0, **arguments):
        step = arguments.setdefault("step_function", add)
        arguments.setdefault("inputs", timesteps(backend, TIME))
        arguments.setdefault("initial_states", [zeros(backend)])
        called = 0

        def counting(x_t, states):
            nonlocal called
            called += 1
            return step(x_t, states)

        leaves, structure = optree.tree_flatten(arguments)
        before = [values(leaf) for leaf in leaves]
        raises = pytest.raises(error, match=re.escape(message))
        with running.known_shapes(), raises as raised:
            rnn(**arguments | ({"step_function": counting} if callable(step) else {}))
        assert raised.type is error
        if backend.is_traced and calls and arguments.get("unroll") is not True:
            assert called > 0
        else:
            assert calls is None or called == calls

        after, structure_after = optree.tree_flatten(arguments)
        assert structure_after == structure
        for old, new, value in zip(leaves, after, before, strict=True):
            assert new is old
            np.testing.assert_array_equal(values(new), value)
        return raised.value

    return refused


@pytest.fixture
def refused_in_python(backend, refused):
    """Return `refused` with the Python loop, in which a step can do something else later on."""
    if Ability.LATER.is_lacked_by(backend):
        pytest.skip(f"{backend} has not: {Ability.LATER}")
    return partial(refused, unroll=backend.is_traced)


def values(leaf: Any) -> Any:
    """Return a copy of the values of an array of any library, anything else as it is."""
    if isinstance(leaf, np.ndarray):
        return np.array(leaf)
    if not array_api_compat.is_array_api_obj(leaf):
        return leaf
    if str(array_api_compat.device(leaf)) == "meta":
        return tuple(leaf.shape)
    library = next(b for b in Backend if b.library in type(leaf).__module__)
    return np.array(library.numpy(leaf))


def timesteps(backend: Backend, time: int, features: int = FEATURES) -> Any:
    host = np.arange(SAMPLES * time * features, dtype="float64")
    return backend.array(host.reshape(SAMPLES, time, features))


def zeros(backend: Backend, *shape: int, dtype: str | None = None) -> Any:
    return backend.array(np.zeros(shape or (SAMPLES, FEATURES)), dtype)


def made(like: Any, *shape: int, dtype: str | None = None) -> Any:
    """Return zeros of the library of what a step is given, since it may not close over them."""
    xp = array_api_compat.array_namespace(like)
    dtype = like.dtype if dtype is None else getattr(xp, dtype)
    return xp.zeros(shape, dtype=dtype, device=array_api_compat.device(like))


def an_array(backend: Backend, *shape: int, dtype: str | None = None) -> str:
    """Return how a message describes an array."""
    return f"an array of shape {shape} and dtype {dtype or backend.float}"


def first_note(backend: Backend, time: int) -> str:
    """Return what an exception in the first call tells of its timestep."""
    if backend is Backend.DASK:
        return (
            "arrayrnn.rnn: while `step_function` was called on arrays of ones (zeros of integers) "
            "of the shapes that a block will have, to learn the shape of its output. If it cannot "
            "stand such values, `unroll=True` calls it on none, and makes tasks for each of its "
            "operations."
        )
    if backend.is_traced:
        called = "compiled.rnn" if backend.is_compiled else "rnn"
        return f"arrayrnn.{called}: while tracing `step_function` for all timesteps."
    return note(0, time)


def note(t: int, time: int, *, backwards: bool = False) -> str:
    """Return what an exception tells of its timestep."""
    direction = ", going backwards" if backwards else ""
    return f"arrayrnn.rnn: at timestep {t} of {time}, counted from 0{direction}."


def notes(error: Exception) -> list[str]:
    # JAX adds a note of its own to whatever passes through it.
    return [note for note in getattr(error, "__notes__", []) if note.startswith("arrayrnn")]


def times() -> tuple[int, int]:
    """Return when it happens, and of how many timesteps."""
    # ONNX takes 50 ms for a timestep that is unrolled, partly masked.
    return (3, 6) if running.backend() is Backend.ONNX else (LATE, LONG)


def changing(before: Any, after: Any, *, back: bool = False) -> Any:
    """Return a step that does `before` for some timesteps, then `after`, then maybe `before`."""
    t = -1

    def step(x_t, states):
        nonlocal t
        t += 1
        late = times()[0]
        return (after if t == late or (t > late and not back) else before)(x_t, states)

    return step
