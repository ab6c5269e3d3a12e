"""What is timed: the steps with their inputs, and the loops that a user would write by hand."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

Step = Callable[[Any, Any], tuple[Any, Any]]


class Workload(NamedTuple):
    """A step and everything that a call of it needs."""

    name: str
    xp: Any
    step: Step
    inputs: Any
    states: tuple[Any, ...]
    mask: Any


def small(xp: Any, samples: int = 4, time: int = 10_000, features: int = 4) -> Workload:
    """Return a step of two operations, so cheap that the loop around it is what shows."""

    def step(x: Any, states: Any) -> tuple[Any, Any]:
        (h,) = states
        h = 0.9 * h + x
        return h, (h,)

    states = (zeros(xp, samples, features),)
    return workload("small", xp, step, states, samples, time, features)


def nested(xp: Any, samples: int = 4, time: int = 10_000, features: int = 4) -> Workload:
    """Return a step of three operations, whose states and whose outputs are dicts of two."""

    def step(x: Any, states: Any) -> tuple[Any, Any]:
        (state,) = states
        h = 0.9 * state["h"] + x
        both = {"h": h, "total": state["total"] + h}
        return both, (both,)

    states = ({"h": zeros(xp, samples, features), "total": zeros(xp, samples, features)},)
    return workload("nested", xp, step, states, samples, time, features)


def lstm(
    xp: Any, samples: int = 32, time: int = 200, features: int = 64, units: int | None = None
) -> Workload:
    """Return an LSTM, by default with twice as many units as features, its gates in one array."""
    units = units or 2 * features
    step = lstm_step(xp, *lstm_weights(xp, features, units))
    states = (zeros(xp, samples, units), zeros(xp, samples, units))
    return workload("lstm", xp, step, states, samples, time, features)


def traceable(case: Workload) -> Workload:
    """Return a case whose step takes its functions from the namespace of what it is given.

    Asking for that at each timestep takes time, which only a step that is traced has.
    """
    if case.name != "lstm":
        return case
    weights = lstm_weights(case.xp, case.inputs.shape[-1], case.states[0].shape[-1])
    return case._replace(step=lambda x, states: lstm_step(array_namespace(x), *weights)(x, states))


def lstm_step(xp: Any, kernel: Any, recurrent: Any, bias: Any) -> Step:
    units = recurrent.shape[0]
    sigmoid = getattr(xp, "sigmoid", lambda z: 1 / (1 + xp.exp(-z)))

    def step(x: Any, states: Any) -> tuple[Any, Any]:
        h, c = states
        gates = x @ kernel + h @ recurrent + bias
        keep, write, read = (sigmoid(gates[:, k * units : (k + 1) * units]) for k in range(3))
        c = keep * c + write * xp.tanh(gates[:, 3 * units :])
        h = read * xp.tanh(c)
        return h, (h, c)

    return step


def lstm_weights(xp: Any, features: int, units: int) -> tuple[Any, Any, Any]:
    """Draw the weights of the LSTM's gates: forget, input, output, candidate."""
    shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
    kernel, recurrent, bias = (0.1 * normal(xp, *shape) for shape in shapes)
    return kernel, recurrent, bias


def workload(name: str, xp: Any, step: Any, states: Any, *shape: int) -> Workload:
    """Draw inputs, and a right-padded mask with lengths uniform in [time / 10, time]."""
    samples, time, _ = shape
    lengths = np.random.default_rng(0).integers(time // 10, time, size=samples, endpoint=True)
    mask = xp.asarray(np.arange(time) < lengths[:, None])
    return Workload(name, xp, step, normal(xp, *shape), states, mask)


def in_float64(case: Workload) -> Workload:
    """Return a case of NumPy arrays in twice the precision."""
    inputs, states = case.inputs.astype(np.float64), [h.astype(np.float64) for h in case.states]
    return case._replace(inputs=inputs, states=(*states,))


def normal(xp: Any, *shape: int) -> Any:
    return xp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def zeros(xp: Any, *shape: int) -> Any:
    return xp.zeros(shape, dtype=xp.float32)


def by_hand(case: Workload) -> tuple[Any, Any, Any]:
    xp, step, inputs, states = case.xp, case.step, case.inputs, case.states
    outputs = []
    for t in range(inputs.shape[1]):
        y, states = step(inputs[:, t], states)
        outputs.append(y)
    return y, xp.stack(outputs, axis=1), states


def by_hand_nested(case: Workload) -> tuple[Any, Any, Any]:
    xp, step, inputs, states = case.xp, case.step, case.inputs, case.states
    outputs = []
    for t in range(inputs.shape[1]):
        y, states = step(inputs[:, t], states)
        outputs.append(y)
    return y, {key: xp.stack([y[key] for y in outputs], axis=1) for key in y}, states


def by_hand_masked(case: Workload) -> tuple[Any, Any, Any]:
    xp, step, inputs, states = case.xp, case.step, case.inputs, case.states
    keep_all = case.mask[..., None]
    y = None
    outputs = []
    for t in range(inputs.shape[1]):
        keep = keep_all[:, t]
        new_y, new_states = step(inputs[:, t], states)
        y = xp.where(keep, new_y, xp.zeros_like(new_y) if y is None else y)
        states = [xp.where(keep, n, s) for n, s in zip(new_states, states, strict=True)]
        outputs.append(y)
    return y, xp.stack(outputs, axis=1), states


def assert_same(ours: Any, other: Any) -> None:
    """Check that two nests hold the same arrays, whatever containers they hold them in."""
    for one, another in zip(leaves(ours), leaves(other), strict=True):
        assert one.dtype == another.dtype
        np.testing.assert_allclose(np.asarray(one), np.asarray(another), rtol=1e-5, atol=1e-6)


def leaves(nest: Any) -> Iterator[Any]:
    if isinstance(nest, dict):
        nest = list(nest.values())
    if isinstance(nest, tuple | list):
        for entry in nest:
            yield from leaves(entry)
    else:
        yield nest
