"""What looks like an array or a nest, and is more than that: refused, adopted or converted."""

import dataclasses
import re
from typing import Any

import numpy as np
import optree
import pytest

import arrayrnn
from arrayrnn import (
    Stream,
    associative_scan,
    bidirectional,
    compiled,
    linear_scan,
    pad_sequences,
    reverse_sequence,
    rnn,
    scan,
    unpad_sequences,
)
from support.backends import Backend, assert_same
from support.oracle import halving
from support.running import needs_compiled

X, H = np.ones((2, 3, 1)), np.zeros((2, 1))


def add(carry, x):
    return carry + x, carry


def with_a_stream(x, **options):
    return Stream(halving, [H])(x, **options)


# ------------------------------------------------------------------------- masked arrays of NumPy

MASKED = np.ma.masked_equal(X, 1.0)
CALLS = {
    "inputs": lambda: rnn(halving, MASKED, [H]),
    "a leaf of inputs": lambda: rnn(halving, {"a": X, "b": MASKED}, [H]),
    "states": lambda: rnn(halving, X, [MASKED[:, 0]]),
    "mask": lambda: rnn(halving, X, [H], mask=MASKED[..., 0]),
    "lengths": lambda: rnn(halving, X, [H], input_length=np.ma.asarray([3, 1])),
    "initial output": lambda: rnn(halving, X, [H], initial_output=MASKED[:, 0]),
    "output": lambda: rnn(lambda x_t, states: (np.ma.asarray(x_t), states), X, [H]),
    "new states": lambda: rnn(lambda x_t, states: (x_t, [np.ma.asarray(x_t)]), X, [H]),
    "init": lambda: scan(add, MASKED[0, 0], X[0]),
    "xs": lambda: scan(add, H[0], MASKED[0]),
    "y": lambda: scan(lambda carry, x: (carry, np.ma.asarray(x)), H[0], X[0]),
    "both directions": lambda: bidirectional(halving, halving, MASKED, [H], [H]),
    "a stream": lambda: with_a_stream(MASKED),
    "a stream's mask": lambda: with_a_stream(X, mask=MASKED[..., 0]),
    "compiled": lambda: compiled.rnn(halving, MASKED, [H]),
    "sequences": lambda: pad_sequences([X[0], MASKED[0]]),
    "padded": lambda: unpad_sequences(MASKED, [3, 1]),
    "lengths of padded": lambda: unpad_sequences(X, np.ma.asarray([3, 1])),
    "reversed": lambda: reverse_sequence(MASKED),
    "lengths of reversed": lambda: reverse_sequence(X, np.ma.asarray([3, 1])),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_masked_array_of_numpy_is_refused(call):
    wording = (
        "a masked array, whose own mask would be lost; expected an array. Pass filled values, such "
        "as `x.filled(0)`, and say in `mask=` which timesteps count."
    )
    if call is CALLS["compiled"]:
        needs_compiled()
    with pytest.raises(TypeError, match=re.escape(wording)):
        call()


LAZY_CALLS = {
    "inputs": lambda lazy: rnn(halving, lazy, [lazy[:, 0]]),
    "mask": lambda lazy: linear_scan(0.5, lazy.map_blocks(np.ma.getdata), mask=lazy[..., 0]),
    "summands": lambda lazy: linear_scan(0.5, lazy),
    "elements": lambda lazy: associative_scan(lambda a, b: a + b, lazy),
}


@pytest.mark.parametrize("call", LAZY_CALLS.values(), ids=LAZY_CALLS)
def test_masked_arrays_of_numpy_are_refused_as_chunks_of_dask_too(call):
    da = pytest.importorskip("dask.array", reason="this test is about Dask")
    wording = "is a masked array, whose own mask would be lost; expected an array. Pass filled"
    with pytest.raises(TypeError, match=wording) as refused:
        call(da.from_array(MASKED, chunks=1))
    assert "`dask.array.ma.filled(x, 0)`" in str(refused.value)


def test_what_the_error_says_does_it():
    x = np.ma.masked_equal([[[1.0], [-999.0], [3.0]]], -999.0)
    found = rnn(halving, x.filled(0), [H[:1]], mask=~np.ma.getmaskarray(x)[..., 0])
    assert_same(Backend.NUMPY, found[2], [np.asarray([[3.5]])])


# ------------------------------------------------------------------------------------- of PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", ["strided", "jagged"])
def test_a_nested_tensor_is_refused(torch, layout):
    parts = [torch.ones(3, 2), torch.ones(2, 2)]
    x = torch.nested.nested_tensor(parts, layout=getattr(torch, layout))
    h = torch.zeros(2, 2)
    wording = re.escape("`inputs, lengths = pad_sequences(list(x.unbind()))`")
    for call in (
        lambda: rnn(halving, x, [h]),
        lambda: rnn(halving, torch.ones(2, 3, 2), [x]),
        lambda: bidirectional(halving, halving, x, [h], [h]),
        lambda: Stream(halving, [h])(x),
        lambda: scan(add, h, x),
        lambda: reverse_sequence(x),
    ):
        with pytest.raises(TypeError, match=wording):
            call()
    inputs, lengths = pad_sequences(list(x.unbind()))
    assert lengths.tolist() == [3, 2]
    assert rnn(halving, inputs, [h], input_length=lengths)[2][0].tolist() == [[1.75] * 2, [1.5] * 2]


def test_a_packed_sequence_is_refused(torch):
    pad, pack = torch.nn.utils.rnn.pad_packed_sequence, torch.nn.utils.rnn.pack_sequence
    x = pack([torch.ones(3, 2), torch.ones(2, 2)])
    h = torch.zeros(2, 2)
    wording = re.escape("Pass what `torch.nn.utils.rnn.pad_packed_sequence` makes of it")
    for call in (
        lambda: rnn(halving, x, [h]),
        lambda: rnn(halving, {"x": x}, [h]),
        lambda: bidirectional(halving, halving, x, [h], [h]),
        lambda: Stream(halving, [h])(x),
        lambda: scan(add, h, x),
        lambda: reverse_sequence(x),
        lambda: unpad_sequences(x, [3, 2]),
        lambda: pad_sequences([x]),
    ):
        with pytest.raises(TypeError, match=wording):
            call()
    inputs, lengths = pad(x, batch_first=True)
    assert rnn(halving, inputs, [h], input_length=lengths)[2][0].tolist() == [[1.75] * 2, [1.5] * 2]


# ------------------------------------------------------------------------------------- containers


class Unknown:
    def __init__(self, mean: Any, count: Any) -> None:
        self.mean, self.count = mean, count


def next_mean(carry, x):
    count = carry.count + 1
    return type(carry)(carry.mean + (x - carry.mean) / count, count), carry.mean


def test_the_error_says_how_to_register_a_container_and_that_does_it():
    init, xs = Unknown(np.float64(0), np.float64(0)), np.arange(3.0)
    with pytest.raises(TypeError, match="`init` is of type Unknown") as caught:
        scan(next_mean, init, xs)
    (line,) = re.findall(r"`(optree\.register_pytree_node.*)`", str(caught.value))
    eval(line, {"optree": optree, "Unknown": Unknown})
    found = scan(next_mean, init, xs)[0]
    assert (found.mean, found.count) == (1, 3)


@pytest.fixture(scope="module")
def mean():
    jax = pytest.importorskip("jax")

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Mean:
        mean: Any
        count: Any

    return Mean


@pytest.mark.parametrize("array", [np.asarray, "jax"], ids=["numpy", "jax"])
def test_containers_that_jax_knows_work_everywhere(mean, array):
    array = array if callable(array) else pytest.importorskip("jax").numpy.asarray

    def step(x_t, states):
        (carry,) = states
        count = carry.count + 1.0
        new = mean(carry.mean + (x_t.mean - carry.mean) / count, count)
        return mean(new.mean, x_t.count), [new]

    def values(found):
        return np.asarray(found.mean).ravel().tolist(), np.asarray(found.count).ravel().tolist()

    x, h = array(np.arange(3.0, dtype="float32")[None, :, None]), array(np.zeros((1, 1), "float32"))
    inputs, states = mean(x, 2 * x), [mean(h, h)]
    _, outputs, (state,) = rnn(step, inputs, states, mask=[[True, False, True]])
    assert values(outputs) == ([0, 0, 1], [0, 0, 4])
    assert values(state) == ([1], [2])
    stream = Stream(step, states)
    stream(inputs)
    stream.carry = stream.carry
    assert values(stream.states[0]) == ([1], [3])
    merged = bidirectional(step, step, inputs, states, states, merge="sum")
    assert values(merged[1])[1] == [0, 4, 8]
    assert values(reverse_sequence(inputs))[0] == [2, 1, 0]
    padded, _ = pad_sequences([mean(x[0], x[0]), mean(x[0, :1], x[0, :1])])
    assert [values(s)[0] for s in unpad_sequences(padded, [3, 1])] == [[0, 1, 2], [0]]
    for function in (scan, compiled.scan):
        if function is compiled.scan:
            if not isinstance(x, np.ndarray):
                continue
            needs_compiled()
        found = function(next_mean, mean(h, h), x[0])[0]
        assert values(found) == ([1], [3])
        assert type(found) is mean


def test_errors_name_the_fields_of_such_containers(mean):
    wording = re.escape("`inputs.count` is an array of shape (2, 2, 1)")
    with pytest.raises(ValueError, match=wording):
        rnn(halving, mean(X, X[:, :2]), [H])


def test_they_are_known_inside_of_jit(mean):
    import jax

    xs, zero = jax.numpy.arange(3.0), jax.numpy.zeros(())
    found = jax.jit(lambda xs: scan(next_mean, mean(zero, zero), xs)[0])(xs)
    assert (float(found.mean), float(found.count)) == (1, 3)


# ------------------------------------------------------------------------------------- byte order


def swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder())


def test_a_foreign_byte_order_is_computed_with_in_the_native_one():
    x, h, lengths = X.cumsum(axis=1), H + 1, np.asarray([3, 1])
    mask = np.asarray([[1, 0, 1], [1, 1, 0]])
    options = {"mask": mask, "initial_output": h}
    foreign = {name: swapped(value) for name, value in options.items()}

    def check(found, expected):
        assert_same(Backend.NUMPY, found, expected, exact=True)
        for leaf in optree.tree_leaves(found):
            assert leaf.dtype.isnative

    check(rnn(halving, swapped(x), [swapped(h)], **foreign), rnn(halving, x, [h], **options))
    check(
        rnn(halving, swapped(x), [swapped(h)], input_length=swapped(lengths)),
        rnn(halving, x, [h], input_length=lengths),
    )
    check(scan(add, swapped(h), swapped(x)[:, 0]), scan(add, h, x[:, 0]))
    check(
        bidirectional(halving, halving, swapped(x), [swapped(h)], [swapped(h)], mask=mask),
        bidirectional(halving, halving, x, [h], [h], mask=mask),
    )
    check(pad_sequences([swapped(x[0]), x[1, :1]]), pad_sequences([x[0], x[1, :1]]))
    check(pad_sequences([x[1, :1], swapped(x[0])]), pad_sequences([x[1, :1], x[0]]))
    check(unpad_sequences(swapped(x), swapped(lengths)), unpad_sequences(x, lengths))
    check(reverse_sequence(swapped(x), swapped(lengths)), reverse_sequence(x, lengths))
    stream, other = Stream(halving, [swapped(h)]), Stream(halving, [h])
    check(stream(swapped(x)), other(x))
    check(stream(x), other(x))
    check(stream(swapped(x)), other(x))
    stream.carry = optree.tree_map(swapped, stream.carry)
    stream.reset([0])
    other.reset([0])
    check(stream(x), other(x))


def test_compiled_too():
    needs_compiled()
    found = compiled.rnn(halving, swapped(X), [swapped(H)])
    assert_same(Backend.NUMPY, found, arrayrnn.rnn(halving, X, [H]))
