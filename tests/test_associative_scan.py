"""`associative_scan` gives what a loop gives that combines each element with all before it."""

from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrayrnn._combining import blocks
from support import running
from support.abilities import Ability
from support.backends import assert_same
from support.drawn_calls import EXAMPLES, NESTS
from support.running import associative_scan, scan

both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
# What works in blocks, chunks or halves may go wrong beside a power or a product of numbers.
EVERY_LENGTH = [*range(1, 71), *(n + k for n in (128, 256, 512, 1024) for k in (-1, 0, 1))]
SOME_LENGTHS = [1, 2, 3, 16, 17, 33, 64, 129, 1025]
FEW_LENGTHS = [1, 2, 16, 17, 129]  # JAX compiles each operation for each of them


def lengths(backend):
    """Return numbers of elements; few where each of them takes long."""
    if backend.library == "jax" and not backend.is_traced:
        return FEW_LENGTHS
    is_quick = backend.library in ("numpy", "torch") and not backend.is_compiled
    return EVERY_LENGTH if is_quick else SOME_LENGTHS


class Pair(NamedTuple):
    one: Any
    other: Any


def by_hand(fn, elems, *, reverse=False, axis=0):
    """Combine one element after the other, in NumPy."""
    leaves, spec = optree.tree_flatten(elems)
    axis %= leaves[0].ndim
    time = leaves[0].shape[axis]
    results, c = [None] * time, None
    for t in reversed(range(time)) if reverse else range(time):
        element = optree.tree_map(lambda x: x.take([t], axis), elems)  # noqa: B023
        c = element if c is None else spec.unflatten(optree.tree_leaves(fn(c, element)))
        results[t] = c
    return optree.tree_map(lambda *parts: np.concat(parts, axis=axis), *results)


def check(backend, fn, elems, *, exact=True, **options):
    """Compare with the loop by hand: values, dtypes, shapes, containers."""
    found = associative_scan(fn, backend.arrays(elems), **options)
    assert_same(backend, found, by_hand(fn, elems, **options), exact=exact)


def draw(*shape, low=-4, high=5):
    return np.random.default_rng(shape).integers(low, high, size=shape)


def last_set(a, b):
    """Combine to the later of two numbers, unless that is zero: not commutative, and exact."""
    return array_api_compat.array_namespace(b).where(b != 0, b, a)


def followed(a, b):
    """Combine two maps ``x -> factor * x + term``, for each feature, to one."""
    factor, term = a["factor"], a["term"]
    then = b["factor"][:, None]
    return {"factor": factor * b["factor"], "term": then * term + b["term"]}


def maps(backend, time):
    """Return maps such that whole numbers stay small."""
    terms = draw(time, 3).astype(backend.float)
    return {"factor": draw(time, low=-1, high=2).astype(backend.float), "term": terms}


# ---------------------------------------------------------------------------------- results


@both_ways
def test_it_is_a_loop_whatever_the_number_of_elements(backend, reverse):
    for time in lengths(backend):
        check(backend, followed, maps(backend, time), reverse=reverse)


def matrices(a, b):
    return (b @ a) % 7


def permutations(a, b):
    xp = array_api_compat.array_namespace(a)
    return sum(xp.astype(a == j, a.dtype) * b[..., j : j + 1] for j in range(4))


def drawn_matrices(backend, time):
    return draw(time, 2, 2, low=0, high=7).astype(backend.float)


def drawn_permutations(backend, time):
    ordered = np.tile(np.arange(4, dtype=backend.int), (time, 1))
    return np.random.default_rng(time).permuted(ordered, axis=1)


@both_ways
@pytest.mark.parametrize(
    ("fn", "make"),
    [(matrices, drawn_matrices), (permutations, drawn_permutations)],
    ids=["matrices", "permutations"],
)
@pytest.mark.parametrize("time", [2, 70])
def test_functions_need_not_be_commutative(backend, fn, make, time, reverse):
    check(backend, fn, make(backend, time), reverse=reverse)


@both_ways
def test_the_last_value_that_is_set_is_filled_in(backend, reverse):
    def filled(a, b):
        xp = array_api_compat.array_namespace(b[0])
        (value, is_set), (then, is_then_set) = a, b
        return xp.where(is_then_set, then, value), xp.logical_or(is_set, is_then_set)

    values = draw(90, 2).astype(backend.float)
    check(backend, filled, (values, draw(90, 2, low=0, high=9) == 0), reverse=reverse)


@both_ways
@pytest.mark.parametrize("features", [(), (3,), (2, 1, 3), (0,)], ids=str)
def test_arrays_are_of_any_rank(backend, features, reverse):
    check(backend, last_set, draw(20, *features).astype(backend.float), reverse=reverse)


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2, np.int8(-1)], ids=str)
def test_time_may_be_any_axis(backend, axis):
    elems = np.moveaxis(draw(20, 2, 3).astype(backend.float), 0, axis)
    check(backend, last_set, elems, axis=axis)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_negative_axis_counts_from_the_end_of_the_first_array(backend, axis):
    def fn(a, b):
        return b[0] * a[0], b[0][..., None] * a[1] + b[1]

    elems = draw(3, 20, low=-1, high=2), draw(3, 20, 2)
    check(backend, fn, tuple(x.astype(backend.float) for x in elems), axis=axis)


def test_matrices_may_come_in_batches_before_time(backend):
    elems = draw(3, 20, 2, 2, low=0, high=7).astype(backend.float)
    check(backend, matrices, elems, axis=1)


@both_ways
def test_nests_keep_their_containers_and_lists_may_come_back_for_tuples(backend, reverse):
    def fn(a, b):
        count, (power, [term]) = b["count"] + a["count"], b["pair"]
        term = power * a["pair"].other[0] + term
        # The same structure but for the containers.
        return {"pair": [a["pair"].one * power, (term,)], "count": count}

    elems = {
        "count": draw(40).astype(backend.int),
        "pair": Pair(draw(40, 2, low=-1, high=2).astype(backend.float), [maps(backend, 40)]),
    }
    elems["pair"].other[0] = draw(40, 2).astype(backend.float)
    check(backend, fn, elems, reverse=reverse)


def test_none_in_a_nest_stays_where_it_is(backend):
    elems = {"x": draw(20).astype(backend.float), "nothing": None}

    def fn(a, b):
        assert a["nothing"] is b["nothing"] is None
        return {"x": last_set(a["x"], b["x"]), "nothing": None}

    check(backend, fn, elems)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float32"])
def test_numbers_keep_their_dtype_and_integers_are_exact(backend, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    check(backend, lambda a, b: a + b, draw(40, 2, low=0, high=3).astype(dtype))


@both_ways
@pytest.mark.parametrize("name", ["logical_or", "logical_and", "logical_xor"])
def test_flags(backend, name, reverse):
    def fn(a, b):
        return getattr(array_api_compat.array_namespace(a), name)(a, b)

    check(backend, fn, draw(40, 3, low=0, high=12) > (0 if name == "logical_and" else 10))


@pytest.mark.needs(Ability.COMPLEX)
def test_complex_numbers(backend):
    turns = np.asarray([1, 1j, -1, -1j], "complex64")
    check(backend, lambda a, b: a * b, turns[draw(40, 2, low=0, high=4)])


def test_floats_differ_from_a_loop_by_rounding_only(backend):
    numbers = np.random.default_rng(0).random((1000, 2)).astype(backend.float)
    check(backend, lambda a, b: a + b, numbers, exact=False)


@both_ways
def test_nan_reaches_no_element_before_it(backend, reverse):
    numbers = draw(40, 2).astype(backend.float)
    numbers[17, 0] = np.nan
    check(backend, lambda a, b: a + b, numbers, reverse=reverse)


@both_ways
def test_a_function_may_return_what_it_was_given(backend, reverse):
    elems = draw(40, 2).astype(backend.float)
    check(backend, lambda a, b: a, elems, reverse=reverse)
    check(backend, lambda a, b: b, elems, reverse=reverse)


@both_ways
def test_it_is_a_scan_of_the_same_recurrence(backend, reverse):
    def step(h, x):
        h = x["factor"] * h + x["term"]
        return h, h

    elems = backend.arrays(maps(backend, 80))
    zeros = backend.array(np.zeros(3))
    expected = scan(step, zeros, elems, reverse=reverse)[1]
    found = associative_scan(followed, elems, reverse=reverse)["term"]
    assert_same(backend, found, backend.numpy(expected), exact=True)


@both_ways
def test_models_for_a_known_number_of_elements(backend, reverse):
    if backend.library != "onnx":
        pytest.skip("only a model may be made for any number of elements")
    with running.known_shapes():
        for time in (1, 2, 17, 40):
            check(backend, followed, maps(backend, time), reverse=reverse)


# ---------------------------------------------------------------------------------- wide elements


@pytest.fixture
def all_are_wide(monkeypatch):
    """Let a call be worth no numbers at all."""
    monkeypatch.setattr(blocks, "numbers_worth_a_call", lambda *_: -1)


@both_ways
@pytest.mark.usefixtures("all_are_wide")
def test_wide_elements_give_the_same(backend, reverse):
    for time in (1, 2, 17, 40):
        check(backend, followed, maps(backend, time), reverse=reverse)
    elems = np.moveaxis(draw(20, 2, 3).astype(backend.float), 0, 1)
    check(backend, last_set, elems, axis=1, reverse=reverse)


def test_elements_as_wide_as_an_operation_is_worth_are_combined_one_by_one(backend):
    if backend.value != "numpy":
        pytest.skip("on NumPy fewer numbers are worth a call than anywhere else")
    counts = {}
    for width in (4, 4000):
        called = counts[width] = []

        def fn(a, b, called=called):
            called.append(a.shape[0])
            return a + b

        associative_scan(fn, np.ones((100, width)))
    assert counts[4000] == [1] * 99
    assert max(counts[4]) > 1


# ---------------------------------------------------------------------------------- calls


@pytest.mark.needs(Ability.CALLS)
def test_some_tens_of_calls_are_enough(backend):
    calls = []

    def fn(a, b):
        calls.append(b.shape[0])
        return a + b

    for time, most in ((100, 30), (1000, 45), (10_000 if backend.library != "jax" else 1000, 80)):
        calls.clear()
        associative_scan(fn, backend.array(np.ones((time, 2))))
        assert 0 < len(calls) <= most


def test_both_arguments_are_equally_long_nests_of_the_structure_of_the_elements(backend):
    def fn(a, b):
        for one in (a, b):
            assert type(one) is Pair
            assert type(one.other) is list
        number = {x.shape[0] for x in (a.one, a.other[0], b.one, b.other[0])} - {None}
        assert len(number) == 1  # as far as a model of ONNX knows it
        return Pair(a.one + b.one, [a.other[0] + b.other[0]])

    elems = Pair(draw(50).astype(backend.float), [draw(50, 2).astype(backend.float)])
    check(backend, fn, elems)


@pytest.mark.needs(Ability.CALLS)
@both_ways
def test_a_single_element_is_the_result_without_a_call(backend, reverse):
    def fn(a, b):
        raise AssertionError("there is nothing to combine")

    elems = {"x": draw(1, 2).astype(backend.float)}
    check(backend, fn, elems, reverse=reverse)


@pytest.mark.needs(Ability.CLOSURES)
def test_what_the_function_closes_over_counts(backend):
    modulus = backend.array(np.asarray([5.0, 7.0]))
    elems = draw(40, 2, low=1, high=7).astype(backend.float)
    found = associative_scan(lambda a, b: (a * b) % modulus, backend.arrays(elems))
    own = np.asarray([5.0, 7.0], backend.float)
    assert_same(backend, found, by_hand(lambda a, b: (a * b) % own, elems), exact=True)


# ---------------------------------------------------------------------------------- memory


@both_ways
@pytest.mark.parametrize("time", [1, 2, 40])
def test_arguments_stay_as_they_were(backend, time, reverse):
    elems = maps(backend, time)
    arrays = backend.arrays(optree.tree_map(np.copy, elems))
    associative_scan(followed, arrays, reverse=reverse)
    assert_same(backend, arrays, elems, exact=True)


@both_ways
@pytest.mark.parametrize("time", [1, 2, 40])
def test_read_only_and_reversed_and_broadcast_memory_will_do(backend, time, reverse):
    elems = {
        "factor": np.broadcast_to(np.asarray(-1, backend.float), (time,)),
        "term": draw(3, time).astype(backend.float).T[::-1],
    }
    for leaf in elems.values():
        leaf.flags.writeable = False
    given = elems if backend.value == "numpy" else backend.arrays(elems)
    found = associative_scan(followed, given, reverse=reverse)
    assert_same(backend, found, by_hand(followed, elems, reverse=reverse), exact=True)


@pytest.mark.parametrize("fn", [lambda a, b: a + b, lambda a, b: b], ids=["new", "handed on"])
@both_ways
def test_results_have_memory_of_their_own(backend, fn, reverse):
    if backend.value != "numpy":
        pytest.skip("NumPy tells which arrays share memory")
    for time in (1, 2, 40):
        elems = draw(time, 2).astype("float64")
        assert not np.shares_memory(elems, associative_scan(fn, elems, reverse=reverse))


# Of these, arrays can be written into; Dask's and ndonnx's are others afterwards.
WRITABLE = ("numpy", "torch", "dpnp", "cupy", "strict")


@pytest.fixture
def writable(backend):
    if backend.library not in WRITABLE or backend.is_compiled:
        pytest.skip(f"nothing is written into the arrays that a function is given on {backend}")


def one_then(a, b):
    return {"factor": b["factor"] * a["factor"], "term": b["factor"] * a["term"] + b["term"]}


def into_later(a, b):
    b["term"] += b["factor"] * a["term"]
    b["factor"] *= a["factor"]
    return b


def into_earlier(a, b):
    a["term"] *= b["factor"]
    a["term"] += b["term"]
    a["factor"] *= b["factor"]
    return a


def into_both(a, b):
    into_earlier(a, b)
    b["term"] *= 0
    b["factor"] *= 0
    return a


def to_views(a, b):
    into_later(a, b)
    return {name: array[:, ...] for name, array in b.items()}


def leaving_zeros(a, b):
    result = one_then(a, b)
    for array in (*a.values(), *b.values()):
        array *= 0  # noqa: PLW2901
    return result


def to_buffers(count):
    """Return a function that writes its results into arrays of its own, in turn."""
    kept = []

    def fn(a, b):
        result = one_then(a, b)
        length = b["term"].shape[0]
        if len(kept) < count:
            # Long enough for any slices.
            xp = array_api_compat.array_namespace(b["term"])
            kept.append({name: xp.concat([x] * 150, axis=0) for name, x in result.items()})
        else:
            kept.append(kept.pop(0))
        for name, array in result.items():
            kept[-1][name][:length, ...] = array
        return {name: buffer[:length, ...] for name, buffer in kept[-1].items()}

    return fn


FUNCTIONS = {
    "into the later": lambda: into_later,
    "into the earlier": lambda: into_earlier,
    "into both": lambda: into_both,
    "views": lambda: to_views,
    "leaving zeros": lambda: leaving_zeros,
    "one buffer": lambda: to_buffers(1),
    "two buffers": lambda: to_buffers(2),
}
RETURN_BUFFERS = [FUNCTIONS[name] for name in ("one buffer", "two buffers")]
each_function = pytest.mark.parametrize("make", FUNCTIONS.values(), ids=FUNCTIONS)


def check_written(backend, make, reverse):
    if backend.library in ("strict", "dpnp") and make in RETURN_BUFFERS:
        pytest.skip(f"arrays of {backend.library} do not say whose memory they are a part of")
    for time in (1, 2, 3, 17, 18, 40, 150):
        elems = {
            "factor": draw(time, 2, low=-1, high=2).astype(backend.float),
            "term": draw(time, 2).astype(backend.float),
        }
        arrays = backend.arrays(optree.tree_map(np.copy, elems))
        found = associative_scan(make(), arrays, reverse=reverse)
        assert_same(backend, found, by_hand(one_then, elems, reverse=reverse), exact=True)
        assert_same(backend, arrays, elems, exact=True)


@both_ways
@each_function
@pytest.mark.usefixtures("writable")
def test_a_function_may_write_into_what_it_is_given_or_return_buffers(backend, make, reverse):
    check_written(backend, make, reverse)


@both_ways
@each_function
@pytest.mark.usefixtures("writable", "all_are_wide")
def test_a_function_may_write_into_wide_elements_too(backend, make, reverse):
    check_written(backend, make, reverse)


# ---------------------------------------------------------------------------------- properties

ON_NUMBERS = {
    "sum": lambda xp, a, b: a + b,
    "last set": lambda xp, a, b: xp.where(b != 0, b, a),
    "first set": lambda xp, a, b: xp.where(a != 0, a, b),
    "greatest": lambda xp, a, b: xp.where(a > b, a, b),
}
ON_FLAGS = {
    "or": lambda xp, a, b: xp.logical_or(a, b),
    "odd": lambda xp, a, b: xp.logical_xor(a, b),
    "first": lambda xp, a, b: a,
    "last": lambda xp, a, b: b,
}


class Case(NamedTuple):
    elems: Any
    functions: Any  # a nest of names
    axis: int
    reverse: bool

    def fn(self, a, b):
        xp = array_api_compat.array_namespace(optree.tree_leaves(a)[0])
        return optree.tree_map(
            lambda name, *pair: (ON_NUMBERS | ON_FLAGS)[name](xp, *pair), self.functions, a, b
        )

    def scanned(self, elems):
        """Return what `scan` gives, which carries whether anything came before."""
        xp = array_api_compat.array_namespace(optree.tree_leaves(elems)[0])
        axis = self.axis % optree.tree_leaves(elems)[0].ndim

        def moved(array, source, target):
            order = [k for k in range(array.ndim) if k != source]
            order.insert(target, source)
            return xp.permute_dims(array, tuple(order))

        def f(carry, x):
            c, begun = carry
            xp = array_api_compat.array_namespace(begun)
            c = optree.tree_map(lambda new, old: xp.where(begun, new, old), self.fn(c, x), x)
            return (c, xp.ones_like(begun)), c

        xs = optree.tree_map(lambda x: moved(x, axis, 0), elems)
        start = optree.tree_map(lambda x: xp.zeros_like(x[0, ...]), xs), False
        _, ys = scan(f, start, xs, reverse=self.reverse)
        return optree.tree_map(lambda y: moved(y, 0, axis), ys)


@st.composite
def cases(draw, backend):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtypes = [
        name
        for name in ("float64", "float32", "bool", "int32", "int64", "uint8")
        if backend.supports(name)
    ]
    compiles = backend.is_traced or backend.library == "jax"
    time = draw(st.sampled_from([1, 2, 3, 16, 17, 18, 33] + [60, 129, 130] * (not compiles)))
    axis = draw(st.integers(0, 2))

    def leaf(_):
        dtype = draw(st.sampled_from(dtypes))
        before = draw(st.tuples(*[st.integers(1, 2)] * axis))
        behind = draw(st.sampled_from([(), (2,), (1, 3), (0,)]))
        low = 0 if dtype in ("bool", "uint8") else -1
        drawn = random.integers(low, 2, (*before, time, *behind)).astype(dtype)
        return drawn, draw(st.sampled_from(sorted(ON_FLAGS if dtype == "bool" else ON_NUMBERS)))

    nest = draw(NESTS)
    pairs, spec = [leaf(place) for place in optree.tree_leaves(nest)], optree.tree_structure(nest)
    elems, functions = (spec.unflatten(half) for half in zip(*pairs, strict=True))
    if draw(st.booleans()):
        axis -= pairs[0][0].ndim
    return Case(elems, functions, axis, draw(st.booleans()))


def test_it_is_what_a_scan_makes_of_any_elements(backend):
    @settings(
        max_examples=EXAMPLES.get(str(backend), 30 if backend.library == "strict" else 200),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(cases(backend))
    def holds(case):
        elems = backend.arrays(case.elems)
        found = associative_scan(case.fn, elems, axis=case.axis, reverse=case.reverse)
        expected = optree.tree_map(backend.numpy, case.scanned(elems))
        assert_same(backend, found, expected, exact=True)

    holds()
