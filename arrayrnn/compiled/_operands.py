"""Operands: the arrays of a problem, as programs take them."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from arrayrnn._libraries.operations import namespace_of, swap_time_and_samples
from arrayrnn._recurrence.nests import Named, Nest, tree_map
from arrayrnn._recurrence.problem import Problem
from arrayrnn.compiled import _errors, _exchange

Arrays = Sequence[Any]


class Groups(NamedTuple):
    """The arrays of a problem, or others in their place."""

    inputs: Arrays  # (samples, time, ...) if they came so
    states: Arrays
    constants: Arrays
    initial_output: Arrays
    keep: Arrays  # the mask, or none

    @classmethod
    def of(cls, problem: Problem) -> "Groups":
        """Return all arrays of a problem."""
        inputs, mask, (states, output) = problem.inputs.leaves, problem.mask, problem.start
        if problem.options.time_axis:
            # As they came: memory that is in order need not be copied.
            inputs = [swap_time_and_samples(problem.xp, x) for x in inputs]
        constants = problem.options.constants and Nest.of(problem.options.constants)[0]
        handed_over = [leaf for leaf in constants or () if _is_handed_over(leaf)]
        return cls(inputs, states, handed_over, output or (), [] if mask is None else [mask.keep])

    @classmethod
    def split(cls, arrays: Arrays, sizes: Sequence[int]) -> "Groups":
        """Return groups of `sizes` that follow one another."""
        return cls(*(arrays[start:stop] for start, stop in pairwise(accumulate((0, *sizes)))))

    @property
    def arrays(self) -> list[Any]:
        """All of them, one after the other."""
        return [array for group in self for array in group]


def constants_with(problem: Problem, arrays: Arrays) -> Any:
    """Return the constants of a problem, others in the place of those that are arrays."""
    others = iter(arrays)
    return tree_map(
        lambda leaf: next(others) if _is_handed_over(leaf) else leaf, problem.options.constants
    )


def _is_handed_over(leaf: Any) -> bool:
    # A constant may be anything: text, say, of which only the step makes sense.
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind not in "OSTUMm"
    return array_api_compat.is_array_api_obj(leaf) and _exchange.serves(namespace_of(leaf))


def handed_over(problem: Problem, arrays: Arrays, groups: Groups | None = None) -> list[Any]:
    """Hand over the arrays of the groups, or those that the step closes over."""
    found = []
    for k, array in enumerate(arrays):
        try:
            found.append(_exchange.to_jax(array))
        except Exception as error:  # each library has its own
            name = f"What `{problem.words.function}` closes over"
            name = name if groups is None else _path(problem, groups, k)
            _errors.fail_refused(name, array, error, problem.words)
    return found


def _path(problem: Problem, groups: Groups, k: int) -> str:
    """Return how the caller would write an array."""
    words, initial = problem.words, problem.start.output or ()
    constants = Named.of(problem.options.constants, "constants")
    places = [i for i, leaf in enumerate(constants.leaves) if _is_handed_over(leaf)]
    output = Named(initial, problem.initial_nest or Nest.of(())[1], words.initial_output)
    paths = [problem.inputs.path(i) for i in range(len(groups.inputs))]
    paths += [problem.states.path(i) for i in range(len(groups.states))]
    paths += [*map(constants.path, places), *map(output.path, range(len(initial))), "mask"]
    return f"`{paths[k]}`"
