"""What `rnn` should return, found with loops of plain NumPy, and how to look inside."""

import array_api_compat
import numpy as np
import optree

__all__ = ["Recorder", "draw", "halving", "recurrence", "revealed", "revealing", "together"]


def draw(backend, *shape):
    """Small whole numbers, floats of the backend: what is halved a few times stays exact."""
    drawn = np.random.default_rng(shape).integers(-4, 5, size=shape)
    return drawn.astype(backend.float)


def halving(x_t, states):
    """Compute a step that forgets nothing and whose output is not its state."""
    (level,) = states
    level = 0.5 * level + x_t
    return 4.0 * level - 1.0, [level]


def recurrence(
    step, x, states, keep=None, *, go_backwards=False, zero_output=False, initial_output=None
):
    """Return ``(last_output, outputs, new_states)`` of NumPy arrays; masked timesteps are skipped.

    The step sees one sample at a time, and nothing at all of what is masked.
    """
    samples, time = x.shape[:2]
    keep = np.ones((samples, time), dtype=bool) if keep is None else keep
    outputs, new_states = [], []
    for s in range(samples):
        own = tuple(state[s : s + 1] for state in states)
        previous = None if initial_output is None else initial_output[s : s + 1]
        shown = []
        for t in reversed(range(time)) if go_backwards else range(time):
            if keep[s, t]:
                previous, own = step(x[s : s + 1, t], tuple(own))
            shown.append(None if zero_output and not keep[s, t] else previous)
        outputs.append(shown)
        new_states.append(own)
    zeros = np.zeros_like(next(o for shown in outputs for o in shown if o is not None))
    filled = [[zeros if o is None else o for o in shown] for shown in outputs]
    joined = np.concatenate([np.stack(shown, axis=1) for shown in filled])
    states = [np.concatenate(column) for column in zip(*new_states, strict=True)]
    return joined[:, -1], joined, states


def together(
    step, inputs, states, keep, *, go_backwards=False, zero_output=False, initial_output=None
):
    """Return ``(last_output, outputs, new_states)``, nests of NumPy arrays.

    The step sees all samples at once, at masked timesteps the inputs that are there and the states
    that were held. What comes of it is selected afterwards.
    """
    time = keep.shape[1]
    states, shown, previous = tuple(states), [], initial_output

    def selected(rows, new, old):
        def one(n, o):
            return np.where(rows.reshape(-1, *[1] * (o.ndim - 1)), n, o)

        nest = optree.tree_structure(old)  # a step may return a list for a tuple
        leaves = map(one, optree.tree_leaves(new), optree.tree_leaves(old))
        return optree.tree_unflatten(nest, leaves)

    for t in reversed(range(time)) if go_backwards else range(time):
        x_t = optree.tree_map(lambda x, t=t: x[:, t], inputs)
        with np.errstate(all="ignore"):  # nobody sees what comes where nothing is unmasked
            output, new_states = step(x_t, states)
        zeros = optree.tree_map(np.zeros_like, output)
        rest = zeros if zero_output or previous is None else previous
        previous = selected(keep[:, t], output, rest)
        states = selected(keep[:, t], tuple(new_states), states)
        shown.append(previous)
    outputs = optree.tree_map(lambda *leaves: np.stack(leaves, axis=1), *shown)
    return previous, outputs, [*states]


class Recorder:
    """A step function that keeps what it is called with."""

    def __init__(self, step):
        self.step = step
        self.inputs = []
        self.states = []

    def __call__(self, x_t, states):
        self.inputs.append(x_t)
        self.states.append(states)
        return self.step(x_t, states)


def revealing(step):
    """Return a step whose output is all that it is given, of all samples to each of them.

    Recorded arrays would have no values where the step is traced.
    """

    def step_that_reveals(x_t, states):
        first = optree.tree_leaves(x_t)[0]
        xp = array_api_compat.array_namespace(first)
        zeros = xp.zeros_like(first)[(..., *(0,) * (first.ndim - 1))]  # (samples,)

        def to_each(leaf):
            return xp.astype(zeros[(..., *(None,) * leaf.ndim)], leaf.dtype) + leaf[None, ...]

        return optree.tree_map(to_each, (x_t, states)), step(x_t, states)[1]

    return step_that_reveals


def revealed(backend, outputs, keep, *, go_backwards=False, time_major=False):
    """Return ``{t: (x_t, states)}``, what a `revealing` step was given, in order of iteration.

    Timesteps at which all samples are masked are not in it: nobody sees what is given there.
    """
    time = keep.shape[1]
    outputs = optree.tree_map(backend.numpy, outputs)
    given = {}
    for i, t in enumerate(reversed(range(time)) if go_backwards else range(time)):
        if keep[:, t].any():
            at = (i, keep[:, t].argmax()) if time_major else (keep[:, t].argmax(), i)
            given[t] = optree.tree_map(lambda leaf, at=at: leaf[at], outputs)
    return given
