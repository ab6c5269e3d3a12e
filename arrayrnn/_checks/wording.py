"""Words that the errors share."""

from typing import Any, NoReturn

import array_api_compat

from arrayrnn._typing import Namespace


def describe(value: Any) -> str:
    """Say what `value` is: an array's dtype and shape, else its type."""
    if not array_api_compat.is_array_api_obj(value):
        return "None" if value is None else f"of type {type(value).__name__}"
    return f"an array of shape {tuple(value.shape)} and dtype {dtype_name(value.dtype)}"


def dtype_name(dtype: Any) -> str:
    return str(dtype).rsplit(".", maxsplit=1)[-1]


def library(xp: Namespace) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.")


def fail_no_array(value: Any, where: str) -> NoReturn:
    raise TypeError(f"`{where}` is {describe(value)}; expected an array.")


def fail_library(
    where: str, xp: Namespace, expected: Namespace, inputs: str = "inputs"
) -> NoReturn:
    raise TypeError(
        f"`{where}` is an array of {library(xp)}, `{inputs}` of {library(expected)}; expected "
        "arrays of one library. Convert one of them."
    )
