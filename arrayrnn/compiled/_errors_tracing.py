"""Errors of steps that cannot be traced: the expression, what came there, what to do."""

import re
import sys
from typing import Any

from arrayrnn._recurrence.words import Words
from arrayrnn.compiled._errors_source import Place
from arrayrnn.compiled._errors_untraceable import Untraceable

# Some errors of JAX, and all those of other libraries, are known by their words alone.
IMMUTABLE = re.compile(r"arrays are immutable")
NO_VALUE = re.compile(
    r"Only .*arrays can be converted to|[Ss]lice (entries|indices) must (be|have) static"
    r"|sequences of concrete values|format string passed to \w*Tracer"
)
OTHER_ARRAY = re.compile(
    r"<class '(torch|cupy)\b|Got tensor\(|Multiple namespaces for array inputs"
    r"|(unsupported operand|not supported between) .*'(Tensor|Parameter|ndarray)'"
)
OTHER_DTYPE = re.compile(r"Cannot interpret 'torch\.|must be torch\.dtype, not numpy")
OTHER_FUNCTION = re.compile(r"Tensor\b.* \w+Tracer\b|got \(.*Tracer|Unsupported type <class 'jax")
OTHER_KIND = re.compile(r"Error interpreting argument to|masked arrays are not supported")
OTHER_SIGNATURE = re.compile(r"unexpected keyword argument|object is not callable")


def explain(error: Exception, words: Words) -> TypeError | None:
    """Return what to raise in place of an `error` that came because JAX traces the step.

    None says that the error is the step's own.
    """
    jax = sys.modules.get("jax")
    place = Place.of(error)
    if jax is None or place is None or place.operation == "RAISE_VARARGS":
        return None
    message = _message(error, Untraceable(place, words, jax), jax.errors)
    return None if message is None else TypeError(f"{place} {message}")


def _message(error: Exception, found: Untraceable, errors: Any) -> str | None:
    text = str(error)
    by_jax = isinstance(error, errors.JAXTypeError | errors.JAXIndexError)
    of_tracer = by_jax or "Tracer" in text or isinstance(error.__cause__, errors.JAXTypeError)
    if found.stores and of_tracer:
        return found.writing()
    if isinstance(error, AttributeError):
        if found.lacks(error.obj):
            return found.lacking(str(error.name))
        return found.calling() if found.is_traced(error.obj) else None
    if OTHER_KIND.search(text) and (message := found.taking()) is not None:
        return message
    if not isinstance(error, TypeError | IndexError):
        return None
    if IMMUTABLE.search(text):
        return found.writing()
    if isinstance(error, errors.TracerBoolConversionError | errors.NonConcreteBooleanIndexError):
        return found.choosing()
    if isinstance(error, errors.TracerArrayConversionError):
        return found.looking_up() if found.indexes else found.calling()
    if NO_VALUE.search(text) or isinstance(
        error, errors.ConcretizationTypeError | errors.TracerIntegerConversionError
    ):
        return found.reading()
    if (
        OTHER_ARRAY.search(text)
        or found.asks_other_array()
        or (of_tracer and found.operates_on_other_array())
    ):
        return found.meeting()
    if OTHER_DTYPE.search(text):
        return found.mixing_dtypes()
    if OTHER_SIGNATURE.search(text) and found.calls_own():
        return found.misusing()
    by_library = found.calls_library() or (found.node is None and OTHER_FUNCTION.search(text))
    return found.calling() if of_tracer and by_library else None
