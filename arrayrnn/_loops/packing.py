"""Packing: a plan of which samples run at which timesteps, and rows of samples that come and go."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._libraries.operations import device_of, runs_any_shape
from arrayrnn._recurrence.mask import SOME
from arrayrnn._recurrence.problem import Problem
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    import numpy as np

# Elements of inputs and states that must be left out for each change of the samples that run. A
# timestep with masked samples counts as so many more, since selecting takes as long.
_WORTH_A_CHANGE = 32_768
_SELECTING = 512


class Stretch(NamedTuple):
    """Timesteps one after the other at which the same samples run."""

    times: range
    samples: "np.ndarray[Any, Any]"  # ascending


@dataclass(frozen=True, slots=True)
class Packing:
    """Plan by which every sample runs at its own timesteps only."""

    keep: "np.ndarray[Any, Any]"  # (time, samples), in order of iteration
    stretches: Sequence[Stretch]  # in order of iteration

    @property
    def samples(self) -> "np.ndarray[Any, Any]":
        """Numbers of all samples."""
        import numpy as np

        return np.arange(self.keep.shape[1])

    @classmethod
    def of(cls, problem: Problem) -> "Packing | None":
        """Return the plan for a problem, None if it would not pay or cannot be found out."""
        mask = problem.mask
        if mask is None or not problem.options.samplewise or mask.coverage is None:
            return None
        if SOME not in mask.coverage or not runs_any_shape(problem.xp):
            return None
        import numpy as np

        keep = mask.read(problem.xp)
        if keep is None:
            return None
        keep = keep[::-1] if problem.go_backwards else keep
        changes = (keep[1:] != keep[:-1]).any(axis=1).nonzero()[0] + 1
        if not _pays(problem, keep, len(changes)):
            return None
        ends = [*changes.tolist(), problem.time]
        stretches = []
        for start, end in zip([0, *ends], ends, strict=False):
            times = range(problem.time)[:: -1 if problem.go_backwards else 1][start:end]
            stretches.append(Stretch(times, np.flatnonzero(keep[start])))
        return cls(keep, stretches)

    def places(self, *, zero_output: bool) -> "np.ndarray[Any, Any]":
        """Return where the output of each timestep and sample is among those computed.

        These are in order of iteration, at each timestep those of the samples that ran; the initial
        outputs of all samples follow. A masked sample shows its last output before, or the initial
        one, always with `zero_output`. If sample 0 runs at all of three timesteps and sample 1 only
        at the second::

            keep      computed  places
            [1 0]     0 .       0 5      4 and 5 are the initial outputs of samples 0 and 1
            [1 1]     1 2       1 2
            [1 0]     3 .       3 2      (3 5 with `zero_output`)
        """
        import numpy as np

        places = np.cumsum(self.keep).reshape(self.keep.shape) - 1
        places = np.where(self.keep, places, -1)
        places = places if zero_output else np.maximum.accumulate(places, axis=0)
        return np.where(places < 0, int(self.keep.sum()) + self.samples, places)


def _pays(problem: Problem, keep: "np.ndarray[Any, Any]", changes: int) -> bool:
    """Tell whether what is left out is worth the changes of the samples that run."""
    inputs, states = problem.inputs.leaves, problem.start.states
    shapes = [*(x.shape[2:] for x in inputs), *(h.shape[1:] for h in states)]
    runs = keep.any(axis=1)
    masked = keep.shape[1] * int(runs.sum()) - int(keep.sum())
    partly = int(runs.sum()) - int(keep.all(axis=1).sum())
    left_out = masked * sum(map(prod, shapes)) + partly * _SELECTING
    return left_out >= changes * _WORTH_A_CHANGE


def rows_at(
    xp: Namespace, arrays: Sequence[Array], places: "np.ndarray[Any, Any]", axis: int = 0
) -> list[Array]:
    """Take what is at `places` along an axis that has the same length in all arrays."""
    if not arrays:
        return []
    if places.size == 0 or places.max() < 2**31:
        places = places.astype("int32")  # every library and device has it
    index = xp.asarray(places, device=device_of(arrays[0]))
    return [xp.take(array, index, axis=axis) for array in arrays]


class Rows:
    """Rows of all samples, while some of them run and the others rest.

    The rows of running samples are with the caller, who computes new ones. Those at rest are in
    groups, in the order in which they came to rest; a sample that ran in between has old rows
    there, too. Of samples 0 to 3, let 1 and 3 run, then 3 and 0::

        change((), [1, 3])        takes the rows 1 and 3 from rest
        change(rows, [0, 3])      puts the row of 1 to rest, takes that of 0, keeps that of 3:
                                  at rest are 0 1 2 3 | 1, and sample 1 is at place 4

    Attributes
    ----------
    running : ndarray
        Samples that run, ascending.
    count : int
        Number of rows at rest, old ones included.
    """

    running: "np.ndarray[Any, Any]"

    def __init__(
        self, xp: Namespace, arrays: Sequence[Array], samples: "np.ndarray[Any, Any]"
    ) -> None:
        self._xp, self._samples = xp, samples  # 0, 1, …
        self._resting = [[*arrays]]  # groups of rows, for each array
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
        # Places in the rows of those that ran, with all rows at rest behind them.
        places = len(ran) + self._places[running]
        places[did_run[running]] = staying
        return rows_at(self._xp, self._with(current), places)

    def leave(
        self, current: Sequence[Array], running: "np.ndarray[Any, Any]"
    ) -> "np.ndarray[Any, Any]":
        """Put to rest the rows of those that do not run any more; return which rows stay."""
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
            # Drops old rows: those of samples that ran again.
            columns = [self._xp.concat(column) for column in zip(*self._resting, strict=True)]
            self._resting = [rows_at(self._xp, columns, self._places)]
            self._places, self.count = self._samples.copy(), len(self._samples)
