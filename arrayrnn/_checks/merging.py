"""What is wrong with the outputs of two directions that are to be merged."""

from collections.abc import Sequence
from typing import Any

from arrayrnn._axes import agree
from arrayrnn._checks.wording import BACKWARD, FORWARD, describe, structure
from arrayrnn._tree import Nest, NestMismatchError
from arrayrnn._typing import Array, Namespace

_MODES = ("concat", "sum", "mul", "ave")
_UNMERGED = "`merge=None` returns both as they are."


def mode(value: Any) -> None:
    if not (value is None or (isinstance(value, str) and value in _MODES)):
        came = repr(value) if isinstance(value, str) else describe(value)
        raise ValueError(f"`merge` is {came}; expected 'concat', 'sum', 'mul', 'ave' or None.")


def both(value: Any) -> tuple[Any, Any]:
    """Return `initial_output` as that of each direction."""
    if value is None:
        return None, None
    if not isinstance(value, list | tuple) or len(value) != 2:
        came = f" of length {len(value)}" if isinstance(value, list | tuple) else ""
        raise TypeError(
            f"`initial_output` is {describe(value)}{came}; expected a pair, that of the forward "
            "direction and that of the backward one, of which either may be None."
        )
    return value[0], value[1]


def outputs(xp: Namespace, merge: str, nest: Nest, forwards: Sequence[Array], other: Any) -> None:
    """Compare the outputs of both directions, without time; `forwards` are leaves of `nest`."""
    try:
        backwards = nest.flatten(other)
    except NestMismatchError:
        raise ValueError(
            f"`{BACKWARD.function}` returned an output of the structure "
            f"{structure(Nest.of(other)[1])}; to merge it, expected that of `{FORWARD.function}`, "
            f"{structure(nest)} (* is an array). {_UNMERGED}"
        ) from None
    paths = nest.paths("output")
    for k, (one, two) in enumerate(zip(forwards, backwards, strict=True)):
        came = f"`{FORWARD.function}` returned `{paths[k]}`, {describe(one)}"
        if merge == "concat" and one.ndim < 2:
            raise ValueError(
                f"{came}; expected (samples, ..., features), at least 2 dimensions, of which "
                "`merge='concat'` joins the last. Give it a last axis of length 1."
            )
        kinds = ("real floating", "complex floating") if merge == "ave" else "numeric"
        if merge != "concat" and not xp.isdtype(one.dtype, kinds):
            expected = "floating" if merge == "ave" else "numeric"
            raise TypeError(f"{came}; `merge={merge!r}` expected a {expected} dtype. {_UNMERGED}")
        last = -1 if merge == "concat" else None
        if not agree(one.shape[:last], two.shape[:last]) or one.ndim != two.ndim:
            but = ", but for the last axis" if merge == "concat" else ""
            raise ValueError(
                f"{came}, and `{BACKWARD.function}` {describe(two)}; `merge={merge!r}` expected "
                f"the same shape{but}. {_UNMERGED}"
            )
        if one.dtype != two.dtype:
            raise TypeError(
                f"{came}, and `{BACKWARD.function}` {describe(two)}; `merge={merge!r}` expected "
                f"the same dtype. {_UNMERGED}"
            )
