"""A recurrence cut into blocks of timesteps, each of which goes on where the one before ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat

from arrayrnn._carry import Carry, go_on
from arrayrnn._checks import lazy
from arrayrnn._masking import Mask
from arrayrnn._operations import device_of
from arrayrnn._problem import Problem
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace
from arrayrnn.loops import eager

__all__ = ["Chain"]


@dataclass(frozen=True, slots=True)
class Chain:
    """What all blocks share."""

    problem: Problem  # without arrays
    lengths: Sequence[Any]  # of the blocks, where known
    output: Nest
    output_kinds: Sequence[tuple[Sequence[int | None], Any]]  # shapes, None for samples; dtypes
    constants: Sequence[Any]  # leaves; None for those that come computed
    constants_nest: Nest

    def with_constants(self, computed: Iterable[Any]) -> "Chain":
        computed = iter(computed)
        leaves = [next(computed) if leaf is None else leaf for leaf in self.constants]
        problem = replace(self.problem, constants=self.constants_nest.build(leaves))
        return replace(self, problem=problem, constants=())

    def run(
        self, number: int, inputs: Sequence[Array], keep: Array | None, carry: Carry
    ) -> tuple[Carry, Sequence[Array]]:
        """Run a block; return what it leaves to the next, and the leaves of its outputs."""
        problem, (states, before) = self.problem, carry
        model = [*inputs, *states][0]
        xp, device = array_api_compat.array_namespace(model), device_of(model)
        # What was a Python number may be a scalar, and on the host.
        states = [xp.asarray(state, device=device) for state in states]
        time, samples = (*inputs[0].shape, None)[:2] if inputs else (problem.time, None)
        zeros = self._zeros(xp, samples, device)
        before = zeros if before is None else before
        if time == 0:
            return Carry(states, before), [self._no_timesteps(xp, leaf) for leaf in before]
        if keep is None and samples == 0:
            keep = xp.zeros((time, 0), dtype=xp.bool, device=device)  # so that no step is called
        mask = None
        if keep is not None:
            own_xp = array_api_compat.array_namespace(keep)
            mask = Mask.of(xp, own_xp, keep, device)
            mask = mask.backwards() if problem.go_backwards else mask
        block = replace(problem, xp=xp, inputs=inputs, time=time, mask=mask)
        carry = Carry(states, before)
        try:
            result, carry = go_on(block, carry, (self.output, zeros), eager.loop)
        except Exception as error:
            lazy.note_block(error, problem.caller, number, self.lengths)
            raise
        return carry, self.output.leaves(result.outputs)

    def _zeros(self, xp: Namespace, samples: Any, device: Any) -> list[Array]:
        return [
            xp.zeros(tuple(samples if n is None else n for n in shape), dtype=dtype, device=device)
            for shape, dtype in self.output_kinds
        ]

    def _no_timesteps(self, xp: Namespace, output: Array) -> Array:
        axis = self.problem.time_axis
        outputs = xp.expand_dims(output, axis=axis)
        if not self.problem.all_outputs:
            return outputs
        return outputs[(*[slice(None)] * axis, slice(0), ...)]
