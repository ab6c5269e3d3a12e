"""`reverse_sequence` reverses the timesteps of each sample and leaves its padding where it is."""

import re
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrayrnn
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.drawn_calls import EXAMPLES
from support.oracle import draw
from support.running import reverse_sequence, rnn

LENGTHS = [3, 0, 5, 1]
KEEP = np.arange(5) < np.array(LENGTHS)[:, None]
# Padding on the left, holes, nothing kept, everything kept.
MASK = np.array([[0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
orders = pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])


class Pair(NamedTuple):
    one: Any
    other: Any


def by_hand(x, keep):
    """Reverse one sample after the other."""
    x = x.copy()
    for sample, kept in zip(x, keep, strict=True):
        sample[kept] = sample[kept][::-1]
    return x


def swapped(array, time_major):
    return np.swapaxes(array, 0, 1) if time_major else array


def check(backend, x, keep, *, time_major=False, **options):
    """Compare with what is reversed by hand: values, dtypes, shapes, containers."""
    expected = optree.tree_map(lambda leaf: swapped(by_hand(leaf, keep), time_major), x)
    given = backend.arrays(optree.tree_map(lambda leaf: swapped(leaf, time_major), x))
    found = reverse_sequence(given, time_major=time_major, **options)
    assert_same(backend, found, expected, exact=True)


# ---------------------------------------------------------------------------------- results


@orders
@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)], ids=str)
def test_the_first_timesteps_of_each_sample_are_reversed(backend, features, time_major):
    x, lengths = draw(backend, 4, 5, *features), backend.array(LENGTHS)
    check(backend, x, KEEP, input_length=lengths, time_major=time_major)


@orders
@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)], ids=str)
def test_unmasked_timesteps_are_reversed_wherever_they_are(backend, features, time_major):
    x, mask = draw(backend, 4, 5, *features), backend.array(swapped(MASK, time_major))
    check(backend, x, MASK, mask=mask, time_major=time_major)


@orders
def test_all_timesteps_are_reversed_without_lengths_and_a_mask(backend, time_major):
    check(backend, draw(backend, 4, 5, 2), np.ones_like(MASK), time_major=time_major)


@orders
@pytest.mark.parametrize("length", [1, 3, 5, np.int8(4)], ids=str)
def test_an_integer_is_the_length_of_every_sample(backend, length, time_major):
    keep = np.broadcast_to(np.arange(5) < length, (4, 5))
    check(backend, draw(backend, 4, 5, 2), keep, input_length=length, time_major=time_major)


@orders
def test_an_integer_counts_beside_a_mask(backend, time_major):
    keep, mask = MASK & (np.arange(5) < 4), backend.array(swapped(MASK, time_major))
    x = draw(backend, 4, 5, 2)
    check(backend, x, keep, input_length=4, mask=mask, time_major=time_major)


def test_a_mask_wins_over_lengths(backend):
    x, mask, lengths = draw(backend, 4, 5, 2), backend.array(MASK), backend.array(LENGTHS)
    check(backend, x, MASK, mask=mask, input_length=lengths)


@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "numpy"])
def test_lengths_and_masks_may_come_from_the_host(backend, form):
    x = draw(backend, 4, 5, 2)
    check(backend, x, KEEP, input_length=form(LENGTHS))
    check(backend, x, MASK, mask=form(MASK.tolist()))


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "float32"])
def test_a_mask_may_be_of_any_real_dtype_with_a_last_axis(backend, dtype):
    mask = backend.arrays((2 * MASK[..., None]).astype(dtype))
    check(backend, draw(backend, 4, 5, 2), MASK, mask=mask)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
def test_dtypes_are_kept(backend, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    x = (draw(backend, 4, 5, 2) > 0).astype(dtype)
    check(backend, x, KEEP, input_length=LENGTHS)
    check(backend, x, MASK, mask=MASK)


@pytest.mark.needs(Ability.COMPLEX)
def test_complex_numbers_are_reversed(backend):
    x = (draw(backend, 4, 5, 2) * (1 + 2j)).astype("complex64")
    check(backend, x, MASK, mask=MASK)


@orders
@pytest.mark.parametrize("how", ["lengths", "mask", "length", "all"])
def test_nests_keep_their_containers(backend, how, time_major):
    options, keep = {
        "lengths": ({"input_length": LENGTHS}, KEEP),
        "mask": ({"mask": swapped(MASK, time_major)}, MASK),
        "length": ({"input_length": 2}, np.broadcast_to(np.arange(5) < 2, (4, 5))),
        "all": ({}, np.ones_like(MASK)),
    }[how]
    x = {"a": Pair(draw(backend, 4, 5), [draw(backend, 4, 5, 2)]), "b": (draw(backend, 4, 5, 1),)}
    check(backend, x, keep, time_major=time_major, **options)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2), (1, 1, 1), (2, 1)], ids=str)
def test_there_may_be_nothing_to_reverse(backend, shape):
    x, keep = draw(backend, *shape), np.ones(shape[:2], bool)
    check(backend, x, keep)
    check(backend, x, keep, mask=backend.array(keep))
    check(backend, x, keep, input_length=backend.array(keep.sum(axis=1)))


def test_more_timesteps_than_small_integers_can_count(backend):
    x, lengths = draw(backend, 2, 300), np.array([255, 1], np.uint8)
    check(backend, x, np.arange(300) < lengths.astype(int)[:, None], input_length=lengths)
    mask = np.random.default_rng(0).integers(0, 2, (2, 300)).astype(bool)
    check(backend, x, mask, mask=mask.astype(np.int8))


def test_read_only_and_reversed_memory_will_do(backend):
    mask = MASK[:, ::-1]
    mask.flags.writeable = False
    check(backend, draw(backend, 4, 5, 2), mask, mask=mask)


def test_no_argument_is_written_to(backend):
    x, mask, lengths = draw(backend, 4, 5, 2), MASK.copy(), np.array(LENGTHS, "int32")
    arrays = backend.arrays((x, mask, lengths))
    reverse_sequence(arrays[0], mask=arrays[1])
    reverse_sequence(arrays[0], arrays[2])
    assert_same(backend, arrays, (x, mask, lengths), exact=True)


# ---------------------------------------------------------------------------------- properties


@st.composite
def cases(draw):
    samples, time = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rows = st.lists(st.booleans(), min_size=time, max_size=time)
    mask = np.array(draw(st.lists(rows, min_size=samples, max_size=samples)))
    if draw(st.booleans()):
        lengths = mask.sum(axis=1)
        return {"input_length": lengths}, np.arange(time) < lengths[:, None]
    if draw(st.booleans()):
        length = draw(st.integers(1, time))
        return {"input_length": length, "mask": mask}, mask & (np.arange(time) < length)
    return {"mask": mask}, mask


def property_of_cases(check):
    """Turn ``check(backend, options, keep)`` into a test over drawn cases."""

    def test(backend: Backend) -> None:
        default = 30 if backend.library == "strict" else 200

        @settings(max_examples=EXAMPLES.get(str(backend), default))
        @given(cases())
        def holds(case: Any) -> None:
            check(backend, *case)

        holds()

    return test


@property_of_cases
def test_it_is_what_is_reversed_by_hand(backend, options, keep):
    check(backend, draw(backend, *keep.shape, 1), keep, **options)


@property_of_cases
def test_twice_is_not_at_all(backend, options, keep):
    x = draw(backend, *keep.shape, 1)
    twice = reverse_sequence(reverse_sequence(backend.arrays(x), **options), **options)
    assert_same(backend, twice, x, exact=True)


@property_of_cases
def test_going_backwards_is_going_forwards_over_what_is_reversed(backend, options, keep):
    """A masked timestep changes nothing; so the states agree, and outputs at what is unmasked."""

    def step(x_t, states):
        level = 0.5 * states[0] + x_t
        return level, [level]

    x, states = draw(backend, *keep.shape, 1), [draw(backend, keep.shape[0], 1)]
    x, states = backend.arrays((x, states))
    _, backwards, ends = rnn(step, x, states, go_backwards=True, **options)
    _, forwards, same = rnn(step, reverse_sequence(x, **options), states, **options)
    assert_same(backend, same, optree.tree_map(backend.numpy, ends), exact=True)
    backwards, forwards = backend.numpy(backwards), backend.numpy(forwards)
    keep = keep[:, : backwards.shape[1]]
    for s, kept in enumerate(keep):
        np.testing.assert_array_equal(backwards[s, ::-1][kept], forwards[s, kept][::-1])


# ---------------------------------------------------------------------------------- errors


def zeros(*shape):
    return np.zeros(shape or (4, 5, 2))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "`x` is None; expected an array.", lambda f: f(None)),
        (
            TypeError,
            (
                "`x[0]` is of type int; expected an array. Make one of numbers and nested lists "
                "first, by `asarray`."
            ),
            lambda f: f([1, 2]),
        ),
        (ValueError, "`x` is an empty nest; expected at least one array.", lambda f: f([])),
        (
            ValueError,
            (
                "`x` is an array of shape (4,) and dtype float64; expected (samples, time, ...), "
                "at least 2 dimensions."
            ),
            lambda f: f(zeros(4)),
        ),
        (
            ValueError,
            (
                "`x['b']` is an array of shape (4, 6) and dtype float64, `x['a']` is an array of "
                "shape (4, 5, 2) and dtype float64; expected the same samples and time, (samples, "
                "time, ...), in every array of `x`."
            ),
            lambda f: f({"a": zeros(), "b": zeros(4, 6)}),
        ),
        (
            ValueError,
            (
                "`mask` is an array of shape (5, 4) and dtype bool; expected (samples, time) = (4, "
                "5), or (4, 5, 1)."
            ),
            lambda f: f(zeros(), mask=MASK.T),
        ),
        (
            ValueError,
            (
                "`input_length` is an array of shape (3,) and dtype int64; expected one length for "
                "each sample, shape (4,)."
            ),
            lambda f: f(zeros(), [1, 2, 3]),
        ),
        (
            ValueError,
            "`input_length[1]` is 6; expected 0 <= length <= 5, the timesteps of `x`.",
            lambda f: f(zeros(), [1, 6, 3, 4]),
        ),
        (
            ValueError,
            "`input_length` is 6; expected 1 <= input_length <= 5, the timesteps of `x`.",
            lambda f: f(zeros(), 6),
        ),
        (
            TypeError,
            (
                "`input_length` is of type bool; expected an integer whose value is known, or one "
                "integer for each sample."
            ),
            lambda f: f(zeros(), True),
        ),
        (
            TypeError,
            (
                "`input_length` is an array of shape (4,) and dtype float64; expected an integer "
                "dtype."
            ),
            lambda f: f(zeros(), [1.0, 2.0, 3.0, 4.0]),
        ),
    ],
)
def test_errors_say_what_came_and_what_was_expected(error, message, call):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(arrayrnn.reverse_sequence)


def test_a_mask_of_another_library_is_refused(backend, xp):
    if backend.library == "strict":
        pytest.skip("this test needs a library beside it")
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="`mask` is an array of array_api_strict, `x` of "):
        arrayrnn.reverse_sequence(backend.arrays(zeros()), mask=strict.asarray(MASK))


# ---------------------------------------------------------------------------------- each library


def only(backend, library):
    if backend.value != library:
        pytest.skip(f"this test is about {library}")
    return backend.module


@pytest.mark.parametrize("options", [{"mask": MASK}, {"input_length": LENGTHS}], ids=str)
def test_gradients_flow_on_pytorch(backend, options):
    torch = only(backend, "torch:cpu")
    x = torch.tensor(draw(backend, 4, 5, 2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: arrayrnn.reverse_sequence(x, **options), x)


@pytest.mark.parametrize("how", ["mask", "input_length"])
def test_vmap_maps_what_is_reversed_on_pytorch(backend, how):
    torch = only(backend, "torch:cpu")
    x = torch.tensor(draw(backend, 3, 4, 5, 2))
    option = {"mask": torch.tensor(MASK), "input_length": torch.tensor(LENGTHS)}[how]
    keep = MASK if how == "mask" else KEEP
    every = torch.stack([option] * 3)
    found = torch.vmap(lambda x, o: arrayrnn.reverse_sequence(x, **{how: o}))(x, every)
    expected = np.stack([by_hand(part.numpy(), keep) for part in x])
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")
@pytest.mark.parametrize("how", ["mask", "input_length"])
def test_torch_compile_makes_one_graph_of_it(backend, how):
    torch = only(backend, "torch:cpu")
    option = torch.tensor({"mask": MASK, "input_length": LENGTHS}[how])
    x = torch.tensor(draw(backend, 4, 5, 2))

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x, option):
        return arrayrnn.reverse_sequence({"a": x}, **{how: option})["a"]

    expected = by_hand(x.numpy(), MASK if how == "mask" else KEEP)
    np.testing.assert_array_equal(compiled(x, option).numpy(), expected)


def test_tensors_without_values_have_their_shape(backend):
    torch = only(backend, "torch:cpu")
    x = torch.empty(4, 5, 2, device="meta")
    lengths = torch.empty(4, dtype=torch.int64, device="meta")
    assert arrayrnn.reverse_sequence(x, lengths).shape == (4, 5, 2)


@pytest.mark.parametrize("how", ["mask", "input_length"])
def test_vmap_and_grad_of_jax_go_through(backend, how):
    jax = only(backend, "jax")
    option = jax.numpy.asarray({"mask": MASK, "input_length": LENGTHS}[how])
    x = jax.numpy.asarray(draw(backend, 3, 4, 5, 2))

    def turned(x, option):
        return arrayrnn.reverse_sequence(x, **{how: option})

    keep = MASK if how == "mask" else KEEP
    found = jax.vmap(turned, in_axes=(0, None))(x, option)
    np.testing.assert_array_equal(found, np.stack([by_hand(np.asarray(part), keep) for part in x]))
    weights = jax.numpy.arange(40.0).reshape(4, 5, 2)
    slope = jax.grad(lambda x: (weights * turned(x, option)).sum())(x[0])
    np.testing.assert_array_equal(slope, by_hand(np.asarray(weights), keep))


def test_it_is_lazy_on_dask_and_keeps_chunks(backend):
    da = only(backend, "dask")
    import dask

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed while the graph was built")

    x = draw(backend, 4, 5, 6)
    lazy = da.from_array(x, chunks=((3, 1), (2, 2, 1), 3))
    with dask.config.set(scheduler=refuse):
        mask = da.from_array(MASK, chunks=(2, 3))
        masked = arrayrnn.reverse_sequence(lazy, mask=mask)
        cut = arrayrnn.reverse_sequence(lazy, da.from_array(np.array(LENGTHS), chunks=1))
    assert masked.chunks == cut.chunks == lazy.chunks
    np.testing.assert_array_equal(masked.compute(), by_hand(x, MASK))
    np.testing.assert_array_equal(cut.compute(), by_hand(x, KEEP))


@pytest.mark.parametrize("axis", [0, 1], ids=["samples", "time"])
@pytest.mark.parametrize("how", ["mask", "input_length"])
def test_chunks_of_unknown_lengths_are_refused_on_dask(backend, axis, how):
    da = only(backend, "dask")
    x = da.from_array(draw(backend, 4, 5, 2), chunks=2)
    flags = da.ones(x.shape[axis], chunks=2) > 0
    unknown = x[flags] if axis == 0 else x[:, flags]
    with pytest.raises(ValueError, match=r"`compute_chunk_sizes\(\)`"):
        arrayrnn.reverse_sequence(unknown, **{how: {"mask": MASK, "input_length": LENGTHS}[how]})


def test_without_values_lengths_are_clamped(backend):
    if backend not in (Backend.JAX_JIT, Backend.DASK, Backend.ONNX):
        pytest.skip(f"{backend} reads them")
    x = draw(backend, 4, 5, 2)
    keep = np.arange(5) < np.array([9, 0, 2, 0])[:, None]
    check(backend, x, keep, input_length=backend.array([9, -3, 2, 0]))
