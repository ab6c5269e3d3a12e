"""Errors of calls that cannot be compiled, apart from the step's own code."""

from typing import Any, NoReturn

import array_api_compat

from arrayrnn._recurrence.errors import describe, library
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Namespace


def fail_missing(least: str, error: Exception | None) -> NoReturn:
    raise ImportError(
        f"`arrayrnn.compiled` needs JAX {least} or later. Install it with the extra "
        "`arrayrnn[compiled]`, or call `arrayrnn.rnn` or `arrayrnn.scan`."
    ) from error


def fail_unserved(xp: Namespace, words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.inputs}` is of {library(xp)}; `arrayrnn.compiled` takes arrays of NumPy, CuPy, "
        f"PyTorch and JAX. Call `arrayrnn.{words.eager}`."
    )


def fail_refused(path: str, array: Any, error: Exception, words: Words) -> NoReturn:
    """Say why an array cannot be handed to JAX; `error` is what came of trying."""
    raise TypeError(
        f"`{path}` is {describe(array)}, which JAX cannot take: {str(error).rstrip('.')}. Convert "
        f"it, or call `arrayrnn.{words.eager}`, which runs the step as it is."
    ) from error


def fail_kept(words: Words) -> NoReturn:
    raise TypeError(
        f"`{words.function}` uses a traced array of JAX that it is not given. If it has kept it "
        "from another call: what a step is to remember has to be a state, which it returns. If "
        "this call is inside of `jax.jit` or `jax.grad`: give it arrays of JAX."
    )


def fail_twice() -> NoReturn:
    raise RuntimeError(
        "`create_graph=True` asks for gradients that have gradients; what `arrayrnn.compiled` "
        "returns can be differentiated once. Call `arrayrnn.rnn` or `arrayrnn.scan`."
    )


def closed_over(leaf: Any, words: Words) -> None:
    """Refuse what a step returns if it is an array that it was not given, nor computed."""
    if array_api_compat.is_torch_array(leaf) or array_api_compat.is_cupy_array(leaf):
        xp = array_api_compat.array_namespace(leaf)
        travels = "`init`, to be returned as it came" if words.state_depth else "`constants`"
        raise TypeError(
            f"`{words.function}` returned {describe(leaf)} of {library(xp)}, which it closes "
            f"over; expected arrays computed from what it is given. Pass it in {travels}."
        )
