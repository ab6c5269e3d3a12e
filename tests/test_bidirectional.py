"""`bidirectional` runs both directions over the same inputs and merges what they show."""

from functools import partial
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrayrnn
from arrayrnn import compiled
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.drawn_calls import EXAMPLES
from support.oracle import draw, halving, recurrence
from support.running import bidirectional

MERGES = {
    "concat": lambda one, other: np.concatenate([one, other], axis=-1),
    "sum": np.add,
    "mul": np.multiply,
    "ave": lambda one, other: (one + other) / 2,
    None: lambda one, other: (one, other),
}
MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "left": [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]],
    "a sample": [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]],
    "both ends": [[0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0]],
}
MASKS = {name: np.array(mask, bool) for name, mask in MASKS.items()}
MASK = MASKS["holes"]
LENGTHS = [3, 0, 5]
KEEP = np.arange(5) < np.array(LENGTHS)[:, None]
merges = pytest.mark.parametrize("merge", MERGES, ids=str)
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


class Cell(NamedTuple):
    level: Any
    steps: Any


def doubling(x_t, states):
    """Compute a step that is not `halving`, with its own order of what it is given."""
    (level,) = states
    level = 0.25 * level - x_t
    return 2.0 * level + 0.5, [level]


def by_hand(x, states, keep, merge, *, zero_output=False, initial_output=(None, None)):
    """Run each direction one sample after the other, turn the second one, and merge."""
    one = recurrence(
        halving, x, [states[0]], keep, zero_output=zero_output, initial_output=initial_output[0]
    )
    other = recurrence(
        doubling,
        x,
        [states[1]],
        keep,
        go_backwards=True,
        zero_output=zero_output,
        initial_output=initial_output[1],
    )
    merged = MERGES[merge]
    return merged(one[0], other[0]), merged(one[1], other[1][:, ::-1]), (one[2], other[2])


def check(backend, x, keep, merge="concat", expected_keep=None, **options):
    """Compare with what is run by hand; `keep` is what it comes to, if it is not the mask."""
    samples, time = x.shape[:2]
    states = draw(backend, 2, samples, *x.shape[2:])
    model = {
        "zero_output": options.get("zero_output_for_mask", False),
        "initial_output": options.get("initial_output") or (None, None),
    }
    keep = np.ones((samples, time), bool) if keep is None else keep
    length = options.get("input_length")
    cut = length if isinstance(length, int) else time
    last, outputs, ends = by_hand(x[:, :cut], states, keep[:, :cut], merge, **model)
    if not options.get("return_all_outputs", True):
        outputs = optree.tree_map(lambda leaf: leaf[:, None], last)
    if options.get("time_major"):
        x = np.swapaxes(x, 0, 1)
        outputs = optree.tree_map(lambda leaf: np.swapaxes(leaf, 0, 1), outputs)
    if "initial_output" in options:
        options["initial_output"] = backend.arrays(options["initial_output"])
    found = bidirectional(
        halving,
        doubling,
        backend.arrays(x),
        [backend.array(states[0])],
        [backend.array(states[1])],
        merge=merge,
        **options,
    )
    assert_same(backend, found, (last, outputs, ends))


# ---------------------------------------------------------------------------------- results


@merges
def test_both_directions_are_merged_at_each_timestep(backend, merge):
    check(backend, draw(backend, 3, 5, 2), None, merge)


@merges
@masks
def test_a_masked_timestep_keeps_its_place_in_both_directions(backend, mask, merge):
    check(backend, draw(backend, 3, 5, 2), mask, merge, mask=backend.array(mask))


@masks
def test_zeros_are_shown_where_that_is_asked_for(backend, mask):
    x, option = draw(backend, 3, 5, 2), backend.array(mask)
    check(backend, x, mask, mask=option, zero_output_for_mask=True)


def test_the_backward_direction_begins_at_the_last_timestep_of_each_sample(backend):
    x = draw(backend, 3, 5, 2)
    check(backend, x, KEEP, input_length=backend.array(LENGTHS))
    check(backend, x, KEEP, input_length=LENGTHS)


@pytest.mark.parametrize("unroll", [False, True, 2])
def test_an_integer_length_ends_both_directions(backend, unroll):
    x = draw(backend, 3, 5, 2)
    check(backend, x, None, input_length=3, unroll=unroll)
    check(backend, x, MASK, input_length=3, mask=backend.array(MASK), unroll=unroll)


@merges
def test_time_may_come_first(backend, merge):
    mask = backend.array(MASK.T)
    check(backend, draw(backend, 3, 5, 2), MASK, merge, mask=mask, time_major=True)


@merges
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
def test_the_last_outputs_alone_may_be_kept(backend, mask, merge, time_major):
    options = {"return_all_outputs": False, "time_major": time_major}
    if mask is not None:
        options["mask"] = backend.array(mask.T if time_major else mask)
    check(backend, draw(backend, 3, 5, 2), mask, merge, **options)


@pytest.mark.parametrize(
    "options", [{"unroll": True}, {"unroll": 2}, {"samplewise": True}, {"checkpoint": 2}], ids=str
)
def test_how_it_runs_changes_nothing(backend, options):
    mask = backend.array(MASK)
    check(backend, draw(backend, 3, 5, 2), MASK, mask=mask, **options)


@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)], ids=str)
def test_each_direction_has_an_initial_output_of_its_own(backend, given):
    before = draw(backend, 2, 3, 2)
    pair = tuple(b if is_given else None for b, is_given in zip(before, given, strict=True))
    x, mask = draw(backend, 3, 5, 2), MASKS["both ends"]
    check(backend, x, mask, mask=backend.array(mask), initial_output=pair)


def test_nothing_may_be_unmasked(backend):
    x, keep = draw(backend, 2, 3, 2), np.zeros((2, 3), bool)
    start = draw(backend, 2, 2)
    zeros = np.zeros((2, 3, 4), start.dtype)
    h = backend.array(start)
    found = bidirectional(halving, doubling, backend.array(x), h, h, mask=backend.array(keep))
    assert_same(backend, found, (zeros[:, 0], zeros, ([start], [start])))


def test_padding_never_reaches_a_step(backend):
    x, mask = draw(backend, 3, 5, 2), MASKS["both ends"]
    padded = np.where(mask[..., None], x, np.nan)
    states = draw(backend, 2, 3, 2)
    one, other = map(backend.array, states)
    options = {"mask": backend.array(mask), "samplewise": True}
    found = bidirectional(halving, doubling, backend.array(padded), one, other, **options)
    assert_same(backend, found, by_hand(x, states, mask, "concat"))


# ---------------------------------------------------------------------------------- nests, dtypes


def counting(x_t, states):
    (cell,) = states
    level = 0.5 * cell.level + x_t["a"] * x_t["b"][0]
    return {"level": level, "seen": (cell.steps,)}, [Cell(level, cell.steps + 1)]


@pytest.mark.parametrize("merge", ["concat", "sum", "mul"])
def test_nests_are_merged_leaf_by_leaf_and_keep_their_containers(backend, merge):
    x = {"a": draw(backend, 3, 5, 2), "b": [draw(backend, 3, 5, 1)]}
    zeros, keep = np.zeros((3, 2), backend.float), MASK
    cell = Cell(zeros, np.zeros((3, 1), backend.int))

    def counted_by_hand(order):
        level, count, levels, counts = zeros, cell.steps, np.zeros((3, 5, 2)), np.zeros((3, 5, 1))
        shown = np.zeros((3, 2)), np.zeros((3, 1))
        for t in order:
            k = keep[:, t, None]
            new = 0.5 * level + x["a"][:, t] * x["b"][0][:, t]
            shown = np.where(k, new, shown[0]), np.where(k, count, shown[1])
            level, count = np.where(k, new, level), np.where(k, count + 1, count)
            levels[:, t], counts[:, t] = shown
        outputs = levels.astype(backend.float), counts.astype(backend.int)
        end = Cell(level.astype(backend.float), count.astype(backend.int))
        return [out[:, t] for out in outputs], outputs, [end]

    one, other = counted_by_hand(range(5)), counted_by_hand(range(4, -1, -1))
    last, outputs = (
        {"level": MERGES[merge](a[0], b[0]), "seen": (MERGES[merge](a[1], b[1]),)}
        for a, b in ((one[0], other[0]), (one[1], other[1]))
    )
    states = [backend.arrays(cell)]
    found = bidirectional(
        counting, counting, backend.arrays(x), states, states, merge=merge, mask=backend.array(keep)
    )
    assert_same(backend, found, (last, outputs, (one[2], other[2])))


def test_the_directions_need_not_be_alike(backend):
    def wider(x_t, states):
        level, count = states
        both = array_api_compat.array_namespace(x_t).concat([x_t, level, level], axis=1)
        return both, (level + 1.0, count + 1)

    x, h = draw(backend, 2, 3, 2), np.zeros((2, 2), backend.float)
    count = np.zeros((2,), backend.int)
    wide = np.stack([np.concatenate([x[:, t], h + 2 - t, h + 2 - t], axis=1) for t in range(3)], 1)
    last, narrow, end = recurrence(halving, x, [h])
    array = backend.arrays(x), [backend.array(h)], backend.arrays((h, count))
    ends = end, [h + 3, count + 3]
    found = bidirectional(halving, wider, *array)
    expected = np.concatenate([last, wide[:, 0]], axis=-1), np.concatenate([narrow, wide], axis=-1)
    assert_same(backend, found, (*expected, ends))
    found = bidirectional(halving, wider, *array, merge=None)
    assert_same(backend, found, ((last, wide[:, 0]), (narrow, wide), ends))


@pytest.mark.parametrize("features", [(2,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("merge", ["concat", "ave"])
def test_features_may_have_any_axes(backend, features, merge):
    check(backend, draw(backend, 3, 5, *features), MASK, merge, mask=backend.array(MASK))


@pytest.mark.parametrize("merge", ["sum", "mul", "ave", None], ids=str)
def test_outputs_may_have_no_features_unless_they_are_joined(backend, merge):
    def step(x_t, states):
        return x_t[:, 0], [states[0] + x_t]

    x, h = draw(backend, 2, 3, 1), np.zeros((2, 1), backend.float)
    array, start = backend.array(x), backend.array(h)
    found = bidirectional(step, step, array, start, start, merge=merge)
    merged = MERGES[merge]
    lasts, outputs, end = (x[:, -1, 0], x[:, 0, 0]), x[..., 0], [h + x.sum(axis=1)]
    assert_same(backend, found, (merged(*lasts), merged(outputs, outputs), (end, end)))


@pytest.mark.parametrize(
    ("merge", "dtype"),
    [
        *((merge, dtype) for merge in ("concat", "sum", "mul") for dtype in ("int16", "float32")),
        *((merge, "bool") for merge in ("concat", None)),
        *(("ave", dtype) for dtype in ("float16", "bfloat16", "float32")),
    ],
    ids=str,
)
def test_dtypes_are_kept(backend, merge, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")

    def step(x_t, states):
        return x_t, states

    x = np.arange(12).reshape(2, 3, 2) % 2
    array = backend.array(x, dtype)
    h = array[:, 0, :]
    last, outputs, states = bidirectional(step, step, array, h, h, merge=merge)
    leaves = optree.tree_leaves((last, outputs, states))
    assert {backend.name_of(leaf.dtype) for leaf in leaves} == {dtype}
    both = optree.tree_map(lambda leaf: backend.numpy(leaf).astype(float), outputs)
    np.testing.assert_array_equal(both, MERGES[merge](x, x))


@pytest.mark.needs(Ability.COMPLEX)
def test_complex_numbers_are_averaged(backend):
    def step(x_t, states):
        return x_t + states[0], states

    x = (draw(backend, 2, 3, 1) * (1 + 2j)).astype("complex64")
    h = np.ones((2, 1), "complex64")
    array, one, other = backend.arrays((x, h, 3 * h))
    _, outputs, _ = bidirectional(step, step, array, one, other, merge="ave")
    assert_same(backend, outputs, x + np.complex64(2))


# ---------------------------------------------------------------------------------- arguments


def test_both_steps_get_the_constants(backend):
    def step(x_t, states):
        level, weight, options = states
        level = options["sign"] * weight * level + x_t
        return level, [level]

    def with_constants(x_t, states, weight):
        return step(x_t, (*states, weight, {"sign": -1}))

    x, h = draw(backend, 2, 3, 2), np.ones((2, 2), backend.float)
    weight = np.asarray(2, backend.float)
    by_step = partial(with_constants, weight=weight)
    one = recurrence(by_step, x, [h])
    other = recurrence(by_step, x, [h], go_backwards=True)
    array, start, own = backend.arrays((x, h, weight))
    constants = [own, {"sign": -1}]
    last, outputs, states = bidirectional(
        step, step, array, start, start, merge="sum", constants=constants
    )
    expected = one[0] + other[0], one[1] + other[1][:, ::-1], (one[2], other[2])
    assert_same(backend, (last, outputs, states), expected)


@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "numpy"])
def test_lengths_and_masks_may_come_from_the_host(backend, form):
    x = draw(backend, 3, 5, 2)
    check(backend, x, KEEP, input_length=form(LENGTHS))
    check(backend, x, MASK, mask=form(MASK.tolist()))


def test_no_argument_is_written_to(backend):
    x, h, mask = draw(backend, 3, 5, 2), draw(backend, 3, 2), MASK.copy()
    arrays = array, state, own = backend.arrays((x, h, mask))
    bidirectional(halving, doubling, array, [state], [state], mask=own, initial_output=(state,) * 2)
    assert_same(backend, arrays, (x, h, mask), exact=True)


@pytest.mark.needs(Ability.CALLS)
def test_steps_are_called_where_something_is_unmasked_forwards_then_backwards(backend):
    calls = []

    def named(name, step):
        def recorded(x_t, states):
            calls.append((name, float(backend.numpy(x_t).max())))
            return step(x_t, states)

        return recorded

    x = backend.array(np.arange(5.0)[None, :, None])
    h = backend.array([[0.0]])
    forward, backward = named("forward", halving), named("backward", doubling)
    bidirectional(forward, backward, x, h, h, mask=[[1, 1, 0, 1, 0]])
    order = [("forward", t) for t in (0, 1, 3)] + [("backward", t) for t in (3, 1, 0)]
    assert calls == order


@pytest.mark.needs(Ability.PROGRESS)
def test_each_direction_reports_its_own_progress(backend):
    reports = []
    x, h = backend.array(draw(backend, 2, 3, 1)), backend.array([[0.0]] * 2)
    bidirectional(halving, doubling, x, h, h, progress=lambda *done: reports.append(done))
    assert reports == [(1, 3), (2, 3), (3, 3)] * 2


def test_nothing_of_it_is_compiled():
    assert not hasattr(compiled, "bidirectional")


# ---------------------------------------------------------------------------------- properties


@st.composite
def cases(draw):
    samples, time = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    rows = st.lists(st.booleans(), min_size=time, max_size=time)
    mask = np.array(draw(st.lists(rows, min_size=samples, max_size=samples)))
    mask[draw(st.integers(0, samples - 1)), draw(st.integers(0, time - 1))] = True
    options = {
        "merge": draw(st.sampled_from([*MERGES])),
        "zero_output_for_mask": draw(st.booleans()),
        "return_all_outputs": draw(st.booleans()),
        "time_major": draw(st.booleans()),
    }
    return mask, options


def test_it_is_what_is_run_by_hand(backend):
    default = 20 if backend.library == "strict" else 100

    @settings(max_examples=EXAMPLES.get(str(backend), default))
    @given(cases())
    def holds(case):
        mask, options = case
        own = backend.array(mask.T if options["time_major"] else mask)
        check(backend, draw(backend, *mask.shape, 1), mask, mask=own, **options)

    holds()


# ---------------------------------------------------------------------------------- each library


def only(backend, library):
    if backend.value != library:
        pytest.skip(f"this test is about {library}")
    return backend.module


def logs(weight, x_t, states):
    xp = array_api_compat.array_namespace(x_t)
    level = weight * xp.log(x_t) + 0.5 * states[0]
    return level, [level]


@pytest.mark.parametrize("mask", [MASKS["both ends"], MASKS["right"]], ids=["both ends", "right"])
def test_gradients_are_those_without_padding_on_pytorch(backend, mask):
    torch = only(backend, "torch:cpu")
    x = torch.where(torch.tensor(mask)[..., None], torch.rand(3, 5, 2, dtype=torch.float64), 0.0)
    x.requires_grad_()
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    h = torch.zeros(3, 2, dtype=torch.float64)
    step = partial(logs, weight)
    _, outputs, _ = arrayrnn.bidirectional(
        step,
        step,
        x,
        h,
        h,
        mask=torch.tensor(mask),
        zero_output_for_mask=True,
        samplewise=True,
    )
    found = torch.autograd.grad(outputs.sum(), [x, weight])
    total = 0.0
    for row, kept in zip(x, torch.tensor(mask), strict=True):
        for own in (row[kept], row[kept].flip(0)):
            level = torch.zeros(2, dtype=torch.float64)
            for x_t in own:
                level = weight * x_t.log() + 0.5 * level
                total = total + level.sum()
    expected = torch.autograd.grad(total, [x, weight])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.nan_to_num().numpy())


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")
@pytest.mark.parametrize("unroll", [False, True])
def test_torch_compile_takes_it(backend, unroll):
    torch = only(backend, "torch:cpu")
    x, h = torch.tensor(draw(backend, 3, 5, 2)), torch.tensor(draw(backend, 2, 3, 2))

    @torch.compile(backend="eager", fullgraph=unroll)
    def compiled(x, mask):
        _, outputs, _ = arrayrnn.bidirectional(
            halving, doubling, x, h[0], h[1], mask=mask, unroll=unroll
        )
        return outputs

    _, expected, _ = by_hand(x.numpy(), h.numpy(), MASK, "concat")
    np.testing.assert_array_equal(compiled(x, torch.tensor(MASK)).numpy(), expected)


def test_tensors_without_values_have_their_shape(backend):
    torch = only(backend, "torch:cpu")
    x, h = torch.empty(3, 5, 2, device="meta"), torch.empty(3, 2, device="meta")
    mask = torch.empty(3, 5, device="meta", dtype=torch.bool)
    last, outputs, _ = arrayrnn.bidirectional(halving, doubling, x, h, h, mask=mask)
    assert (last.shape, outputs.shape) == ((3, 4), (3, 5, 4))


def test_vmap_maps_it_on_pytorch(backend):
    torch = only(backend, "torch:cpu")
    x, h = draw(backend, 2, 3, 5, 2), draw(backend, 2, 3, 2)
    own = torch.tensor(h)

    def outputs(x, mask):
        return arrayrnn.bidirectional(halving, doubling, x, own[0], own[1], mask=mask)[1]

    found = torch.vmap(outputs)(torch.tensor(x), torch.tensor(np.stack([MASK] * 2)))
    expected = [by_hand(part, h, MASK, "concat")[1] for part in x]
    np.testing.assert_array_equal(found.numpy(), np.stack(expected))


def test_gradients_of_jax_ignore_padding(backend):
    jax = only(backend, "jax")
    mask = MASKS["both ends"]
    x = jax.numpy.where(mask[..., None], np.abs(draw(backend, 3, 5, 2)) + 1, 0.0)
    h = jax.numpy.zeros((3, 2))

    def total(weight, x):
        step = partial(logs, weight)
        options = {"mask": mask, "merge": "sum", "samplewise": True}
        _, outputs, _ = arrayrnn.bidirectional(step, step, x, h, h, **options)
        return outputs.sum()

    slopes = jax.jit(jax.grad(total, argnums=(0, 1)))(0.5, x)
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert (np.asarray(slopes[1])[~mask] == 0).all()


@pytest.mark.parametrize("merge", MERGES, ids=str)
def test_it_is_lazy_on_dask_and_keeps_chunks(backend, merge):
    da = only(backend, "dask")
    import dask

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed while the graph was built")

    x, h = draw(backend, 3, 5, 2), draw(backend, 2, 3, 2)
    lazy = da.from_array(x, chunks=((2, 1), (2, 2, 1), 2))
    own = da.from_array(h, chunks=2)
    with dask.config.set(scheduler=refuse):
        mask = da.from_array(MASK, chunks=(3, 2))
        _, outputs, _ = arrayrnn.bidirectional(
            halving, doubling, lazy, own[0], own[1], mask=mask, merge=merge, samplewise=True
        )
    _, expected, _ = by_hand(x, h, MASK, merge)
    for found, want in zip(*map(optree.tree_leaves, (outputs, expected)), strict=True):
        assert found.chunks[:2] == lazy.chunks[:2]
        np.testing.assert_array_equal(found.compute(), want)


@pytest.mark.parametrize("merge", MERGES, ids=str)
def test_chunks_of_samples_may_be_of_unknown_lengths_on_dask(backend, merge):
    da = only(backend, "dask")
    x, h = draw(backend, 3, 5, 2), draw(backend, 2, 3, 2)
    every = da.ones(3, chunks=2) > 0
    lazy = da.from_array(x, chunks=(2, 2, 2))[every]
    own = [da.from_array(part, chunks=2)[every] for part in h]
    found = arrayrnn.bidirectional(halving, doubling, lazy, *own, merge=merge, samplewise=True)
    expected = by_hand(x, h, None, merge)
    for one, other in zip(*map(optree.tree_leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(one.compute(), other)


def test_without_values_lengths_are_clamped(backend):
    if backend not in (Backend.JAX_JIT, Backend.DASK, Backend.ONNX):
        pytest.skip(f"{backend} reads them")
    keep = np.arange(5) < np.array([9, 0, 2])[:, None]
    check(backend, draw(backend, 3, 5, 2), keep, input_length=backend.array([9, -3, 2]))
