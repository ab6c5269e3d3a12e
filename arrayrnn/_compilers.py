"""Staying out of compilers that would take the loop to pieces.

One of the few files that name array libraries.
"""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["add_note", "is_compiling", "never_compiled", "not_compiled"]

P = ParamSpec("P")
R = TypeVar("R")


def add_note(error: Exception, note: str) -> None:
    """Add a note to `error`, if that is possible at this moment."""
    if not is_compiling():
        error.add_note(note)


def is_compiling() -> bool:
    """Tell whether ``torch.compile`` follows what runs."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def _follows_nests() -> bool:
    """Tell whether Dynamo knows optree's functions, with namespaces: from PyTorch 2.10 on."""
    major, minor, *_ = sys.modules["torch"].version.__version__.split(".")
    return (int(major), int(minor)) >= (2, 10)


def not_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run as it is inside ``torch.compile``; a step may still be compiled.

    Dynamo would unroll the loop, and compile it anew for each number of timesteps. It may if the
    seventh argument, `unroll`, is True: then into one graph, or, if it cannot, not at all. Before
    PyTorch 2.10 it never can.
    """
    alone = never_compiled(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        unroll = args[6] if len(args) > 6 else kwargs.get("unroll")
        if is_compiling() and unroll is True and _follows_nests():
            try:
                return function(*args, **kwargs)
            except Exception:
                # Nothing to handle; but Dynamo cannot break its graph within `try`. It gives this
                # frame up, runs it as it is, and comes to the next line.
                raise
        return alone(*args, **kwargs)

    return wrapper


def never_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run as it is inside ``torch.compile``."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        result: R = sys.modules["torch"].compiler.disable(function)(*args, **kwargs)
        return result

    return wrapper
