"""JAX: all layers as one program, compiled once for all cells and inputs of the same shapes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from arrayrnn import _loops
from arrayrnn._arguments.reading import Inputs
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Named
from arrayrnn._recurrence.options import Options
from arrayrnn._typing import Array
from arrayrnn.cells._layers import Layers
from arrayrnn.cells._run import run_layers

Found = tuple[Array, list[Sequence[Array]]]


def run(layers: Layers, shared: Inputs, start: Sequence[Sequence[Array]]) -> Found:
    """Return the outputs of the last layer, and the last states of each cell."""
    (x,), keep = shared.over_time.leaves, None if shared.mask is None else shared.mask.keep
    found: Found = _run(layers.cells, x, keep, start, shared.options)
    return found


@partial(jax.jit, static_argnums=4)
def _run(cells: Any, x: Any, keep: Any, start: Any, options: Options) -> Found:
    inputs, (time, samples) = Named.of(x, "inputs"), x.shape[:2]
    mask = None if keep is None else Mask(keep, None)
    shared = Inputs(namespace_of(x), inputs, inputs, samples, time, mask, False, options)
    return run_layers(Layers(cells), shared, start, _loops.run)
