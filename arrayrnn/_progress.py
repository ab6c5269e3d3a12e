"""Telling how far an eager loop has come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import array_api_compat

from arrayrnn._host import readable
from arrayrnn._problem import Problem
from arrayrnn._tree import tree_leaves

__all__ = ["Progress"]

Append = Callable[[Any], object]


class Progress:
    """Reports of progress, as long as something is computed: what is traced is not, yet."""

    def __init__(self, problem: Problem) -> None:
        self._time, self._report = problem.time, problem.progress
        self._is_computing = bool(self._report) and self._are_computed(problem.arrays)

    def watching(self, problem: Problem) -> Problem:
        """Return a problem whose step shows whether something traced hides in it."""
        step_function = problem.step_function
        if not self._is_computing:
            return problem

        @wraps(step_function)
        def step(x_t: Any, states: tuple[Any, ...]) -> Any:
            result = step_function(x_t, states)
            self._is_computing = self._is_computing and self._are_computed(tree_leaves(result))
            return result

        return replace(problem, step_function=step)

    @contextmanager
    def reporting(self, append: Append) -> Iterator[Append]:
        """Give a function that appends the output of a timestep and reports it as done."""
        if not self._is_computing:
            yield append
        elif self._report is True:
            with _tqdm()(total=self._time, unit="step") as bar:
                yield self._reporting(append, lambda done, _: bar.update(done - bar.n))
        else:
            yield self._reporting(append, self._report)

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
        return all(readable(array_api_compat.array_namespace(array), array) for array in arrays)


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "`progress=True` needs tqdm, which is not installed: "
            "python -m pip install 'arrayrnn[progress]'. Or pass a callable."
        ) from error
    return tqdm
