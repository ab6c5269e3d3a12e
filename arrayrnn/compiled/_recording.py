"""Recording: what a step computes, one line for each operation, written down without values.

The step is called on proxies. The lines are the key of a program: equal ones compute the same,
whatever the arrays that the step closes over, which are numbered as they turn up.
"""

from collections.abc import Callable
from threading import local
from typing import Any, NoReturn

from arrayrnn._recurrence.words import Words
from arrayrnn.compiled import _errors
from arrayrnn.compiled._dialect import Answer, Dialect, Spec
from arrayrnn.compiled._operations import Line

_CURRENT = local()


class Recording:
    """Lines that a step has written so far.

    Attributes
    ----------
    lines : list of tuple
        Operations, each with the numbers of its operands: those of arguments come first, those of
        results follow one by one, and the k-th array that the step closes over is -1 - k.
    closed_over : list of array
        Those arrays, as they came.
    specs : list of Spec
        What they are like.
    namespace, device
        Of the proxies.
    """

    def __init__(self, dialect: Dialect, namespace: Any, device: Any, words: Words) -> None:
        self.dialect, self.namespace, self.device, self.words = dialect, namespace, device, words
        self.lines: list[Line] = []
        self.closed_over: list[Any] = []
        self.specs: list[Spec] = []
        self.count = 0
        # PyTorch's, if gradients may flow at all: a step may turn them off for a while.
        self.is_grad_enabled = dialect.is_grad_enabled() if dialect.of_torch else None
        self._numbers: dict[int, int] = {}  # of closed-over arrays, by their ids

    @staticmethod
    def current() -> "Recording | None":
        """Return the recording whose step runs in this thread."""
        return getattr(_CURRENT, "recording", None)

    def number(self, array: Any) -> int:
        """Return the number of an array that the step closes over."""
        number = self._numbers.get(id(array))
        if number is None:
            self.specs.append(self.dialect.spec_of(array, self.words))
            self.closed_over.append(array)
            number = self._numbers[id(array)] = -len(self.closed_over)
        return number

    def learn(self, key: Any) -> Answer:
        """Ask the library what a function gives; `key` as in `Dialect.known`."""
        if isinstance(self.lines, _Closed):
            _errors.fail_kept(self.words)
        return self.dialect.learn(key, self.words)

    def call(self, step: Callable[..., Any], *args: Any) -> Any:
        """Call a step; functions that make arrays write into this recording meanwhile."""
        before, _CURRENT.recording = self.current(), self
        try:
            return step(*args)
        except _errors.RefusedError as error:
            raise TypeError(str(error)).with_traceback(error.__traceback__) from None
        finally:
            _CURRENT.recording = before

    def close(self) -> tuple[Line, ...]:
        """Return the lines; proxies that the step has kept are worth nothing from now on."""
        lines, self.lines = tuple(self.lines), _Closed(self.words)
        return lines


class _Closed(list[Line]):
    def __init__(self, words: Words) -> None:
        self._words = words

    def append(self, _: Line) -> NoReturn:
        _errors.fail_kept(self._words)
