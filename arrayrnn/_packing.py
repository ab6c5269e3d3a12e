"""Which samples run at which timesteps, if only those run that are not masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._masking import SOME
from arrayrnn._operations import runs_any_shape
from arrayrnn._problem import Problem

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Packing", "Stretch"]

# Elements of inputs and states that have to be left out for each change of the samples that run. As
# many as selecting takes the time of, at a timestep with masked samples, count as left out, too.
_WORTH_A_CHANGE = 32_768
_SELECTING = 512


class Stretch(NamedTuple):
    """Timesteps one after the other at which the same samples run."""

    times: range
    samples: "np.ndarray[Any, Any]"  # ascending


@dataclass(frozen=True, slots=True)
class Packing:
    """A plan by which every sample runs at its own timesteps only."""

    keep: "np.ndarray[Any, Any]"  # (time, samples), in order of iteration
    stretches: Sequence[Stretch]  # in order of iteration

    @property
    def samples(self) -> "np.ndarray[Any, Any]":
        """The number of each sample."""
        import numpy as np

        return np.arange(self.keep.shape[1])

    @classmethod
    def of(cls, problem: Problem) -> "Packing | None":
        """Return the plan for a problem, None if that would not pay or cannot be found out."""
        mask = problem.mask
        if not problem.samplewise or mask is None or mask.kinds is None:
            return None
        if SOME not in mask.kinds or not runs_any_shape(problem.xp):
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
        """Return where each timestep of each sample is among the outputs, one behind the other.

        At masked timesteps it is the one before; behind them all, that of the sample among as many
        as there are samples, if there is none or with `zero_output`.
        """
        import numpy as np

        places = np.cumsum(self.keep).reshape(self.keep.shape) - 1
        places = np.where(self.keep, places, -1)
        places = places if zero_output else np.maximum.accumulate(places, axis=0)
        return np.where(places < 0, int(self.keep.sum()) + self.samples, places)


def _pays(problem: Problem, keep: "np.ndarray[Any, Any]", changes: int) -> bool:
    """Tell whether what is left out is worth the changes of the samples that run."""
    shapes = [*(x.shape[2:] for x in problem.inputs), *(h.shape[1:] for h in problem.states)]
    runs = keep.any(axis=1)
    masked = keep.shape[1] * int(runs.sum()) - int(keep.sum())
    partly = int(runs.sum()) - int(keep.all(axis=1).sum())
    left_out = masked * sum(map(prod, shapes)) + partly * _SELECTING
    return left_out >= changes * _WORTH_A_CHANGE
