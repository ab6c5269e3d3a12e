"""Calls that `linear_scan` refuses: what came, what was expected, and what to do."""

import re

import numpy as np
import pytest

import arrayrnn
from support import running
from support.backends import Backend
from support.running import linear_scan


def zeros(*shape, dtype="float64"):
    return np.zeros(shape or (4, 5, 2), dtype)


def of(*shape, dtype="float64"):
    """Return how a message describes an array."""
    return f"an array of shape {shape} and dtype {dtype}"


X = zeros()  # good summands
A_NUMBER = f"and `b` is {of(4, 5, 2)}; expected a number of its kind."
AN_ARRAY_OF_NUMBERS = "expected an array. Make one of numbers and nested lists first, by `asarray`."
ONE_KIND = "expected all integers, or all floating, and none bool. Cast one of them."
SHARED = "An axis that shares its factors has length 1."
A_SHAPE = f"expected the shape of `b`, (4, 5, 2), or matrices, (4, 5, 2, 2). {SHARED}"
A_MASK = "expected (samples, time) = (4, 5), or (4, 5, 1)."
SAMPLES_FIRST = "expected (samples, time, ...). If time is another axis: `axis=`."
NO_SAMPLES = "without samples; expected (samples, time, ...). For one sample: `b[None]`."
AN_INTEGER = "expected 1 <= input_length <= 5, the timesteps of `b`."

ERRORS = {
    "summands": [
        (TypeError, "`b` is None; expected an array.", lambda f: f(X, None)),
        (TypeError, "`b` is of type list; expected an array.", lambda f: f(X, [1.0])),
        (TypeError, f"`b` is of type float; {AN_ARRAY_OF_NUMBERS}", lambda f: f(0.5, 1.0)),
        (
            TypeError,
            f"`b` is {of(4, 5, dtype='bool')}; expected integers, or real or complex numbers.",
            lambda f: f(1, zeros(4, 5, dtype="bool")),
        ),
        (ValueError, f"`b` is {of(5)}; {SAMPLES_FIRST}", lambda f: f(0.5, zeros(5))),
        (
            ValueError,
            f"`b` is {of(5, 2)}; {SAMPLES_FIRST}",
            lambda f: f(zeros(5, 2, 2), zeros(5, 2)),
        ),
        (
            ValueError,
            f"`b` is {of()}; expected (time, samples, ...). If time is another axis: `axis=`.",
            lambda f: f(0.5, np.asarray(1.0), time_major=True),
        ),
        (
            ValueError,
            f"`b` is {of(4, 0, 2)}, without timesteps; expected at least one.",
            lambda f: f(0.5, zeros(4, 0, 2)),
        ),
    ],
    "factors": [
        (TypeError, "`a` is None; expected an array.", lambda f: f(None, X)),
        (TypeError, "`a` is of type list; expected an array.", lambda f: f([0.5], X)),
        (TypeError, f"`a` is True, {A_NUMBER}", lambda f: f(True, X)),
        (TypeError, f"`a` is 1j, {A_NUMBER}", lambda f: f(1j, X)),
        (
            ValueError,
            f"`a` is -1, and `b` is {of(4, 5, dtype='uint8')}; expected 0 <= a <= 255.",
            lambda f: f(-1, zeros(4, 5, dtype="uint8")),
        ),
        (
            TypeError,
            f"`a` is 0.5, and `b` is {of(4, 5, dtype='int64')}; expected a number of its kind.",
            lambda f: f(0.5, zeros(4, 5, dtype="int64")),
        ),
        (ValueError, f"`a` is {of(4, 5, 3)}; {A_SHAPE}", lambda f: f(zeros(4, 5, 3), X)),
        (
            ValueError,
            f"`a` is {of(5, 2)}; {A_SHAPE} Shared like that it is `a[None, ...]`.",
            lambda f: f(zeros(5, 2), X),
        ),
        (
            ValueError,
            f"`a` is {of(2)}; {A_SHAPE} Shared like that it is `a[None, None, ...]`.",
            lambda f: f(zeros(2), X),
        ),
        (
            ValueError,
            f"`a` is {of(2, 2)}; {A_SHAPE} A shared matrix is `a[None, None, ...]`.",
            lambda f: f(zeros(2, 2), X),
        ),
        (
            ValueError,
            f"`a` is {of(1, 4, 5, 2, 2)}; {A_SHAPE}",
            lambda f: f(zeros(1, 4, 5, 2, 2), X),
        ),
        (ValueError, f"`a` is {of(4, 5, 2, 3)}; {A_SHAPE}", lambda f: f(zeros(4, 5, 2, 3), X)),
        (ValueError, f"`a` is {of(4, 6, 2, 2)}; {A_SHAPE}", lambda f: f(zeros(4, 6, 2, 2), X)),
        (
            ValueError,
            f"`a` is {of(4, 5)}; expected the shape of `b`, (1, 5), or matrices, (1, 5, 5). "
            + SHARED,
            lambda f: f(zeros(4, 5), zeros(1, 5)),
        ),
    ],
    "state": [
        (TypeError, "`initial` is of type list; expected an array.", lambda f: f(0.5, X, [0.0])),
        (TypeError, f"`initial` is False, {A_NUMBER}", lambda f: f(0.5, X, False)),
        (
            ValueError,
            f"`initial` is {of(4, 3)}; expected (4, 2), the shape of `b` without time.",
            lambda f: f(0.5, X, zeros(4, 3)),
        ),
        (
            ValueError,
            f"`initial` is {of(2)}; expected (4, 2), the shape of `b` without time.",
            lambda f: f(0.5, X, zeros(2)),
        ),
    ],
    "dtypes": [
        (
            TypeError,
            f"the dtypes are `a` int32, `b` float64; {ONE_KIND}",
            lambda f: f(zeros(dtype="int32"), X),
        ),
        (
            TypeError,
            f"the dtypes are `a` bool, `b` float64; {ONE_KIND}",
            lambda f: f(zeros(dtype="bool"), X),
        ),
        (
            TypeError,
            f"the dtypes are `a` int64, `b` int64, `initial` float64; {ONE_KIND}",
            lambda f: f(zeros(dtype="int64"), zeros(dtype="int64"), zeros(4, 2)),
        ),
        (
            TypeError,
            f"the dtypes are `a` int64, `b` int64, `initial` float64; {ONE_KIND}",
            lambda f: f(zeros(dtype="int64"), zeros(dtype="int64"), np.asarray(0.5)),
        ),
    ],
    "options": [
        (
            TypeError,
            "`axis` is of type float; expected an integer or None.",
            lambda f: f(0.5, X, axis=1.0),
        ),
        (
            ValueError,
            f"`axis` is 3, and `b` is {of(4, 5, 2)}; expected one of its axes.",
            lambda f: f(0.5, X, axis=3),
        ),
        (
            ValueError,
            f"`axis` is -4, and `b` is {of(4, 5, 2)}; expected one of its axes.",
            lambda f: f(0.5, X, axis=-4),
        ),
        (
            TypeError,
            "`axis` is of type bool; expected an integer or None.",
            lambda f: f(0.5, X, axis=True),
        ),
        (
            ValueError,
            (
                f"`axis` is -1, and `b` is {of(4, 5, 2)}; expected one of its axes, but not the "
                "last, that of vectors."
            ),
            lambda f: f(zeros(4, 5, 2, 2), X, axis=-1),
        ),
        (
            ValueError,
            "`axis` is 1, and `time_major` is True, which says 0; expected one of them.",
            lambda f: f(0.5, X, axis=1, time_major=True),
        ),
        (TypeError, "`reverse` is 1; expected True or False.", lambda f: f(0.5, X, reverse=1)),
        (
            TypeError,
            "`time_major` is None; expected True or False.",
            lambda f: f(0.5, X, time_major=None),
        ),
    ],
    "mask": [
        (
            ValueError,
            f"`mask` is {of(5, 4, dtype='bool')}; {A_MASK}",
            lambda f: f(0.5, X, mask=zeros(5, 4, dtype="bool")),
        ),
        (
            ValueError,
            f"`mask` is {of(4, 5, 2, dtype='bool')}; {A_MASK}",
            lambda f: f(0.5, X, mask=zeros(4, 5, 2, dtype="bool")),
        ),
        (
            TypeError,
            f"`mask` is {of(4, 5, dtype='complex64')}; expected a bool or real dtype.",
            lambda f: f(0.5, X, mask=zeros(4, 5, dtype="complex64")),
        ),
        (
            TypeError,
            f"`mask` is of type bool; {AN_ARRAY_OF_NUMBERS}",
            lambda f: f(0.5, X, mask=True),
        ),
        (
            ValueError,
            f"`mask` is given for samples, and `b` is {of(5)}, {NO_SAMPLES}",
            lambda f: f(0.5, zeros(5), axis=0, mask=zeros(5, dtype="bool")),
        ),
        (
            ValueError,
            f"`mask` is given for samples, and `b` is {of(5, 2)}, {NO_SAMPLES}",
            lambda f: f(zeros(5, 2, 2), zeros(5, 2), axis=0, mask=zeros(5, 2, dtype="bool")),
        ),
    ],
    "lengths": [
        (
            ValueError,
            f"`input_length` is given for samples, and `b` is {of(5)}, {NO_SAMPLES}",
            lambda f: f(0.5, zeros(5), axis=0, input_length=[3]),
        ),
        (
            ValueError,
            f"`input_length` is 6; {AN_INTEGER}",
            lambda f: f(0.5, X, input_length=6),
        ),
        (
            ValueError,
            f"`input_length` is 0; {AN_INTEGER}",
            lambda f: f(0.5, X, input_length=0),
        ),
        (
            ValueError,
            "`input_length[1]` is 6; expected 0 <= length <= 5, the timesteps of `b`.",
            lambda f: f(0.5, X, input_length=[1, 6, 3, 4]),
        ),
        (
            ValueError,
            (
                f"`input_length` is {of(3, dtype='int64')}; expected one length for each sample, "
                "shape (4,)."
            ),
            lambda f: f(0.5, X, input_length=[1, 2, 3]),
        ),
        (
            TypeError,
            f"`input_length` is {of(4)}; expected an integer dtype.",
            lambda f: f(0.5, X, input_length=[1.0, 2.0, 3.0, 4.0]),
        ),
        (
            TypeError,
            (
                "`input_length` is of type bool; expected an integer whose value is known, or one "
                "integer for each sample."
            ),
            lambda f: f(0.5, X, input_length=True),
        ),
    ],
}


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        pytest.param(*case, id=f"{about} {k}")
        for about, cases in ERRORS.items()
        for k, case in enumerate(cases)
    ],
)
def test_errors_say_what_came_and_what_was_expected(error, message, call):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(arrayrnn.linear_scan)


@pytest.mark.parametrize("which", ["a", "initial", "mask"])
def test_an_array_of_another_library(backend, which):
    if backend.library == "strict":
        pytest.skip("this test needs a library beside it")
    pytest.importorskip("array_api_strict")
    other = {"a": zeros(4, 5), "initial": zeros(4), "mask": zeros(4, 5)}[which]
    given = {"a": 0.5, which: Backend.STRICT.array(other)}
    with running.known_shapes(), pytest.raises(TypeError) as raised:
        linear_scan(b=backend.arrays(zeros(4, 5).astype(backend.float)), **given)
    assert str(raised.value).startswith(f"`{which}` is an array of array_api_strict, `b` of ")
    assert str(raised.value).endswith("expected arrays of one library. Convert one of them.")


@pytest.mark.parametrize("which", ["a", "initial"])
def test_an_array_on_another_device(which):
    pytest.importorskip("array_api_strict", reason="it has several devices anywhere")
    other = Backend.STRICT_DEVICE1.array({"a": zeros(4, 5), "initial": zeros(4)}[which])
    message = rf"^`{which}` is on device .*device1.*, `b` on .*CPU_DEVICE.*\. Move one of them\.$"
    with pytest.raises(ValueError, match=message):
        arrayrnn.linear_scan(**{"a": 0.5, "b": Backend.STRICT.array(zeros(4, 5)), which: other})
