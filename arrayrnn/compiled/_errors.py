"""Errors of calls that cannot be compiled: what came, where, and what to do."""

from typing import Any, NoReturn

import array_api_compat

from arrayrnn._recurrence.errors import describe, library
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Namespace

_STANDARD = "operators and functions of the array API standard, `array_namespace(x)` for an array x"
_CURES = {
    "bool()": "Select with `where(condition, a, b)` in place of `if`, `and`, `or`, `max()` and "
    "`min()`",
    "formatting": "`print(x)` shows its shape and dtype",
    "NumPy": "With `xp = array_namespace(x)`, write `xp.take(table, indices, axis=0)` to look up "
    "rows of an array, `xp.stack([...])` to make one of several, and all else by operators and "
    "functions of `xp`",
}


class RefusedError(Exception):
    """Stands for a TypeError, which JAX would replace by one of its own, and PyTorch ignore."""


def fail_missing(least: tuple[int, ...], error: Exception | None = None) -> NoReturn:
    version = ".".join(map(str, least))
    raise ImportError(
        f"`arrayrnn.compiled` needs JAX {version} or later. Install it with the extra "
        "`arrayrnn[compiled]`, or call `arrayrnn.rnn` or `arrayrnn.scan`."
    ) from error


def fail_unserved(xp: Namespace, words: Words) -> NoReturn:
    cure = f"Call `arrayrnn.{words.eager}`."
    if array_api_compat.is_jax_namespace(xp):
        cure = f"Call `arrayrnn.{words.eager}` inside of `jax.jit`, which compiles it."
    raise TypeError(
        f"`{words.inputs}` is of {library(xp)}; `arrayrnn.compiled` takes arrays of NumPy, CuPy "
        f"and PyTorch. {cure}"
    )


def fail_refused(path: str, array: Any, error: Exception, words: Words) -> NoReturn:
    """Say why an array cannot be handed to JAX; `error` is what came of trying."""
    raise TypeError(
        f"{path} is {describe(array)}, which JAX cannot take: {str(error).rstrip('.')}. Convert "
        f"it, or call `arrayrnn.{words.eager}`, which runs the step as it is."
    ) from error


def fail_twice() -> NoReturn:
    raise RuntimeError(
        "`create_graph=True` asks for gradients that have gradients; what `arrayrnn.compiled` "
        "returns can be differentiated once. Call `arrayrnn.rnn` or `arrayrnn.scan`."
    )


def fail_kept(words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.function}` uses an array that it has kept from another call, and that has no "
        "values. What a step is to remember has to be a state, which it returns."
    )


def fail_value(array: Any, asked_by: str, words: Words) -> NoReturn:
    cure = _CURES.get(asked_by, "Compute with the array itself")
    raise TypeError(
        f"`{words.function}` asks for values, by {asked_by}, of {describe(array)}. A compiled step "
        f"is called once, for all timesteps, on arrays that have none. {cure}; or call "
        f"{_eagerly(words)}"
    )


def fail_write(array: Any, words: Words, kind: type[Exception] = TypeError) -> NoReturn:
    raise kind(
        f"`{words.function}` writes into {describe(array)}. A compiled step can only do so by "
        "`a += b`, if it has computed `a` itself, no other array shares the memory of `a`, and "
        "shape and dtype stay the same. Make a new array, with `where(...)`, `concat(...)` or "
        f"`a = a + b`; or call {_eagerly(words)}"
    )


def fail_attribute(array: Any, words: Words, name: str) -> NoReturn:
    raise AttributeError(
        f"`{words.function}` asks for `.{name}` of {describe(array)}, which arrays in a compiled "
        f"step do not have. Write it with {_STANDARD}; or call {_eagerly(words)}"
    )


def fail_length(array: Any, words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.function}` asks for the `len()` of {describe(array)}. Write `x.shape[0]`, or "
        f"`torch.stack([...])` in place of `torch.tensor([...])`; or call {_eagerly(words)}"
    )


def fail_unknown(function: Any, words: Words, error: Exception | None = None) -> NoReturn:
    """Refuse a function, or the arguments for which JAX raised `error`."""
    known = "is not known in a compiled step"
    if error is not None:
        why = str(error).partition("\n")[0].rstrip(".")
        known = f"cannot be compiled with these arguments: {why}"
    raise TypeError(
        f"`{words.function}` calls `{_qualified(function)}`, which {known}. Write it with "
        f"{_STANDARD}; or call {_eagerly(words)}"
    ) from error


def _qualified(function: Any) -> str:
    """Return how one would write a function."""
    name, module = getattr(function, "__name__", str(function)), getattr(function, "__module__", "")
    if module == "torch._C._linalg":
        return f"torch.linalg.{name.removeprefix('linalg_')}"
    module = {"torch._C._nn": "torch.nn.functional", "torch.functional": "torch"}.get(
        module, module
    )
    is_public = module and "._" not in module and module not in ("builtins", "_operator")
    return f"{module}.{name}" if is_public else name


def fail_custom_function(words: Words) -> NoReturn:
    raise RefusedError(
        f"`{words.function}` calls a `torch.autograd.Function`, whose `backward` a compiled step "
        f"does not follow. Write its gradient with `detach()`; or call {_eagerly(words)}"
    )


def fail_shape(function: Any, words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.function}` makes an array whose shape depends on values, by "
        f"`{getattr(function, '__name__', function)}`; in a compiled step shapes are fixed. Keep "
        f"all elements, and select with `where(condition, a, b)`; or call {_eagerly(words)}"
    )


def fail_argument(value: Any, words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.function}` computes with a value {describe(value)}; expected arrays and numbers. "
        f"Convert it; or call {_eagerly(words)}"
    )


def fail_closed_over(array: Any, words: Words) -> NoReturn:
    xp = array_api_compat.array_namespace(array)
    cure = f"Convert it; or call {_eagerly(words)}"
    if array_api_compat.is_jax_namespace(xp):
        cure = f"To compute with JAX, call `arrayrnn.{words.eager}` inside of `jax.jit`."
    raise TypeError(
        f"`{words.function}` computes with {describe(array)} of {library(xp)}; "
        f"`arrayrnn.compiled` takes arrays of NumPy, CuPy and PyTorch. {cure}"
    )


def fail_jax(words: Words) -> NoReturn:
    raise RefusedError(
        f"`{words.function}` calls a function of JAX. Write it with {_STANDARD}, or call "
        f"`arrayrnn.{words.eager}` inside of `jax.jit`, which compiles it."
    )


def _eagerly(words: Words) -> str:
    return f"`arrayrnn.{words.eager}`, which runs the step as it is."
