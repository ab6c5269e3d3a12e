"""Names of weights in PyTorch's modules and files, such as ``bias_hh_l1_reverse``."""

import re
from collections.abc import Mapping
from typing import Any

from arrayrnn.cells._cell import Cell

# A layer: a cell, or a pair of cells or None.
Layer = Cell | tuple[Cell | None, Cell | None]

_NAME = re.compile(r"(?P<field>[a-z_]+?)_l(?P<layer>\d+)(?P<reverse>_reverse)?")


def name_of(field: str, layer: int, direction: int) -> str:
    """Return the name of a field of a cell; direction 1 is backward."""
    return f"{field}_l{layer}{'_reverse' * direction}"


def read_names(arrays: Mapping[str, Any], source: str) -> dict[tuple[int, int], dict[str, Any]]:
    """Return the fields of each cell, found by layer and direction; `source` is where they are."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{source} holds `{name}`; expected names such as `weight_ih_l0` only. Give the "
                "`prefix` of the layer's weights in a larger model, such as 'lstm.'."
            )
        place = int(match["layer"]), int(match["reverse"] is not None)
        found.setdefault(place, {})[match["field"]] = array
    if not found:
        raise ValueError(f"{source} holds no weights; expected names such as `weight_ih_l0`.")
    for layer, direction in sorted(found):
        for field in ("weight_ih", "weight_hh"):
            if field not in found[layer, direction]:
                raise ValueError(f"{source} lacks `{name_of(field, layer, direction)}`.")
    for layer in range(max(layer for layer, _ in found) + 1):
        if (layer, 0) not in found and (layer, 1) not in found:
            raise ValueError(f"{source} lacks `{name_of('weight_ih', layer, 0)}`.")
    return found


def expect_all_alike(found: Mapping[tuple[int, int], Mapping[str, Any]], source: str) -> None:
    """Expect the same names in all layers and directions, as a module of PyTorch has them."""
    layers, directions = ({place[k] for place in found} for k in (0, 1))
    fields = {field for own in found.values() for field in own}
    for layer in sorted(layers):
        for direction in sorted({0, *directions}):
            for field in sorted(fields - {*found.get((layer, direction), ())}):
                raise ValueError(
                    f"{source} lacks `{name_of(field, layer, direction)}`; expected the same names "
                    "in all layers and directions."
                )


def in_layers(cells: Mapping[tuple[int, int], Cell]) -> list[Layer]:
    """Return cells, found by layer and direction, as layers."""
    layers: list[Layer] = []
    for layer in range(len({layer for layer, _ in cells})):
        forward, backward = cells.get((layer, 0)), cells.get((layer, 1))
        layers.append(forward if forward and not backward else (forward, backward))
    return layers
