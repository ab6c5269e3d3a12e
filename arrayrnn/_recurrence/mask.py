"""Mask: the samples that are unmasked at each timestep. Donor: a stand-in for masked ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import array_api_compat

from arrayrnn._libraries import host
from arrayrnn._libraries.operations import device_of, first_true, repeated, row_at, runs_any_shape
from arrayrnn._recurrence.axes import align, is_open
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

# Coverage of one timestep: no sample, some, or all are unmasked; or some, and the next timestep in
# order of iteration has the very same mask.
NONE, SOME, ALL, AGAIN = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Mask:
    """Booleans for each timestep and sample, True where the sample is unmasked."""

    keep: Array  # (time, samples), on the inputs' device
    coverage: "np.ndarray[Any, Any] | None"  # (time,), if it can be read

    @classmethod
    def of(cls, xp: Namespace, own_xp: Namespace, keep: Array, device: Any) -> "Mask":
        """Bring an array of `own_xp`, the host's perhaps, to the inputs' device.

        Its coverage is that for going forwards.
        """
        return cls(placed(xp, own_xp, keep, device, "inputs"), _coverage(own_xp, keep))

    def backwards(self) -> "Mask":
        """Return the mask for going backwards of one for going forwards."""
        if self.coverage is None:
            return self
        # Going forwards t is AGAIN if t + 1 is the same; going backwards t + 1 is, since t is.
        again, coverage = self.coverage == AGAIN, self.coverage.copy()
        coverage[again] = SOME
        coverage[1:][again[:-1]] = AGAIN
        return Mask(self.keep, coverage)

    @property
    def masks_all(self) -> bool:
        """Whether nothing is unmasked, as far as that can be read."""
        return self.coverage is not None and not self.coverage.any()

    @property
    def masks_none(self) -> bool:
        """Whether everything is unmasked, as far as that can be read."""
        return self.coverage is not None and bool((self.coverage == ALL).all())

    def read(self, xp: Namespace) -> "np.ndarray[Any, Any] | None":
        """Return the booleans on the host, if they can be read."""
        if self.coverage is None:
            return None
        flags = host.read(xp, xp.astype(self.keep, xp.uint8))
        return None if flags is None else flags.astype(bool)

    def coverage_at(self, times: range) -> list[int]:
        """Return the coverage of timesteps that follow one another."""
        if self.coverage is None:
            return [SOME] * len(times)
        found: list[int] = self.coverage[times.start : times.stop].tolist()
        return found


class Donor(NamedTuple):
    """Inputs and states that a step is given for masked samples, if it treats each on its own.

    They come from the lowest unmasked sample at the first timestep, in order of iteration, that has
    one; they are ones if nothing is unmasked.
    """

    inputs: list[Array]  # (1, *features) for each leaf, or (samples, *features), all samples alike
    states: list[Array]

    @classmethod
    def of(
        cls,
        xp: Namespace,
        mask: Mask,
        inputs: Sequence[Array],
        states: Sequence[Array],
        *,
        go_backwards: bool,
    ) -> "Donor":
        """Find the donor of a run, as one row."""
        keep, coverage = mask.keep, mask.coverage
        if keep.shape[1] == 0:
            return cls([x[0, ...] for x in inputs], [*states])
        if coverage is None:
            t = first_true(xp, xp.any(keep, axis=1), from_the_end=go_backwards)
            keep_t, *inputs_t = (row_at(xp, x, t)[0, ...] for x in (keep, *inputs))
        else:
            # A slice copies nothing; `take` would, if the array is not contiguous.
            unmasked = coverage.nonzero()[0]
            at = int(unmasked[-1 if go_backwards else 0]) if unmasked.size else 0
            keep_t, *inputs_t = (x[at, ...] for x in (keep, *inputs))
        s, device = first_true(xp, keep_t), device_of(keep)
        exists = row_at(xp, keep_t, s)

        def one(x: Array) -> Array:
            # Not `ones_like`, by which ndonnx would no longer know the features.
            return xp.ones((1,) * x.ndim, dtype=x.dtype, device=device)

        def rows(arrays: Sequence[Array]) -> list[Array]:
            found = [xp.where(align(xp, exists, x.ndim), row_at(xp, x, s), one(x)) for x in arrays]
            if array_api_compat.is_jax_namespace(xp):
                found = [repeated(xp, row, x) for row, x in zip(found, arrays, strict=True)]
            return found

        return cls(rows(inputs_t), rows(states))

    def for_each_sample(self, xp: Namespace, samples: Any) -> "Donor":
        """Return as many rows as samples: selecting from them needs no broadcasting."""
        leaves = [*self.inputs, *self.states]
        if runs_any_shape(xp) and not is_open(samples) and samples:
            device = device_of(leaves[0])
            first = xp.zeros_like(xp.arange(samples, device=device))
            leaves = [xp.take(leaf, first, axis=0) for leaf in leaves]
        count = len(self.inputs)
        return Donor(leaves[:count], leaves[count:])

    def laid_over(self, xp: Namespace, inputs: Sequence[Array], keep: Array) -> list[Array]:
        """Return the inputs at one or several timesteps, the donor's for masked samples."""
        return [
            xp.where(align(xp, keep, x.ndim), x, row)
            for x, row in zip(inputs, self.inputs, strict=True)
        ]


def placed(xp: Namespace, own_xp: Namespace, array: Array, device: Any, inputs: str) -> Array:
    """Return an array of `own_xp`, the host's perhaps, as one of `xp` on the device of `inputs`."""
    if own_xp is not xp:
        # Copied on the host first: not every library takes read-only or reversed memory.
        return xp.asarray(own_xp.asarray(array, copy=True), device=device)
    if device_of(array) == device:
        return array
    try:
        moved: Array = array_api_compat.to_device(array, device)
    except Exception as error:  # each library has one of its own for this
        raise ValueError(
            f"`mask` or `input_length` is on device {array_api_compat.device(array)} and cannot be "
            f"moved to {device}, where `{inputs}` is."
        ) from error
    return moved


def _coverage(xp: Namespace, keep: Array) -> "np.ndarray[Any, Any] | None":
    if not host.readable(xp, keep):
        return None
    some, every = xp.any(keep, axis=1), xp.all(keep, axis=1)
    same = xp.all(keep[1:, ...] == keep[:-1, ...], axis=1)
    same = xp.concat([same, xp.zeros(1, dtype=xp.bool, device=device_of(keep))])  # none is next
    # SOME is 1; ALL adds 1, AGAIN adds 2. One array, so that one transfer brings it to the host.
    every, same = xp.logical_and(some, every), xp.logical_and(some, same)
    again = xp.astype(xp.logical_and(same, xp.logical_not(every)), xp.uint8)
    some, every = xp.astype(some, xp.uint8), xp.astype(every, xp.uint8)
    return host.read(xp, some + every + again + again)
