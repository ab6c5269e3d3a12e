"""Calls that `associative_scan` refuses: what came, what was expected, and what to do."""

import re
from importlib.util import find_spec

import array_api_compat
import numpy as np
import pytest

from support import running
from support.abilities import Ability
from support.backends import Backend
from support.running import associative_scan

NAMES = {"dask": "dask.array", "jax": "jax.numpy", "onnx": "ndonnx", "strict": "array_api_strict"}
AN_ARRAY_OF_NUMBERS = "expected an array. Make one of numbers and nested lists first, by `asarray`."


class MyError(Exception):
    pass


def plus(a, b):
    return a + b


def ones(backend, *shape):
    return backend.array(np.ones(shape or (20, 2)))


def refused(backend, error, message, fn=plus, elems=None, **options):
    """Check an error: its type is exact, and its own text is all of `message`, a pattern."""
    elems = ones(backend) if elems is None else elems
    with running.known_shapes(), pytest.raises(error, match=message) as raised:
        associative_scan(fn, elems, **options)
    assert raised.type is error
    assert re.fullmatch(message, str(raised.value))
    return raised.value


def refused_argument(backend, error, message, **arguments):
    """Check an error of which the whole text is known, and which comes before any call of `fn`."""
    calls = []

    def fn(a, b):
        calls.append(a)
        return a + b

    found = refused(backend, error, re.escape(message), **({"fn": fn} | arguments))
    assert not calls
    return found


# ---------------------------------------------------------------------------------- elements


def test_no_array():
    with pytest.raises(TypeError, match=r"^`elems` is None; expected an array\.$"):
        associative_scan(plus, None)


@pytest.mark.parametrize("nothing", [[], (), {}, {"a": None}, [{}, ()]], ids=str)
def test_an_empty_nest(backend, nothing):
    message = "`elems` is an empty nest; expected at least one array."
    refused_argument(backend, ValueError, message, elems=nothing)


@pytest.mark.parametrize(
    ("elems", "message"),
    [
        ([1.0, 2.0], f"`elems[0]` is of type float; {AN_ARRAY_OF_NUMBERS}"),
        (3, f"`elems` is of type int; {AN_ARRAY_OF_NUMBERS}"),
        ({"a": "b"}, "`elems['a']` is of type str; expected an array."),
    ],
    ids=["list", "number", "text"],
)
def test_what_is_no_array(backend, elems, message):
    refused_argument(backend, TypeError, message, elems=elems)


def test_a_number_beside_arrays(backend):
    message = f"`elems['b']` is of type float; {AN_ARRAY_OF_NUMBERS}"
    refused_argument(backend, TypeError, message, elems={"a": ones(backend), "b": 0.5})


def test_no_elements(backend):
    message = (
        f"`elems` is an array of shape (2, 0) and dtype {backend.float}; expected at least one "
        "element along axis 1."
    )
    refused_argument(backend, ValueError, message, elems=ones(backend, 2, 0), axis=1)


def test_arrays_that_disagree_on_their_number(backend):
    elems = {"a": ones(backend, 2, 20), "b": [ones(backend, 2, 21, 3)]}
    message = (
        f"`elems['b'][0]` is an array of shape (2, 21, 3) and dtype {backend.float}, `elems['a']` "
        f"is an array of shape (2, 20) and dtype {backend.float}; expected the same length along "
        "axis 1, that of time, in every array of `elems`."
    )
    refused_argument(backend, ValueError, message, elems=elems, axis=-1)


def test_an_array_without_the_axis_of_time(backend):
    elems = {"a": ones(backend), "b": ones(backend, 20)}
    with pytest.raises(ValueError, match=r"^`elems\['b'\]` is an array of shape \(20,\)") as raised:
        associative_scan(plus, elems, axis=1)
    assert "expected at least 2 dimensions: time is axis 1 of every array" in str(raised.value)
    assert "What is the same for all elements is closed over." in str(raised.value)


def test_an_array_without_axes(backend):
    message = (
        f"`elems` is an array of shape () and dtype {backend.float}; expected an axis of time, at "
        "least 1 dimension."
    )
    refused_argument(backend, ValueError, message, elems=backend.array(1.0))


def foreign(backend):
    """Return an array of another library than that of the backend, and how messages call it."""
    if backend.library != "numpy":
        return np.ones((20, 2)), "numpy"
    if find_spec("array_api_strict"):
        return Backend.STRICT.array(np.ones((20, 2))), "array_api_strict"
    return pytest.skip("needs array-api-strict beside NumPy")


def test_arrays_of_two_libraries(backend):
    other, name = foreign(backend)
    own_name = NAMES.get(backend.library, backend.library)
    message = (
        f"`elems['b']` is an array of {name}, `elems['a']` of {own_name}; expected arrays of one "
        "library. Convert one of them."
    )
    refused_argument(backend, TypeError, message, elems={"a": ones(backend), "b": other})


def test_arrays_on_two_devices():
    pytest.importorskip("array_api_strict", reason="it has several devices anywhere")
    elems = [ones(Backend.STRICT, 20), ones(Backend.STRICT_DEVICE1, 20)]
    one, other = Backend.STRICT.device, Backend.STRICT_DEVICE1.device
    message = (
        f"`elems[1]` is on device {other}, `elems[0]` on {one}, and array_api_strict does not "
        "compute across them. Move one of them."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        associative_scan(plus, elems)


# ---------------------------------------------------------------------------------- options


@pytest.mark.parametrize("axis", [2, -3, 7])
def test_an_axis_out_of_range(backend, axis):
    message = (
        f"`axis` is {axis}, and `elems` is an array of shape (20, 2) and dtype {backend.float}; "
        "expected -2 <= axis < 2."
    )
    refused_argument(backend, ValueError, message, axis=axis)


@pytest.mark.parametrize(
    ("axis", "came"),
    [
        (1.0, "of type float"),
        ("0", "of type str"),
        (None, "None"),
        ((0,), "of type tuple"),
        (np.zeros(1, "int8"), "an array of shape (1,) and dtype int8"),
    ],
    ids=["float", "text", "none", "tuple", "array"],
)
def test_an_axis_that_is_no_integer(backend, axis, came):
    refused_argument(backend, TypeError, f"`axis` is {came}; expected an integer.", axis=axis)


@pytest.mark.parametrize(
    ("reverse", "came"), [(1, "1"), ("yes", "'yes'"), (None, "None")], ids=["1", "yes", "none"]
)
def test_a_direction_that_is_neither_true_nor_false(backend, reverse, came):
    message = f"`reverse` is {came}; expected True or False."
    refused_argument(backend, TypeError, message, reverse=reverse)


@pytest.mark.parametrize(
    ("fn", "came"),
    [(3, "of type int"), (None, "None"), ([plus], "of type list")],
    ids=["number", "none", "list"],
)
def test_what_cannot_be_called(backend, fn, came):
    message = f"`fn` is {came}; expected a callable `fn(a, b) -> c`."
    refused_argument(backend, TypeError, message, fn=fn)


# ---------------------------------------------------------------------------------- what fn returns


def an_array(*features, dtype):
    """Return a pattern of what messages tell of an array of some elements."""
    shape = r", ".join([r"(\d+|None)", *map(str, features)]) + ("" if features else ",")
    return rf"an array of shape \({shape}\) and dtype {dtype}"


def test_another_structure(backend):
    message = re.escape(
        "`fn` returned `c`, of the structure (*, *); expected that of `elems`, * (* is an array)."
    )
    refused(backend, ValueError, message, fn=lambda a, b: (a, b))


def test_other_keys(backend):
    message = re.escape(
        "`fn` returned `c`, of the structure {'b': *}; expected that of `elems`, {'a': *} (* is an "
        "array)."
    )
    elems = {"a": ones(backend)}
    refused(backend, ValueError, message, fn=lambda a, b: {"b": b["a"]}, elems=elems)


def test_none(backend):
    message = (
        re.escape("`fn` returned `c`, of the structure None; expected that of `elems`, * (* is an ")
        + r"array\)\."
    )
    refused(backend, ValueError, message, fn=lambda a, b: None)


@pytest.mark.parametrize(
    ("fn", "shape"),
    [
        (lambda a, b: (a + b)[..., :1], r"(\d+|None), 1"),
        (lambda a, b: (a + b)[:, 0], r"(\d+|None),"),
        (lambda a, b: (a + b)[None, ...], r"1, (\d+|None), 2"),
        (lambda a, b: a[:0, ...], r"0, 2"),
    ],
    ids=["features", "rank", "an axis more", "number"],
)
def test_another_shape(backend, fn, shape):
    message = (
        rf"`fn` returned `c\['a'\]`, an array of shape \({shape}\) and dtype {backend.float}; "
        r"expected the shape of its arguments, \(\d+, 2\): each holds many elements along axis 0, "
        r"which are combined pair by pair\."
    )
    elems = {"a": ones(backend)}
    refused(backend, ValueError, message, fn=lambda a, b: {"a": fn(a["a"], b["a"])}, elems=elems)


def test_a_function_for_single_elements(backend):
    def followed(a, b):  # (2,), as its author thinks
        xp = array_api_compat.array_namespace(a)
        return xp.stack([b[0, ...] * a[0, ...], b[0, ...] * a[-1, ...] + b[-1, ...]])

    message = (
        rf"`fn` returned `c`, {an_array(2, dtype=backend.float)}; expected the shape of its "
        r"arguments, \(\d+, 2\): each holds many elements along axis 0, which are combined pair by "
        r"pair\."
    )
    refused(backend, ValueError, message, fn=followed)


def test_another_dtype_is_not_promoted(backend):
    def fn(a, b):
        xp = array_api_compat.array_namespace(a[0])
        return [xp.astype(a[0] + b[0], xp.float32)]

    message = (
        rf"`fn` returned `c\[0\]`, {an_array(2, dtype='float32')}; expected the dtype of its "
        r"arguments, int32\. Cast the result in `fn`, or give `elems` the dtype that `fn` "
        r"computes\."
    )
    elems = [backend.array(np.ones((20, 2)), "int32")]
    refused(backend, TypeError, message, fn=fn, elems=elems)


def test_a_number(backend):
    message = r"`fn` returned `c`, of type float; expected an array\."
    refused(backend, TypeError, message, fn=lambda a, b: 1.0)


def test_an_array_of_another_library(backend):
    if backend.library in ("dask", "numpy"):
        pytest.skip("`fn` is given NumPy arrays there")
    if backend.is_compiled:
        pytest.skip("compiled, `fn` may return what NumPy and its own library have made")

    def fn(a, b):
        return np.ones((1, 2))

    own_name = NAMES.get(backend.library, backend.library)
    message = (
        rf"`fn` returned `c`, an array of shape \(1, 2\) and dtype float64, of numpy; expected an "
        rf"array of {re.escape(own_name)}, like `elems`\."
    )
    refused(backend, TypeError, message, fn=fn)


@pytest.fixture
def many_elements_at_once(backend):
    if backend.is_compiled:
        pytest.skip("compiled, `fn` is given slices of length 1 only")


def plus_places(a, b):
    xp = array_api_compat.array_namespace(b)
    places = xp.arange(b.shape[0], dtype=b.dtype, device=array_api_compat.device(b))
    return a + b + xp.expand_dims(places, axis=1)


@pytest.mark.parametrize(
    ("which", "fn"),
    [
        ("first", lambda a, b: a + b * b.shape[0]),
        ("first", lambda a, b: a + array_api_compat.array_namespace(b).mean(b, axis=0)),
        ("first", lambda a, b: array_api_compat.array_namespace(b).flip(a, axis=0) + b),
        ("last", lambda a, b: a + array_api_compat.array_namespace(b).cumulative_sum(b, axis=0)),
        ("last", plus_places),
    ],
    ids=["length", "mean", "flip", "sums", "places"],
)
@pytest.mark.needs(Ability.VALUES)
@pytest.mark.usefixtures("many_elements_at_once")
@pytest.mark.parametrize("time", [17, 20, 300])
def test_a_function_of_the_other_elements_too(backend, which, fn, time):
    numbers = np.random.default_rng(0).standard_normal((time, 2))
    message = (
        rf"`fn` returned `c`, {an_array(2, dtype=backend.float)}, with other values for the "
        rf"{which} pair of elements than for that pair without the \d+ others; expected each pair "
        r"along "
        r"axis 0 to be combined for itself, whatever the length there\."
    )
    refused(backend, ValueError, message, fn=fn, elems=backend.array(numbers))


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.usefixtures("many_elements_at_once")
@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_a_function_of_other_integers_and_flags_too(backend, dtype):
    def fn(a, b):
        return array_api_compat.array_namespace(b).flip(b, axis=0)

    elems = {"x": backend.array(np.arange(20) > 9, dtype)}
    message = (
        rf"`fn` returned `c\['x'\]`, {an_array(dtype=dtype)}, with other values for the first "
        r"pair of elements than for that pair without the \d+ others; .*"
    )
    refused(backend, ValueError, message, fn=lambda a, b: {"x": fn(a["x"], b["x"])}, elems=elems)


# ---------------------------------------------------------------------------------- exceptions


def notes(error):
    return [note for note in getattr(error, "__notes__", []) if note.startswith("arrayrnn.")]


@pytest.mark.parametrize("time", [2, 20])
def test_an_exception_keeps_its_type_and_says_what_the_function_was_given(backend, time):
    def fn(a, b):
        raise MyError("own")

    error = refused(backend, MyError, "own", fn=fn, elems=ones(backend, time, 2))
    called = "compiled.associative_scan" if backend.is_compiled else "associative_scan"
    (note,) = notes(error)
    given = rf"\(\d+, 2\) {backend.float}"
    assert re.match(
        rf"arrayrnn\.{re.escape(called)}: .*`fn` was called with a {given}; b {given}\.", note
    )


def test_the_note_tells_of_all_arrays_and_of_the_axis():
    def fn(a, b):
        raise MyError("own")

    elems = {"x": np.ones((3, 20), "float32"), "n": np.ones((3, 20, 2), "int8")}
    with pytest.raises(MyError) as raised:
        associative_scan(fn, elems, axis=1)
    (note,) = notes(raised.value)
    given = "['n'] (3, 5, 2) int8, ['x'] (3, 5) float32"
    assert note == (
        f"arrayrnn.associative_scan: `fn` was called with a {given}; b {given}. These are slices "
        "of `elems` along axis 1, of any length there."
    )


def test_a_function_of_one_argument(backend):
    error = refused(backend, TypeError, r".*<lambda>\(\) takes 1 positional .*", fn=lambda a: a)
    assert len(notes(error)) == 1


@pytest.mark.needs(Ability.CALLS)
def test_an_exception_of_a_later_call(backend):
    calls = []

    def fn(a, b):
        calls.append(a)
        if len(calls) == 7:
            raise MyError("own")
        return a + b

    error = refused(backend, MyError, "own", fn=fn, elems=ones(backend, 100, 2))
    assert len(notes(error)) == 1
    assert len(calls) == 7


def test_arguments_stay_as_they_were_where_a_function_fails(backend):
    if backend.value != "numpy":
        pytest.skip("elsewhere nothing is left to write into, or to copy")

    def fn(a, b):
        b += a
        raise MyError("own")

    elems = np.ones((20, 2))
    refused(backend, MyError, "own", fn=fn, elems=elems)
    np.testing.assert_array_equal(elems, 1)
