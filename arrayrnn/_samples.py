"""Which samples are meant: from indices or booleans to one boolean for each sample."""

from typing import Any

from arrayrnn._checks import streams
from arrayrnn._checks.arguments import is_listed
from arrayrnn._masking import own_array, placed
from arrayrnn._operations import device_of
from arrayrnn._typing import Array, Namespace

__all__ = ["read_samples"]


def read_samples(xp: Namespace, samples: Any, count: int, device: Any) -> Array:
    """Return booleans ``(count,)``, True for the samples that `samples` names or marks."""
    streams.samples_given(samples)
    if is_listed(samples) and not samples:
        return xp.zeros(count, dtype=xp.bool, device=device)
    own_xp, samples = own_array(xp, samples, "samples", "initial_states")
    streams.samples(own_xp, samples, count)
    if own_xp.isdtype(samples.dtype, "bool"):
        rows = samples
    else:
        streams.samples_exist(own_xp, samples, count)
        every = own_xp.arange(count, device=device_of(samples))
        samples = own_xp.astype(samples, every.dtype)
        named = own_xp.expand_dims(every, axis=1) == own_xp.expand_dims(samples, axis=0)
        rows = own_xp.any(named, axis=1)
    return placed(xp, own_xp, rows, device, "initial_states")
