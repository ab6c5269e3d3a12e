"""Cases drawn from numbered seeds: all options of `rnn`, all kinds of arguments, one step for all.

The step flattens whatever it is given into one row for each sample and multiplies it by one matrix
for each array that it must return, so a wrong entry, order or timestep shows in every result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import optree

CONSTANT = object()


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Spec:
    """What one sample of an array looks like."""

    features: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, repr=False)
class Case:
    """A call of `rnn`.

    The state in position `counter` has no samples axis and counts timesteps. A `tied` output is the
    very object that is the first new state. A step that is `mixing` samples gives each of them
    something that all share; for some of that the mask is the second of two inputs.
    """

    seed: int
    exact: bool
    inputs: Any
    initial_states: Any
    counter: int | None
    output: Any
    tied: bool
    mixing: str | None
    weights: list[np.ndarray]
    constants: Callable | None
    returns: Callable
    options: dict[str, Any]
    samplewise: bool
    respelled: bool
    gradients: bool = False
    # How the reference alone is called: with the first timesteps, with one more axis everywhere.
    first: int | None = None
    lifted: bool = False

    def __repr__(self):
        nests = (self.inputs, self.initial_states)
        inputs, states = optree.tree_map(lambda x: f"{x.dtype}{x.shape}", nests)
        options = {
            name: f"{option.dtype} {option.tolist()}" if isinstance(option, np.ndarray) else option
            for name, option in self.options.items()
        }
        ours = {"samplewise": self.samplewise, "respelled": self.respelled}
        return (
            f"draw({self.seed}): {inputs=}, {states=}, output={self.output}, "
            f"tied={self.tied}, mixing={self.mixing}, constants={self.constants}, "
            f"exact={self.exact}, {options}, {ours}"
        )

    def with_options(self, **options):
        return replace(self, options=self.options | options)

    def differentiated(self):
        """Give the same call in float64, to be compared in its gradients too."""

        def in_float64(leaf):
            if isinstance(leaf, Spec):
                return replace(leaf, dtype="float64")
            return leaf.astype("float64") if leaf.dtype.kind == "f" else leaf

        names = ("inputs", "initial_states", "output")
        doubled = {name: optree.tree_map(in_float64, getattr(self, name)) for name in names}
        return replace(self, gradients=True, **doubled)

    @property
    def states(self):
        listed = isinstance(self.initial_states, list | tuple)
        return tuple(self.initial_states) if listed else (self.initial_states,)

    @property
    def sizes(self):
        sizes = optree.tree_leaves(self.inputs)[0].shape[:2]
        return sizes[::-1] if self.options["time_major"] else sizes

    @property
    def masked(self):
        return self.options["mask"] is not None

    @property
    def masked_by_lengths(self):
        return isinstance(self.options["input_length"], np.ndarray) and not self.masked

    @property
    def kept(self):
        """Where the step's results count, as `(samples, time)`."""
        samples, time = self.sizes
        kept = np.full((samples, time), fill_value=True)
        if self.masked:
            mask = self.options["mask"] != 0
            if self.options["time_major"]:
                mask = mask.swapaxes(0, 1)
            kept &= mask.reshape(samples, time)
        length = self.options["input_length"]
        if isinstance(length, int) or self.masked_by_lengths:
            kept &= np.arange(time) < np.reshape(length, (-1, 1))
        return kept

    @property
    def differentiable(self):
        floating = any(leaf.dtype.kind == "f" for leaf in optree.tree_leaves(self.inputs))
        return floating and not self.exact

    @property
    def work_dtype(self):
        leaves = optree.tree_leaves((self.inputs, self.initial_states, self.output))
        return "float64" if any(leaf.dtype == "float64" for leaf in leaves) else "float32"

    @property
    def tolerance(self):
        """Zero where the arithmetic is exact, else what float rounding may do."""
        leaves = optree.tree_leaves((self.inputs, self.initial_states, self.output))
        single = any(leaf.dtype == "float32" for leaf in leaves)
        return 0 if self.exact else 256 * np.finfo("float32" if single else "float64").eps

    def per_sample(self, states):
        at = self.counter
        return states if at is None else (*states[:at], *states[at + 1 :])

    def shared(self, xp, row, rows):
        """Give what all samples share of their rows, of which `row` is the whole."""
        count = 1 if self.exact else row.shape[0]  # sums of whole numbers are exact
        match self.mixing:
            case "mean":
                return xp.sum_rows(row) / count
            case "maximum":
                return xp.max_rows(row)
            case "mean of unmasked":
                keep = rows[len(optree.tree_leaves(self.inputs)) - 1]
                return xp.sum_rows(row * keep) / (1 if self.exact else 1 + xp.sum_rows(keep))
            case "first row":
                return row[:1, :1]
            case "mean of states":
                states = rows[len(optree.tree_leaves(self.inputs)) :]
                return xp.sum_rows(states[0])[:, :1] / count

    def step(self, xp, weights):
        number = len(self.states)
        input_structure = optree.tree_structure(self.inputs)
        states_structure = optree.tree_structure(self.states)
        targets = (self.output, self.per_sample(self.states))
        structure = optree.tree_structure(targets)
        specs = [spec(leaf) for leaf in optree.tree_leaves(targets)]
        one_more = (1,) * self.lifted

        def step_function(input_t, states):
            assert type(states) is tuple
            states, constants = states[:number], states[number:]
            assert optree.tree_structure(input_t) == input_structure
            assert optree.tree_structure(states) == states_structure
            matrices = weights
            if self.constants:
                matrices, constant = constants
                assert constant is CONSTANT
            else:
                assert constants == ()

            leaves = optree.tree_leaves((input_t, self.per_sample(states)))
            rows = [xp.cast(xp.reshape(x, (x.shape[0], -1)), self.work_dtype) for x in leaves]
            row = xp.concat(rows)
            if self.mixing:
                row = row + self.shared(xp, row, rows)
                # As large as without, so that rounding does not grow from timestep to timestep.
                row = row if self.exact else row / 2
            results = [row @ matrix for matrix in matrices]
            if self.counter is not None:
                parity = xp.reshape(xp.cast(states[self.counter] % 2, self.work_dtype), (1, 1))
                results = [result + parity for result in results]
            results = [result % 7 - 3 if self.exact else xp.tanh(result) for result in results]
            results = [
                xp.cast(xp.reshape(result, (row.shape[0], *leaf.features, *one_more)), leaf.dtype)
                for result, leaf in zip(results, specs, strict=True)
            ]
            output, new_states = optree.tree_unflatten(structure, results)
            if self.tied:
                output = new_states[0]
            if self.counter is not None:
                at = self.counter
                new_states = (*new_states[:at], states[at] + 1, *new_states[at:])
            return output, self.returns(new_states)

        return step_function


def spec(leaf):
    return leaf if isinstance(leaf, Spec) else Spec(leaf.shape[1:], str(leaf.dtype))
