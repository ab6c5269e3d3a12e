"""Operations: what the lines of a recording say, and how JAX computes it."""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp

from arrayrnn.compiled._vocabulary import function_of, is_a_kernel

Arrays = Sequence[Any]
_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)


class Like(NamedTuple):
    """Shape and dtype of an array, whatever its library; stands for one among arguments."""

    shape: tuple[int, ...]
    dtype: str


class DtypeName(NamedTuple):
    """A dtype among arguments, whatever its library."""

    name: str


class Operation:
    """A function of arrays, computed by JAX.

    Parameters
    ----------
    name : str
        From the vocabulary.
    args, kwargs : tuple
        In hashable form; `Like` stands for each array.
    computes_in : str or None
        Dtype that the arrays are brought to first, if any.
    results : tuple of Like
        By the account of the caller's library.
    """

    __slots__ = (
        "__weakref__", "_args", "_computes_in", "_function", "_kwargs", "is_a_kernel", "results"
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: tuple[tuple[str, Any], ...],
        computes_in: str | None,
        results: tuple[Like, ...],
    ) -> None:
        self._function, self._args, self._kwargs = function_of(name), args, kwargs
        self._computes_in, self.results = computes_in, results
        self.is_a_kernel = is_a_kernel(name)

    def __call__(self, arrays: Arrays) -> list[Any]:
        """Compute on arrays of JAX's, in the order of the arguments."""
        if self._computes_in is not None:
            dtype, is_alone = jnp.dtype(self._computes_in), len(arrays) == 1
            # Booleans among several are where something holds.
            arrays = [_raised(x, dtype) if is_alone or x.dtype != bool else x for x in arrays]
        remaining = iter(arrays)

        def leaf(value: Any) -> Any:
            if isinstance(value, Like):
                return next(remaining)
            return jnp.dtype(value.name) if isinstance(value, DtypeName) else value

        args = [thawed(arg, leaf) for arg in self._args]
        result = self._function(*args, **{key: thawed(arg, leaf) for key, arg in self._kwargs})
        leaves = jax.tree.leaves(result)
        return [jnp.asarray(x).astype(y.dtype) for x, y in zip(leaves, self.results, strict=True)]

    def check(self) -> None:
        """Raise an exception, JAX's perhaps, if JAX cannot compute what the library does."""
        arrays = [jax.ShapeDtypeStruct(*like) for like in self._likes()]
        found = [x.shape for x in jax.eval_shape(self, arrays)]
        if found != [like.shape for like in self.results]:
            raise ValueError(f"JAX gives the shapes {found}")

    @property
    def stops_gradients(self) -> bool:
        """Whether no gradient flows through it."""
        kinds = ("float", "complex", "bfloat")
        return self._function is jax.lax.stop_gradient or not any(
            like.dtype.startswith(kinds) for like in self.results
        )

    @property
    def takes_arrays(self) -> bool:
        """Whether there are arrays among its arguments."""
        return any(True for _ in self._likes())

    def _likes(self) -> Iterator[Like]:
        return _likes((self._args, self._kwargs))


Line = tuple[Operation, tuple[int, ...]]  # with the numbers of its operands
# Programs and look-ups keep operations: equal ones are one object as long as that matters.
_ALL: "WeakValueDictionary[Any, Operation]" = WeakValueDictionary()
_LOCK = Lock()


def operation(*parts: Any) -> Operation:
    """Return the only operation of these parameters."""
    with _LOCK:
        found = _ALL.get(parts)
        if found is None:
            found = _ALL[parts] = Operation(*parts)
        return found


def play(lines: Sequence[Line], numbers: Sequence[int], given: Arrays, closed_over: Arrays) -> Any:
    """Compute what lines say, and return the arrays of some numbers."""
    values = [*given]

    def value(number: int) -> Any:
        return closed_over[~number] if number < 0 else values[number]

    for compute, operands in lines:
        values.extend(compute([*map(value, operands)]))
    return [*map(value, numbers)]


def differentiated(lines: Sequence[Line], sources: set[int], given: int) -> set[int]:
    """Return the numbers of all arrays that gradients flow to `sources` from.

    `given` is how many arrays the lines begin with.
    """
    found, first = {*sources}, given
    for compute, operands in lines:
        if not (found.isdisjoint(operands) or compute.stops_gradients):
            found.update(range(first, first + len(compute.results)))
        first += len(compute.results)
    return found


def thawed(frozen: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return an argument from its hashable form; `leaf` returns one that holds no others."""
    if type(frozen) is not tuple:
        return leaf(frozen)
    kind, *items = frozen
    if kind is tuple or kind is list:
        return kind(thawed(item, leaf) for item in items)
    return kind(*items)  # a number or a slice


def _raised(array: Any, dtype: Any) -> Any:
    """Return an array in another dtype, unless that is of a lesser kind."""
    own, new = (
        max(k for k, kind in enumerate(_KINDS) if jnp.issubdtype(d, kind))
        for d in (array.dtype, dtype)
    )
    return array.astype(dtype) if own <= new else array


def _likes(frozen: Any) -> Iterator[Like]:
    if isinstance(frozen, Like):
        yield frozen
    elif isinstance(frozen, tuple):
        for item in frozen:
            yield from _likes(item)
