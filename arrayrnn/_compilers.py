"""Staying out of compilers that would take the loop to pieces.

One of the few files that name array libraries.
"""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["not_compiled"]

P = ParamSpec("P")
R = TypeVar("R")


def not_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run as it is inside ``torch.compile``; a step may still be compiled.

    Dynamo would unroll the loop, and compile it anew for each number of timesteps.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        torch = sys.modules.get("torch")
        if torch is not None and torch.compiler.is_compiling():
            result: R = torch.compiler.disable(function)(*args, **kwargs)
            return result
        return function(*args, **kwargs)

    return wrapper
