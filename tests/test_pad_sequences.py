"""`pad_sequences` lays sequences side by side, `unpad_sequences` takes them apart again."""

import functools
import re
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrayrnn
from support import running
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.drawn_calls import EXAMPLES
from support.oracle import draw, halving
from support.running import pad_sequences, rnn, unpad_sequences

LENGTHS = [3, 0, 5, 1]
orders = pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])


class Pair(NamedTuple):
    one: Any
    other: Any


def sequences_of(backend, lengths, *features, seed=0):
    return [draw(backend, n, *features) + seed for n in lengths]


def padded_by_hand(sequences, value=0, *, time_major=False):
    longest = max(len(sequence) for sequence in sequences)
    shape = (len(sequences), longest, *sequences[0].shape[1:])
    padded = np.full(shape, value, sequences[0].dtype)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return np.swapaxes(padded, 0, 1) if time_major else padded


def check(backend, sequences, **options):
    """Compare with what is padded by hand: values, dtypes, shapes, containers."""
    leaves, spec = zip(*map(optree.tree_flatten, sequences), strict=True)
    columns = [padded_by_hand(column, **options) for column in zip(*leaves, strict=True)]
    lengths = np.asarray([row[0].shape[0] for row in leaves], backend.int)
    found = pad_sequences(backend.arrays(sequences), **options)
    assert_same(backend, found, (optree.tree_unflatten(spec[0], columns), lengths), exact=True)


# ---------------------------------------------------------------------------------- padding


@orders
@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)], ids=str)
def test_sequences_are_padded_to_the_longest(backend, features, time_major):
    check(backend, sequences_of(backend, LENGTHS, *features), time_major=time_major)


@pytest.mark.parametrize("lengths", [[2], [2, 2], [0, 2], [0], [0, 0]], ids=str)
@pytest.mark.parametrize("form", [list, tuple])
def test_any_number_of_any_lengths(backend, lengths, form):
    check(backend, form(sequences_of(backend, lengths, 2)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("bool", True),
        ("bool", 0.0),
        ("int8", -128),
        ("uint8", 255),
        ("int32", 7.0),
        ("int32", np.int64(-1)),
        ("int64", 2**63 - 1),
        ("uint64", 2**64 - 1),
        ("float32", np.float64(0.1)),
        ("float32", True),
        ("float32", np.nan),
        ("float32", -np.inf),
        ("float64", 3),
    ],
    ids=str,
)
def test_the_padding_is_what_value_says(backend, dtype, value):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    check(backend, [s.astype(dtype) for s in sequences_of(backend, [1, 3], 2, seed=5)], value=value)


@pytest.mark.needs(Ability.COMPLEX)
@pytest.mark.parametrize("value", [0, 1 - 2j], ids=str)
def test_complex_numbers_are_padded(backend, value):
    check(backend, [s * (1 + 1j) for s in complex64(sequences_of(backend, [1, 3]))], value=value)


def complex64(arrays):
    return [array.astype("complex64") for array in arrays]


@orders
def test_nests_keep_their_containers_and_each_array_its_dtype(backend, time_major):
    def sequence(n):
        return {"a": Pair(draw(backend, n), [draw(backend, n, 2).astype("int32")]), "b": (mask(n),)}

    def mask(n):
        return np.arange(n) % 2 == 0

    check(backend, [*map(sequence, LENGTHS)], time_major=time_major, value=1)


def test_lists_and_tuples_are_interchangeable_in_nests(backend):
    one, other = sequences_of(backend, [1, 2], 2)
    found = pad_sequences(backend.arrays([[one], (other,)]))[0]
    assert_same(backend, found, [padded_by_hand([one, other])], exact=True)


def test_lengths_are_input_length(backend):
    sequences = sequences_of(backend, LENGTHS, 2)
    with running.known_shapes():
        inputs, lengths = pad_sequences(backend.arrays(sequences), value=np.nan)
        states = backend.arrays([np.zeros((4, 2), backend.float)])
        last, _, _ = rnn(halving, inputs, states, input_length=lengths)
    for row, sequence in zip(backend.numpy(last), sequences, strict=True):
        level = 0.0 * sequence[0] if len(sequence) else np.zeros(2)
        for x_t in sequence:
            level = 0.5 * level + x_t
        np.testing.assert_array_equal(row, 4 * level - 1 if len(sequence) else level)


def test_no_argument_is_written_to(backend):
    sequences = sequences_of(backend, LENGTHS, 2)
    for sequence in sequences:
        sequence.flags.writeable = False
    arrays = backend.arrays(sequences)
    pad_sequences(arrays)
    assert_same(backend, arrays, sequences, exact=True)


# ---------------------------------------------------------------------------------- and back


@orders
@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)], ids=str)
def test_each_sample_is_cut_to_its_length(backend, features, time_major):
    sequences = sequences_of(backend, LENGTHS, *features)
    outputs = backend.arrays(padded_by_hand(sequences, 9, time_major=time_major))
    found = unpad_sequences(outputs, LENGTHS, time_major=time_major)
    assert_same(backend, found, sequences, exact=True)


@pytest.mark.parametrize("form", [tuple, np.array, np.uint8], ids=["tuple", "array", "uint8"])
def test_lengths_may_come_from_the_host(backend, form):
    sequences = sequences_of(backend, LENGTHS, 2)
    outputs = backend.arrays(padded_by_hand(sequences))
    assert_same(backend, unpad_sequences(outputs, form(LENGTHS)), sequences, exact=True)


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint16"])
def test_lengths_may_be_an_array_of_the_library(backend, dtype):
    sequences = sequences_of(backend, LENGTHS, 2)
    outputs, lengths = backend.arrays((padded_by_hand(sequences), np.array(LENGTHS, dtype)))
    assert_same(backend, unpad_sequences(outputs, lengths), sequences, exact=True)


def test_nests_are_cut_in_their_containers(backend):
    outputs = Pair({"a": draw(backend, 3, 4)}, [draw(backend, 3, 4, 2)])
    lengths = [4, 0, 2]
    expected = [
        Pair({"a": outputs.one["a"][s, :n]}, [outputs.other[0][s, :n]])
        for s, n in enumerate(lengths)
    ]
    found = unpad_sequences(backend.arrays(outputs), lengths)
    assert_same(backend, found, expected, exact=True)


def test_more_samples_than_are_taken_apart_at_once(backend):
    outputs, lengths = draw(backend, 70, 2), [s % 3 for s in range(70)]
    expected = [row[:n] for row, n in zip(outputs, lengths, strict=True)]
    assert_same(backend, unpad_sequences(backend.arrays(outputs), lengths), expected, exact=True)


def test_no_timesteps_at_all(backend):
    outputs = np.zeros((2, 0, 3), backend.float)
    found = unpad_sequences(backend.arrays(outputs), [0, 0])
    assert_same(backend, found, [outputs[0]] * 2, exact=True)


lists_of_lengths = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def test_unpadding_gives_back_what_was_padded(backend):
    default = 30 if backend.library == "strict" else 200

    @settings(max_examples=EXAMPLES.get(str(backend), default))
    @given(lists_of_lengths, st.booleans(), st.sampled_from([(), (2,), (1, 2)]), st.integers(0, 1))
    def holds(lengths, time_major, features, value):
        sequences = [
            (draw(backend, n, *features), [draw(backend, n).astype("int32")]) for n in lengths
        ]
        padded, found = pad_sequences(backend.arrays(sequences), time_major=time_major, value=value)
        again = unpad_sequences(padded, backend.numpy(found), time_major=time_major)
        assert_same(backend, again, sequences, exact=True)

    holds()


# ---------------------------------------------------------------------------------- errors


NUMBERS = " Make one of numbers and nested lists first, by `asarray`."


def zeros(*shape, dtype="float64"):
    return np.zeros(shape or (4, 5), dtype)


def pad(*arguments, **options):
    return lambda: arrayrnn.pad_sequences(*arguments, **options)


def unpad(*arguments, **options):
    return lambda: arrayrnn.unpad_sequences(*arguments, **options)


ERRORS = [
    (
        TypeError,
        (
            "`sequences` is an array of shape (4, 5) and dtype float64; expected a list or tuple. "
            "Put a single sequence into a list."
        ),
        pad(zeros()),
    ),
    (ValueError, "`sequences` is empty; expected at least one sequence.", pad([])),
    (
        ValueError,
        "`sequences[0]` is an empty nest; expected at least one array.",
        pad([{}]),
    ),
    (TypeError, "`sequences[0]` is of type int; expected an array." + NUMBERS, pad([1])),
    (
        TypeError,
        "`sequences[1]` is of type float; expected an array." + NUMBERS,
        pad([zeros(2), 1.0]),
    ),
    (
        TypeError,
        "`sequences[1]['a']` is of type float; expected an array." + NUMBERS,
        pad([{"a": zeros(2)}, {"a": 1.0}]),
    ),
    (
        ValueError,
        (
            "`sequences[1]` is of another structure than `sequences[0]`; expected nests of one "
            "structure in all sequences."
        ),
        pad([{"a": zeros(2)}, {"b": zeros(2)}]),
    ),
    (
        ValueError,
        (
            "`sequences[1]` is an array of shape () and dtype float64; expected (time, ...), at "
            "least 1 dimension."
        ),
        pad([zeros(2), np.asarray(1.0)]),
    ),
    (
        ValueError,
        (
            "`sequences[1]['b']` is an array of shape (3,) and dtype float64, `sequences[1]['a']` "
            "is an array of shape (2,) and dtype float64; expected the same time, (time, ...), in "
            "every array of `sequences[1]`."
        ),
        pad([{"a": zeros(2), "b": zeros(2)}, {"a": zeros(2), "b": zeros(3)}]),
    ),
    (
        ValueError,
        (
            "`sequences[1]` is an array of shape (3, 4) and dtype float64, `sequences[0]` is an "
            "array of shape (2, 5) and dtype float64; expected (time, ...) of known lengths in all "
            "axes but the first, and the same."
        ),
        pad([zeros(2, 5), zeros(3, 4)]),
    ),
    (
        TypeError,
        (
            "`sequences[1]` is an array of shape (2,) and dtype float32; expected the dtype of "
            "`sequences[0]`, float64. Cast one of them."
        ),
        pad([zeros(2), zeros(2, dtype="float32")]),
    ),
    (TypeError, "`value` is of type str; expected a number.", pad([zeros(2)], value="0")),
    (TypeError, "`value` is None; expected a number.", pad([zeros(2)], value=None)),
    (
        ValueError,
        (
            "`outputs['b']` is an array of shape (4, 6) and dtype float64, `outputs['a']` is an "
            "array of shape (4, 5) and dtype float64; expected the same samples and time, "
            "(samples, time, ...), in every array of `outputs`."
        ),
        unpad({"a": zeros(), "b": zeros(4, 6)}, LENGTHS),
    ),
    (
        ValueError,
        (
            "`lengths` is an array of shape (3,) and dtype int64; expected one length for each "
            "sample, shape (4,)."
        ),
        unpad(zeros(), [1, 2, 3]),
    ),
    (
        ValueError,
        "`lengths[2]` is 6; expected 0 <= length <= 5, the timesteps of `outputs`.",
        unpad(zeros(), [1, 2, 6, 1]),
    ),
    (
        TypeError,
        "`lengths` is an array of shape (4,) and dtype float64; expected an integer dtype.",
        unpad(zeros(), [1.0, 2.0, 3.0, 4.0]),
    ),
    (TypeError, "`lengths` is of type int; expected an array." + NUMBERS, unpad(zeros(), 3)),
]


@pytest.mark.parametrize(("error", "message", "call"), ERRORS, ids=range(len(ERRORS)))
def test_errors_say_what_came_and_what_was_expected(error, message, call):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("bool", 2),
        ("bool", np.nan),
        ("uint8", -1),
        ("uint8", 256),
        ("int32", 0.5),
        ("int32", np.nan),
        ("int32", np.inf),
        ("int32", 1j),
        ("float32", 1e300),
        ("float32", 10**400),
        ("float32", 0j),
    ],
    ids=str,
)
def test_a_value_that_a_dtype_cannot_hold_is_refused(backend, dtype, value):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    sequences = backend.arrays([{"a": np.zeros(2, dtype)}, {"a": np.zeros(3, dtype)}])
    message = f"`value` is {value}, which {dtype}, the dtype of `sequences[0]['a']`, cannot hold; "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        arrayrnn.pad_sequences(sequences, value=value)


def test_sequences_of_two_libraries_are_refused(backend, xp):
    if backend.library == "strict":
        pytest.skip("this test needs a library beside it")
    strict = pytest.importorskip("array_api_strict")
    sequences = [backend.arrays(zeros()), strict.asarray(zeros())]
    with pytest.raises(TypeError, match=r"`sequences\[1\]` is an array of array_api_strict, "):
        arrayrnn.pad_sequences(sequences)


def test_sequences_on_two_devices_are_refused(backend):
    if backend is not Backend.STRICT:
        pytest.skip("this test needs a library that refuses to mix its devices")
    one, other = backend.arrays(np.zeros(2)), Backend.STRICT_DEVICE1.arrays(np.zeros(2))
    with pytest.raises(ValueError, match=r"`sequences\[1\]` is on device"):
        arrayrnn.pad_sequences([one, other])


# ---------------------------------------------------------------------------------- traced and lazy


def test_lengths_without_values_are_refused(backend):
    if backend not in (Backend.JAX_JIT, Backend.DASK, Backend.ONNX):
        pytest.skip(f"{backend} reads them")
    outputs, lengths = backend.arrays((zeros(), np.array(LENGTHS)))

    def cut(lengths):
        return arrayrnn.unpad_sequences(outputs, lengths)

    if backend is Backend.JAX_JIT:
        cut = backend.module.jit(cut)
    with pytest.raises(TypeError, match=r"^`lengths` is an array of .* values are not known now"):
        cut(lengths)


def only(backend, library):
    if backend.value != library:
        pytest.skip(f"this test is about {library}")
    return backend.module


@pytest.mark.parametrize("mapped", ["vmap", "meta"])
def test_lengths_without_values_are_refused_on_pytorch(backend, mapped):
    torch = only(backend, "torch:cpu")
    cut = functools.partial(arrayrnn.unpad_sequences, torch.zeros(2, 3))
    call, lengths = {
        "vmap": (torch.vmap(cut), torch.tensor([[1, 2]])),
        "meta": (cut, torch.tensor([1, 2], device="meta")),
    }[mapped]
    with pytest.raises(TypeError, match=r"^`lengths` is an array of .* values are not known now"):
        call(lengths)


def test_gradients_flow_on_pytorch(backend):
    torch = only(backend, "torch:cpu")
    sequences = [torch.tensor(s, requires_grad=True) for s in sequences_of(backend, [3, 1, 2], 2)]

    def there_and_back(*sequences):
        padded, lengths = arrayrnn.pad_sequences(sequences, value=3)
        return padded, *arrayrnn.unpad_sequences(padded, lengths)

    assert torch.autograd.gradcheck(there_and_back, sequences)


def test_gradients_flow_on_jax(backend):
    jax = only(backend, "jax")
    sequences = backend.arrays(sequences_of(backend, [3, 0, 2], 2))
    weights = backend.arrays(draw(backend, 3, 3, 2))

    @jax.jit
    def loss(sequences):
        return (weights * arrayrnn.pad_sequences(sequences)[0]).sum()

    slopes = jax.grad(loss)(sequences)
    expected = [row[:n] for row, n in zip(backend.numpy(weights), [3, 0, 2], strict=True)]
    assert_same(backend, slopes, expected, exact=True)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")
def test_torch_compile_makes_one_graph_of_padding(backend):
    torch = only(backend, "torch:cpu")
    sequences = sequences_of(backend, [3, 0, 2], 2)

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(sequences):
        return arrayrnn.pad_sequences(sequences)

    found = compiled(backend.arrays(sequences))
    expected = (padded_by_hand(sequences), np.asarray([3, 0, 2]))
    assert_same(backend, found, expected, exact=True)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")
def test_torch_compile_leaves_unpadding_out_of_its_graph(backend):
    torch = only(backend, "torch:cpu")
    sequences = sequences_of(backend, [3, 0, 2], 2)

    @torch.compile(backend="eager")
    def compiled(outputs, lengths):
        return [2 * s for s in arrayrnn.unpad_sequences(outputs + 0, lengths)]

    found = compiled(*backend.arrays((padded_by_hand(sequences), np.asarray([3, 0, 2]))))
    assert_same(backend, found, [2 * s for s in sequences], exact=True)


def test_it_is_lazy_on_dask(backend):
    da = only(backend, "dask")
    import dask

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed while the graph was built")

    sequences = sequences_of(backend, LENGTHS, 2)
    with dask.config.set(scheduler=refuse):
        padded, lengths = arrayrnn.pad_sequences([da.from_array(s, chunks=2) for s in sequences])
        again = arrayrnn.unpad_sequences(padded, LENGTHS)
    assert_same(backend, (padded, again), (padded_by_hand(sequences), sequences), exact=True)
    assert lengths.compute().tolist() == LENGTHS


def test_chunks_of_unknown_lengths_are_refused_on_dask(backend):
    da = only(backend, "dask")
    x = da.ones((4, 5, 2), chunks=2)
    unknown = x[da.ones(4, chunks=2) > 0]
    with pytest.raises(ValueError, match=r"`compute_chunk_sizes\(\)`"):
        arrayrnn.pad_sequences([x, unknown])
    for outputs in (unknown, x[:, da.ones(5, chunks=2) > 0]):
        with pytest.raises(ValueError, match=r"`compute_chunk_sizes\(\)`"):
            arrayrnn.unpad_sequences(outputs, LENGTHS)


def test_one_onnx_model_pads_sequences_of_any_lengths(backend):
    ndonnx = only(backend, "onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    one, other = (ndonnx.argument(shape=(n, 2), dtype=ndonnx.float64) for n in ("M", "N"))
    padded, lengths = arrayrnn.pad_sequences([one, other], value=-1)
    model = ndonnx.build({"one": one, "other": other}, {"padded": padded, "lengths": lengths})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert padded.shape == (2, None, 2)
    for sizes in ([2, 3], [4, 0], [0, 0], [1, 1]):
        sequences = sequences_of(backend, sizes, 2)
        found, lengths = session.run(None, dict(zip(("one", "other"), sequences, strict=True)))
        np.testing.assert_array_equal(found, padded_by_hand(sequences, -1))
        assert lengths.tolist() == sizes
