"""Dask scans chunks of time in tasks of their own: lazy, in the caller's chunks, as NumPy does."""

import itertools
import math

import numpy as np
import optree
import pytest

from arrayrnn import associative_scan, linear_scan

dask = pytest.importorskip("dask", reason="these tests are about Dask")
da = pytest.importorskip("dask.array")
Callback = pytest.importorskip("dask.callbacks").Callback
cloudpickle = pytest.importorskip("cloudpickle")  # which Dask brings

both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
CHUNKS = [10, 5, 1, (3, 0, 6, 1), (0, 10), (10, 0), (0, 4, 0, 0, 6, 0)]
each_chunking = pytest.mark.parametrize("chunks", CHUNKS, ids=str)


@pytest.fixture(autouse=True)
def lazy():
    """Refuse to compute anything that `computed` does not ask for."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed while the graph was built")

    with dask.config.set(scheduler=refuse):
        yield


def computed(tree):
    leaves, spec = optree.tree_flatten(tree)
    return spec.unflatten(dask.compute(*leaves, scheduler="synchronous"))


def drawn(*shape, low=-4):
    """Draw whole numbers, which are computed with exactly."""
    return np.random.default_rng(shape).integers(low, -low + 1, size=shape).astype("float64")


def followed(a, b):
    """Combine two maps ``x -> factor * x + term`` to one: not commutative."""
    then = b["factor"][:, None]
    return {"factor": a["factor"] * b["factor"], "term": then * a["term"] + b["term"]}


def assert_equal(found, expected):
    """Assert that lazy arrays are of the shapes and dtypes that they promise, and the values."""
    leaves, spec = optree.tree_flatten(found)
    expected_leaves, expected_spec = optree.tree_flatten(expected)
    assert spec == expected_spec
    for leaf, value, want in zip(leaves, computed(leaves), expected_leaves, strict=True):
        assert isinstance(leaf, da.Array)
        assert value.shape == want.shape
        assert value.dtype == want.dtype == leaf.dtype
        assert all(n == m or math.isnan(n) for n, m in zip(leaf.shape, want.shape, strict=True))
        np.testing.assert_array_equal(value, want)


class Ran(Callback):
    """Names of the tasks that ran."""

    def __init__(self):
        self.names = []

    def _pretask(self, key, dsk, state):
        self.names.append(str(key))

    def count(self, function):
        return sum(name.startswith(function) for name in self.names)


def tasks_run_for(array):
    """Return the tasks that computing an array runs."""
    with Ran() as ran, dask.config.set({"optimization.fuse.active": False}):
        computed(array)
    return ran


def chosen(array, flags, axis=0):
    """Return the rows of a Dask array that flags tell; Dask does not know how many these are."""
    index = (slice(None),) * axis + (da.from_array(flags, chunks=(array.chunks[axis],)),)
    return array[index]


# ---------------------------------------------------------------------------- associative_scan


@both_ways
@each_chunking
def test_chunks_give_what_the_whole_gives(chunks, reverse):
    elems = {"factor": drawn(10, low=-1), "term": drawn(10, 3)}
    lazy = {
        "factor": da.from_array(elems["factor"], chunks=(chunks,)),
        "term": da.from_array(elems["term"], chunks=(chunks, 3)),
    }
    found = associative_scan(followed, lazy, reverse=reverse)
    assert_equal(found, associative_scan(followed, elems, reverse=reverse))


@each_chunking
def test_chunks_stay_but_for_empty_ones(chunks):
    x = da.ones((10, 3), chunks=(chunks, 3))
    kept = tuple(length for length in x.chunks[0] if length), (3,)
    assert associative_scan(lambda a, b: a + b, x).chunks == kept
    assert linear_scan(0.5, x, axis=0).chunks == kept


@both_ways
def test_chunks_are_long_enough_to_be_scanned_in_blocks(reverse):
    elems = {"factor": drawn(500, low=-1), "term": drawn(500, 3)}
    lazy = {name: da.from_array(leaf, chunks=120) for name, leaf in elems.items()}
    found = associative_scan(followed, lazy, reverse=reverse)
    assert_equal(found, associative_scan(followed, elems, reverse=reverse))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_time_may_be_any_axis_and_the_others_become_one_chunk(axis):
    x = drawn(10, 10, 10)
    found = associative_scan(lambda a, b: a + b, da.from_array(x, chunks=4), axis=axis)
    assert_equal(found, np.cumsum(x, axis=axis))
    assert [chunks for k, chunks in enumerate(found.chunks) if k != axis % 3] == [(10,)] * 2
    assert found.chunks[axis] == (4, 4, 2)


def test_arrays_take_the_chunks_of_the_one_that_has_most():
    elems = {"factor": drawn(10, low=-1), "term": drawn(10, 3)}
    lazy = {
        "factor": da.from_array(elems["factor"], chunks=5),
        "term": da.from_array(elems["term"], chunks=(2, 3)),
    }
    found = associative_scan(followed, lazy)
    assert_equal(found, associative_scan(followed, elems))
    assert found["factor"].chunks[0] == found["term"].chunks[0] == (2,) * 5


def test_no_call_is_given_more_than_a_chunk():
    lengths = []

    def fn(a, b):
        lengths.append(b.shape[0])
        return a + b

    x = drawn(400, 2)
    found = associative_scan(fn, da.from_array(x, chunks=(100, 2)))
    assert lengths == [1]  # to learn what it returns
    np.testing.assert_array_equal(computed(found), np.cumsum(x, axis=0))
    assert 1 < max(lengths) <= 100


def test_each_chunk_of_time_is_scanned_in_one_task_and_combined_in_another():
    found = associative_scan(lambda a, b: a + b, da.ones((100, 2), chunks=(10, 2)))
    ran = tasks_run_for(found)
    # What the last chunk comes to is of no use.
    assert (ran.count("_states"), ran.count("_total")) == (10, 9)


def test_a_chunk_waits_for_what_those_before_come_to_and_for_no_states_in_them():
    found = associative_scan(lambda a, b: a + b, da.ones((100, 2), chunks=(10, 2)))
    first, last = tasks_run_for(found[:10]), tasks_run_for(found[-10:])
    assert (first.count("_states"), first.count("_total")) == (1, 0)
    assert (last.count("_states"), last.count("_total")) == (1, 9)


def test_tasks_grow_with_chunks_and_not_with_elements():
    def tasks(time):
        x = da.ones((time, 2), chunks=(time // 5, 2))
        return len(tasks_run_for(associative_scan(lambda a, b: a + b, x)).names)

    assert tasks(10) == tasks(10_000)


FLAGS = np.asarray([0, 0, 0, 1, 0, 1, 1, 1, 0, 0], bool)  # none in the first and the last chunk


@both_ways
def test_chunks_of_unknown_lengths_some_of_them_empty(reverse):
    elems = {"factor": drawn(10, low=-1), "term": drawn(10, 3)}
    lazy = {
        "factor": chosen(da.from_array(elems["factor"], chunks=2), FLAGS),
        "term": chosen(da.from_array(elems["term"], chunks=(2, 3)), FLAGS),
    }
    found = associative_scan(followed, lazy, reverse=reverse)
    assert math.isnan(found["term"].shape[0])
    elems = {name: leaf[FLAGS] for name, leaf in elems.items()}
    assert_equal(found, associative_scan(followed, elems, reverse=reverse))


def test_an_unknown_number_of_other_things_in_one_chunk():
    x = drawn(10, 10)
    lazy = chosen(da.from_array(x, chunks=(5, 10)), FLAGS, axis=1)
    found = associative_scan(lambda a, b: a + b, lazy)
    assert_equal(found, np.cumsum(x[:, FLAGS], axis=0))


def test_chunks_of_unknown_lengths_cannot_be_cut_or_joined():
    unknown = chosen(da.ones((10, 10), chunks=5), FLAGS, axis=1)
    with pytest.raises(ValueError, match=r"`elems` has chunks of unknown lengths along axis 1,"):
        associative_scan(lambda a, b: a + b, unknown)
    elems = [chosen(da.ones(10, chunks=5), FLAGS), chosen(da.ones(10, chunks=2), FLAGS)]
    with pytest.raises(ValueError, match=r"chunks of unknown .* along axis 0.*compute_chunk_sizes"):
        associative_scan(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], elems)


def test_a_graph_travels_to_another_process():
    elems = [{"x": da.ones((6, 2), chunks=(2, 2))}]

    def fn(a, b):  # travels by value
        return [{"x": a[0]["x"] + b[0]["x"]}]

    (found,) = associative_scan(fn, elems)
    copy = cloudpickle.loads(cloudpickle.dumps(found["x"]))
    expected = np.broadcast_to(np.arange(1.0, 7.0)[:, None], (6, 2))
    np.testing.assert_array_equal(copy.compute(scheduler="synchronous"), expected)


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fn", "error", "text"),
    [
        (lambda a, b: (a, b), ValueError, "of the structure"),
        (lambda a, b: (a + b)[:, :1], ValueError, "expected the shape of its arguments"),
        (lambda a, b: (a + b).astype("float32"), TypeError, "expected the dtype of its arguments"),
        (lambda a, b: (a + b).tolist(), ValueError, "of the structure"),
        (lambda a, b: 1.0, TypeError, "expected an array"),
        (lambda a, b: a.no_method(b), AttributeError, "no_method"),
    ],
    ids=["structure", "shape", "dtype", "list", "number", "its own"],
)
def test_what_is_wrong_with_a_function_shows_while_the_graph_is_built(fn, error, text):
    with pytest.raises(error, match=text) as raised:
        associative_scan(fn, da.ones((10, 2), chunks=(5, 2)))
    assert "It was called on arrays of ones (zeros of integers)" in raised.value.__notes__[-1]


def test_a_dask_array_that_the_function_closes_over_is_refused():
    weights = da.ones(2, chunks=1)
    with pytest.raises(TypeError, match=r"of dask\.array; expected an array of numpy") as raised:
        associative_scan(lambda a, b: a + weights * b, da.ones((10, 2), chunks=(5, 2)))
    assert "If it closes over a Dask array: close over" in raised.value.__notes__[-1]


def test_a_first_call_warns_of_nothing():
    x = da.zeros((10, 2), chunks=5, dtype="int64")
    associative_scan(lambda a, b: a // b, x)
    associative_scan(lambda a, b: np.log(a - b) / (a - b), x.astype("float64"))


def test_a_function_of_the_other_elements_too_is_refused_in_its_task():
    x = da.from_array(drawn(100, 2), chunks=(50, 2))
    found = associative_scan(lambda a, b: a + b.mean(axis=0), x)
    with pytest.raises(ValueError, match="other values for the first pair of elements"):
        computed(found)


def test_an_exception_says_what_the_function_was_given():
    def fn(a, b):
        if (b == 7).any():
            raise LookupError("seven")
        return a + b

    found = associative_scan(fn, da.from_array(np.arange(10.0), chunks=5))
    with pytest.raises(LookupError, match="seven") as raised:
        computed(found)
    assert raised.value.__notes__[0].startswith(
        "arrayrnn.associative_scan: `fn` was called with a (1,) float64; b (1,) float64."
    )


# ---------------------------------------------------------------------------------- linear_scan

SAMPLES, TIME = 6, 10
MASK = np.random.default_rng(7).integers(0, 2, (SAMPLES, TIME)).astype(bool)
LENGTHS = [0, 1, 4, 10, 9, 3]
KINDS = ["numbers", "matrices", "a number", "of time", "of samples", "of all"]


def factors(kind):
    random = np.random.default_rng(1)
    numbers = random.integers(-1, 2, (SAMPLES, TIME, 3)).astype("float64")
    rows = np.eye(3)[random.integers(0, 3, (SAMPLES, TIME, 3))]
    return {
        "numbers": numbers,
        "matrices": rows * numbers[..., None],
        "a number": -1,
        "of time": numbers[:1],
        "of samples": numbers[:, :1],
        "of all": numbers[:1, :1],
    }[kind]


@both_ways
@pytest.mark.parametrize("chunks", [(6, 10), (2, 5), (1, 1), ((2, 4), 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_samples_and_time_stay(kind, chunks, reverse):
    a, b, initial = factors(kind), drawn(SAMPLES, TIME, 3), drawn(SAMPLES, 3)
    lazy_a = a if kind == "a number" else da.from_array(a, chunks=-1)
    lazy_b = da.from_array(b, chunks=(*chunks, 2))
    found = linear_scan(lazy_a, lazy_b, da.from_array(initial, chunks=(4, 1)), reverse=reverse)
    assert_equal(found, linear_scan(a, b, initial, reverse=reverse))
    assert found.chunks == (*lazy_b.chunks[:2], (3,))


MASKINGS = {
    "mask": {"mask": MASK},
    "lazy mask": {"mask": da.from_array(MASK, chunks=(4, 3))},
    "lengths": {"input_length": LENGTHS},
    "lazy lengths": {"input_length": da.from_array(np.asarray(LENGTHS), chunks=4)},
    "length": {"input_length": 7},
    "length, mask": {"input_length": 7, "mask": MASK},
}


@both_ways
@pytest.mark.parametrize("options", MASKINGS.values(), ids=MASKINGS)
def test_masks_and_lengths(options, reverse):
    known = dask.compute(options, scheduler="synchronous")[0]
    # Whatever is masked is NaN, and comes nowhere.
    keep = np.ones_like(MASK)
    if "mask" in options:
        keep = MASK
    elif np.ndim(known["input_length"]):
        keep = np.arange(TIME) < np.asarray(LENGTHS)[:, None]
    a, b = (np.where(keep[..., None], x, np.nan) for x in (factors("numbers"), drawn(6, 10, 3)))
    lazy = (da.from_array(x, chunks=(2, 5, 3)) for x in (a, b))
    found = linear_scan(*lazy, reverse=reverse, **options)
    expected = linear_scan(a, b, reverse=reverse, **known)
    assert not np.isnan(expected).any()
    assert_equal(found, expected)


def test_chunks_of_samples_have_nothing_to_do_with_one_another():
    b = da.ones((6, 20, 2), chunks=(2, 5, 2))
    found = linear_scan(0.5, b, da.ones((6, 2), chunks=2))
    every, of_one = tasks_run_for(found), tasks_run_for(found[:2])
    assert (every.count("_states"), every.count("_total")) == (3 * 4, 3 * 3)
    assert (of_one.count("_states"), of_one.count("_total")) == (4, 3)


@both_ways
@pytest.mark.parametrize("axis", [0, 1], ids=["samples", "time"])
def test_unknown_numbers_of_samples_or_timesteps(axis, reverse):
    a, b, mask = factors("numbers"), drawn(SAMPLES, TIME, 3), MASK
    flags = np.asarray([0, 0, 1, 0, 0, 1, 1, 1, 0, 0], bool)[: (SAMPLES, TIME)[axis]]
    lazy = [chosen(da.from_array(x, chunks=2), flags, axis) for x in (a, b, mask)]
    lazy[:2] = [x.rechunk({2: 3}) for x in lazy[:2]]
    found = linear_scan(*lazy[:2], mask=lazy[2], reverse=reverse)
    assert math.isnan(found.shape[axis])
    index = (slice(None),) * axis + (flags,)
    expected = linear_scan(a[index], b[index], mask=mask[index], reverse=reverse)
    assert_equal(found, expected)


def test_a_shared_factor_of_an_unknown_number_of_timesteps():
    b, flags = drawn(SAMPLES, TIME), np.asarray([0, 0, 1, 0, 0, 1, 1, 1, 0, 0], bool)
    found = linear_scan(-1, chosen(da.from_array(b, chunks=2), flags, axis=1), 3)
    assert_equal(found, linear_scan(-1, b[:, flags], 3))


def test_masks_and_lengths_of_unknown_numbers_that_do_not_go_together():
    flags = np.asarray([0, 0, 1, 0, 0, 1, 1, 1, 0, 0], bool)
    unknown = chosen(da.ones((SAMPLES, TIME), chunks=2), flags, axis=1)
    for options in ({"input_length": LENGTHS}, {"mask": MASK[:, flags]}):
        with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\)"):
            linear_scan(0.5, unknown, **options)


@pytest.mark.parametrize(
    ("chunks_of_a", "chunks_of_b"), [*itertools.permutations([(1, 1), (3, 5), (6, 2)], 2)], ids=str
)
def test_any_two_chunkings_go_together(chunks_of_a, chunks_of_b):
    a, b = factors("numbers")[..., 0], drawn(SAMPLES, TIME)
    found = linear_scan(da.from_array(a, chunks=chunks_of_a), da.from_array(b, chunks=chunks_of_b))
    assert_equal(found, linear_scan(a, b))
