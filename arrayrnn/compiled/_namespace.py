"""Namespace of proxies: a library's functions, which write down what they are called with."""

from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any

import array_api_compat

from arrayrnn._recurrence.errors import library
from arrayrnn.compiled._dialect import Dialect
from arrayrnn.compiled._proxies import Proxy, lifted, record, record_unary
from arrayrnn.compiled._recording import Recording

# Answered by the library from dtypes and shapes, without an array.
_STATIC = {"__array_namespace_info__", "broadcast_shapes", "can_cast", "finfo", "iinfo", "isdtype"}
_STATIC |= {"result_type"}


class NamespaceOfProxies:
    """Functions, dtypes and constants of a library, or of one of its extensions."""

    def __init__(self, dialect: Dialect, module: Any) -> None:
        self._dialect, self._module = dialect, module
        # Not the library's name alone, by which array-api-compat knows the library itself.
        self.__name__ = f"{library(module)} (compiled)"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            value = NamespaceOfProxies(self._dialect, value)
        elif name in ("asarray", "from_dlpack"):
            value = partial(_asarray, self._module)
        elif name == "astype":
            value = partial(_astype, value)
        elif callable(value) and not isinstance(value, type):
            value = partial(_static if name in _STATIC else _call, value)
        setattr(self, name, value)
        return value


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs and type(args[0]) is Proxy:
        return record_unary(function, args[0])
    recording = Recording.current()
    if recording is None:
        return function(*args, **kwargs)  # the step has kept the function, and has returned
    if kwargs:
        kwargs.pop("device", None)  # there is one
    return record(recording, function, args, kwargs)


def _static(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*[arg.dtype if isinstance(arg, Proxy) else arg for arg in args], **kwargs)


def _asarray(
    xp: Any, value: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None
) -> Any:
    recording = Recording.current()
    if not array_api_compat.is_array_api_obj(value):
        device = device if recording is None else recording.device
        value = xp.asarray(value, dtype=dtype, device=device)
    array = value if recording is None else lifted(recording, value)
    dtype = array.dtype if dtype is None else dtype
    return _astype(xp.astype, array, dtype, copy=bool(copy))


def _astype(function: Any, array: Any, dtype: Any, /, *, copy: bool = True, **_: Any) -> Any:
    if not copy and array.dtype == dtype:
        return array
    return _call(function, array, dtype)  # which copies


@cache
def namespace_for(dialect: Dialect) -> NamespaceOfProxies:
    """Return the namespace of the proxies of a dialect."""
    return NamespaceOfProxies(dialect, dialect.xp)
