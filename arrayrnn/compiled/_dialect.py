"""Dialect: the functions of one library, and what they give by its own account."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import array_api_compat
import jax
import jax.numpy as jnp
import numpy as np
import optree

from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.errors import dtype_name
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Namespace
from arrayrnn.compiled import _errors
from arrayrnn.compiled import _vocabulary as vocabulary
from arrayrnn.compiled._exchange import serves
from arrayrnn.compiled._operations import DtypeName, Like, Operation, operation, thawed

# Look-ups that are kept; beyond, all are forgotten and made again.
_MOST = 4096


class Spec:
    """Shape and dtype of an array of a library; one object for all arrays that are alike."""

    __slots__ = ("dtype", "like", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self.like = Like(tuple(shape), dtype_name(dtype))


class Answer(NamedTuple):
    """What a function gives for arguments like those of a call."""

    operation: Operation | None  # None: `build` is the answer, since no values are needed
    specs: list[Spec]
    build: Any  # puts several results together; None if there is one
    is_new: bool  # whether results have memory of their own, for certain


class Dialect:
    """Functions of a library, and what they have given so far.

    Attributes
    ----------
    xp : namespace
        As array-api-compat has it.
    of_torch : bool
        Whether it is PyTorch's.
    known : dict
        From functions with their arguments, in hashable form, to answers.
    """

    def __init__(self, xp: Namespace) -> None:
        self.xp, self.of_torch = xp, array_api_compat.is_torch_namespace(xp)
        self.known: dict[Any, Answer] = {}
        self._specs: dict[Any, Spec] = {}
        self._vocabulary = vocabulary.OPERATORS | vocabulary.vocabulary_of(xp)
        if self.of_torch:
            import torch

            self._vocabulary |= vocabulary.vocabulary_of_torch(torch)
            self._methods: dict[str, Any] = {
                **vars(torch.Tensor.__base__),
                **vars(torch.Tensor),
            }
        else:
            self._vocabulary |= vocabulary.vocabulary_of(np)
            self._methods = {name: getattr(np, name) for name in vocabulary.METHODS_OF_NUMPY}
            self._methods |= {"astype": xp.astype, "flatten": np.ravel}

    def is_grad_enabled(self) -> Callable[[], bool] | None:
        """Return what tells whether PyTorch follows gradients; None if it does not now."""
        found: Callable[[], bool] = self.xp.is_grad_enabled
        return found if found() else None

    def named(self, name: str) -> Any:
        """Return the library's function that the standard names so."""
        return getattr(self.xp, name, None)

    def method(self, name: str) -> Any:
        """Return the function that a method of the library's arrays calls, or None."""
        function = self._methods.get(name)
        return function if self.knows(function) else None

    def knows(self, function: Any) -> bool:
        """Tell whether a function is in the vocabulary."""
        return self._name(function) is not None

    def _name(self, function: Any) -> str | None:
        if isinstance(function, np.ufunc) and function not in self._vocabulary:  # SciPy's
            is_special = hasattr(jax.scipy.special, function.__name__)
            return f"special.{function.__name__}" if is_special else None
        return self._vocabulary.get(function)

    def spec(self, shape: Any, dtype: Any) -> Spec:
        """Return the only spec of its kind."""
        found = self._specs.get((shape, dtype))
        if len(self._specs) >= _MOST:
            self._specs.clear()
        return found or self._specs.setdefault((shape, dtype), Spec(shape, dtype))

    def is_own(self, array: Any) -> bool:
        """Tell whether an array is of this library."""
        return namespace_of(array) is self.xp

    def spec_of(self, array: Any, words: Words) -> Spec:
        """Return what an array of this library, or of another that JAX takes, is like here."""
        if self.is_own(array):
            return self.spec(array.shape, array.dtype)
        if not serves(namespace_of(array)):
            _errors.fail_closed_over(array, words)
        if array_api_compat.is_torch_array(array) != self.of_torch:
            name = dtype_name(array.dtype)
            dtype = getattr(self.xp, name, None) if self.of_torch else jnp.dtype(name)
            return self.spec(tuple(array.shape), dtype)
        return self.spec(array.shape, array.dtype)

    def detach(self, spec: Spec) -> Operation:
        """Return the operation that keeps gradients from flowing through an array."""
        return operation("torch.detach", (spec.like,), (), None, (spec.like,))

    def learn(self, key: Any, words: Words) -> Answer:
        """Ask the library what a function gives; `key` is as in `known`."""
        function, *frozen = key
        args = [arg for arg in frozen if not _is_keyword(arg)]
        kwargs = {arg[1]: arg[2] for arg in frozen if _is_keyword(arg)}
        name = self._name(function)
        if name is None:
            _errors.fail_unknown(function, words)
        if name in vocabulary.OF_ANY_SHAPE or (name == "getitem" and _has_flags(args[1])):
            _errors.fail_shape(function, words)
        example = self._solvable if name.startswith("linalg.") else self._empty
        with np.errstate(all="ignore"):
            asked = function(
                *[thawed(arg, example) for arg in args],
                **{key: thawed(arg, example) for key, arg in kwargs.items()},
            )
        if name in vocabulary.STATIC:
            answer = Answer(None, [], asked, True)
        else:
            try:
                answer = self._answer(name, args, kwargs, asked)
            except Exception as error:  # of JAX's, about arguments that it does not take
                _errors.fail_unknown(function, words, error)
        if len(self.known) >= _MOST:
            self.known.clear()
            self._specs.clear()
        self.known[key] = answer
        return answer

    def _answer(self, name: str, args: list[Any], kwargs: dict[str, Any], asked: Any) -> Answer:
        leaves, structure = optree.tree_flatten(asked)
        # NumPy counts in integers of Python's.
        leaves = [np.asarray(x) if isinstance(x, int | float) else x for x in leaves]
        specs = [self.spec(leaf.shape, leaf.dtype) for leaf in leaves]
        results = tuple(spec.like for spec in specs)
        is_raised = vocabulary.promotes(name) or _are_inexact_of_integers(results, args, kwargs)
        computes_in = results[0].dtype if is_raised else None
        if name in vocabulary.COMPARING:
            added = self.xp.add(*[thawed(arg, self._empty) for arg in args])
            computes_in = dtype_name(added.dtype)
        if not kwargs:
            name = vocabulary.WITHOUT_OPTIONS.get(name, name)
        is_torch = name.startswith("torch.")
        own = vocabulary.PARAMETERS_OF_TORCH if is_torch else vocabulary.PARAMETERS
        kwargs = {own.get(key, key): arg for key, arg in kwargs.items()}
        found = operation(
            name,
            tuple(map(self._neutral, args)),
            tuple(
                (key, self._neutral(arg))
                for key, arg in kwargs.items()
                if arg is not None and key not in vocabulary.WITHOUT_EFFECT
            ),
            computes_in,
            results,
        )
        found.check()
        build = None if structure.is_leaf() else structure.unflatten
        is_copy = name != "astype" or not kwargs  # of which `copy` is one
        is_new = not found.takes_arrays or (vocabulary.makes(name) and is_copy)
        return Answer(found, specs, build, is_new)

    def _empty(self, value: Any) -> Any:
        """Return an array in place of a spec, and anything else as it is."""
        if not isinstance(value, Spec):
            return value
        if self.of_torch:
            return self.xp.empty(value.shape, dtype=value.dtype, device="meta")
        # Integers may be indices, and floats are divided by.
        make = self.xp.ones if value.like.dtype.startswith("float") else self.xp.zeros
        return make(value.shape, dtype=value.dtype)

    def _solvable(self, value: Any) -> Any:
        """Return matrices that have an inverse in place of a spec of square ones."""
        array = self._empty(value)
        is_square = isinstance(value, Spec) and value.shape[-2:-1] == value.shape[-1:]
        if self.of_torch or not is_square:
            return array
        return 0 * array + self.xp.eye(value.shape[-1], dtype=value.dtype)

    def _neutral(self, frozen: Any) -> Any:
        """Return an argument in a form that does not depend on the library."""
        if type(frozen) is tuple:
            return frozen[0], *map(self._neutral, frozen[1:])
        if isinstance(frozen, Spec):
            return frozen.like
        if isinstance(frozen, type | np.dtype):
            return DtypeName(np.dtype(frozen).name)
        return DtypeName(dtype_name(frozen)) if type(frozen).__name__ == "dtype" else frozen


def _is_keyword(frozen: Any) -> bool:
    return type(frozen) is tuple and frozen[0] == "keyword"


def _are_inexact_of_integers(results: Any, args: Any, kwargs: Any) -> bool:
    """Tell whether floats come of nothing but integers: JAX would compute them in 32 bits."""
    specs = [spec for arg in (*args, *kwargs.values()) for spec in _specs(arg)]
    return (
        bool(specs)
        and all(spec.like.dtype.lstrip("u").startswith("int") for spec in specs)
        and all(like.dtype.startswith(("float", "complex")) for like in results)
    )


def _specs(frozen: Any) -> Iterator[Spec]:
    if isinstance(frozen, Spec):
        yield frozen
    elif type(frozen) is tuple:
        for item in frozen:
            yield from _specs(item)


def _has_flags(frozen: Any) -> bool:
    return any(spec.like.dtype == "bool" for spec in _specs(frozen))


def dialect_of(xp: Namespace) -> Dialect:
    """Return the dialect of a library."""
    # What PyTorch makes of integers depends on its default dtype.
    default = xp.get_default_dtype() if array_api_compat.is_torch_namespace(xp) else None
    return _dialect(xp, default)


@cache
def _dialect(xp: Namespace, default: Any) -> Dialect:
    return Dialect(xp)
