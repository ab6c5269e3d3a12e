"""One task of a Dask graph: a block of a recurrence, which starts where the one before ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat

from arrayrnn._libraries.operations import device_of, namespace_of
from arrayrnn._loops import packed
from arrayrnn._recurrence.axes import is_open
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Nest
from arrayrnn._recurrence.output import Output
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._typing import Array, Namespace


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that the tasks of all blocks share."""

    problem: Problem  # without arrays
    lengths: Sequence[Any]  # of the blocks of time, where known
    output_nest: Nest
    output_specs: Sequence[tuple[Sequence[int | None], Any]]  # shapes, None for samples; dtypes
    constants: Sequence[Any]  # leaves; None for those that come computed
    constants_nest: Nest

    @classmethod
    def of(
        cls, problem: Problem, output: Output, lengths: Sequence[Any], rows: Sequence[bool]
    ) -> "Task":
        """Take all arrays out of a problem; `rows` says which outputs have one for each sample."""
        leaves, nest = Nest.of(problem.options.constants)
        concrete = [None if array_api_compat.is_dask_array(leaf) else leaf for leaf in leaves]
        specs = [
            ((None, *shape[1:]) if has_rows else shape, dtype)
            for (shape, dtype), has_rows in zip(output.specs, rows, strict=True)
        ]
        bare = problem._replace(
            xp=None,
            inputs=problem.inputs.replaced(()),
            start=Carry(()),
            initial_nest=None,
            mask=None,
        ).with_options(constants=(), progress=None)
        return cls(bare, lengths, output.nest, specs, concrete, nest)

    def with_constants(self, computed: Iterable[Any]) -> "Task":
        """Put the constants that have been computed to the others."""
        computed = iter(computed)
        leaves = [next(computed) if leaf is None else leaf for leaf in self.constants]
        constants = self.constants_nest.build(leaves)
        problem = self.problem.with_options(constants=constants)
        return replace(self, problem=problem, constants=())

    def run(
        self, number: int, inputs: Sequence[Array], keep: Array | None, carry: Carry
    ) -> tuple[Carry, Sequence[Array]]:
        """Run a block; return what it leaves to the next, and the leaves of its outputs."""
        problem, (states, before) = self.problem, carry
        model = [*inputs, *states][0]
        xp, device = namespace_of(model), device_of(model)
        # A Python number may have become a scalar, and lie on the host.
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
            mask = Mask.of(xp, namespace_of(keep), keep, device)
            mask = mask.backwards() if problem.go_backwards else mask
        problem = problem._replace(
            xp=xp,
            inputs=problem.inputs.replaced(inputs),
            time=time,
            start=Carry(states, before),
            mask=mask,
        )
        try:
            output = Output.learn(problem, self.output_nest.build(zeros))
            result = packed.loop(problem._replace(output=output))
        except Exception as error:
            self._note_block(error, number)
            raise
        return result.carry, output.nest.leaves(result.outputs)

    def _zeros(self, xp: Namespace, samples: Any, device: Any) -> list[Array]:
        return [
            xp.zeros(tuple(samples if n is None else n for n in shape), dtype=dtype, device=device)
            for shape, dtype in self.output_specs
        ]

    def _no_timesteps(self, xp: Namespace, output: Array) -> Array:
        axis = self.problem.options.time_axis
        outputs = xp.expand_dims(output, axis=axis)
        if not self.problem.options.return_all_outputs:
            return outputs
        return outputs[(*[slice(None)] * axis, slice(0), ...)]

    def _note_block(self, error: Exception, number: int) -> None:
        """Note where a block of timesteps lies."""
        start, total = sum(self.lengths[:number]), sum(self.lengths)
        where = f"from {start} on, of {total} timesteps"
        if is_open(total):
            where = f"{number} of {len(self.lengths)}"
        error.add_note(f"arrayrnn.{self.problem.words.name}: in the block {where}, counted from 0.")
