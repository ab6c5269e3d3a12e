"""Reports of the progress of a Python loop."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import array_api_compat

from arrayrnn._libraries.host import readable
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.nests import tree_leaves
from arrayrnn._recurrence.problem import Problem

Append = Callable[[Any], object]


class Progress:
    """Reports for as long as something is computed: what is traced is not, yet."""

    def __init__(self, problem: Problem) -> None:
        self._time, self._report = problem.time, problem.options.progress
        self._is_computing = bool(self._report) and self._are_computed(problem.arrays)

    def watching(self, problem: Problem) -> Problem:
        """Return a problem whose step shows whether it closes over anything traced."""
        step = problem.step
        if not self._is_computing:
            return problem

        @wraps(step)
        def watched(x_t: Any, states: tuple[Any, ...]) -> Any:
            result = step(x_t, states)
            self._is_computing = self._is_computing and self._are_computed(tree_leaves(result))
            return result

        return problem._replace(step=watched)

    def reporting(self, append: Append) -> AbstractContextManager[Append]:
        """Give a function that appends the output of a timestep and reports it as done."""
        if not self._is_computing:
            return nullcontext(append)
        if self._report is True:
            return self._showing(append)
        return nullcontext(self._reporting(append, self._report))

    @contextmanager
    def _showing(self, append: Append) -> Iterator[Append]:
        with _tqdm()(total=self._time, unit="step") as bar:
            yield self._reporting(append, lambda done, _: bar.update(done - bar.n))

    def _reporting(self, append: Append, report: Any) -> Append:
        done = 0

        def append_and_report(output: Any) -> None:
            nonlocal done
            append(output)
            done += 1
            if self._is_computing:
                report(done, self._time)

        return append_and_report

    def _are_computed(self, leaves: list[Any]) -> bool:
        arrays = filter(array_api_compat.is_array_api_obj, leaves)
        return all(readable(namespace_of(array), array) for array in arrays)


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "`progress=True` needs tqdm, which is not installed: "
            "python -m pip install 'arrayrnn[progress]'. Or pass a callable."
        ) from error
    return tqdm
