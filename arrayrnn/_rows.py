"""Rows of samples that come and go."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from arrayrnn._operations import device_of
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Rows", "rows_at"]


def rows_at(
    xp: Namespace, arrays: Sequence[Array], places: "np.ndarray[Any, Any]", axis: int = 0
) -> list[Array]:
    """Return what is at `places` along an axis that is as long in all arrays."""
    if not arrays:
        return []
    if places.size == 0 or places.max() < 2**31:
        places = places.astype("int32")  # what every library and device has
    index = xp.asarray(places, device=device_of(arrays[0]))
    return [xp.take(array, index, axis=axis) for array in arrays]


class Rows:
    """What is known of all samples, while some of them run.

    Attributes
    ----------
    running : ndarray
        The samples that run, ascending.
    count : int
        How many rows are at rest, of some samples several.
    """

    running: "np.ndarray[Any, Any]"

    def __init__(
        self, xp: Namespace, arrays: Sequence[Array], samples: "np.ndarray[Any, Any]"
    ) -> None:
        self._xp, self._samples = xp, samples  # 0, 1, …
        self._resting = [[*arrays]]  # what came to rest, one group of rows behind the other
        self._places = samples.copy()  # of each sample among them
        self.count = len(samples)
        self.running = samples[:0]

    def change(self, current: Sequence[Array], running: "np.ndarray[Any, Any]") -> Sequence[Array]:
        """Let `running` run, given the rows of those that ran; return theirs."""
        ran = self.running
        staying = self.leave(current, running)
        if len(staying) == len(running):  # nobody enters
            return current if len(staying) == len(ran) else rows_at(self._xp, current, staying)
        did_run = self._samples < 0
        did_run[ran] = True
        places = len(ran) + self._places[running]
        places[did_run[running]] = staying
        return rows_at(self._xp, self._with(current), places)

    def leave(
        self, current: Sequence[Array], running: "np.ndarray[Any, Any]"
    ) -> "np.ndarray[Any, Any]":
        """Put at rest the rows of those that do not run any more; return which rows stay."""
        ran, self.running = self.running, running
        runs = self._samples < 0
        runs[running] = True
        (staying,), (leaving,) = runs[ran].nonzero(), (~runs[ran]).nonzero()
        if leaving.size:
            self._rest(rows_at(self._xp, current, leaving), ran[leaving])
        return staying

    def all(self, current: Sequence[Array]) -> Sequence[Array]:
        """Return the rows of all samples, given those of the ones that run."""
        places = len(self.running) + self._places
        places[self.running] = range(len(self.running))
        return rows_at(self._xp, self._with(current), places)

    def _with(self, current: Sequence[Array]) -> list[Array]:
        groups = [current, *self._resting] if current else self._resting
        return [self._xp.concat(column) for column in zip(*groups, strict=True)]

    def _rest(self, rows: Sequence[Array], samples: "np.ndarray[Any, Any]") -> None:
        self._places[samples] = range(self.count, self.count + len(samples))
        self._resting.append([*rows])
        self.count += len(samples)
        if self.count > 3 * len(self._samples):
            # Those that ran again left rows behind that nobody will ask for.
            columns = [self._xp.concat(column) for column in zip(*self._resting, strict=True)]
            self._resting = [rows_at(self._xp, columns, self._places)]
            self._places, self.count = self._samples.copy(), len(self._samples)
