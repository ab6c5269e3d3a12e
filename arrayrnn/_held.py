"""What a stream holds between two chunks, and the dict that callers save of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat

from arrayrnn._carry import Carry
from arrayrnn._checks import arguments, streams
from arrayrnn._checks.streams import Chunks
from arrayrnn._operations import device_of
from arrayrnn._tree import Nest, tree_leaves
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
            chunks = Chunks(input_nest, [*map(_row_like, inputs)], samples, self.samples_axis)
        return replace(self, carry=carry, output=Nest.of(last_output)[1], chunks=chunks)

    def saved(self) -> dict[str, Any]:
        """Return all that the next chunk needs."""
        output = self.carry.output
        shown = None if self.output is None or output is None else self.output.build(output)
        return {"states": self.states, "output": shown}

    def resumed(self, saved: Mapping[str, Any]) -> "Held":
        """Return what is held once `saved` is taken over, after comparing it with what is."""
        streams.carry(saved)
        parts: Any = [saved[key] for key in streams.KEYS]
        streams.with_values(tree_leaves(parts))
        models = self.carry.states
        arguments.sequence(saved["states"], "carry['states']", _EACH_STATE)
        states = streams.like(
            tuple(saved["states"]),
            self.state_nest,
            models,
            "carry['states']",
            "the states of the stream",
        )
        model = next(filter(array_api_compat.is_array_api_obj, [*states, *models]), None)
        output, output_nest = self._output(saved["output"], model)
        return replace(self, carry=Carry(states, output), output=output_nest)

    def _output(self, output: Any, model: Any) -> tuple[Sequence[Array] | None, Nest | None]:
        name = "carry['output']"
        if output is None:
            return None, self.output
        if self.output is None or self.carry.output is None:
            return streams.arrays(output, name, model)
        leaves = streams.like(output, self.output, self.carry.output, name, "the last output")
        return leaves, self.output


def _row_like(x: Array) -> Array:
    xp, device = array_api_compat.array_namespace(x), device_of(x)
    return xp.zeros((1, *x.shape[2:]), dtype=x.dtype, device=device)
