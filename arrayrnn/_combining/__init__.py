"""Combining of elements: what associative scans compute, and the way that serves given arrays."""

import array_api_compat

from arrayrnn import _loops
from arrayrnn._combining import blocks, loop
from arrayrnn._combining.elements import Elements, Leaves, turned
from arrayrnn._libraries.operations import is_spread
from arrayrnn._recurrence.axes import is_fixed
from arrayrnn._recurrence.words import ASSOCIATIVE_SCAN


def run(elements: Elements, *, reverse: bool) -> Leaves:
    """Return the states after all elements, from the last one on if `reverse`."""
    if array_api_compat.is_dask_namespace(elements.xp):
        from arrayrnn._combining import dask

        return dask.scan(elements, reverse=reverse)
    return turned(_run, elements, reverse=reverse)


def _run(elements: Elements) -> Leaves:
    xp, leaves = elements.xp, elements.leaves
    if array_api_compat.is_ndonnx_namespace(xp) and not _are_known(leaves):
        return loop.scan(elements, _loops.run, ASSOCIATIVE_SCAN)
    if array_api_compat.is_jax_namespace(xp):
        from arrayrnn._combining import jax

        if any(map(jax.is_traced, leaves)) or any(map(is_spread, leaves)):
            return jax.scan(elements)
    return blocks.scan(elements)


def _are_known(leaves: Leaves) -> bool:
    """Tell whether all shapes are known."""
    return all(is_fixed(length) for leaf in leaves for length in leaf.shape)
