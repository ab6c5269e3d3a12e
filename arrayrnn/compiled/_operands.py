"""The arrays of a problem in one row, as programs take them."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from arrayrnn._libraries.operations import namespace_of, swap_time_and_samples
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.problem import Problem
from arrayrnn.compiled._exchange import serves

Arrays = Sequence[Any]


class Groups(NamedTuple):
    """The arrays of a problem, or others in their place."""

    inputs: Arrays  # (samples, time, ...) if they came so
    states: Arrays
    constants: Arrays
    initial_output: Arrays
    keep: Arrays  # the mask, or none


class Row(NamedTuple):
    """All arrays of a problem, one after the other.

    Attributes
    ----------
    arrays : list of array
        As they came from the caller.
    sizes : tuple of int
        How many there are of each of the `Groups`.
    """

    arrays: list[Any]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> "Row":
        """Take the arrays of `problem`."""
        inputs, mask, (states, output) = problem.inputs.leaves, problem.mask, problem.start
        if problem.options.time_axis:
            # As they came: memory that is in order need not be copied.
            inputs = [swap_time_and_samples(problem.xp, x) for x in inputs]
        constants, _ = Nest.of(problem.options.constants)
        groups = Groups(
            inputs,
            states,
            [leaf for leaf in constants if _is_handed_over(leaf)],
            output or (),
            [] if mask is None else [mask.keep],
        )
        return cls([array for group in groups for array in group], tuple(map(len, groups)))

    def path(self, problem: Problem, k: int) -> str:
        """Return how the caller would write an array."""
        words, nest, output = problem.words, problem.initial_nest, problem.start.output
        constants = Named.of(problem.options.constants, "constants")
        handed_over = [i for i, leaf in enumerate(constants.leaves) if _is_handed_over(leaf)]
        initial = Named(output or (), nest or Nest.of(())[1], words.initial_output)
        names: list[Callable[[int], str]] = [
            problem.inputs.path,
            problem.states.path,
            lambda i: constants.path(handed_over[i]),
            initial.path,
            lambda _: "mask",
        ]
        for name, count in zip(names, self.sizes, strict=True):
            if k < count:
                return name(k)
            k -= count
        raise IndexError


def split(row: Arrays, sizes: tuple[int, ...]) -> Groups:
    """Return the groups of a row."""
    return Groups(*(row[start:stop] for start, stop in pairwise(accumulate((0, *sizes)))))


def constants_with(problem: Problem, arrays: Arrays) -> tuple[Any, ...]:
    """Return the constants of a problem, others in the place of those that are arrays."""
    leaves, nest = Nest.of(problem.options.constants)
    others = iter(arrays)
    built: tuple[Any, ...] = nest.build(
        tuple(next(others) if _is_handed_over(leaf) else leaf for leaf in leaves)
    )
    return built


def _is_handed_over(leaf: Any) -> bool:
    # A constant may be anything: text, say, of which only the step makes sense.
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind not in "OSTUMm"
    return array_api_compat.is_array_api_obj(leaf) and serves(namespace_of(leaf))
