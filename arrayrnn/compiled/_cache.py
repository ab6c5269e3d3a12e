"""Cache of programs, kept for the next call of the same structure."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

from arrayrnn.compiled._programs import Program


class CacheInfo(NamedTuple):
    """Counts of the calls so far, and of the programs that are kept.

    Attributes
    ----------
    hits, misses : int
        Calls for which there was a program, and for which one was made.
    uncached : int
        Calls whose program cannot be kept, since it calls back into Python.
    maxsize, currsize : int
        How many programs are kept at most, and how many are kept.
    """

    hits: int
    misses: int
    uncached: int
    maxsize: int
    currsize: int


class _Cache:
    """Programs by their keys; of too many the one that was not asked for longest is forgotten."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        self._hits = self._misses = self._uncached = 0

    def program(self, key: Any, make: Callable[[], Program]) -> Program:
        """Return the program of `key`, a new one if there is none; that of None is never kept."""
        with self._lock:
            if key is None:
                self._uncached += 1
                return make()
            program = self._programs.get(key)
            if program is not None:
                self._hits += 1
                self._programs.move_to_end(key)
                return program
            self._misses += 1
            program = self._programs[key] = make()
            if len(self._programs) > self._most:
                self._programs.popitem(last=False)
            return program

    def info(self) -> CacheInfo:
        """Return the counts."""
        with self._lock:
            return CacheInfo(
                self._hits, self._misses, self._uncached, self._most, len(self._programs)
            )

    def clear(self) -> None:
        """Forget programs and counts."""
        with self._lock:
            self._programs.clear()
            self._hits = self._misses = self._uncached = 0


CACHE = _Cache(128)
