"""`scan` does what a loop in plain Python does, on every library."""

import re
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import arrayrnn
from support import running
from support.abilities import Ability
from support.backends import assert_same
from support.running import scan


class Pair(NamedTuple):
    one: Any
    other: Any


def by_hand(f, init, xs, *, length=None, reverse=False):
    """Loop in plain Python over NumPy arrays; `ys` is a list of what was returned at each step."""
    leaves = optree.tree_leaves(xs)
    time = leaves[0].shape[0] if leaves else length
    carry, ys = init, [None] * time
    for t in reversed(range(time)) if reverse else range(time):
        carry, ys[t] = f(carry, optree.tree_map(lambda x: x[t], xs))  # noqa: B023
    return carry, ys


def check(backend, f, init, xs, **options):
    """Compare with the loop by hand: values, dtypes, shapes, containers."""
    carry, ys = by_hand(f, init, xs, **options)
    ys = optree.tree_map(lambda *steps: np.stack(steps), *ys)
    as_arrays = optree.tree_map(np.asarray, carry)
    found = scan(f, backend.arrays(init), backend.arrays(xs), **options)
    assert_same(backend, found, (as_arrays, ys))


def draw(backend, *shape):
    return np.random.default_rng(shape).integers(-4, 5, size=shape).astype(backend.float)


def halve(carry, x):
    carry = 0.5 * carry + x
    return carry, 2.0 * carry


both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])

# ---------------------------------------------------------------------------------- results


@both_ways
@pytest.mark.parametrize("time", [1, 2, 7, 70, 300])
def test_it_is_a_loop_over_the_first_axis(backend, time, reverse):
    check(backend, halve, draw(backend, 2, 3), draw(backend, time, 2, 3), reverse=reverse)


@both_ways
@pytest.mark.parametrize("features", [(), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_arrays_are_of_any_rank(backend, features, reverse):
    check(backend, halve, draw(backend, *features), draw(backend, 5, *features), reverse=reverse)


@both_ways
def test_everything_may_be_nested(backend, reverse):
    def f(carry, x):
        (level,), count = carry["level"], carry["count"]
        a, (b,) = x.one, x.other["b"]
        level = 0.5 * level + a
        new = {"count": count + 1, "level": [level]}
        return new, (level + b, {"count": count, "both": Pair(a, [b])})

    init = {"level": [draw(backend, 3)], "count": np.asarray(0, backend.int)}
    xs = Pair(draw(backend, 6, 3), {"b": [draw(backend, 6, 2, 3)]})
    check(backend, f, init, xs, reverse=reverse)


def test_ys_of_a_reversed_scan_stay_beside_their_xs(backend):
    xs = backend.array(np.asarray([1.0, 2.0, 4.0]))
    carry, ys = scan(lambda c, x: (c + x, (x, c)), backend.array(0.0), xs, reverse=True)
    expected = (np.asarray(7.0), (np.asarray([1.0, 2.0, 4.0]), np.asarray([6.0, 4.0, 0.0])))
    assert_same(backend, (carry, ys), optree.tree_map(lambda a: a.astype(backend.float), expected))


@both_ways
def test_without_xs_there_are_as_many_steps_as_length_says(backend, reverse):
    def double(carry, x):
        assert x is None
        return 2 * carry, carry

    check(backend, double, np.asarray([1, 3], "int32"), None, length=5, reverse=reverse)


def test_length_may_be_given_beside_xs(backend):
    check(backend, halve, draw(backend, 2), draw(backend, 5, 2), length=5)


def test_length_is_anything_with_an_index(backend):
    check(backend, halve, draw(backend, 2), draw(backend, 5, 2), length=np.int64(5))


@pytest.mark.parametrize("nothing", [None, (), [], {}, {"a": None}], ids=str)
def test_f_may_have_nothing_to_show(backend, nothing):
    init, xs = draw(backend, 2), draw(backend, 5, 2)
    carry, ys = scan(lambda c, x: (c + x, nothing), backend.arrays(init), backend.arrays(xs))
    assert ys == nothing
    assert_same(backend, carry, init + xs.sum(axis=0))


@pytest.mark.parametrize("nothing", [None, (), {}], ids=str)
def test_nothing_may_be_carried(backend, nothing):
    xs = draw(backend, 5, 2)
    carry, ys = scan(lambda _, x: (nothing, 2 * x), nothing, backend.arrays(xs))
    assert carry == nothing
    assert_same(backend, ys, 2 * xs)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "float32"])
def test_dtypes_are_kept(backend, dtype):
    init, xs = np.asarray([0, 1], dtype), np.asarray([[1, 1], [0, 1], [1, 0]], dtype)
    check(backend, lambda c, x: (c | x if dtype == "bool" else c + x, c), init, xs)


@pytest.mark.needs(Ability.CLOSURES)
def test_what_f_closes_over_counts(backend):
    w = backend.array(np.asarray([2.0, 3.0]))
    xs = backend.array(np.ones((4, 2)))
    carry, _ = scan(lambda c, x: (c + w * x, None), backend.array(np.zeros(2)), xs)
    assert_same(backend, carry, np.asarray([8.0, 12.0], backend.float))


def test_a_list_that_comes_back_for_a_tuple_is_a_tuple_again(backend):
    init = (backend.array(0.0), backend.array(1.0))
    carry, _ = scan(lambda c, x: ([c[1], c[0] + x], None), init, backend.array(np.ones(3)))
    assert_same(backend, carry, (np.asarray(2.0, backend.float), np.asarray(2.0, backend.float)))


@pytest.mark.parametrize("unroll", [False, True, 1, 3, 100])
@both_ways
def test_unrolling_changes_nothing(backend, unroll, reverse):
    xs = draw(backend, 7, 2)
    _, ys = by_hand(halve, draw(backend, 2), xs, reverse=reverse)
    init = backend.arrays(draw(backend, 2))
    found = scan(halve, init, backend.arrays(xs), reverse=reverse, unroll=unroll)
    assert_same(backend, found[1], np.stack(ys))


@pytest.mark.parametrize("checkpoint", [1, 3, 100])
@both_ways
def test_what_is_kept_for_gradients_changes_nothing(backend, checkpoint, reverse):
    xs = draw(backend, 7, 2)
    _, ys = by_hand(halve, draw(backend, 2), xs, reverse=reverse)
    init = backend.arrays(draw(backend, 2))
    found = scan(halve, init, backend.arrays(xs), reverse=reverse, checkpoint=checkpoint)
    assert_same(backend, found[1], np.stack(ys))


# ---------------------------------------------------------------------------------- Python numbers


def test_python_numbers_take_the_dtype_of_what_is_scanned(backend):
    def f(carry, x):
        a, b, c = carry
        return (a + x, b + 1, c), None

    xs = backend.array(np.ones(3, "float32"), "float32")
    carry, _ = scan(f, (0.0, 0, True), xs)
    expected = (np.float32(3), np.asarray(3, backend.int), np.asarray(True))
    assert_same(backend, carry, expected)


def test_python_numbers_take_the_dtype_of_what_is_carried_if_nothing_is_scanned(backend):
    init = (backend.array(np.ones(2, "float32"), "float32"), 0.5)
    carry, _ = scan(lambda c, _: ((c[0] * 2, c[1] * 2), None), init, None, length=2)
    assert_same(backend, carry, (np.full(2, 4, "float32"), np.asarray(2, "float32")))


# ---------------------------------------------------------------------------------- calls


@pytest.mark.needs(Ability.CALLS)
@both_ways
def test_f_is_called_once_for_each_step_in_order(backend, reverse):
    seen = []

    def f(carry, x):
        seen.append(float(x))
        return carry, None

    scan(f, None, backend.array(np.asarray([1.0, 2.0, 3.0])), reverse=reverse)
    assert seen == ([3.0, 2.0, 1.0] if reverse else [1.0, 2.0, 3.0])


# ---------------------------------------------------------------------------------- errors


class MyError(Exception):
    pass


def refused(backend, error, wording, f=halve, init=None, xs=None, **options):
    init = backend.array(np.zeros(2)) if init is None else init
    raises = pytest.raises(error, match=re.escape(wording))
    with running.known_shapes(), raises as raised:
        scan(f, init, xs, **options)
    return raised.value


def ones(backend, *shape):
    return backend.array(np.ones(shape))


def test_xs_that_disagree_on_their_length(backend):
    xs = {"a": ones(backend, 3, 2), "b": [ones(backend, 4, 2)]}
    refused(backend, ValueError, "`xs['b'][0]` is an array of shape (4, 2)", xs=xs)


def test_xs_without_an_axis(backend):
    refused(backend, ValueError, "`xs['a']` is an array of shape ()", xs={"a": ones(backend)})


def test_a_length_unlike_that_of_xs(backend):
    wording = "`length` is 4, and `xs` is an array of shape (3, 2)"
    refused(backend, ValueError, wording, xs=ones(backend, 3, 2), length=4)


def test_no_steps_in_xs(backend):
    refused(backend, ValueError, "expected at least one step", xs=ones(backend, 0, 2))


@pytest.mark.parametrize("length", [0, -1])
def test_no_steps_in_length(backend, length):
    refused(backend, ValueError, f"`length` is {length}; expected at least one", length=length)


def test_neither_xs_nor_length(backend):
    refused(backend, ValueError, "`xs` holds no array and `length` is not given")


@pytest.mark.parametrize("length", [2.0, "2", [2]], ids=str)
def test_a_length_that_is_no_integer(backend, length):
    refused(backend, TypeError, "expected an integer", length=length)


def test_no_array_anywhere():
    with pytest.raises(TypeError, match="`init` and `xs` hold no array"):
        arrayrnn.scan(lambda c, x: (c, x), 0.0, None, length=3)


@pytest.mark.parametrize("leaf", [1.0, "a"], ids=str)
def test_a_leaf_of_xs_that_is_no_array(backend, leaf):
    xs = {"a": ones(backend, 3), "b": leaf}
    refused(backend, TypeError, "`xs['b']` is of type", xs=xs)


def test_a_leaf_of_init_that_is_no_array(backend):
    init = {"a": ones(backend, 2), "b": "c"}
    wording = "`init['b']` is of type str; expected an array"
    refused(backend, TypeError, wording, init=init, xs=ones(backend, 3))


def test_init_of_another_library(backend):
    if backend.library in ("numpy", "dask"):
        pytest.skip("NumPy arrays are at home there")
    init = {"a": np.zeros(2)}
    error = refused(
        backend, TypeError, "`init['a']` is an array of numpy", init=init, xs=ones(backend, 3)
    )
    assert "`xs` of" in str(error)


def test_f_that_is_no_function(backend):
    wording = "`f` is of type int; expected a callable `f(carry, x) -> (carry, y)`"
    refused(backend, TypeError, wording, f=3, xs=ones(backend, 3))


@pytest.mark.parametrize("unroll", [0, -2])
def test_an_unroll_factor_below_one(backend, unroll):
    wording = f"`unroll` is {unroll}; expected a bool or an integer of at least 1"
    refused(backend, ValueError, wording, xs=ones(backend, 3), unroll=unroll)


def test_a_checkpoint_below_one(backend):
    wording = "`checkpoint` is 0; expected None or an integer of at least 1"
    refused(backend, ValueError, wording, xs=ones(backend, 3), checkpoint=0)


@pytest.mark.parametrize(
    ("result", "came"),
    [
        (lambda c, x: None, "None"),
        (lambda c, x: c, "an array of shape (2,)"),
        (lambda c, x: (c,), "a tuple of length 1"),
        (lambda c, x: (c, x, x), "a tuple of length 3"),
    ],
    ids=["none", "array", "one", "three"],
)
def test_f_that_returns_no_pair(backend, result, came):
    error = refused(backend, TypeError, f"`f` returned {came}", f=result, xs=ones(backend, 3))
    assert "expected a pair `(carry, y)`" in str(error)


def test_a_carry_of_another_shape(backend):
    def f(carry, x):
        return {"h": carry["h"][:1]}, None

    init = {"h": ones(backend, 2)}
    wording = "`f` returned `carry['h']`, an array of shape (1,)"
    error = refused(backend, ValueError, wording, f=f, init=init, xs=ones(backend, 3))
    assert "expected the shape of `init`, (2,)" in str(error)


def test_a_carry_of_another_dtype_is_not_promoted(backend):
    def f(carry, x):
        return carry + x, None

    init = backend.array(np.zeros(2, "int32"), "int32")
    if backend.library == "strict":
        pytest.skip("array-api-strict does not mix integers and floats itself")
    wording = "expected the dtype of `init`, int32"
    refused(backend, TypeError, wording, f=f, init=init, xs=ones(backend, 3))


def test_a_carry_of_another_structure(backend):
    init = {"a": ones(backend, 2)}
    wording = "`f` returned a carry of the structure {'b': *}; expected that of `init`, {'a': *}"
    f = lambda carry, x: ({"b": carry["a"]}, None)  # noqa: E731
    refused(backend, ValueError, wording, f=f, init=init, xs=ones(backend, 3))


def test_a_carry_that_is_no_array(backend):
    wording = "`f` returned `carry`, of type float; expected an array"
    refused(backend, TypeError, wording, f=lambda c, x: (1.0, None), xs=ones(backend, 3))


def test_a_y_that_is_no_array(backend):
    wording = "`f` returned `y[0]`, of type float; expected an array"
    refused(backend, TypeError, wording, f=lambda c, x: (c, [1.0]), xs=ones(backend, 3))


@pytest.mark.needs(Ability.CALLS)
def test_a_y_that_changes_its_shape(backend):
    shapes = iter([2, 2, 1])

    def f(carry, x):
        return carry, carry[: next(shapes)]

    wording = "`f` returned `y`, an array of shape (1,)"
    error = refused(backend, ValueError, wording, f=f, xs=ones(backend, 3))
    assert error.__notes__ == ["arrayrnn.scan: at timestep 2 of 3, counted from 0."]


def test_what_f_raises_is_raised_with_a_note(backend):
    def f(carry, x):
        raise MyError("own")

    error = refused(backend, MyError, "own", f=f, xs=ones(backend, 3))
    called = "arrayrnn.compiled.scan: " if backend.is_compiled else "arrayrnn.scan: "
    assert [note for note in error.__notes__ if note.startswith(called)]
