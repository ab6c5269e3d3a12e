"""Loops on NumPy that take more care than those of `workloads`, and those without a step function.

Each takes a case and returns the last output, the outputs and the states.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import workloads
from workloads import Workload, lstm_weights

Loop = Callable[[Workload], tuple[Any, Any, Any]]


def into_place(case: Workload) -> tuple[Any, Any, Any]:
    inputs, states = case.inputs, case.states
    samples, time, _ = inputs.shape
    outputs = np.empty((samples, time, states[0].shape[1]), dtype=inputs.dtype)
    for t in range(time):
        y, states = case.step(inputs[:, t], states)
        outputs[:, t] = y
    return y, outputs, states


def in_order(case: Workload) -> tuple[Any, Any, Any]:
    states, outputs = case.states, []
    for x_t in in_order_of_time(case.inputs):
        y, states = case.step(x_t, states)
        outputs.append(y)
    return y, np.stack(outputs, axis=1), states


def in_order_masked(case: Workload) -> tuple[Any, Any, Any]:
    states, last = [h.copy() for h in case.states], np.zeros_like(case.states[0])
    inputs, keep_all = in_order_of_time(case.inputs), in_order_of_time(case.mask)[..., None]
    outputs = np.empty((*inputs.shape[:2], last.shape[1]), dtype=last.dtype)
    for x_t, keep, y in zip(inputs, keep_all, outputs, strict=True):
        new_y, new_states = case.step(x_t, states)
        for h, new in zip(states, new_states, strict=True):
            np.copyto(h, new, where=keep)
        np.copyto(last, new_y, where=keep)
        y[...] = last
    return last, outputs.swapaxes(0, 1), states


def small_inlined(case: Workload) -> tuple[Any, Any, Any]:
    (h,), decay = case.states, np.full_like(case.states[0], 0.9)
    decayed = np.empty_like(h)
    outputs = in_order_of_time(case.inputs).copy()
    add, multiply = np.add, np.multiply
    for y in outputs:
        h = add(y, multiply(h, decay, decayed), y)
    return h, outputs.swapaxes(0, 1), (h,)


def small_inlined_masked(case: Workload) -> tuple[Any, Any, Any]:
    h, decay = case.states[0].copy(), np.full_like(case.states[0], 0.9)
    new = np.empty_like(h)
    inputs, keep_all = in_order_of_time(case.inputs), in_order_of_time(case.mask)[..., None]
    outputs = np.empty_like(inputs)
    for x_t, keep, y in zip(inputs, keep_all, outputs, strict=True):
        np.add(np.multiply(h, decay, new), x_t, new)
        np.copyto(h, new, where=keep)
        y[...] = h
    return h, outputs.swapaxes(0, 1), (h,)


def lstm_inlined(case: Workload) -> tuple[Any, Any, Any]:
    kernel, recurrent, bias = lstm_weights(np, case.inputs.shape[-1], case.states[0].shape[-1])
    return _lstm(case, case.inputs, lambda x_t, h: x_t @ kernel + h @ recurrent + bias)


def lstm_inlined_products_first(case: Workload) -> tuple[Any, Any, Any]:
    kernel, recurrent, bias = lstm_weights(np, case.inputs.shape[-1], case.states[0].shape[-1])
    return _lstm(case, case.inputs @ kernel + bias, lambda x_t, h: x_t + h @ recurrent)


def lstm_inlined_no_new_arrays(case: Workload) -> tuple[Any, Any, Any]:
    kernel, recurrent, bias = lstm_weights(np, case.inputs.shape[-1], case.states[0].shape[-1])
    (h, c), inputs = case.states, in_order_of_time(case.inputs)
    c, units = c.copy(), c.shape[1]
    outputs = np.empty((*inputs.shape[:2], units), dtype=c.dtype)
    gates, product, written = (np.empty((len(c), k * units), dtype=c.dtype) for k in (4, 4, 1))
    flags = gates[:, : 3 * units]
    keep, write, read, candidate = (gates[:, k * units : (k + 1) * units] for k in range(4))
    for x_t, y in zip(inputs, outputs, strict=True):
        np.matmul(x_t, kernel, out=gates)
        np.matmul(h, recurrent, out=product)
        np.add(gates, product, out=gates)
        np.add(gates, bias, out=gates)
        np.exp(np.negative(flags, out=flags), out=flags)
        np.reciprocal(np.add(flags, 1, out=flags), out=flags)
        np.tanh(candidate, out=candidate)
        np.multiply(keep, c, out=c)
        np.add(c, np.multiply(write, candidate, out=written), out=c)
        h = np.multiply(read, np.tanh(c, out=y), out=y)
    return h, outputs.swapaxes(0, 1), (h, c)


def lstm_inlined_masked(case: Workload) -> tuple[Any, Any, Any]:
    kernel, recurrent, bias = lstm_weights(np, case.inputs.shape[-1], case.states[0].shape[-1])
    return _lstm(case, case.inputs, lambda x_t, h: x_t @ kernel + h @ recurrent + bias, case.mask)


def _lstm(
    case: Workload, inputs: Any, gates_of: Callable[[Any, Any], Any], mask: Any = None
) -> tuple[Any, Any, Any]:
    """Run an LSTM whose three sigmoids are one operation; its output is a state."""
    h, c = case.states
    units = c.shape[1]
    outputs = np.empty((*inputs.shape[:2], units), dtype=c.dtype)
    for t in range(inputs.shape[1]):
        gates = gates_of(inputs[:, t], h)
        flags = 1 / (1 + np.exp(-gates[:, : 3 * units]))
        keep, write, read = (flags[:, k * units : (k + 1) * units] for k in range(3))
        new_c = keep * c + write * np.tanh(gates[:, 3 * units :])
        new_h = read * np.tanh(new_c)
        if mask is not None:
            unmasked = mask[:, t, None]
            new_c, new_h = np.where(unmasked, new_c, c), np.where(unmasked, new_h, h)
        h, c = new_h, new_c
        outputs[:, t] = h
    return h, outputs, (h, c)


def in_order_of_time(array: Any) -> Any:
    return np.ascontiguousarray(array.swapaxes(0, 1))


Loops = dict[tuple[str, bool], list[Loop]]  # by the name of a case, and whether it is masked

PLAIN: Loops = {
    (name, masked): [workloads.by_hand_masked if masked else workloads.by_hand]
    for name in ("small", "lstm")
    for masked in (False, True)
}
WITH_CARE: Loops = {
    (name, masked): [in_order_masked] if masked else [into_place, in_order]
    for name in ("small", "lstm")
    for masked in (False, True)
}
WITHOUT_A_STEP: Loops = {
    ("small", False): [small_inlined],
    ("small", True): [small_inlined_masked],
    ("lstm", False): [lstm_inlined, lstm_inlined_products_first, lstm_inlined_no_new_arrays],
    ("lstm", True): [lstm_inlined_masked],
}
KINDS = {"plain": PLAIN, "with care": WITH_CARE, "without a step": WITHOUT_A_STEP}
