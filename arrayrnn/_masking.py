"""From a mask or lengths to ``(time, samples)`` booleans, and what stands in for masked samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import array_api_compat

from arrayrnn import _host
from arrayrnn._axes import align, is_fixed, is_open, swap_time_and_samples
from arrayrnn._checks import arguments, masks, wording
from arrayrnn._foreign import refusal
from arrayrnn._operations import (
    device_of,
    first_true,
    repeated,
    row_at,
    runs_any_shape,
    timesteps,
)
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ALL",
    "NONE",
    "SAME",
    "SOME",
    "Donor",
    "Mask",
    "Masks",
    "own_array",
    "placed",
    "read_lengths",
    "read_mask",
]

# How many samples of a timestep are unmasked; SAME is SOME, and the next timestep in order of
# iteration has the very same mask.
NONE, SOME, ALL, SAME = 0, 1, 2, 3
# The masks of a block of timesteps: from shapes of what is selected from to, for each timestep, a
# mask for each of the shapes.
Masks = Callable[[tuple[tuple[int, ...], ...]], Sequence[Sequence[Array]]]


@dataclass(frozen=True, slots=True)
class Mask:
    """Which samples are unmasked at which timesteps."""

    keep: Array  # (time, samples), bool, on the inputs' device
    kinds: "np.ndarray[Any, Any] | None"  # of each timestep, if they can be read

    @classmethod
    def of(cls, xp: Namespace, own_xp: Namespace, keep: Array, device: Any) -> "Mask":
        """Bring a mask that is an array of `own_xp`, the host's perhaps, to the inputs' device.

        It is read for going forwards.
        """
        return cls(placed(xp, own_xp, keep, device), _kinds(own_xp, keep))

    def backwards(self) -> "Mask":
        """Return this mask, read for going forwards, as one for going backwards."""
        if self.kinds is None:
            return self
        same, kinds = self.kinds == SAME, self.kinds.copy()
        kinds[same] = SOME
        kinds[1:][same[:-1]] = SAME
        return Mask(self.keep, kinds)

    @property
    def masks_all(self) -> bool:
        """Whether nothing is unmasked, as far as that can be read."""
        return self.kinds is not None and not self.kinds.any()

    def read(self, xp: Namespace) -> "np.ndarray[Any, Any] | None":
        """Return this mask on the host, if it can be read."""
        if self.kinds is None:
            return None
        flags = _host.read(xp, xp.astype(self.keep, xp.uint8))
        return None if flags is None else flags.astype(bool)

    def kinds_at(self, times: range) -> list[int]:
        if self.kinds is None:
            return [SOME] * len(times)
        kinds: list[int] = self.kinds[times.start : times.stop].tolist()
        return kinds


class Donor(NamedTuple):
    """What a step that treats each sample on its own is given for masked samples.

    It is the inputs and initial states of the lowest unmasked sample at the first timestep, in
    order of iteration, that has one; ones if nothing is unmasked.
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
        keep, kinds = mask.keep, mask.kinds
        if keep.shape[1] == 0:
            return cls([x[0, ...] for x in inputs], [*states])
        if kinds is None:
            t = first_true(xp, xp.any(keep, axis=1), from_the_end=go_backwards)
            keep_t, *inputs_t = (row_at(xp, x, t)[0, ...] for x in (keep, *inputs))
        else:
            # A slice leaves alone what `take` would copy first, if it is not contiguous.
            unmasked = kinds.nonzero()[0]
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
        """Return as many rows as samples: selecting from what needs no broadcasting is faster."""
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


def placed(
    xp: Namespace, own_xp: Namespace, keep: Array, device: Any, inputs: str = "inputs"
) -> Array:
    """Return an array of `own_xp`, the host's perhaps, as one of `xp` on the inputs' device."""
    if own_xp is not xp:
        # Copied on the host first: not every library takes read-only or reversed memory.
        moved: Array = xp.asarray(own_xp.asarray(keep, copy=True), device=device)
    elif device_of(keep) != device:
        moved = masks.moved(keep, device, inputs)
    else:
        moved = keep
    return moved


def read_mask(
    xp: Namespace, mask: Any, samples: Any, time: Any, *, time_major: bool, inputs: str = "inputs"
) -> tuple[Namespace, Array]:
    """Return `mask` as booleans ``(time, samples)`` and the namespace that it came from."""
    own_xp, mask = own_array(xp, mask, "mask", inputs)
    masks.mask(own_xp, mask, samples, time, time_major=time_major)
    mask = mask if mask.ndim == 2 else mask[:, :, 0]
    mask = mask if time_major else swap_time_and_samples(own_xp, mask)
    return own_xp, own_xp.astype(mask, own_xp.bool, copy=False)


def read_lengths(
    xp: Namespace,
    lengths: Any,
    samples: Any,
    time: Any,
    first: Array,
    inputs: str = "inputs",
) -> tuple[Namespace, Array]:
    """Return booleans ``(time, samples)``, True at the first ``lengths[s]`` timesteps.

    `first` is an array with time first, of the argument called `inputs`.
    """
    own_xp, lengths = own_array(xp, lengths, "input_length", inputs)
    masks.lengths(own_xp, lengths, samples, time, inputs=inputs)
    values = _host.read(own_xp, lengths)
    if values is not None:
        masks.length_values(values, time, inputs=inputs)
        own_xp, lengths = array_api_compat.array_namespace(values), values
    if own_xp is not xp and not is_fixed(time):
        own_xp, lengths = xp, xp.asarray(lengths, device=device_of(first))
    steps = timesteps(own_xp, time, first, device=device_of(lengths))
    # Needs no clamping: below 0 nothing is kept, above `time` everything.
    lengths = own_xp.expand_dims(own_xp.astype(lengths, steps.dtype), axis=0)
    return own_xp, own_xp.expand_dims(steps, axis=1) < lengths


def own_array(xp: Namespace, values: Any, name: str, inputs: str) -> tuple[Namespace, Any]:
    """Return an argument that may come from the host as an array, and its namespace."""
    if arguments.is_listed(values):
        values = masks.rectangular(values, name)
    values = _host.undisguised(values)
    if not array_api_compat.is_array_api_obj(values) or refusal(values) is not None:
        wording.fail_no_array(values, name)
    own_xp = array_api_compat.array_namespace(values)
    if own_xp is not xp and not array_api_compat.is_numpy_namespace(own_xp):
        wording.fail_library(name, own_xp, xp, inputs)
    return own_xp, values


def _kinds(xp: Namespace, mask: Array) -> "np.ndarray[Any, Any] | None":
    if not _host.readable(xp, mask):
        return None
    some, whole = xp.any(mask, axis=1), xp.all(mask, axis=1)
    same = xp.all(mask[1:, ...] == mask[:-1, ...], axis=1)
    last = xp.zeros(1, dtype=xp.bool, device=device_of(mask))
    same = xp.concat([same, last])
    # NONE, or SOME and one more for ALL or two more for SAME.
    whole, same = xp.logical_and(some, whole), xp.logical_and(some, same)
    again = xp.astype(xp.logical_and(same, xp.logical_not(whole)), xp.uint8)
    return _host.read(xp, xp.astype(some, xp.uint8) + xp.astype(whole, xp.uint8) + again + again)
