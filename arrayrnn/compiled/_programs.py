"""Compiled programs: functions of arrays with their gradients, and the cache of them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Arrays = Sequence[Any]
Function = Callable[..., Arrays]


class Program:
    """A function of arrays, and its pullbacks, compiled when they are first called.

    There are two ways to write it: the fastest, and one that can be differentiated.

    Parameters
    ----------
    is_of_vectors : bool
        Whether a timestep computes nothing but vectors.
    """

    def __init__(
        self, function: Function, differentiable: Function, *, is_of_vectors: bool
    ) -> None:
        self._differentiable = differentiable

        def run(*arrays: Any) -> Arrays:
            return _apart(function(*arrays), arrays)

        self._run = _compiled_once(run, _in_one_kernel(run) if is_of_vectors else None)
        self._pullbacks: dict[Any, Pullback] = {}

    def __call__(self, *arrays: Any) -> list[Any]:
        """Return the results: none of them one of the arrays, nor two the same."""
        return self._run(*arrays)

    def pullback(self, which: tuple[int, ...], kept: tuple[int, ...]) -> "Pullback":
        """Return the program for gradients with respect to `which` of the arrays.

        Those of the caller's that gradients are computed from are not copied if they are `kept`.
        """
        key = which, kept
        return self._pullbacks.setdefault(key, Pullback(self._differentiable, which, kept))


class Pullback:
    """A function of arrays that also returns what its gradients are computed from.

    Attributes
    ----------
    results : int
        How many results the function has; known, as the following, after the first call.
    differentiable : list of int
        Which of them have gradients.
    saved : list of int
        For each array that gradients are computed from, which of those kept it is, or -1: it is
        then one of those that come behind the results.
    """

    results: int
    differentiable: list[int]
    saved: list[int]

    def __init__(self, function: Function, which: tuple[int, ...], kept: tuple[int, ...]) -> None:
        self._function, self._which, self._kept = function, which, kept
        self.forward = _compiled_once(self._forward)
        self.backward = _compiled_once(self._backward)

    def _forward(self, *arrays: Any) -> Arrays:
        def differentiated(*chosen: Any) -> tuple[Arrays, Arrays]:
            arguments = list(arrays)
            for k, array in zip(self._which, chosen, strict=True):
                arguments[k] = array
            results = _apart(self._function(*arguments), arguments)
            self.results = len(results)
            self.differentiable = [
                k for k, r in enumerate(results) if jax.numpy.issubdtype(r.dtype, jax.numpy.inexact)
            ]
            return [results[k] for k in self.differentiable], results

        chosen = [arrays[k] for k in self._which]
        _, pullback, results = jax.vjp(differentiated, *chosen, has_aux=True)
        needed, self._tree = jax.tree.flatten(pullback)
        numbers = {id(arrays[k]): number for number, k in enumerate(self._kept)}
        self.saved = [numbers.get(id(array), -1) for array in needed]
        others = [array for array, k in zip(needed, self.saved, strict=True) if k < 0]
        return [*results, *_apart(others, [*arrays, *results])]

    def _backward(self, needed: Arrays, gradients: Arrays) -> Arrays:
        # JAX's gradient with respect to a complex number is the conjugate of what others call so.
        gradients = [jax.numpy.conj(g) for g in gradients]
        gradients = jax.tree.unflatten(self._tree, needed)(gradients)
        return [jax.numpy.conj(g) for g in gradients]


def _compiled_once(
    function: Callable[..., Any], hinted: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return `function` as one that is compiled by the first thread that calls it.

    If there is one with a hint to XLA, that is compiled instead, unless XLA cannot.
    """
    run, lock, is_compiled = jax.jit(hinted or function), Lock(), False

    def call(*arguments: Any) -> Any:
        nonlocal run, is_compiled
        if is_compiled:
            return run(*arguments)
        with lock:
            try:
                results = run(*arguments)
            except Exception:
                if hinted is None or is_compiled:
                    raise
                run = jax.jit(function)
                results = run(*arguments)
            is_compiled = True
        return results

    return call


def _in_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that XLA compiles to one kernel for CPUs, the loop in it included.

    XLA does so by itself for loops of less than a kilobyte; others take one call for each group of
    operations and timestep. Unlike other hints, these leave out what a version does not know.
    """

    def call(*arrays: Any) -> Any:
        inner = jax.jit(function)
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            return inner(*arrays)

    return call


def _apart(results: Arrays, arrays: Arrays) -> list[Any]:
    """Copy results that are an argument, or another result: their memory would be the same."""
    apart, seen = [], {id(array) for array in arrays}
    for result in results:
        apart.append(jax.numpy.copy(result) if id(result) in seen else result)
        seen.add(id(result))
    return apart


class CacheInfo(NamedTuple):
    """Counts of the calls so far, and of the programs that are kept.

    Attributes
    ----------
    hits, misses : int
        Calls for which there was a program, and for which one was made.
    maxsize, currsize : int
        How many programs are kept at most, and how many are kept.
    """

    hits: int
    misses: int
    maxsize: int
    currsize: int


class _Cache:
    """Programs by their keys; of too many the one that was not asked for longest is forgotten."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        self._hits = self._misses = 0

    def program(self, key: Any, make: Callable[[], Program]) -> Program:
        """Return the program of `key`, a new one if there is none."""
        with self._lock:
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
            return CacheInfo(self._hits, self._misses, self._most, len(self._programs))

    def clear(self) -> None:
        """Forget programs and counts."""
        with self._lock:
            self._programs.clear()
            self._hits = self._misses = 0


CACHE = _Cache(128)
