"""JAX: its own associative scan, for what is traced and for arrays on several devices."""

from typing import Any

import jax

from arrayrnn._combining.elements import Elements, Leaves


def is_traced(array: Any) -> bool:
    return isinstance(array, jax.core.Tracer)


def scan(elements: Elements) -> Leaves:
    """Return the states after all elements."""
    elements = elements.for_run()
    combine, leaves = elements.combiner.combine, [*elements.leaves]
    # What follows from the first elements follows from all that combine them with later ones.
    return elements.begin(jax.lax.associative_scan(combine, leaves, axis=elements.axis))
