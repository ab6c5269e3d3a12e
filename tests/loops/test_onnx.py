"""On ndonnx arrays the loop becomes one ONNX `Loop`, which gives what NumPy gives."""

import itertools

import numpy as np
import optree
import pytest
from array_api_compat import array_namespace

from arrayrnn import rnn, scan
from support.gallery import computed
from support.on_onnx import Exported, assert_as_numpy, check, ndonnx, normal, symbol

SIZES = [(2, 5), (1, 1), (4, 3), (3, 40)]  # samples and timesteps
MASK = np.asarray([[0, 1, 1, 0], [1, 0, 1, 1]], dtype=bool)
NONE_KEPT = np.zeros((2, 4), dtype=bool)


def decaying(x_t, states):
    """Compute a step whose output is not its state."""
    (h,) = states
    h = array_namespace(x_t).tanh(0.5 * h + x_t)
    return 2 * h, [h]


X, H = normal(2, 4, 3), normal(2, 3)


def open_symbols(**more):
    return {"x": symbol("N", "T", 3), "h": symbol("N", 3), **more}


# ------------------------------------------------------------------------------ the whole contract


def nested_step(inputs, states):
    h, (count, seen), scale, power = states
    xp = array_namespace(inputs["x"])
    h = xp.tanh(0.5 * h + scale * inputs["x"] ** power)
    positive = inputs["more"][0] > 0
    output = {"h": 3 * h, "few": (xp.sum(h, axis=1), count)}
    return output, [h, (count + 1, xp.logical_or(seen, positive))]


MASKINGS = [
    (None, False, False),
    *itertools.product(("mask", "lengths"), (False, True), (False, True)),
]


@pytest.mark.parametrize("return_all_outputs", [True, False], ids=["all", "last"])
@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    ("masking", "zero", "continued"),
    MASKINGS,
    ids=[
        f"{masking or 'unmasked'}{', zeros' * zero}{', continued' * continued}"
        for masking, zero, continued in MASKINGS
    ],
)
def test_one_model_gives_what_numpy_gives_for_any_samples_and_timesteps(
    masking, zero, continued, go_backwards, time_major, return_all_outputs
):
    def run(x, more, h, count, seen, scale, mask=None, lengths=None, **before):
        before = {"h": before["h_before"], "few": (before["sum_before"], count)} if before else None
        return rnn(
            nested_step,
            {"x": x, "more": [more]},
            [h, (count, seen)],
            go_backwards,
            mask,
            [scale, 2],
            input_length=lengths,
            time_major=time_major,
            zero_output_for_mask=zero,
            return_all_outputs=return_all_outputs,
            initial_output=before,
        )

    axes = ("T", "N") if time_major else ("N", "T")
    symbols = {
        "x": symbol(*axes, 3),
        "more": symbol(*axes, 2, 2),
        "h": symbol("N", 3),
        "count": symbol("N", dtype="int32"),
        "seen": symbol("N", 2, 2, dtype="bool"),
        "scale": symbol(3),
    }
    if masking == "mask":
        symbols["mask"] = symbol(*axes, dtype="bool")
    if masking == "lengths":
        symbols["lengths"] = symbol("N", dtype="int64")
    if continued:
        symbols |= {"h_before": symbol("N", 3), "sum_before": symbol("N")}
    model = Exported(run, **symbols)
    assert model.nodes["Loop"] == 1

    for samples, time in SIZES:
        rng = np.random.default_rng(time)
        lengths = rng.integers(0, time, samples, endpoint=True)
        keep = rng.random((samples, time)) < 0.6
        keep = np.arange(time) < lengths[:, None] if masking == "lengths" else keep
        x = normal(samples, time, 3)
        if masking:
            x[~keep] = np.nan
        arrays = {
            "x": np.swapaxes(x, 0, 1) if time_major else x,
            "more": normal(*((time, samples) if time_major else (samples, time)), 2, 2),
            "h": normal(samples, 3),
            "count": rng.integers(9, size=samples, dtype="int32"),
            "seen": rng.random((samples, 2, 2)) < 0.1,
            "scale": normal(3),
            "mask": keep.T if time_major else keep,
            "lengths": lengths,
            "h_before": normal(samples, 3),
            "sum_before": normal(samples),
        }
        assert_as_numpy(run, model, **{name: arrays[name] for name in symbols})


# ------------------------------------------------------------------------------ the graph


def test_more_timesteps_are_not_more_nodes():
    def run(x, h, mask):
        return rnn(decaying, x, [h], mask=mask)

    def nodes(time):
        mask = symbol(2, time, dtype="bool")
        return Exported(run, x=symbol(2, time, 3), h=symbol(2, 3), mask=mask).model.graph.node

    assert len(nodes(4)) == len(nodes(4000))


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    "masking",
    [
        {},
        {"mask": symbol("N", "T", dtype="bool")},
        {"mask": symbol("N", "T", 1, dtype="float32")},
        {"input_length": symbol("N", dtype="int32")},
        {"mask": MASK},
    ],
    ids=["unmasked", "mask", "float mask", "lengths", "NumPy mask"],
)
def test_what_is_done_once_stays_out_of_the_body(masking, go_backwards):
    symbols = {name: value for name, value in masking.items() if value is not MASK}

    def run(x, h, **masking):
        masking = masking or ({"mask": MASK} if "mask" in given else {})
        return rnn(decaying, x, [2 * h], go_backwards, **masking)

    given = masking
    own = {"Add", "Mul", "Tanh", "Constant", "Identity"}
    needed = {"Gather", "Squeeze", "Unsqueeze", "Where"} | ({"Sub"} if go_backwards else set())
    forgetting = {"Shape", "Reshape"} if masking.get("mask") is MASK else set()
    body = Exported(run, **open_symbols(**symbols)).body
    assert set(body) <= own | needed | forgetting
    assert body["Gather"] == 1 + bool(masking)
    assert body["Mul"] == 2


def test_constants_are_computed_before_the_loop():
    def run(x, h, w):
        step = lambda x_t, states: (x_t, [states[0] * states[1]["w"]])  # noqa: E731
        return rnn(step, x, [h], constants=[{"w": array_namespace(w).exp(w)}])

    model = check(run, open_symbols(w=symbol(3)), x=X, h=H, w=normal(3))
    assert model.body["Exp"] == 0
    assert model.nodes["Exp"] == 1


def test_what_a_step_closes_over_is_used_as_it_is():
    def run(x, h, w):
        w = array_namespace(w).exp(w)
        return rnn(lambda x_t, states: (x_t, [states[0] * w]), x, [h])

    check(run, open_symbols(w=symbol(3)), x=X, h=H, w=normal(3))


def test_the_rank_and_the_fixed_lengths_of_results_are_known():
    last, outputs, (h,) = rnn(decaying, symbol("N", "T", 3), [symbol("N", 3)])
    assert (last.shape, outputs.shape, h.shape) == ((None, 3), (None, None, 3), (None, 3))
    last, outputs, (h,) = rnn(decaying, symbol(2, 4, 3), [symbol(2, 3)])
    assert (last.shape, outputs.shape, h.shape) == ((2, 3), (2, 4, 3), (2, 3))


# ------------------------------------------------------------------------------ padding


def test_padding_never_reaches_the_step():
    # Looking up a row that is not there would end the run.
    def step(x_t, states):
        (h,) = states
        xp = array_namespace(x_t)
        h = h + xp.take(xp.asarray(table), x_t[:, 0], axis=0)
        return h, [h]

    def run(x, h, mask):
        return rnn(step, x, [h], mask=mask, samplewise=True)

    table = normal(5, 3)
    symbols = {"x": symbol("N", "T", 1, dtype="int64"), "h": symbol("N", 3)}
    model = Exported(run, **symbols, mask=symbol("N", "T", dtype="bool"))
    tokens = np.where(MASK, np.arange(4), 99)[..., None]
    assert_as_numpy(run, model, x=tokens, h=H, mask=MASK)
    with pytest.raises(Exception, match="out of data bounds"):
        model(x=tokens, h=H, mask=np.ones_like(MASK))


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_a_step_that_mixes_samples_sees_all_of_them(go_backwards):
    def step(x_t, states):
        (h,) = states
        xp = array_namespace(x_t)
        mean = xp.mean(x_t - h, axis=0, keepdims=True)
        return x_t - mean, [h + mean]

    def run(x, h, mask):
        return rnn(step, x, [h], go_backwards, mask)

    model = Exported(run, **open_symbols(mask=symbol("N", "T", dtype="bool")))
    for mask in (MASK, ~MASK):
        assert_as_numpy(run, model, x=X, h=H, mask=mask)


# ------------------------------------------------------------------------------ at run time


@pytest.mark.parametrize("zero", [False, True], ids=["kept", "zeros"])
def test_where_nothing_is_unmasked_states_are_kept(zero):
    def run(x, h, mask):
        return rnn(decaying, x, [h], mask=mask, zero_output_for_mask=zero)

    x = np.full_like(X, np.nan)
    symbols = open_symbols(mask=symbol("N", "T", dtype="bool"))
    model = check(run, symbols, x=x, h=H, mask=NONE_KEPT)
    last, outputs, (h,) = model(x=x, h=H, mask=NONE_KEPT)
    assert not last.any()
    assert not outputs.any()
    np.testing.assert_array_equal(h, H)


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_there_may_be_no_samples(masked):
    def run(x, h, mask=None):
        return rnn(decaying, x, [h], mask=mask)

    mask = {"mask": symbol("N", "T", dtype="bool")} if masked else {}
    model = Exported(run, **open_symbols(**mask))
    last, outputs, (h,) = model(x=X[:0], h=H[:0], **({"mask": MASK[:0]} if masked else {}))
    assert (last.shape, outputs.shape, h.shape) == ((0, 3), (0, 4, 3), (0, 3))


def test_lengths_out_of_range_are_clamped():
    def run(x, h, lengths):
        return rnn(decaying, x, [h], input_length=lengths)

    model = Exported(run, **open_symbols(lengths=symbol("N", dtype="int64")))
    found = model(x=X, h=H, lengths=np.asarray([-3, 99]))
    expected = model(x=X, h=H, lengths=np.asarray([0, 4]))
    for one, other in zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------ dtypes


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "float64"])
def test_dtypes_of_inputs_states_and_outputs_are_kept(dtype):
    def step(x_t, states):
        (h,) = states
        h = ~h if dtype == "bool" else h + array_namespace(h).asarray(1, dtype=h.dtype)
        return (x_t, h), [h]

    def run(x, h, mask):
        return rnn(step, x, [h], mask=mask)

    symbols = {"x": symbol("N", "T", 1, dtype=dtype), "h": symbol("N", dtype=dtype)}
    symbols["mask"] = symbol("N", "T", dtype="bool")
    x, h = (10 * X[..., :1]).astype(dtype), np.asarray([3, 0], dtype=dtype)
    check(run, symbols, x=x, h=h, mask=MASK)


def test_uint64_warns_where_it_is_selected_from():
    x, h = symbol("N", "T", 3), symbol("N", 3, dtype="uint64")
    with pytest.warns(UserWarning, match="lossy cast to 'float64'"):
        rnn(lambda x_t, states: (x_t, states), x, [h], mask=MASK)


def test_python_numbers_as_states_become_arrays():
    def step(x_t, states):
        total, count, odd = states
        return x_t + total, [total + 0.5, count + 1, ~odd]

    check(lambda x: rnn(step, x, [0.0, 0, False]), {"x": symbol("N", "T", 3)}, x=X)


# ------------------------------------------------------------------------------ masks and lengths


@pytest.mark.parametrize("time", [4, "T"], ids=["known time", "open time"])
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    "masking",
    [
        {"mask": MASK},
        {"mask": MASK[..., None].astype("float64")},
        {"mask": MASK.tolist()},
        {"mask": NONE_KEPT},
        {"input_length": [4, 2]},
        {"input_length": np.asarray([0, 3])},
        {"input_length": 3},
        {"input_length": 3, "mask": MASK},
    ],
    ids=[
        "mask",
        "float mask",
        "list",
        "nothing kept",
        "list of lengths",
        "lengths",
        "integer",
        "integer and mask",
    ],
)
def test_masks_and_lengths_may_come_from_the_host(masking, go_backwards, time):
    def run(x, h):
        return rnn(decaying, x, [h], go_backwards, **masking)

    check(run, {"x": symbol("N", time, 3), "h": symbol("N", 3)}, x=X, h=H)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_an_integer_length_cuts_a_mask_of_open_time(go_backwards):
    def run(x, h, mask):
        return rnn(decaying, x, [h], go_backwards, mask, input_length=3)

    check(run, open_symbols(mask=symbol("N", "T", dtype="bool")), x=X, h=H, mask=MASK)


def test_an_integer_length_beyond_the_timesteps_at_run_time_is_clamped():
    def run(length):
        return lambda x, h: rnn(decaying, x, [h], input_length=length)

    model = Exported(run(3), **open_symbols())
    assert_as_numpy(run(2), model, x=X[:, :2], h=H)
    assert_as_numpy(run(3), model, x=X, h=H)


# ------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize(
    ("x", "h", "mask"),
    [
        ((None, None, None), (None, None), (None, None)),
        (("N", "T", "F"), ("N", "F"), ("N", "T")),
        (("N", "T", 3), (2, None), ("N", 4)),
        ((2, None, 3), ("N", 3), (None, None)),
        ((2, 4, 3), (2, 3), (2, 4)),
    ],
    ids=["all open", "named", "some open", "samples known", "all known"],
)
def test_any_length_may_be_open(x, h, mask, masked):
    def run(x, h, mask=None):
        return rnn(decaying, x, [h], mask=mask)

    symbols, arrays = {"x": symbol(*x), "h": symbol(*h)}, {"x": X, "h": H}
    if masked:
        symbols["mask"], arrays["mask"] = symbol(*mask, dtype="bool"), MASK
    check(run, symbols, **arrays)


@pytest.mark.parametrize("return_all_outputs", [True, False], ids=["all", "last"])
def test_the_features_of_outputs_may_be_open(return_all_outputs):
    def step(x_t, states):
        return array_namespace(x_t).concat([x_t, 2 * x_t], axis=-1), [states[0] + 1]

    def run(x, h, mask):
        return rnn(step, x, [h], mask=mask, return_all_outputs=return_all_outputs)

    symbols = {"x": symbol("N", "T", "F"), "h": symbol("N"), "mask": symbol("N", "T", dtype="bool")}
    check(run, symbols, x=X, h=H[:, 0], mask=MASK)


@pytest.mark.parametrize(
    "state",
    [
        lambda xp, x: xp.zeros_like(x[:, 0, :]),
        lambda xp, x: xp.zeros_like(x[:, 0, :1]) + xp.ones(3, dtype=xp.float32),
        lambda xp, x: xp.broadcast_to(xp.asarray([1.0, 2.0, 3.0], dtype=xp.float32), (2, 3)),
        lambda xp, x: xp.broadcast_arrays(xp.ones((1, 3), dtype=xp.float32), x[:, 0, :])[0],
    ],
    ids=["zeros like", "sum", "broadcast", "broadcast to open samples"],
)
def test_a_state_may_be_made_from_the_inputs_or_broadcast(state):
    def run(x, mask):
        return rnn(decaying, x, [state(array_namespace(x), x)], mask=mask)

    symbols = {"x": symbol("N", "T", 3), "mask": symbol("N", "T", dtype="bool")}
    check(run, symbols, x=X, mask=MASK)


def test_inputs_that_have_values_already_may_be_traced():
    def run(h):
        return rnn(decaying, array_namespace(h).asarray(X), [h], mask=MASK)

    check(run, {"h": symbol("N", 3)}, h=H)


def test_without_states_and_with_states_handed_through():
    def run(x, h):
        without = rnn(lambda x_t, states: (2 * x_t, states), x, [])
        return without, rnn(lambda x_t, states: (states[0], states), x, [h])

    check(run, open_symbols(), x=X, h=H)


# ------------------------------------------------------------------------------ unrolled


UNROLLED = [
    {},
    {"mask": ("N", 4)},
    {"mask": ("N", "T")},
    {"lengths": ("N",)},
]


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("given", UNROLLED, ids=["unmasked", "mask", "open mask", "lengths"])
def test_unrolled_there_is_no_loop_and_samples_stay_open(given, go_backwards):
    def run(x, h, mask=None, lengths=None):
        return rnn(decaying, x, [h], go_backwards, mask, input_length=lengths, unroll=True)

    dtypes = {"mask": "bool", "lengths": "int64"}
    symbols = {name: symbol(*shape, dtype=dtypes[name]) for name, shape in given.items()}
    model = Exported(run, x=symbol("N", 4, 3), h=symbol("N", 3), **symbols)
    assert model.nodes["Loop"] == 0
    for samples in (2, 1):
        masks = {"mask": MASK[:samples], "lengths": np.asarray([3, 4])[:samples]}
        masks = {name: masks[name] for name in given}
        assert_as_numpy(run, model, x=X[:samples], h=H[:samples], **masks)


def test_an_integer_length_makes_open_time_known_enough_to_unroll():
    def run(x, h):
        return rnn(decaying, x, [h], input_length=3, unroll=True)

    assert check(run, open_symbols(), x=X, h=H).nodes["Loop"] == 0


def test_open_time_cannot_be_unrolled():
    with pytest.raises(ValueError, match=r"unknown number of timesteps.*unroll=True"):
        rnn(decaying, symbol("N", "T", 3), [symbol("N", 3)], unroll=True)


# ------------------------------------------------------------------------------ scan


def nested_scan(reverse):
    def f(carry, x):
        total = carry["total"] + x["u"]
        return {"total": total, "n": carry["n"] + 1}, (total * x["v"], None, {"n": carry["n"]})

    return lambda u, v, total: scan(f, {"total": total, "n": 0}, {"u": u, "v": v}, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
def test_scan_takes_nests_and_gives_none_for_none(reverse):
    symbols = {"u": symbol("T", 3), "v": symbol("T"), "total": symbol(3)}
    run = nested_scan(reverse)
    model = Exported(run, **symbols)
    for time in (1, 6):
        assert_as_numpy(run, model, u=normal(time, 3), v=normal(time), total=normal(3))


def test_scan_carries_single_numbers():
    def run(x, start):
        return scan(lambda carry, x: (0.5 * carry + x, carry), start, x)

    check(run, {"x": symbol("T"), "start": symbol()}, x=normal(6), start=normal())


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
def test_scan_without_xs_takes_as_many_steps_as_are_asked_for(reverse):
    def run(first):
        def next_pair(pair, _):
            return (pair[1], pair[0] + pair[1]), pair[0]

        return scan(next_pair, (first, 1), None, length=8, reverse=reverse)

    model = check(run, {"first": symbol(dtype="int64")}, first=np.asarray(0))
    assert model.nodes["Loop"] == 1


def test_scan_without_a_carry_is_a_map():
    def run(x):
        return scan(lambda carry, x: (carry, 2 * x), (), x)[1]

    check(run, {"x": symbol("T", 3)}, x=normal(4, 3))


# ------------------------------------------------------------------------------ loops in loops


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_a_step_may_run_a_loop_of_its_own(masked):
    def run(x, h, mask=None, inner_mask=None):
        def step(inputs, states):
            x_t, *inner_t = inputs
            inner_t = inner_t[0] if inner_t else None
            last, outputs, states = rnn(decaying, x_t, list(states), mask=inner_t)
            return (last, outputs), states

        inputs = [x] if inner_mask is None else [x, inner_mask]
        return rnn(step, inputs, [h], mask=mask)

    symbols, arrays = {"x": symbol("N", "T", "S", 3), "h": symbol("N", 3)}, {"h": H}
    arrays["x"] = normal(2, 4, 5, 3)
    if masked:
        symbols["mask"] = symbol("N", "T", dtype="bool")
        symbols["inner_mask"] = symbol("N", "T", "S", dtype="bool")
        arrays |= {"mask": MASK, "inner_mask": normal(2, 4, 5) > 0}
    model = check(run, symbols, **arrays)
    assert (model.nodes["Loop"], model.body["Loop"]) == (1, 1)


# ------------------------------------------------------------------------------ errors


def fails(x_t, states):
    raise KeyError("mine")


WRONG_STEPS = {
    "dtype": (
        lambda x_t, states: (x_t, [ndonnx.astype(states[0], ndonnx.float64)]),
        (TypeError, r"`new_states\[0\]`.*float64; expected the dtype of the initial state"),
    ),
    "shape": (
        lambda x_t, states: (x_t, [states[0][:, :2]]),
        (ValueError, r"`new_states\[0\]`.*\(None, 2\).*expected the shape of the initial state"),
    ),
    "rank": (
        lambda x_t, states: (x_t, [states[0][:, 0]]),
        (ValueError, r"`new_states\[0\]`.*\(None,\).*expected the shape of the initial state"),
    ),
    "number of states": (
        lambda x_t, states: (x_t, [*states, x_t]),
        (ValueError, "returned 2 states where `initial_states` has 1"),
    ),
    "no pair": (lambda x_t, states: x_t, (TypeError, r"expected a pair `\(output, new_states\)`")),
    "rank of the output": (
        lambda x_t, states: (ndonnx.sum(x_t), states),
        (ValueError, r"`output`, an array of shape \(\).*expected \(samples, ...\)"),
    ),
    "library": (
        lambda x_t, states: (np.zeros((2, 3)), states),
        (TypeError, "of numpy; expected an array of ndonnx"),
    ),
    "branching": (
        lambda x_t, states: (x_t if ndonnx.any(x_t > 0) else -x_t, states),
        (ValueError, "^no propagated value available"),
    ),
    "its own": (fails, (KeyError, "^'mine'")),
}


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("name", WRONG_STEPS)
def test_what_is_wrong_with_a_step_is_said_while_tracing_it(name, masked):
    step, (kind, message) = WRONG_STEPS[name]
    mask = symbol("N", "T", dtype="bool") if masked else None
    with pytest.raises(kind, match=message) as caught:
        rnn(step, symbol("N", "T", 3), [symbol("N", 3)], mask=mask)
    assert type(caught.value) is kind
    assert any("while tracing `step_function`" in note for note in caught.value.__notes__)


def test_a_mask_of_another_known_length_is_refused():
    with pytest.raises(ValueError, match=r"`mask`.*\(2, 5\).*expected.*\(2, 4\)"):
        rnn(decaying, symbol(2, 4, 3), [symbol(2, 3)], mask=symbol(2, 5, dtype="bool"))


@pytest.mark.parametrize(
    ("x", "h", "name"),
    [
        ({"a": symbol("N", "T", 3, dtype="nfloat32")}, symbol("N", 3), r"`inputs\['a'\]` is"),
        ({"a": symbol("N", "T", 3)}, symbol("N", 3, dtype="nint64"), r"`initial_states\[0\]` is"),
    ],
    ids=["inputs", "states"],
)
def test_missing_values_are_refused(x, h, name):
    with pytest.raises(TypeError, match=f"{name}.*Fill missing values, and give a mask"):
        rnn(lambda x_t, states: (x_t["a"], states), x, [h])


def test_missing_values_in_an_output_are_refused():
    def step(x_t, states):
        return ndonnx.extensions.make_nullable(x_t, x_t > 0), states

    with pytest.raises(TypeError, match=r"`step_function` returned `output`.*Fill missing"):
        rnn(step, symbol("N", "T", 3), [symbol("N", 3)])


def test_missing_values_in_a_constant_are_the_steps_own_concern():
    def step(x_t, states):
        h, weight = states
        return x_t * ndonnx.extensions.fill_null(weight, 2.0), [h]

    def run(x, h, weight):
        return rnn(step, x, [h], constants=[weight])

    model = Exported(run, **open_symbols(weight=symbol(3, dtype="nfloat32")))
    weight = {"weight_values": np.ones(3, "float32"), "weight_null": np.asarray([0, 1, 0], bool)}
    last, _, _ = model(x=X, h=H, **weight)
    np.testing.assert_array_equal(last, X[:, -1] * np.asarray([1, 2, 1], "float32"))


# ------------------------------------------------------------------------------ documentation


def test_the_example_exports_a_model_that_gives_what_numpy_gives(capsys):
    names = computed("onnx")
    assert capsys.readouterr().out.startswith("1 Loop; inputs x ['samples', 'time', 2] lengths")
    assert [node.op_type for node in names["model"].graph.node].count("Loop") == 1
    assert {*names["differences"]} == {"1 × 1", "3 × 10", "5 × 400", "80 × 120"}
    assert all(difference < 1e-5 for difference in names["differences"].values())
    # Behind its end, a sequence keeps its last output.
    for outputs, last, length in zip(*map(names.get, ("outputs", "last", "lengths")), strict=True):
        assert (outputs[length - 1 :] == last).all()
