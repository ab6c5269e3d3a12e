"""Proxies: the arrays that a step is given while it is recorded."""

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from types import FrameType
from typing import Any, NoReturn

import array_api_compat
import numpy as np

from arrayrnn._recurrence.nests import tree_map
from arrayrnn.compiled import _errors
from arrayrnn.compiled._dialect import Answer, Spec
from arrayrnn.compiled._recording import Recording
from arrayrnn.compiled._vocabulary import OPERATORS, standard_name

_IN_SLICES = {int, type(None)}
_LIKE_THEMSELVES = {str, bytes, type(None), type(...)}
_ASK_FOR_VALUES = {"item", "tolist", "numpy", "tobytes", "get"}
_TAKE_A_SHAPE = (np.reshape, np.transpose)  # or axes, which methods also take one by one
_WRITE = {"fill", "itemset", "partition", "put", "resize", "sort"}  # methods of NumPy's arrays


class Proxy:
    """An array that has a shape, a dtype and no values.

    Attributes
    ----------
    is_shared : bool
        Whether other arrays may share its memory, so that writing into it would change them.
    """

    __slots__ = ("is_shared", "number", "recording", "spec")
    __array_priority__ = 1000  # for CuPy
    __hash__ = None  # type: ignore[assignment] # arrays have none

    def __init__(
        self, spec: Spec, number: int, recording: Recording, is_shared: bool = False
    ) -> None:
        self.spec, self.number, self.recording = spec, number, recording
        self.is_shared = is_shared

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> Any:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def device(self) -> Any:
        return self.recording.device

    @property
    def T(self) -> "Proxy":  # noqa: N802 # as in the standard
        axes = tuple(reversed(range(self.ndim)))
        return self.recording.namespace.permute_dims(self, axes)

    @property
    def mT(self) -> "Proxy":  # noqa: N802
        return self.recording.namespace.matrix_transpose(self)

    @property
    def real(self) -> "Proxy":
        is_complex = self.spec.like.dtype.startswith("complex")
        return self.recording.namespace.real(self) if is_complex else self

    @property
    def imag(self) -> "Proxy":
        return self.recording.namespace.imag(self)

    def __repr__(self) -> str:
        return f"<array of shape {tuple(self.shape)} and dtype {self.spec.like.dtype}, no values>"

    def __len__(self) -> int:
        if self.recording.dialect.of_torch:
            # Tensors indexed by something that has a length take it for a tuple of indices.
            _errors.fail_length(self, self.recording.words)
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator["Proxy"]:
        return (record(self.recording, operator.getitem, (self, k)) for k in range(self.shape[0]))

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.recording.namespace

    def to_device(self, device: Any, /, *, stream: Any = None) -> "Proxy":
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Proxy.__slots__:
            raise AttributeError(name)  # protocols that are looked for, also before there are slots
        words, dialect = self.recording.words, self.recording.dialect
        if name in _ASK_FOR_VALUES:
            return lambda *_: _errors.fail_value(self, f"`.{name}`", words)
        if name == "size" and not dialect.of_torch:
            return prod(self.shape)
        function = dialect.method(name)
        if function is not None:
            return partial(_called, self, function)
        if dialect.of_torch and name.endswith("_"):
            function = dialect.method(name.removesuffix("_"))
            if function is not None:
                return partial(_updated, self, function)
        if name in _WRITE:
            return _errors.fail_write(self, words)
        return _errors.fail_attribute(self, words, name)

    # ------------------------------------------------------------------- functions of libraries

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        recording, dialect = _recording_of(inputs) or self.recording, self.recording.dialect
        if "out" in options:
            _errors.fail_write(options["out"][0], recording.words)
        if method != "__call__":
            _errors.fail_unknown(f"{ufunc.__name__}.{method}", recording.words)
        own = None if dialect.knows(ufunc) else dialect.named(standard_name(ufunc.__name__))
        return record(recording, own or ufunc, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("out") is not None:
            _errors.fail_write(kwargs["out"], self.recording.words)
        return record(self.recording, function, args, kwargs)

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        name = standard_name(kernel.name.removeprefix("cupy_"))
        return record(self.recording, self.recording.dialect.named(name) or kernel, args, kwargs)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        recording = _recording_of((*args, *kwargs.values()))
        assert recording is not None
        args, kwargs = _on_its_device(recording, args, kwargs)
        name = function.__name__
        is_writing = name.endswith("_") and not name.startswith("_")
        if is_writing or name == "__setitem__" or kwargs.get("out") is not None:
            _errors.fail_write(args[0], recording.words, _errors.RefusedError)
        return record(recording, function, args, kwargs)

    # ---------------------------------------------------------------------- what has no meaning

    def __contains__(self, value: Any) -> NoReturn:
        _errors.fail_value(self, "`in`", self.recording.words)

    def __format__(self, spec: str) -> NoReturn:
        _errors.fail_value(self, "formatting", self.recording.words)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        _errors.fail_value(self, "NumPy", self.recording.words)

    @property
    def __jax_array__(self) -> NoReturn:  # asked for by all functions of JAX
        _errors.fail_jax(self.recording.words)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        _errors.fail_write(self, self.recording.words)


def _called(array: Proxy, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function for a method."""
    if kwargs or args:
        args, kwargs = _on_its_device(array.recording, args, kwargs)
    if function in _TAKE_A_SHAPE and not (args and isinstance(args[0], list | tuple)):
        args = (args,) if args else ()
    return record(array.recording, function, (array, *args), kwargs)


def _on_its_device(recording: Recording, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Leave the device of the proxies out of arguments: nothing has to go there."""
    device = recording.device
    args = tuple([x for x in args if not (type(x) is type(device) and x == device)])
    if kwargs.get("device") == device:
        kwargs = {name: value for name, value in kwargs.items() if name != "device"}
    return args, kwargs


def record_unary(function: Any, x: Proxy) -> Any:
    """Write the call of a function down that is given a proxy and nothing else."""
    return _written(x.recording, (function, x.spec), (x.number,), (x,))


def record(recording: Recording, function: Any, args: Sequence[Any], kwargs: Any = None) -> Any:
    """Write the call of a function down, and return proxies for its results."""
    operands: list[int] = []
    frozen = [function, *[_frozen(arg, recording, operands) for arg in args]]
    if kwargs:
        named = sorted(kwargs.items())
        frozen += [("keyword", name, _frozen(arg, recording, operands)) for name, arg in named]
        args = (*args, *kwargs.values())
    return _written(recording, tuple(frozen), tuple(operands), args)


def _written(recording: Recording, key: Any, operands: tuple[int, ...], args: Any) -> Any:
    answer: Answer = recording.dialect.known.get(key) or recording.learn(key)
    operation, specs, build, is_new = answer
    if operation is None:
        return build
    recording.lines.append((operation, operands))
    if not is_new:
        for arg in args:
            if type(arg) is Proxy:
                arg.is_shared = True
    if recording.is_grad_enabled is not None and not recording.is_grad_enabled():
        return _detached(recording, answer)
    first = recording.count
    recording.count += len(specs)
    if build is None:
        return Proxy(specs[0], first, recording, not is_new)
    results = [Proxy(spec, first + k, recording, not is_new) for k, spec in enumerate(specs)]
    return build(results)


def _detached(recording: Recording, answer: Answer) -> Any:
    """Return proxies for results through which no gradient flows, inside of ``no_grad()``."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None and frame.f_code is not Recording.call.__code__:
        if frame.f_globals.get("__name__") == "torch.autograd.function":
            _errors.fail_custom_function(recording.words)
        frame = frame.f_back
    first, results = recording.count, []
    recording.count += len(answer.specs)
    for k, spec in enumerate(answer.specs):
        detach = recording.dialect.detach(spec)
        recording.lines.append((detach, (first + k,)))
        results.append(Proxy(spec, recording.count, recording, not answer.is_new))
        recording.count += 1
    return results[0] if answer.build is None else answer.build(results)


def argument(recording: Recording, spec: Spec) -> Proxy:
    """Return a proxy for the next argument of a step."""
    recording.count += 1
    return Proxy(spec, recording.count - 1, recording, is_shared=True)


def lifted(recording: Recording, value: Any) -> Any:
    """Return proxies for arrays of the library's, in a nest, that the step closes over."""
    if _holds_proxies(value):
        return value

    def lift(leaf: Any) -> Any:
        is_array = type(leaf) is not Proxy and array_api_compat.is_array_api_obj(leaf)
        if not is_array or not recording.dialect.is_own(leaf):
            return leaf
        number = recording.number(leaf)
        return Proxy(recording.specs[~number], number, recording, is_shared=True)

    return tree_map(lift, value)


def _holds_proxies(value: Any) -> bool:
    """Tell at once that there are nothing but proxies in tuples and lists."""
    if type(value) is Proxy:
        return True
    return type(value) in (tuple, list) and all(map(_holds_proxies, value))


def _recording_of(values: Any) -> Recording | None:
    """Return the recording of the first proxy among arguments, in lists and tuples, too."""
    for value in values:
        if type(value) is Proxy:
            return value.recording
        if isinstance(value, list | tuple) and (found := _recording_of(value)) is not None:
            return found
    return None


def _frozen(value: Any, recording: Recording, operands: list[int]) -> Any:
    """Return an argument in a hashable form, and append the numbers of the arrays in it."""
    kind = type(value)
    if kind is Proxy:
        if value.recording is not recording:
            _errors.fail_kept(recording.words)
        operands.append(value.number)
        return value.spec
    if kind is int or kind is bool:
        return kind, value
    if kind is float or kind is complex:
        # Zeros of either sign are equal, and nan is not.
        return kind, (value if value and value == value else repr(value))
    if kind is slice:
        start, stop, step = value.start, value.stop, value.step
        if not {type(start), type(stop), type(step)} <= _IN_SLICES:
            start, stop, step = (x if x is None else operator.index(x) for x in (start, stop, step))
        return slice, start, stop, step
    if kind is tuple or isinstance(value, tuple | list):
        kind = list if isinstance(value, list) else tuple
        # Lengths and indices of NumPy's are numbers here.
        return kind, *[
            _frozen(int(item) if isinstance(item, np.integer) else item, recording, operands)
            for item in value
        ]
    if kind in _LIKE_THEMSELVES or isinstance(value, type | np.dtype):
        return value
    if array_api_compat.is_array_api_obj(value):
        number = recording.number(value)
        operands.append(number)
        return recording.specs[~number]
    if isinstance(value, int):  # of an enum, say
        return int, int(value)
    if kind.__module__ != "torch" and value is not recording.device:  # dtypes, and the like
        _errors.fail_argument(value, recording.words)
    return value


def _operators() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods behind the operators, also where the array stands on the right."""
    for function in OPERATORS:
        name = function.__name__.strip("_")
        if name in ("abs", "invert", "neg", "pos"):
            yield f"__{name}__", lambda x, f=function: record_unary(f, x)
            continue
        yield f"__{name}__", _binary(function)
        if name not in ("eq", "ge", "getitem", "gt", "le", "lt", "ne"):
            yield f"__r{name}__", _binary(function, is_right=True)
            yield f"__i{name}__", lambda x, y, f=function: _updated(x, f, y)


def _binary(function: Any, *, is_right: bool = False) -> Callable[[Proxy, Any], Any]:
    """Return what an operator does, the array on its left or right.

    Most operands need no walk through lists and the like.
    """

    def call(x: Proxy, y: Any) -> Any:
        recording, kind = x.recording, type(y)
        if kind is Proxy and y.recording is recording:
            return _written(recording, (function, x.spec, y.spec), (x.number, y.number), (x, y))
        if (kind is float and y and y == y) or kind is int:
            number = kind, y
            key = (function, number, x.spec) if is_right else (function, x.spec, number)
            return _written(recording, key, (x.number,), (x,))
        return record(recording, function, (y, x) if is_right else (x, y))

    return call


def _updated(array: Proxy, function: Any, *others: Any, **options: Any) -> Proxy:
    """Let an array have other values from here on, if that is all that writing into it does."""
    result = record(array.recording, function, (array, *others), options)
    if array.is_shared or result.spec.like != array.spec.like:
        _errors.fail_write(array, array.recording.words)
    array.number = result.number
    return array


def _values(asked_by: str) -> Callable[[Proxy], NoReturn]:
    return lambda array: _errors.fail_value(array, asked_by, array.recording.words)


for _name, _method in _operators():
    setattr(Proxy, _name, _method)
for _name in ("bool", "complex", "float", "index", "int", "round"):
    setattr(
        Proxy, f"__{_name}__", _values("an index or a length" if _name == "index" else f"{_name}()")
    )
