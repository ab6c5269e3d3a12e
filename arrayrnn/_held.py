"""What a stream holds between two chunks, and the dict that callers save of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import optree

from arrayrnn._carry import Carry
from arrayrnn._checks import arguments, streams
from arrayrnn._checks.streams import Chunks
from arrayrnn._masking import Donor
from arrayrnn._tree import Nest
from arrayrnn._typing import Array

__all__ = ["Held"]

_EACH_STATE = "It has one entry for each state."


@dataclass(frozen=True, slots=True)
class Held:
    """All that changes in a stream, replaced as a whole, so that what fails changes nothing."""

    state_nest: Nest
    samples_axis: int
    carry: Carry
    # None before the first chunk, if no carry told of them.
    output: Nest | None = None
    chunks: Chunks | None = None

    @property
    def states(self) -> list[Any]:
        """The states in the caller's containers."""
        return list(self.state_nest.build(self.carry.states))

    @property
    def samples(self) -> int | None:
        """How many samples there are, if chunks have told."""
        return None if self.chunks is None else self.chunks.samples

    def after(
        self, carry: Carry, last_output: Any, input_nest: Nest, inputs: Sequence[Array]
    ) -> "Held":
        """Return what is held after a chunk of those inputs, time first."""
        chunks, samples = self.chunks, inputs[0].shape[1]
        if chunks is None:
            chunks = self._like(input_nest, inputs, samples)
        elif chunks.samples is None:
            chunks = chunks._replace(samples=samples)
        return replace(self, carry=carry, output=Nest.of(last_output)[1], chunks=chunks)

    def saved(self) -> dict[str, Any]:
        """Return all that the next chunk needs."""
        _, output, donor = self.carry
        rows = None
        if donor is not None and self.chunks is not None:
            states = list(self.state_nest.build(donor.states))
            rows = {"inputs": self.chunks.nest.build(donor.inputs), "states": states}
        return {
            "states": self.states,
            "output": None if self.output is None or output is None else self.output.build(output),
            "donor": rows,
        }

    def resumed(self, saved: Mapping[str, Any]) -> "Held":
        """Return what is held once `saved` is taken over, after comparing it with what is."""
        streams.carry(saved)
        parts: Any = [saved[key] for key in streams.KEYS]
        streams.with_values(optree.tree_leaves(parts))
        models = self.carry.states
        states = self._states(
            saved["states"], models, "carry['states']", "the states of the stream"
        )
        model = next(filter(array_api_compat.is_array_api_obj, [*states, *models]), None)
        output, output_nest = self._output(saved["output"], model)
        donor, chunks = None, self.chunks
        if saved["donor"] is not None:
            inputs, chunks = self._donor_inputs(saved["donor"]["inputs"], model)
            name = "carry['donor']['states']"
            rows = self._states(
                saved["donor"]["states"], states, name, "`carry['states']`", row=True
            )
            donor = Donor([*inputs], [*rows])
        carry = Carry(states, output, donor)
        return replace(self, carry=carry, output=output_nest, chunks=chunks)

    def _states(
        self, states: Any, models: Sequence[Any], name: str, model: str, *, row: bool = False
    ) -> tuple[Any, ...]:
        arguments.sequence(states, name, _EACH_STATE)
        return streams.like(tuple(states), self.state_nest, models, name, model, row=row)

    def _output(self, output: Any, model: Any) -> tuple[Sequence[Array] | None, Nest | None]:
        name = "carry['output']"
        if output is None:
            return None, self.output
        if self.output is None or self.carry.output is None:
            return streams.arrays(output, name, model)
        leaves = streams.like(output, self.output, self.carry.output, name, "the last output")
        return leaves, self.output

    def _donor_inputs(self, rows: Any, model: Any) -> tuple[Sequence[Array], Chunks]:
        name = "carry['donor']['inputs']"
        if self.chunks is not None:
            nest, like = self.chunks.nest, self.chunks.rows
            return streams.like(rows, nest, like, name, "the first chunk"), self.chunks
        inputs, nest = streams.arrays(rows, name, model)
        streams.rows_of_inputs(inputs, nest.paths(name))
        return inputs, self._like(nest, [row[None, ...] for row in inputs], None)

    def _like(self, nest: Nest, inputs: Sequence[Array], samples: int | None) -> Chunks:
        """Return what chunks have in common with `inputs`, time first."""
        return Chunks(nest, [*map(_row_like, inputs)], samples, self.samples_axis)


def _row_like(x: Array) -> Array:
    xp, device = array_api_compat.array_namespace(x), array_api_compat.device(x)
    return xp.zeros((1, *x.shape[2:]), dtype=x.dtype, device=device)
