"""In ONNX the scans are one `Loop` for any number of elements, and none for a known number."""

import numpy as np
import pytest
from array_api_compat import array_namespace

from arrayrnn import associative_scan, linear_scan
from support.on_onnx import Exported, assert_as_numpy, check, ndonnx, normal, symbol

both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
TIMES = [1, 2, 17, 40]


def followed(a, b):
    """Combine two maps ``x -> factor * x + term`` to one: not commutative."""
    then = b["factor"][:, None]
    return {"factor": a["factor"] * b["factor"], "term": then * a["term"] + b["term"]}


def scanning(reverse):
    def run(factor, term):
        return associative_scan(followed, {"factor": factor, "term": term}, reverse=reverse)

    return run


# ---------------------------------------------------------------------------- associative_scan


@both_ways
def test_one_model_combines_any_number_of_elements(reverse):
    run = scanning(reverse)
    model = Exported(run, factor=symbol("T"), term=symbol("T", 3))
    assert model.nodes["Loop"] == 1
    for time in TIMES:
        assert_as_numpy(run, model, factor=normal(time), term=normal(time, 3))


@pytest.mark.parametrize("time", TIMES)
def test_a_known_number_needs_no_loop(time):
    symbols = {"factor": symbol(time), "term": symbol(time, 3)}
    model = check(scanning(True), symbols, factor=normal(time), term=normal(time, 3))
    assert model.nodes["Loop"] == 0


def test_nodes_grow_far_slower_than_a_known_number():
    def nodes(time):
        model = Exported(scanning(False), factor=symbol(time), term=symbol(time, 3))
        return sum(model.nodes.values())

    assert nodes(2000) < 4 * nodes(40)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("open_time", [False, True], ids=["known", "open"])
def test_time_may_be_any_axis(axis, open_time):
    def run(x):
        return associative_scan(lambda a, b: a + b, x, axis=axis)

    shape = [4, 4, 4]
    if open_time:
        shape[axis] = "T"
    check(run, {"x": symbol(*shape, dtype="int64")}, x=np.arange(64).reshape(4, 4, 4))


def test_other_lengths_may_be_open():
    def run(x):
        return associative_scan(lambda a, b: array_namespace(a).where(b != 0, b, a), x, axis=1)

    model = Exported(run, x=symbol("N", "T", "F", dtype="int64"))
    for shape in ((2, 1, 3), (1, 20, 2)):
        assert_as_numpy(run, model, x=np.random.default_rng(0).integers(-1, 2, shape))
    model = Exported(run, x=symbol("N", 20, 2, dtype="int64"))
    for samples in (1, 3):
        x = np.random.default_rng(0).integers(-1, 2, (samples, 20, 2))
        assert_as_numpy(run, model, x=x)


def test_what_the_function_closes_over_is_used_as_it_is():
    def run(x, w):
        w = array_namespace(w).exp(w)
        return associative_scan(lambda a, b: a + w * b / w, x)

    check(run, {"x": symbol("T", 3), "w": symbol(3)}, x=normal(20, 3), w=normal(3))


@pytest.mark.parametrize("time", ["T", 20], ids=["open", "known"])
@pytest.mark.parametrize(
    ("fn", "error", "text"),
    [
        (lambda a, b: (a, b), ValueError, "of the structure"),
        (lambda a, b: (a + b)[:, :1], ValueError, "expected the shape of its arguments"),
        (lambda a, b: (a + b)[:, 0], ValueError, "expected the shape of its arguments"),
        (
            lambda a, b: ndonnx.astype(a + b, ndonnx.float64),
            TypeError,
            "expected the dtype of its arguments, float32",
        ),
        (lambda a, b: np.ones((1, 3)), TypeError, "expected an array of ndonnx, like `elems`"),
    ],
    ids=["structure", "shape", "rank", "dtype", "library"],
)
def test_what_is_wrong_with_a_function_is_said_while_tracing_it(fn, error, text, time):
    with pytest.raises(error, match=text) as raised:
        associative_scan(fn, symbol(time, 3))
    assert type(raised.value) is error


# ---------------------------------------------------------------------------- linear_scan

KINDS = {
    "numbers": (("N", "T", 3), lambda n, t: (n, t, 3)),
    "matrices": (("N", "T", 3, 3), lambda n, t: (n, t, 3, 3)),
    "of time": ((1, "T", 1), lambda n, t: (1, t, 1)),
    "of samples": (("N", 1, 3), lambda n, t: (n, 1, 3)),
    "of all": ((1, 1, 3), lambda n, t: (1, 1, 3)),
    "a shared matrix": ((1, 1, 3, 3), lambda n, t: (1, 1, 3, 3)),
}


@both_ways
@pytest.mark.parametrize(("opened", "shape"), KINDS.values(), ids=KINDS)
def test_one_model_runs_any_samples_and_timesteps(opened, shape, reverse):
    def run(a, b, h):
        return linear_scan(a, b, h, reverse=reverse)

    model = Exported(run, a=symbol(*opened), b=symbol("N", "T", 3), h=symbol("N", 3))
    assert model.nodes["Loop"] == 1
    for samples, time in ((2, 1), (1, 40)):
        a, b = 0.4 * normal(*shape(samples, time)), normal(samples, time, 3)
        assert_as_numpy(run, model, a=a, b=b, h=normal(samples, 3))


MASKINGS = {
    "mask": {"mask": symbol("N", "T", dtype="bool")},
    "float mask": {"mask": symbol("N", "T", 1, dtype="float32")},
    "lengths": {"input_length": symbol("N", dtype="int64")},
}


@both_ways
@pytest.mark.parametrize("masking", MASKINGS.values(), ids=MASKINGS)
def test_masks_and_lengths_of_any_samples_and_timesteps(masking, reverse):
    def run(a, b, **masking):
        return linear_scan(a, b, reverse=reverse, **masking)

    model = Exported(run, a=symbol("N", "T", 3), b=symbol("N", "T", 3), **masking)
    for samples, time in ((2, 1), (3, 40)):
        random = np.random.default_rng(time)
        keep = random.random((samples, time)) < 0.6
        given = {"mask": keep}
        if "input_length" in masking:
            given = {"input_length": random.integers(0, time, samples, endpoint=True)}
            keep = np.arange(time) < given["input_length"][:, None]
        elif len(masking["mask"].shape) == 3:
            given = {"mask": keep[..., None].astype("float32")}
        a, b = (np.where(keep[..., None], normal(samples, time, 3), np.nan) for _ in range(2))
        a, b = (0.5 * a).astype("float32"), b.astype("float32")
        assert not np.isnan(run(a, b, **given)).any()
        assert_as_numpy(run, model, a=a, b=b, **given)


@both_ways
def test_an_integer_cuts_timesteps_of_any_number(reverse):
    def run(b):
        return linear_scan(0.5, b, input_length=3, reverse=reverse)

    model = Exported(run, b=symbol("N", "T"))
    for time in (3, 20):
        assert_as_numpy(run, model, b=normal(2, time))


@pytest.mark.parametrize("kind", ["numbers", "matrices"])
def test_known_timesteps_need_no_loop(kind):
    def run(a, b, mask):
        return linear_scan(a, b, mask=mask)

    time = 18  # more than are combined one by one; ndonnx takes long to trace a product
    shape = (2, time, 3, 3) if kind == "matrices" else (2, time, 3)
    symbols = {"a": symbol(*shape), "b": symbol(2, time, 3), "mask": symbol(2, time, dtype="bool")}
    mask = np.random.default_rng(0).random((2, time)) < 0.6
    model = check(run, symbols, a=0.4 * normal(*shape), b=normal(2, time, 3), mask=mask)
    assert model.nodes["Loop"] == 0


def test_known_timesteps_of_any_number_of_samples():
    def run(a, b, h):
        return linear_scan(a, b, h)

    symbols = {"a": symbol("N", 40, 3), "b": symbol("N", 40, 3), "h": symbol("N", 3)}
    model = Exported(run, **symbols)
    for samples in (1, 3):
        a, b, h = 0.5 * normal(samples, 40, 3), normal(samples, 40, 3), normal(samples, 3)
        assert_as_numpy(run, model, a=a, b=b, h=h)


def test_time_may_come_first_or_last_and_alone():
    def first(b):
        return linear_scan(0.5, b, 1, time_major=True)

    def last(b):
        return linear_scan(0.5, b, axis=-1)

    check(first, {"b": symbol("T", "N")}, b=normal(20, 2))
    check(last, {"b": symbol("N", 2, "T")}, b=normal(2, 2, 20))
    check(last, {"b": symbol("T")}, b=normal(20))
