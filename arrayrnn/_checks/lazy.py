"""What is wrong with a recurrence that runs in blocks, later, and notes on what a step raised."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import array_api_compat

from arrayrnn._axes import is_open
from arrayrnn._checks.results import called_with
from arrayrnn._checks.wording import Caller, describe
from arrayrnn._tree import tree_leaves
from arrayrnn._typing import Array

if TYPE_CHECKING:
    from arrayrnn._problem import Problem


def fail_unknown(path: str, caller: Caller) -> NoReturn:
    hint = "" if caller.single_state else " Chunks of samples may stay so with `samplewise=True`."
    raise ValueError(
        f"`{path}` has chunks of unknown lengths, which would have to be cut or joined. Call its "
        f"`compute_chunk_sizes()` first.{hint}"
    )


def closed_over(result: Any, caller: Caller) -> None:
    """Refuse what a step returns if it is lazy, although nothing that it was given is."""
    if any(map(array_api_compat.is_dask_array, tree_leaves(result))):
        cure = "Pass it in `constants`, from where the step gets it computed"
        if caller.single_state:
            cure = "Pass it in `init`, or close over what it computes to"
        raise TypeError(
            f"`{caller.function}` returned a Dask array although it was given none, only blocks "
            f"of Dask arrays: it closes over one. {cure}."
        )


def fail_mixing(leaf: Array, path: str, samples: int | None, caller: Caller) -> NoReturn:
    raise ValueError(
        f"`{caller.function}` returned `{path}`, {describe(leaf)}, for {samples} samples; with "
        "`samplewise=True` and several chunks of samples expected (samples, ...)."
    )


def note_probe(error: Exception, problem: "Problem", *, is_raised_by_step: bool) -> None:
    caller = problem.caller
    called = f" {called_with(problem)}" if is_raised_by_step else ""
    error.add_note(
        f"arrayrnn.{caller.name}: while `{caller.function}` was called on arrays of ones (zeros of "
        "integers) of the shapes that a block will have, to learn the shape of its output. If it "
        "cannot stand such values, `unroll=True` calls it on none, and makes tasks for each of its "
        f"operations.{called}"
    )


def note_block(error: Exception, caller: Caller, j: int, time: Sequence[Any]) -> None:
    """Say where a block of timesteps lies, from the lengths of all of them."""
    start, total = sum(time[:j]), sum(time)
    where = f"{j} of {len(time)}" if is_open(total) else f"from {start} on, of {total} timesteps"
    error.add_note(f"arrayrnn.{caller.name}: in the block {where}, counted from 0.")
