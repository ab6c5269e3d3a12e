"""What cells compute, one gate after another, from the formulas in plain NumPy."""

import numpy as np

from arrayrnn import cells

__all__ = ["ACTIVATIONS", "over_time", "step_of"]

# By the name that a cell keeps, with the parameters as arguments.
ACTIVATIONS = {
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "elu": lambda x, alpha: np.where(x < 0, alpha * (np.exp(x) - 1), x),
    "hardsigmoid": lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1),
    "leakyrelu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "relu": lambda x: np.maximum(x, 0),
    "scaledtanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
    "thresholdedrelu": lambda x, alpha: np.where(x > alpha, x, 0),
}


def step_of(cell):
    """Return the step of a cell of NumPy arrays."""
    units = cell.units

    def gate(field, k):
        """Return one gate's part of a field, zeros if there is none."""
        array = getattr(cell, field)
        return 0.0 if array is None else array[k * units : (k + 1) * units]

    def of_x(x, k):
        return x @ gate("weight_ih", k).T + gate("bias_ih", k)

    def of_h(h, k):
        return h @ gate("weight_hh", k).T + gate("bias_hh", k)

    def activated(field, x):
        kind, *parameters = np.atleast_1d(np.asarray(getattr(cell, field), dtype=object))
        clipped = x if cell.clip is None else np.clip(x, -cell.clip, cell.clip)
        return ACTIVATIONS[kind](clipped, *parameters)

    def simple(x, states):
        h = activated("activation", of_x(x, 0) + of_h(states[0], 0))
        return h, [h]

    def gru(x, states):
        (h,) = states
        r = activated("recurrent_activation", of_x(x, 0) + of_h(h, 0))
        z = activated("recurrent_activation", of_x(x, 1) + of_h(h, 1))
        reset = r * of_h(h, 2) if cell.reset_after else of_h(r * h, 2)
        n = activated("activation", of_x(x, 2) + reset)
        h = (1 - z) * n + z * h
        return h, [h]

    def lstm(x, states):
        h, c = states
        i = activated("recurrent_activation", of_x(x, 0) + of_h(h, 0) + gate("peepholes", 0) * c)
        f = activated("recurrent_activation", of_x(x, 1) + of_h(h, 1) + gate("peepholes", 1) * c)
        c = f * c + i * activated("activation", of_x(x, 2) + of_h(h, 2))
        o = activated("recurrent_activation", of_x(x, 3) + of_h(h, 3) + gate("peepholes", 2) * c)
        kind, *parameters = np.atleast_1d(np.asarray(cell.output_activation, dtype=object))
        h = o * ACTIVATIONS[kind](c, *parameters)
        h = h if cell.weight_hr is None else h @ cell.weight_hr.T
        return h, [h, c]

    return {cells.SimpleRNN: simple, cells.GRU: gru, cells.LSTM: lstm}[type(cell)]


def over_time(cell, x, states, lengths=None, *, go_backwards=False):
    """Return outputs, zeros after the end of a sample, and the last states."""
    step, (samples, time) = step_of(cell), x.shape[:2]
    lengths = [time] * samples if lengths is None else lengths
    outputs = np.zeros((samples, time, states[0].shape[1]), x.dtype)
    last = [state.copy() for state in states]
    for s, length in enumerate(lengths):
        own = [state[s : s + 1] for state in states]
        for t in reversed(range(length)) if go_backwards else range(length):
            outputs[s : s + 1, t], own = step(x[s : s + 1, t], own)
        for state, new in zip(last, own, strict=True):
            state[s : s + 1] = new
    return outputs, last
