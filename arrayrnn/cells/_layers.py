"""Layers of cells: read, checked against inputs, and their states as PyTorch has them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.errors import (
    Spec,
    describe,
    expect_like,
    expect_of_library,
    expect_structure,
)
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._typing import Array, Namespace
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._checks import expect_array, expect_inputs

_EXPECTED = (
    "expected a cell, or a list of layers, each a cell or a pair (forward, backward) of cells, of "
    "which one may be None"
)


class Placed(NamedTuple):
    """A cell at its place."""

    cell: Cell
    path: str  # as the caller would write it
    goes_backwards: bool


class Layers:
    """Cells in layers, each layer of one or both directions."""

    def __init__(self, cells: Any) -> None:
        self.cells, self.layers = cells, _read(cells)
        self.placed = [placed for layer in self.layers for placed in layer]
        first = self.placed[0].cell
        kinds = {(type(placed.cell), placed.cell.state_sizes) for placed in self.placed}
        self._are_alike = len(kinds) == 1
        self._has_one_state = len(first.state_sizes) == 1

    def expect_inputs(self, inputs: Any) -> None:
        """Expect inputs that fit the first layer, and outputs of each that fit the next."""
        model, outputs = self.placed[0].cell.weight_ih, None
        for k, layer in enumerate(self.layers):
            for cell, path, _ in layer:
                if outputs is None:
                    expect_inputs(cell, inputs, path)
                    continue
                named = Named.of(cell.weight_ih, f"{path}.weight_ih")
                expect_of_library(named, namespace_of(model), f"`{self.placed[0].path}`")
                expected = Spec((cell.weight_ih.shape[0], outputs), model.dtype)
                its = f"the {{}} that the {outputs} outputs of layer {k - 1} ask for"
                expect_like(named, [expected], its)
            outputs = sum(placed.cell.state_sizes[0] for placed in layer)

    def initial_states(self, states: Any, row: Any) -> list[list[Array]]:
        """Return the states that each cell starts from; `row` is ``(samples, 1)`` of the inputs."""
        zeros = [placed.cell.zeros(row) for placed in self.placed]
        if states is None:
            return zeros
        if self._are_alike:
            self._expect_columns(states)
        xp, expected = namespace_of(row), self.joined(namespace_of(row), zeros)
        wanted, nest = Nest.of(expected)
        given = expect_structure(states, nest, "`states` is a nest", "the states of the cells")
        named = Named(given, nest, "states")
        expect_of_library(named, xp, "`inputs`")
        expect_like(named, wanted, "the {} of the states that the cells have")
        return self._apart(nest.build(given))

    def _expect_columns(self, states: Any) -> None:
        if self._has_one_state:
            expect_array(states, "states")
        elif not isinstance(states, list | tuple) or len(states) != 2:
            length = f" of length {len(states)}" if isinstance(states, list | tuple) else ""
            shown = "(layers * directions, samples, units)"
            raise ValueError(
                f"`states` is {describe(states)}{length}; expected the pair (h, c), each {shown}."
            )

    def joined(self, xp: Namespace, states: Sequence[Sequence[Array]]) -> Any:
        """Return the states of all cells as PyTorch does: each ``(cells, samples, units)``.

        States of cells that are not alike cannot be stacked, and come as a list for each cell.
        """
        if not self._are_alike:
            return [[*own] for own in states]
        stacked = tuple(xp.stack([*column], axis=0) for column in zip(*states, strict=True))
        return stacked[0] if self._has_one_state else stacked

    def _apart(self, states: Any) -> list[list[Array]]:
        if not self._are_alike:
            return [[*own] for own in states]
        columns = [states] if self._has_one_state else states
        return [[column[k, ...] for column in columns] for k in range(len(self.placed))]


def _read(cells: Any) -> list[list[Placed]]:
    if isinstance(cells, Cell):
        return [[Placed(cells, "cells", False)]]
    if not isinstance(cells, list | tuple) or not cells:
        empty = " and empty" if isinstance(cells, list | tuple) else ""
        cure = "Modules become cells by `from_torch`, `from_keras` and the like"
        raise TypeError(f"`cells` is {describe(cells)}{empty}; {_EXPECTED}. {cure}.")
    return [_read_layer(layer, f"cells[{k}]") for k, layer in enumerate(cells)]


def _read_layer(layer: Any, path: str) -> list[Placed]:
    if isinstance(layer, Cell):
        return [Placed(layer, path, False)]
    is_pair = isinstance(layer, list | tuple) and len(layer) == 2
    if is_pair and all(cell is None or isinstance(cell, Cell) for cell in layer) and any(layer):
        return [Placed(c, f"{path}[{k}]", bool(k)) for k, c in enumerate(layer) if c is not None]
    length = f" of length {len(layer)}" if isinstance(layer, list | tuple) else ""
    raise TypeError(f"`{path}` is {describe(layer)}{length}; {_EXPECTED}.")
