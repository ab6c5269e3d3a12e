"""Telling how far an eager loop has come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["reporting"]


@contextmanager
def reporting(
    progress: bool | Callable[[int, int], object] | None,
    total: int,
    append: Callable[[Any], object],
) -> Iterator[Callable[[Any], object]]:
    """Give a function that appends the output of a timestep and reports the timestep as done."""
    if not progress:
        yield append
    elif progress is True:
        with _tqdm()(total=total, unit="step") as bar:
            yield lambda output: (append(output), bar.update())
    else:
        done = 0

        def append_and_report(output: Any) -> None:
            nonlocal done
            append(output)
            done += 1
            progress(done, total)

        yield append_and_report


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "`progress=True` needs tqdm, which is not installed: "
            "python -m pip install 'arrayrnn[progress]'. Or pass a callable."
        ) from error
    return tqdm
