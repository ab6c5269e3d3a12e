"""`linear_scan` gives what a loop of ``h = a * h + b``, or of ``h = a @ h + b``, gives."""

import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.abilities import Ability
from support.backends import assert_same
from support.drawn_calls import EXAMPLES
from support.oracle import draw
from support.running import linear_scan, rnn

both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
orders = pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
LENGTHS = np.asarray([3, 0, 6, 1])
KEEP = np.arange(6) < LENGTHS[:, None]
# Padding on the right, on the left, in the middle and at both ends; nothing and everything kept.
MASK = np.asarray(
    [
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [1, 1, 0, 0, 1, 1],
        [0, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
    ],
    bool,
)


def times(backend):
    """Return numbers of timesteps; few where each of them takes long."""
    is_quick = backend.library in ("numpy", "torch") and not backend.is_compiled
    return [1, 2, 15, 16, 17, 70, 129, 1000] if is_quick else [1, 17]


def by_hand(a, b, initial=None, *, keep=None, reverse=False):
    """Loop over axis 1 of NumPy arrays; what is not kept is no step."""
    time = b.shape[1]
    arrays = [x for x in (a, b, initial) if hasattr(x, "dtype")]  # numbers take their dtype
    dtype = np.result_type(*arrays)
    a, b = np.asarray(a, dtype), b.astype(dtype)
    are_matrices = a.ndim > b.ndim
    a = a if a.ndim else a.reshape((1,) * b.ndim)
    a = np.broadcast_to(a, (*a.shape[:1], time, *a.shape[2:]))
    h = np.broadcast_to(np.asarray(0 if initial is None else initial, dtype), b[:, 0].shape)
    results = [None] * time
    for t in reversed(range(time)) if reverse else range(time):
        with np.errstate(all="ignore"):  # nobody sees what comes of what is not kept
            product = (a[:, t] @ h[..., None])[..., 0] if are_matrices else a[:, t] * h
            new = product + b[:, t]
        kept = np.True_ if keep is None else keep[:, t].reshape(-1, *[1] * (h.ndim - 1))
        h = results[t] = np.where(kept, new, h)
    return np.stack(results, axis=1)


def check(backend, a, b, initial=None, *, exact=False, moved=(1, 1), options=None, **by_loop):
    """Compare with the loop by hand, time being moved to another axis; a number stays one.

    `by_loop` are options of the loop, and `options` those that say the same to `linear_scan`.
    """
    options = {"reverse": by_loop.get("reverse", False)} | (options or {})
    expected = np.moveaxis(by_hand(a, b, initial, **by_loop), *moved)

    a, b = (np.moveaxis(x, *moved) if np.ndim(x) else x for x in (a, b))
    given = [backend.arrays(x) if isinstance(x, np.ndarray) else x for x in (a, b, initial)]
    found = linear_scan(*given[: 2 if initial is None else 3], **options)
    assert_same(backend, found, expected, exact=exact)


def drawn_factors(backend, *shape):
    """Return factors of both signs, among them zeros, that keep small whole numbers exact."""
    return np.random.default_rng(shape).integers(-1, 2, size=shape).astype(backend.float)


def drawn_matrices(backend, *shape):
    """Return matrices that keep small whole numbers small: each row picks one number."""
    *batch, n = shape
    random = np.random.default_rng(shape)
    picked = np.eye(n)[random.integers(0, n, size=shape)]
    return (picked * random.integers(-1, 2, size=(*batch, n, 1))).astype(backend.float)


# ---------------------------------------------------------------------------------- results


@both_ways
def test_each_number_has_its_recurrence(backend, reverse):
    for time in times(backend):
        a, b = drawn_factors(backend, 3, time, 2), draw(backend, 3, time, 2)
        check(backend, a, b, draw(backend, 3, 2), exact=True, reverse=reverse)


@both_ways
def test_factors_may_be_matrices(backend, reverse):
    for time in times(backend):
        a, b = drawn_matrices(backend, 2, time, 3), draw(backend, 2, time, 3)
        check(backend, a, b, draw(backend, 2, 3), exact=True, reverse=reverse)


def test_matrices_come_one_after_the_other_from_the_left(backend):
    turn, b = np.asarray([[0.0, -1.0], [1.0, 0.0]]), np.zeros((1, 3, 2))
    stretch = np.diag([2.0, 1.0])
    a = np.stack([turn, stretch, turn])[None]
    found = linear_scan(*map(backend.array, (a, b, np.asarray([[1.0, 3.0]]))))
    assert_same(backend, found, np.asarray([[[-3, 1], [-6, 1], [-1, -6]]], backend.float))


def test_matrices_may_have_axes_of_features_before_them(backend):
    a, b = drawn_matrices(backend, 2, 20, 4, 3), draw(backend, 2, 20, 4, 3)
    check(backend, a, b, draw(backend, 2, 4, 3), exact=True)


@pytest.mark.parametrize("features", [(), (3,), (2, 3), (2, 1, 3), (0,)], ids=str)
def test_features_are_of_any_shape(backend, features):
    a, b = drawn_factors(backend, 2, 20, *features), draw(backend, 2, 20, *features)
    check(backend, a, b, exact=True)
    check(backend, a, b, draw(backend, 2, *features), exact=True, reverse=True)


@pytest.mark.parametrize(
    "shape",
    [(1, 20, 3), (2, 1, 3), (2, 20, 1), (1, 1, 3), (1, 20, 1), (1, 1, 1)],
    ids=["samples", "time", "features", "samples, time", "samples, features", "all"],
)
def test_an_axis_of_length_1_is_shared(backend, shape):
    a, b = drawn_factors(backend, *shape), draw(backend, 2, 20, 3)
    check(backend, a, b, draw(backend, 2, 3), exact=True)


@pytest.mark.parametrize("shape", [(1, 20, 3), (2, 1, 3), (1, 1, 3)], ids=str)
def test_matrices_may_be_shared(backend, shape):
    a, b = drawn_matrices(backend, *shape), draw(backend, 2, 20, 3)
    check(backend, a, b, draw(backend, 2, 3), exact=True)


@pytest.mark.parametrize("a", [0.5, 0, 1, -1, -0.25, np.asarray(0.5)], ids=repr)
def test_a_number_is_the_factor_everywhere(backend, a):
    a = a.astype(backend.float) if isinstance(a, np.ndarray) else a
    check(backend, a, draw(backend, 2, 20, 3), draw(backend, 2, 3))


def test_the_state_before_is_zero_unless_it_is_given(backend):
    a, b = drawn_factors(backend, 2, 6), draw(backend, 2, 6)
    check(backend, a, b, exact=True)
    found = linear_scan(*backend.arrays((a, b)), None)
    assert_same(backend, found, by_hand(a, b), exact=True)


@pytest.mark.parametrize("initial", [-0.5, np.asarray(2.0)], ids=repr)
@both_ways
def test_the_state_before_may_be_a_number(backend, initial, reverse):
    initial = initial.astype(backend.float) if isinstance(initial, np.ndarray) else initial
    a, b = drawn_factors(backend, 2, 20, 3), draw(backend, 2, 20, 3)
    check(backend, a, b, initial, exact=True, reverse=reverse)


def test_there_may_be_no_samples(backend):
    check(backend, drawn_factors(backend, 0, 20, 3), draw(backend, 0, 20, 3), exact=True)
    check(backend, 0.5, draw(backend, 0, 20, 3), exact=True)


# ---------------------------------------------------------------------------------- axes


@both_ways
def test_time_may_come_first(backend, reverse):
    given = {"moved": (1, 0), "options": {"time_major": True}, "exact": True, "reverse": reverse}
    b, initial = draw(backend, 3, 20, 2), draw(backend, 3, 2)
    check(backend, drawn_factors(backend, 3, 20, 2), b, initial, **given)
    check(backend, drawn_matrices(backend, 3, 20, 2), b, initial, **given)
    check(backend, drawn_factors(backend, 1, 20, 1), b, initial, **given)


@pytest.mark.parametrize("axis", [-4, -3, -2, -1, 0, 1, 2, 3, np.int8(2)], ids=str)
def test_time_may_be_any_axis(backend, axis):
    a, b = drawn_factors(backend, 2, 20, 3, 2), draw(backend, 2, 20, 3, 2)
    initial, options = draw(backend, 2, 3, 2), {"axis": axis}
    check(backend, a, b, initial, exact=True, moved=(1, axis), options=options)


@pytest.mark.parametrize("axis", [0, -2])
def test_matrices_count_the_axes_of_the_summands(backend, axis):
    a, b = drawn_matrices(backend, 2, 20, 4, 3), draw(backend, 2, 20, 4, 3)
    initial = draw(backend, 2, 4, 3)
    expected = np.moveaxis(by_hand(a, b, initial), 1, axis)
    a, b = np.moveaxis(a, 1, axis % 4), np.moveaxis(b, 1, axis)
    found = linear_scan(*backend.arrays((a, b, initial)), axis=axis)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("axis", [0, -1])
@both_ways
def test_there_need_not_be_samples(backend, axis, reverse):
    a, b = drawn_factors(backend, 20), draw(backend, 20)
    initial = np.asarray(3, backend.float)
    expected = by_hand(a[None], b[None], initial[None], reverse=reverse)[0]
    options = {"axis": axis, "reverse": reverse}
    found = linear_scan(*backend.arrays((a, b, initial)), **options)
    assert_same(backend, found, expected, exact=True)
    assert_same(backend, linear_scan(*backend.arrays((a, b)), 3, **options), expected, exact=True)
    found = linear_scan(-1, backend.arrays(b), **options)
    assert_same(backend, found, by_hand(-1, b[None], reverse=reverse)[0], exact=True)


@both_ways
def test_matrices_need_no_samples(backend, reverse):
    a, b, initial = drawn_matrices(backend, 20, 3), draw(backend, 20, 3), draw(backend, 3)
    expected = by_hand(a[None], b[None], initial[None], reverse=reverse)[0]
    found = linear_scan(*backend.arrays((a, b, initial)), axis=0, reverse=reverse)
    assert_same(backend, found, expected, exact=True)


# ---------------------------------------------------------------------------------- masks, lengths


def spoilt(array, keep):
    """Return an array with NaN wherever a sample is masked."""
    keep = keep.reshape(*keep.shape, *[1] * (array.ndim - 2))
    return np.where(keep, array, np.nan).astype(array.dtype)


@both_ways
@pytest.mark.parametrize("kind", ["numbers", "matrices", "shared"])
def test_masked_samples_keep_their_state_whatever_is_there(backend, kind, reverse):
    a = {
        "numbers": lambda: spoilt(drawn_factors(backend, 6, 6, 2), MASK),
        "matrices": lambda: spoilt(drawn_matrices(backend, 6, 6, 2), MASK),
        "shared": lambda: drawn_factors(backend, 1, 1, 2),
    }[kind]()
    b, initial = spoilt(draw(backend, 6, 6, 2), MASK), draw(backend, 6, 2)
    by_loop, options = {"keep": MASK, "reverse": reverse}, {"mask": backend.array(MASK)}
    check(backend, a, b, initial, exact=True, options=options, **by_loop)


def test_the_state_before_is_zero_where_nothing_was_unmasked(backend):
    a, b = (spoilt(draw(backend, 6, 6), MASK) for _ in range(2))
    check(backend, a / 8, b, keep=MASK, options={"mask": backend.array(MASK)})


@pytest.mark.parametrize("form", ["list", "tuples", "numpy", "ints", "floats", "last axis"])
def test_masks_of_any_form(backend, form):
    mask = {
        "list": MASK.tolist(),
        "tuples": tuple(map(tuple, MASK.tolist())),
        "numpy": MASK,
        "ints": backend.array(3 * MASK, "int8"),
        "floats": backend.array(0.25 * MASK, "float32"),
        "last axis": backend.array(MASK[..., None]),
    }[form]
    a, b = drawn_factors(backend, 6, 6, 2), spoilt(draw(backend, 6, 6, 2), MASK)
    check(backend, a, b, draw(backend, 6, 2), exact=True, keep=MASK, options={"mask": mask})


@pytest.mark.parametrize("form", ["list", "numpy", "own"])
def test_each_sample_may_have_its_length(backend, form):
    lengths = {
        "list": LENGTHS.tolist(),
        "numpy": LENGTHS,
        "own": backend.array(LENGTHS, "int32"),
    }[form]
    a, b = (spoilt(make(backend, 4, 6, 2), KEEP) for make in (drawn_factors, draw))
    options = {"input_length": lengths}
    check(backend, a, b, draw(backend, 4, 2), exact=True, keep=KEEP, options=options)


@orders
@both_ways
def test_lengths_count_from_the_first_timestep(backend, reverse, time_major):
    a, b = (spoilt(make(backend, 4, 6, 2), KEEP) for make in (drawn_factors, draw))
    check(
        backend,
        a,
        b,
        draw(backend, 4, 2),
        exact=True,
        keep=KEEP,
        reverse=reverse,
        moved=(1, 0) if time_major else (1, 1),
        options={"input_length": LENGTHS, "time_major": time_major},
    )


def check_cut(backend, length, a, b, initial, *, reverse=False):
    expected = by_hand(a[:, :length], b[:, :length], initial, reverse=reverse)
    options = {"input_length": length, "reverse": reverse}
    found = linear_scan(*backend.arrays((a, b, initial)), **options)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("length", [1, 6, np.int64(4)], ids=str)
def test_an_integer_is_the_number_of_timesteps(backend, length):
    a, b = drawn_factors(backend, 4, 6, 2), draw(backend, 4, 6, 2)
    check_cut(backend, length, a, b, draw(backend, 4, 2))


@both_ways
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_the_last_of_these_timesteps_comes_first_in_reverse(backend, shared, reverse):
    a, b = drawn_factors(backend, 4, 1 if shared else 6, 2), draw(backend, 4, 6, 2)
    check_cut(backend, 4, a, b, draw(backend, 4, 2), reverse=reverse)


def test_an_integer_cuts_a_mask(backend):
    a, b = drawn_factors(backend, 6, 6, 2), spoilt(draw(backend, 6, 6, 2), MASK)
    expected = by_hand(a[:, :4], b[:, :4], keep=MASK[:, :4])
    found = linear_scan(*backend.arrays((a, b)), mask=backend.array(MASK), input_length=4)
    assert_same(backend, found, expected, exact=True)


def test_an_integer_needs_no_samples(backend):
    b = draw(backend, 20)
    found = linear_scan(-1, backend.arrays(b), axis=0, input_length=7)
    assert_same(backend, found, by_hand(-1, b[None, :7])[0], exact=True)


def test_a_mask_wins_over_lengths(backend):
    a, b = drawn_factors(backend, 6, 6), spoilt(draw(backend, 6, 6), MASK)
    options = {"mask": backend.array(MASK), "input_length": [1] * 6}
    check(backend, a, b, exact=True, keep=MASK, options=options)


def test_samples_are_the_first_of_the_other_axes(backend):
    a, b = drawn_factors(backend, 6, 6, 2), spoilt(draw(backend, 6, 6, 2), MASK)
    options = {"axis": -1, "mask": backend.array(MASK)}
    check(backend, a, b, exact=True, keep=MASK, moved=(1, -1), options=options)
    lengths = MASK.sum(axis=1)
    keep = np.arange(6) < lengths[:, None]
    b, options = spoilt(draw(backend, 6, 6, 2), keep), {"axis": 2, "input_length": lengths}
    check(backend, a, b, exact=True, keep=keep, moved=(1, 2), options=options)


def test_axis_0_is_time_major(backend):
    a, b = drawn_factors(backend, 6, 6, 2), spoilt(draw(backend, 6, 6, 2), MASK)
    a, b, mask = (np.swapaxes(array, 0, 1) for array in (a, b, MASK))
    given, mask = backend.arrays((a, b)), backend.array(mask)
    expected = backend.numpy(linear_scan(*given, mask=mask, time_major=True))
    assert_same(backend, linear_scan(*given, mask=mask, axis=0), expected, exact=True)


@both_ways
def test_more_timesteps_than_are_combined_one_by_one(backend, reverse):
    keep = np.random.default_rng(0).integers(0, 3, size=(3, 300)) > 0
    keep[0, 40:200] = False
    a, b = (spoilt(make(backend, 3, 300, 2), keep) for make in (drawn_factors, draw))
    options = {"mask": backend.array(keep)}
    check(
        backend, a, b, draw(backend, 3, 2), exact=True, keep=keep, options=options, reverse=reverse
    )


# ---------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers_are_exact(backend, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    low = 0 if dtype == "uint8" else -1
    drawn = np.random.default_rng(0).integers(low, 2, size=(3, 2, 40))
    a, b = drawn.astype(dtype).swapaxes(0, 1)[:, :2]
    check(backend, a, b, exact=True)
    check(backend, 1, b, 2, exact=True)


def test_large_integers_are_exact(backend):
    if not backend.supports("int64"):
        pytest.skip(f"{backend} has no int64")
    b = np.full((1, 40), 2**53 + 1, "int64")
    check(backend, np.asarray([[1, -1]] * 20, "int64").reshape(1, 40), b, exact=True)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32", "float64", "float32"), "float64"),
        (("float64", "float32", "float32"), "float64"),
        (("float32", "float32", "float64"), "float64"),
        (("float32", "float32", "float32"), "float32"),
        (("int8", "int32", "int8"), "int32"),
        (("int8", "uint8", "int8"), "int16"),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_arrays_of_two_dtypes_are_promoted(backend, dtypes, expected):
    if not backend.supports(expected):
        pytest.skip(f"{backend} has no {expected}")
    values = np.ones((2, 5)), np.full((2, 5), 3), np.full(2, 7)
    a, b, initial = (value.astype(dtype) for value, dtype in zip(values, dtypes, strict=True))
    found = linear_scan(*backend.arrays((a, b, initial)))
    wanted = by_hand(*(array.astype(expected) for array in (a, b, initial)))
    assert_same(backend, found, wanted, exact=True)


@pytest.mark.parametrize("which", ["a", "initial"])
def test_an_array_without_axes_is_promoted_like_any_other(backend, which):
    if not backend.supports("float64"):
        pytest.skip(f"{backend} has no float64")
    b = np.ones((2, 5), "float32")
    given = {"a": np.asarray(1.0, "float32"), "initial": np.asarray(1.0, "float32")}
    given[which] = np.asarray(1 + 2.0**-40)
    found = linear_scan(b=backend.arrays(b), **backend.arrays(given))
    expected = by_hand(given["a"].astype("float64"), b.astype("float64"), given["initial"])
    assert_same(backend, found, expected)


def test_a_number_takes_the_dtype_of_the_summands(backend):
    b = np.ones((2, 5), "float32")
    found = linear_scan(0.5, backend.arrays(b), 3)
    assert_same(backend, found, by_hand(np.float32(0.5), b, np.float32(3)))
    b = np.ones((2, 5), "int32")
    assert_same(backend, linear_scan(2, backend.arrays(b), 3), by_hand(2, b, 3).astype("int32"))


@pytest.mark.needs(Ability.COMPLEX)
@both_ways
def test_complex_numbers(backend, reverse):
    random = np.random.default_rng(0)
    turns = np.asarray([1, 1j, -1, -1j, 0], "complex64")
    a, b, initial = (turns[random.integers(0, 5, size=s)] for s in ((2, 40), (2, 40), (2,)))
    check(backend, a, b, initial, exact=True, reverse=reverse)
    found = linear_scan(1j, backend.arrays(b), reverse=reverse)
    assert_same(backend, found, by_hand(np.complex64(1j), b, reverse=reverse))
    found = linear_scan(backend.array(a.real, "float32"), backend.arrays(b), reverse=reverse)
    assert_same(backend, found, by_hand(a.real, b, reverse=reverse))


# ---------------------------------------------------------------------------------- accuracy


@both_ways
def test_a_stable_recurrence_of_any_length(backend, reverse):
    b = np.random.default_rng(0).standard_normal((1, 20_000)).astype(backend.float)
    check(backend, 0.5, b, 1e3, reverse=reverse)


def test_a_constant_input_settles(backend):
    found = linear_scan(0.5, backend.array(np.ones((1, 20_000))))
    np.testing.assert_array_equal(backend.numpy(found)[0, 60:], 2.0)


@both_ways
def test_a_zero_forgets_all_before_however_large_it_is(backend, reverse):
    random = np.random.default_rng(0)
    a = random.uniform(0.5, 2.0, size=(2, 300)).astype(backend.float)
    b = random.standard_normal((2, 300)).astype(backend.float)
    a[:, ::10] = 0
    check(backend, a, b, 1e30, reverse=reverse)


def test_factors_may_be_negative(backend):
    random = np.random.default_rng(0)
    a = random.uniform(-1, -0.25, size=(2, 300)).astype(backend.float)
    check(backend, a, random.standard_normal((2, 300)).astype(backend.float), -1.0)


@pytest.mark.parametrize("low", [-1.0, 0.0, 0.9, 0.99])
def test_single_precision_is_as_good_as_that_of_a_loop(backend, low):
    random = np.random.default_rng(0)
    a = random.uniform(low, 1.0, size=(2, 5000)).astype("float32")
    b = random.standard_normal((2, 5000)).astype("float32")
    exact = by_hand(a.astype("float64"), b.astype("float64"))
    found = backend.numpy(linear_scan(*backend.arrays((a, b))))
    by_loop = by_hand(a, b)
    error, error_of_loop = (np.abs(h - exact).max() for h in (found, by_loop))
    assert error < 2 * error_of_loop


# ---------------------------------------------------------------------------------- like rnn


def linear(inputs, states):
    a, b = inputs
    h = a * states[0] + b
    return h, [h]


@both_ways
@pytest.mark.parametrize("how", ["all", "mask", "lengths", "length"])
def test_it_is_rnn_with_a_linear_step(backend, how, reverse):
    a, b, h = drawn_factors(backend, 6, 6, 2), draw(backend, 6, 6, 2), draw(backend, 6, 2)
    lengths = MASK.sum(axis=1)
    options, keep = {
        "all": ({}, np.ones_like(MASK)),
        "mask": ({"mask": backend.array(MASK)}, MASK),
        "lengths": ({"input_length": lengths}, np.arange(6) < lengths[:, None]),
        "length": ({"input_length": 4}, np.ones_like(MASK[:, :4])),
    }[how]
    a, b, h = backend.arrays((a, b, h))
    _, outputs, states = rnn(linear, (a, b), [h], reverse, samplewise=True, **options)
    found = linear_scan(a, b, h, reverse=reverse, **options)
    # The outputs of `rnn` come in the order in which they are computed; masked, they are others.
    order = slice(None, None, -1 if reverse else None)
    found, keep = backend.numpy(found)[:, order], keep[:, order]
    np.testing.assert_array_equal(found[keep], backend.numpy(outputs)[keep])
    assert_same(backend, states, [found[:, -1]], exact=True)


@st.composite
def cases(draw, backend):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    compiles = backend.is_traced or backend.library == "jax"
    time = draw(st.sampled_from([1, 2, 3, 16, 17, 18, 33] + [60, 129, 130] * (not compiles)))
    samples = draw(st.integers(1, 3))
    features = draw(st.sampled_from([(), (2,), (1, 3)]))
    b = random.integers(-3, 4, (samples, time, *features)).astype(backend.float)
    are_matrices = bool(features) and draw(st.booleans())
    shape = [n if draw(st.booleans()) else 1 for n in b.shape]
    if are_matrices:
        a = drawn_matrices(backend, *shape[:-1], features[-1])
    else:
        a = random.integers(-1, 2, shape).astype(backend.float)
    initial = draw(st.sampled_from([None, 2, "array"]))
    if initial == "array":
        initial = random.integers(-3, 4, (samples, *features)).astype(backend.float)
    keep = random.random((samples, time)) < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    masked_by = draw(st.sampled_from(["nothing", "mask", "lengths"]))
    if masked_by == "lengths":
        keep = np.arange(time) < keep.sum(axis=1)[:, None]
    options = {"nothing": {}, "mask": {"mask": keep}, "lengths": {"input_length": keep.sum(axis=1)}}
    by_loop = {"reverse": draw(st.booleans()), "keep": keep if masked_by != "nothing" else None}
    # As `time_major` says 0, which is the axis of masks, too.
    axis = draw(st.integers(1, b.ndim - 1 - are_matrices))
    options = options[masked_by] | ({"axis": axis} if axis > 1 or draw(st.booleans()) else {})
    return (a, b, initial), by_loop | {"moved": (1, axis)}, options


def test_it_is_the_loop_for_any_arguments(backend):
    @settings(
        max_examples=EXAMPLES.get(str(backend), 30 if backend.library == "strict" else 200),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(cases(backend))
    def holds(case):
        arguments, by_loop, options = case
        check(backend, *arguments, exact=True, options=options, **by_loop)

    holds()


# ---------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("masking", [{}, {"mask": MASK}, {"input_length": 3}], ids=str)
def test_arguments_stay_as_they_were(backend, masking):
    arguments = drawn_factors(backend, 6, 6, 2), draw(backend, 6, 6, 2), draw(backend, 6, 2)
    given = backend.arrays(optree.tree_map(np.copy, arguments))
    linear_scan(*given, **masking)
    assert_same(backend, given, arguments, exact=True)


def test_read_only_and_reversed_memory_will_do(backend):
    a, b = drawn_factors(backend, 6, 20, 2)[::-1], draw(backend, 20, 6, 2).swapaxes(0, 1)
    mask = MASK[:, ::-1].repeat(4, axis=1)[:, :20]
    for array in (a, b, mask):
        array.flags.writeable = False
    check(backend, a, b, exact=True, keep=mask, options={"mask": mask})


@pytest.mark.parametrize("time", [1, 2, 40])
def test_results_have_memory_of_their_own(backend, time):
    if backend.value != "numpy":
        pytest.skip("NumPy tells which arrays share memory")
    b, initial = np.ones((2, time)), np.ones(2)
    for reverse in (False, True):
        found = linear_scan(0.5, b, initial, reverse=reverse)
        assert not np.shares_memory(found, b)
        assert not np.shares_memory(found, initial)
        assert not np.shares_memory(linear_scan(0.5, b, reverse=reverse), b)
