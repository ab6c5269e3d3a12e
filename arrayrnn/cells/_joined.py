"""Joined: a cell with all of its weights in one matrix."""

from typing import Any

from arrayrnn._libraries.memory import copied
from arrayrnn._libraries.operations import is_of_host, namespace_of, product
from arrayrnn.cells._cell import Cell, States, Step


class Joined:
    """A cell as a step function with one matrix product, of ``[input_t, h, 1]`` and all weights.

    Fewer and larger operations than the cell itself has. The weights are copied.
    """

    samplewise = True

    def __init__(self, cell: Cell, like: Any) -> None:
        """Join the weights; `like`, ``(samples, 1)``, has as many rows as there will be."""
        xp, bias = namespace_of(like), cell.summed_bias()
        weights = [cell.weight_ih, cell.weight_hh]
        self._ones = None
        if bias is not None:
            weights.append(xp.expand_dims(bias, axis=1))
            self._ones = xp.ones_like(like)
        self._weight, self._activate = cell.in_few_operations(xp.concat(weights, axis=1))

    def __call__(self, input_t: Any, states: States) -> Step:
        """Return the output and new states of a timestep."""
        xp, factors = namespace_of(input_t), [input_t, states[0]]
        if self._ones is not None:
            factors.append(self._ones[: input_t.shape[0], :])
        gates = product(xp, xp.concat(factors, axis=1), self._weight)
        h, (_, *others) = self._activate(gates, states)
        if is_of_host(h):
            # `product` gave columns. As rows it is faster to join, and to lay out as an output.
            h = copied(xp, h)
        return h, (h, *others)
