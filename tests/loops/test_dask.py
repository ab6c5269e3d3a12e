"""Dask gets a graph of blocks: lazy, in the inputs' chunks, and the same values as NumPy."""

import itertools
import logging
import math
from pathlib import Path

import numpy as np
import optree
import pytest

from arrayrnn import rnn, scan
from support.oracle import together

dask = pytest.importorskip("dask", reason="these tests are about Dask")
da = pytest.importorskip("dask.array")
cloudpickle = pytest.importorskip("cloudpickle")  # which Dask brings

SAMPLES, TIME, FEATURES = 6, 10, 3
MASK = np.random.default_rng(7).integers(0, 2, (SAMPLES, TIME)).astype(bool)
MASK[:, :4] = False  # nothing is unmasked in the first block of the smaller chunks


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


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def inputs(chunks=(2, 5, 3)):
    return da.from_array(normal(SAMPLES, TIME, FEATURES), chunks=chunks)


def zeros(chunks=2):
    return da.zeros((SAMPLES, FEATURES), chunks=chunks)


def decaying(x_t, states):
    """Compute a step whose output is not its state."""
    (h,) = states
    h = 0.5 * h + x_t
    return 2 * h, [h]


def tasks_of(array):
    """Return the tasks that computing an array runs."""
    with dask.config.set({"optimization.fuse.active": False}):
        (array,) = dask.optimize(array)
    return dict(array.__dask_graph__())


def blocks_of(array):
    """Return the numbers of the blocks that computing an array runs, in time and of samples."""
    keys = [key for key in tasks_of(array) if isinstance(key, tuple)]
    return sorted(key[1:] for key in keys if key[0].startswith("arrayrnn-block"))


def assert_equal(found, expected):
    """Assert that lazy arrays are of the shapes and dtypes that they promise, and the values."""
    leaves, spec = optree.tree_flatten(found)
    expected_leaves, expected_spec = optree.tree_flatten(expected)
    assert spec == expected_spec
    for leaf, value, want in zip(leaves, computed(leaves), expected_leaves, strict=True):
        assert isinstance(leaf, da.Array)
        assert value.shape == want.shape
        assert value.dtype == want.dtype == leaf.dtype
        assert [n for n in leaf.shape if n == n] == [
            m for n, m in zip(leaf.shape, want.shape, strict=True) if n == n
        ]
        np.testing.assert_allclose(value, want, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------- the same values

LENGTHS = [0, 1, 4, 10, 9, 3]
OPTIONS = {
    "last, time-major": {"return_all_outputs": False, "time_major": True},
    "backwards": {"go_backwards": True},
    "mask": {"mask": MASK},
    "mask, backwards, time-major": {"mask": MASK, "go_backwards": True, "time_major": True},
    "mask, zero output": {"mask": MASK, "zero_output_for_mask": True},
    "all masked": {"mask": 0 * MASK},
    "all masked, last": {"mask": 0 * MASK, "return_all_outputs": False},
    "all masked, zero output": {"mask": 0 * MASK, "zero_output_for_mask": True},
    "lengths": {"input_length": LENGTHS},
    "lengths, backwards, last": {
        "input_length": LENGTHS,
        "go_backwards": True,
        "return_all_outputs": False,
    },
    "mask, length": {"input_length": 7, "mask": MASK, "go_backwards": True},
}


def nested(x_t, states):
    """Compute a step with nests everywhere and two constants."""
    pair, (total,), weights, bias = states
    h = np.tanh(x_t["a"] @ weights["w"] + pair["h"] + x_t["b"][:, :1] + bias)
    return {"h": h, "sum": h.sum(axis=1)}, [{"h": h}, (0.5 * total + h,)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "chunks", [(6, 10, 3), (4, 3, 2), ((1, 5), (7, 3), (3,)), (1, 1, 1)], ids=str
)
@pytest.mark.parametrize("samplewise", [False, True], ids=["mixing", "samplewise"])
@pytest.mark.parametrize("continued", [False, True], ids=["", "initial output"])
def test_blocks_give_what_the_loop_on_numpy_gives(options, chunks, samplewise, continued):
    major = options.get("time_major", False)
    turned = lambda a: a.swapaxes(0, 1) if major else a  # noqa: E731
    x = {"a": normal(6, 10, 3), "b": normal(6, 10, 2)}
    states = [{"h": normal(6, 2)}, (normal(6, 2),)]
    before = {"h": normal(6, 2) + 9.0, "sum": normal(6) + 9.0} if continued else None
    constants = [{"w": normal(3, 2)}, normal(2)]
    options = {**options, **({"mask": turned(options["mask"])} if "mask" in options else {})}
    expected = rnn(
        nested,
        optree.tree_map(turned, x),
        states,
        constants=constants,
        initial_output=before,
        **options,
    )
    lazy = {"a": da.from_array(x["a"], chunks=chunks), "b": da.from_array(x["b"], chunks=(3, 2, 1))}
    in_pieces = lambda tree: optree.tree_map(lambda a: da.from_array(a, chunks=4), tree)  # noqa: E731
    found = rnn(
        nested,
        optree.tree_map(turned, lazy),
        in_pieces(states),
        constants=[in_pieces(constants[0]), constants[1]],
        initial_output=in_pieces(before) if continued else None,
        samplewise=samplewise,
        **options,
    )
    assert_equal(found, expected)


def test_a_lazy_mask_in_other_chunks_than_the_inputs():
    mask = da.from_array(MASK.astype(float), chunks=(4, 7))[..., None]
    expected = rnn(decaying, normal(6, 10, 3), [np.zeros((6, 3))], mask=MASK)
    assert_equal(rnn(decaying, inputs(), [zeros()], mask=mask, samplewise=True), expected)


def test_lazy_lengths():
    expected = rnn(decaying, normal(6, 10, 3), [np.zeros((6, 3))], input_length=LENGTHS)
    lengths = da.from_array(np.asarray(LENGTHS), chunks=4)
    assert_equal(rnn(decaying, inputs(), [zeros()], input_length=lengths), expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"mask": MASK}, {"mask": MASK, "go_backwards": True}],
    ids=["unmasked", "masked", "masked, backwards"],
)
def test_unrolled_the_loop_runs_on_lazy_arrays(options):
    expected = rnn(decaying, normal(6, 10, 3), [np.zeros((6, 3))], **options)
    assert_equal(rnn(decaying, inputs(), [zeros()], unroll=True, **options), expected)
    if options:
        options = {**options, "mask": da.from_array(MASK, chunks=(3, 4))}
        assert_equal(rnn(decaying, inputs(), [zeros()], unroll=True, **options), expected)


def test_states_of_all_samples_are_shared_by_chains():
    def counting(x_t, states):
        n, m, h = states
        return h, [n + 1, m + 1, h + x_t]

    initial = [0, da.zeros(1, dtype="int64"), zeros()]
    _, _, (n, m, h) = rnn(counting, inputs(), initial, samplewise=True)
    assert_equal((n, m), (np.asarray(10), np.asarray([10])))
    np.testing.assert_allclose(computed(h), normal(6, 10, 3).sum(axis=1))


def test_a_step_gets_constants_as_one_array_and_others_as_they_are():
    seen = []

    def step(x_t, states):
        seen.append(states[1:])
        return x_t, states[:1]

    big, table = da.ones((4, 4), chunks=1), np.arange(3)
    constants = [{"big": big, "none": None}, (table, "relu"), np.tanh]
    computed(rnn(step, inputs(), [zeros()], constants=constants)[0])
    for nest, (kept, name), function in seen:
        assert type(nest["big"]) is np.ndarray
        assert nest["big"].shape == (4, 4)
        assert nest["none"] is None
        assert kept.tolist() == [0, 1, 2]
        assert (name, function) == ("relu", np.tanh)


def test_concrete_constants_are_one_node_of_the_graph():
    weights = normal(50, 50)
    _, outputs, _ = rnn(
        lambda x_t, states: (x_t + states[1].sum(), states[:1]),
        inputs((1, 1, 3)),
        [zeros()],
        constants=[weights],
        samplewise=True,
    )
    sizes = [len(cloudpickle.dumps(task)) for task in tasks_of(outputs).values()]
    assert sum(size > weights.nbytes for size in sizes) == 1


# ---------------------------------------------------------------------------------- the graph


def test_progress_is_not_told():
    result = rnn(decaying, inputs(), [zeros()], progress=lambda *_: pytest.fail("called"))
    computed(result[0])


def test_the_step_is_called_once_while_the_graph_is_built():
    calls = []

    def step(x_t, states):
        calls.append(x_t.shape)
        return decaying(x_t, states)

    outputs = rnn(step, inputs(), [zeros()], samplewise=True)[1]
    assert calls == [(2, 3)]
    calls.clear()
    computed(outputs)
    assert calls == [(2, 3)] * 30


def test_the_graph_grows_with_blocks_and_not_with_timesteps():
    def tasks(time, chunk):
        x = da.zeros((4, time, 3), chunks=(2, chunk, 3))
        result = rnn(
            decaying, x, [da.zeros((4, 3), chunks=2)], mask=da.ones((4, time)), samplewise=True
        )
        return len(dict(result[1].__dask_graph__()))

    assert tasks(100, 10) == tasks(100_000, 10_000)
    assert tasks(1000, 10) > 8 * tasks(100, 10)
    assert tasks(1000, 10) < 30 * 200


def test_building_is_linear_in_blocks():
    x = da.zeros((1, 3000, 1), chunks=(1, 1, 1))
    last, _, _ = rnn(decaying, x, [da.zeros((1, 1))])
    # A layer for each block would cost the square of them.
    assert len(last.__dask_graph__().layers) < 20


@pytest.mark.parametrize("samplewise", [False, True], ids=["mixing", "samplewise"])
@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
def test_results_keep_the_chunks_of_the_inputs(samplewise, time_major):
    x = inputs(((1, 2, 3), (7, 3), (1, 2)))
    x = x.swapaxes(0, 1) if time_major else x
    last, outputs, (state,) = rnn(
        decaying, x, [zeros()], True, time_major=time_major, samplewise=samplewise
    )
    # Backwards, and features in one chunk.
    both = ((3, 7), (1, 2, 3)) if time_major else ((1, 2, 3), (3, 7))
    assert outputs.chunks == (*both, (3,))
    assert last.chunks == state.chunks == ((1, 2, 3), (3,))


def test_samplewise_chains_are_independent():
    last, _, _ = rnn(decaying, inputs(), [zeros()], samplewise=True)
    assert blocks_of(last) == [*itertools.product(range(2), range(3))]
    assert blocks_of(last[2:4]) == [(0, 1), (1, 1)]


def test_no_block_waits_for_later_timesteps():
    _, outputs, _ = rnn(decaying, inputs(), [zeros()], mask=MASK, samplewise=True)
    assert blocks_of(outputs[:2, :5]) == [(0, 0)]
    _, outputs, _ = rnn(decaying, inputs(), [zeros()], go_backwards=True, mask=MASK)
    assert blocks_of(outputs[:, :5]) == [(1, 0)]


def test_a_step_that_mixes_samples_sees_all_of_them():
    def centred(x_t, states):
        return x_t - x_t.mean(axis=0), [states[0] + x_t.max(axis=0)]

    expected = rnn(centred, normal(6, 10, 3), [np.zeros((6, 3))])
    assert_equal(rnn(centred, inputs(), [zeros()]), expected)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_masked_or_not_in_every_block(go_backwards):
    def centred(x_t, states):
        (h,) = states
        h = 0.5 * (h + x_t) - (h + x_t).mean(axis=0)
        return 2 * h, [h]

    x, h = normal(6, 10, 3), normal(6, 3)
    for mask in (MASK, ~MASK, np.arange(10) < np.asarray(LENGTHS)[:, None]):
        expected = together(centred, x, [h], mask, go_backwards=go_backwards)
        for chunks in [(6, 10, 3), (2, 5, 3), (1, 1, 1)]:
            lazy = da.from_array(x, chunks=chunks)
            states = [da.from_array(h, chunks=2)]
            assert_equal(rnn(centred, lazy, states, go_backwards, mask), expected)


def test_outputs_without_a_samples_axis():
    def total(x_t, states):
        return x_t.sum(axis=0), states

    expected = rnn(total, normal(6, 10, 3), [np.zeros((6, 3))])
    assert_equal(rnn(total, inputs(), [zeros()]), expected)


# ---------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("padding", [np.nan, 0.0, -1.0])
def test_padding_never_reaches_the_step_in_any_block(padding, go_backwards):
    def logarithmic(x_t, states):
        (h,) = states
        if not (x_t > 0).all():
            raise ValueError("padding")
        h = h + np.log(x_t)
        return h, [h]

    x = np.where(MASK[..., None], np.abs(normal(6, 10, 3)) + 0.1, padding)
    lazy = da.from_array(x, chunks=(2, 2, 3))
    found = rnn(logarithmic, lazy, [zeros()], go_backwards, MASK, samplewise=True)
    expected = rnn(logarithmic, x, [np.zeros((6, 3))], go_backwards, MASK, samplewise=True)
    assert_equal(found, expected)


def test_each_block_of_time_and_samples_has_a_donor_of_its_own():
    given = {}

    def step(x_t, states):
        chunk = int(x_t[0, 0]) // 200  # of samples
        given.setdefault(chunk, []).append((x_t[:, 0].tolist(), states[0][:, 0].tolist()))
        return x_t, [states[0] + 1]

    # Sample and timestep; states tell the sample and how often it ran.
    x = (100.0 * np.arange(4)[:, None] + np.arange(6))[..., None]
    mask = [[1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0]]
    states = da.from_array(np.arange(0.0, 40, 10)[:, None], chunks=2)
    result = rnn(step, da.from_array(x, chunks=(2, 3, 1)), [states], mask=mask, samplewise=True)
    given.clear()
    computed(result[0])
    assert given == {
        0: [
            ([0.0, 100.0], [0.0, 10.0]),
            ([1.0, 0.0], [1.0, 0.0]),
            ([103.0, 103.0], [11.0, 11.0]),
        ],
        1: [
            ([203.0, 203.0], [20.0, 20.0]),
            ([204.0, 304.0], [21.0, 30.0]),
            ([205.0, 203.0], [22.0, 20.0]),
        ],
    }


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (lambda x_t, states: x_t, TypeError, "expected a pair"),
        (lambda x_t, states: (x_t, []), ValueError, "returned 0 states"),
        (lambda x_t, states: (x_t, [states[0][:, :1]]), ValueError, "expected the shape of"),
        (lambda x_t, states: (x_t, [states[0].astype("float32")]), TypeError, "expected the dtype"),
        (lambda x_t, states: (x_t.sum(), states), ValueError, "at least 1 dimension"),
        (lambda x_t, states: (x_t.tolist(), states), TypeError, "expected an array"),
    ],
)
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_what_is_wrong_with_the_step_shows_while_the_graph_is_built(step, error, text, mask):
    with pytest.raises(error, match=text):
        rnn(step, inputs(), [zeros()], mask=mask)


def test_samplewise_outputs_need_a_samples_axis():
    with pytest.raises(ValueError, match=r"`output`, .* for 2 samples; with `samplewise=True`"):
        rnn(lambda x_t, states: (x_t.sum(axis=0), states), inputs(), [zeros()], samplewise=True)


def test_an_initial_output_unlike_the_output_is_refused():
    with pytest.raises(ValueError, match="expected it like the output"):
        rnn(decaying, inputs(), [zeros()], initial_output=da.zeros((6, 4)))


def test_a_dask_array_that_the_step_closes_over_is_refused():
    weights = da.ones((3, 3), chunks=1)
    with pytest.raises(TypeError, match=r"closes over one\. Pass it in `constants`"):
        rnn(lambda x_t, states: (x_t @ weights, states), inputs(), [zeros()])
    with pytest.raises(TypeError, match=r"closes over one\. Pass it in `init`"):
        scan(lambda c, x: (c + weights.sum(), x), 0.0, da.ones(3))


@pytest.mark.parametrize("call", [
    lambda: rnn(decaying, inputs(), [zeros()], input_length=da.asarray(4)),
    lambda: scan(lambda c, x: (c, x), 0.0, da.ones(3), length=da.asarray(3)),
], ids=["rnn", "scan"])  # fmt: skip
def test_a_lazy_length_of_all_samples_is_refused_rather_than_computed(call):
    with pytest.raises(TypeError, match="an integer whose value is known"):
        call()


def test_numpy_states_beside_dask_inputs_are_of_another_library():
    with pytest.raises(TypeError, match="expected arrays of one library"):
        rnn(decaying, inputs(), [np.zeros((6, 3))])


def test_an_exception_of_the_step_says_in_which_block_it_came():
    def step(x_t, states):
        if x_t[0, 0] == 7.0:
            raise LookupError("seven")
        return x_t, states

    x = np.broadcast_to(np.arange(10.0)[:, None], (6, 10, 1))
    result = rnn(step, da.from_array(x, chunks=(6, 5, 1)), [da.zeros((6, 1))])
    with pytest.raises(LookupError) as caught:
        computed(result[0])
    timestep, block = caught.value.__notes__
    assert "at timestep 2 of 5" in timestep
    assert "from 5 on, of 10" in block


def test_an_exception_of_the_probe_says_what_the_step_was_given():
    def step(x_t, states):
        raise LookupError(x_t[0, 0])

    with pytest.raises(LookupError) as caught:
        rnn(step, inputs(), [zeros()])
    assert "called on arrays of ones (zeros of integers)" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "step",
    [
        lambda x_t, states: (np.log(x_t) / (x_t - 1), states),
        lambda x_t, states: (np.eye(2)[x_t.astype(int)], states),
        lambda x_t, states: (1 // (0 * x_t.astype(int)), states),
    ],
    ids=["log and division", "index", "integer division"],
)
def test_a_probe_warns_of_nothing(step):
    rnn(step, inputs(), [zeros()])


def test_token_ids_index_a_table_of_one_row():
    table = np.ones((1, 4))
    ids = da.zeros((2, 4, 1), chunks=2, dtype="int64")
    _, outputs, _ = rnn(lambda x_t, states: (table[x_t[:, 0]], states), ids, [da.zeros(2)])
    assert outputs.shape == (2, 4, 4)


# ---------------------------------------------------------------------------------- unknown lengths


def chosen(array, flags, axis=0):
    """Return the rows of a Dask array that flags tell; Dask does not know how many these are."""
    index = (slice(None),) * axis + (da.from_array(flags, chunks=(array.chunks[axis],)),)
    return array[index]


FLAGS = np.asarray([1, 0, 1, 1, 0, 0], dtype=bool)  # none in the last chunk


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_unknown_numbers_of_samples_in_parallel_chains(masked):
    mask = chosen(da.from_array(MASK, chunks=(2, 5)), FLAGS) if masked else None
    x, h = chosen(inputs(), FLAGS), chosen(zeros(), FLAGS)
    found = rnn(decaying, x, [h], mask=mask, samplewise=True)
    own_mask = MASK[FLAGS] if masked else None
    expected = rnn(decaying, normal(6, 10, 3)[FLAGS], [np.zeros((3, 3))], mask=own_mask)
    assert math.isnan(found[1].shape[0])
    assert_equal(found, expected)


def test_an_empty_chunk_of_samples_calls_no_step():
    def step(x_t, states):
        return x_t.reshape(x_t.shape[0], -1), [states[0] + x_t.max()]

    x, h = chosen(inputs(), FLAGS), chosen(zeros(), FLAGS)
    last, _, _ = rnn(step, x, [h], samplewise=True)
    np.testing.assert_array_equal(computed(last), normal(6, 10, 3)[FLAGS][:, -1])


def test_an_unknown_number_of_samples_in_one_chunk():
    x, h = chosen(inputs((6, 5, 3)), FLAGS), chosen(zeros(6), FLAGS)
    expected = rnn(decaying, normal(6, 10, 3)[FLAGS], [np.zeros((3, 3))])
    assert_equal(rnn(decaying, x, [h]), expected)


def test_unknown_samples_in_several_chunks_cannot_be_joined():
    with pytest.raises(ValueError, match=r"compute_chunk_sizes.*samplewise=True"):
        rnn(decaying, chosen(inputs(), FLAGS), [chosen(zeros(), FLAGS)])


TIMES = np.asarray([0, 0, 0, 0, 0, 1, 0, 1, 1, 1], dtype=bool)  # none in the first chunk


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("return_all_outputs", [False, True], ids=["last", "all"])
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_an_unknown_number_of_timesteps(go_backwards, return_all_outputs, masked):
    options = {"go_backwards": go_backwards, "return_all_outputs": return_all_outputs}
    mask = chosen(da.from_array(MASK, chunks=(2, 5)), TIMES, 1) if masked else None
    found = rnn(decaying, chosen(inputs(), TIMES, 1), [zeros()], mask=mask, **options)
    own_mask = MASK[:, TIMES] if masked else None
    x = normal(6, 10, 3)[:, TIMES]
    assert_equal(found, rnn(decaying, x, [np.zeros((6, 3))], mask=own_mask, **options))


def test_what_needs_a_known_number_of_timesteps_says_so():
    x = chosen(inputs(), TIMES, 1)
    for options, text in [
        ({"input_length": [1, 2, 3, 4, 4, 4]}, "unknown number of timesteps"),
        ({"input_length": da.ones(6, dtype="int64")}, "unknown number of timesteps"),
        ({"mask": MASK[:, TIMES]}, "`mask` has chunks of unknown lengths"),
        ({"unroll": True}, "needs a fixed one"),
    ]:
        with pytest.raises(ValueError, match=text):
            rnn(decaying, x, [zeros()], **options)


def test_features_have_to_be_known():
    x = chosen(inputs((2, 5, 3)), np.asarray([True, False, True]), axis=2)
    with pytest.raises(ValueError, match="`inputs` has chunks of unknown lengths"):
        rnn(decaying, x, [zeros()])


def test_an_empty_chunk_of_timesteps_changes_nothing():
    x = normal(6, 10, 3)
    lazy = da.from_array(x, chunks=(6, (5, 0, 5), 3))
    _, outputs, _ = found = rnn(decaying, lazy, [zeros()])
    assert_equal(found, rnn(decaying, x, [np.zeros((6, 3))]))
    assert outputs.chunks[1] == (5, 0, 5)


# ---------------------------------------------------------------------------------- scan


def both(carry, x):
    carry = {"sum": carry["sum"] + x["v"], "last": x["v"]}
    return carry, (carry["sum"], None, x["m"] * carry["sum"])


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize("unroll", [False, True, 4], ids=["blocks", "unrolled", "factor"])
def test_scan_gives_what_it_gives_on_numpy(reverse, unroll):
    xs = {"v": normal(7), "m": normal(7, 2, 3)}
    lazy = {"v": da.from_array(xs["v"], chunks=3), "m": da.from_array(xs["m"], chunks=(2, 1, 3))}
    init = {"sum": 0.0, "last": 0.0}
    found = scan(both, init, lazy, reverse=reverse, unroll=unroll)
    expected = scan(both, init, xs, reverse=reverse)
    assert_equal(found, expected)


def test_scan_keeps_the_chunks_of_the_first_array():
    xs = (da.ones((7, 4), chunks=(3, 2)), da.ones(7, chunks=2))
    _, ys = scan(lambda c, x: (c + x[1], x[0]), 0.0, xs, reverse=True)
    assert ys.chunks == ((3, 3, 1), (4,))


def test_scan_without_inputs_over_a_lazy_carry():
    def next_pair(pair, _):
        return (pair[1], pair[0] + pair[1]), pair[0]

    pair, numbers = scan(next_pair, (da.asarray(0), 1), None, length=8)
    assert computed(numbers).tolist() == [0, 1, 1, 2, 3, 5, 8, 13]
    assert [int(n) for n in computed(pair)] == [21, 34]


def test_scan_without_outputs():
    carry, ys = scan(lambda c, x: (c + x, None), 0, da.arange(10, chunks=4))
    assert ys is None
    assert computed(carry) == 45


def test_scan_over_an_unknown_number_of_steps():
    xs = da.arange(10, chunks=4)
    _, ys = scan(lambda c, x: (c + x, c), 0, xs[xs > 4], reverse=True)
    assert computed(ys).tolist() == [30, 24, 17, 9, 0]


# ---------------------------------------------------------------------------------- processes


STATUS = Path("/proc/self/status")


def peak_memory():
    """Return the most memory that this process ever held, in bytes."""
    # Not `ru_maxrss`, which a process takes over from the one that started it.
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize("nest", [1.0, [1.0, 2.0], {"h": 1.0}], ids=["leaf", "list", "dict"])
def test_a_graph_travels_to_another_process(nest):
    cloudpickle = pytest.importorskip("cloudpickle", reason="Dask packs its graphs with it")
    x = da.ones((2, 4, 1), chunks=(1, 2, 1))

    def step(x_t, states):  # travels by value
        (h,) = states
        h = optree.tree_map(lambda leaf: leaf + x_t, h)
        return h, (h,)

    state = optree.tree_map(lambda leaf: da.full((2, 1), leaf), nest)
    _, outputs, _ = rnn(step, x, [state], constants=[])
    leaves = optree.tree_leaves(cloudpickle.loads(cloudpickle.dumps(outputs)))
    for leaf, first in zip(leaves, optree.tree_leaves(nest), strict=True):
        expected = np.broadcast_to(first + np.arange(1.0, 5.0)[:, None], (2, 4, 1))
        assert np.array_equal(leaf.compute(scheduler="synchronous"), expected)


@pytest.mark.skipif(not STATUS.exists(), reason="the kernel of Linux knows the peak of memory")
def test_two_processes_run_more_than_they_could_hold(tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask runs on processes with it")
    limit = 400 * 2**20
    weights = np.full((128, 8), 0.01)
    x = da.random.default_rng(0).random((512, 2560, 128), chunks=(128, 80, 128))
    assert x.nbytes > 3 * limit

    def step(x_t, states):  # travels by value, and its weights with it
        h = np.tanh(x_t @ weights + states[0])
        return h, [h]

    with (
        dask.config.set(scheduler=None),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=limit,
            dashboard_address=":0",  # else a fixed port, which may be taken
            silence_logs=logging.CRITICAL,  # heartbeats that come when all is over
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for samplewise in (True, False):
            h = da.zeros((512, 8), chunks=128)
            _, outputs, _ = rnn(step, x, [h], samplewise=samplewise)
            total = outputs.sum(axis=(0, 2)).compute()
            assert total.shape == (2560,)
        peaks = client.run(peak_memory).values()
    print("peak memory of the workers, MiB:", [peak // 2**20 for peak in peaks])
    assert len(peaks) == 2
    assert max(peaks) < limit
