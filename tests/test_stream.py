"""A stream gives, chunk by chunk, what one call of `rnn` gives."""

import gc
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path

import array_api_compat
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arrayrnn
from arrayrnn import Stream
from arrayrnn._arguments.reading import read_inputs
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.drawn_calls import EXAMPLES, Call, calls, to_numpy
from support.oracle import draw, halving, recurrence, together

KEEP = np.array(
    [
        [0, 0, 0, 1, 0, 1, 1],
        [0, 0, 1, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=bool,
)
SAMPLES, TIME = KEEP.shape


# A stream keeps arrays for later, and refuses those that have no values.
keeping = pytest.mark.needs(Ability.VALUES)


def mixing(x_t, states):
    """Show every sample the sum over all, so that what masked ones are given is seen."""
    (level,) = states
    xp = array_api_compat.array_namespace(x_t)
    level = 0.5 * level + x_t + xp.sum(x_t + level, axis=0, keepdims=True)
    return 4.0 * level - 1.0, [level]


def pieces(*sizes):
    ends = np.cumsum(sizes)
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def run(stream, backend, x, keep, cuts, *, renew=lambda stream: stream):
    """Return ``(last_output, outputs, states)`` of a stream over chunks of NumPy arrays."""
    found = []
    for piece in cuts:
        stream = renew(stream)
        mask = None if keep is None else keep[:, piece]
        last, outputs, states = stream(backend.arrays(x[:, piece]), mask=mask)
        found.append(outputs)
    return last, backend.xp.concat(found, axis=1), states


# ---------------------------------------------------------------------------------- results


@keeping
@pytest.mark.parametrize("step", [halving, mixing])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 4), (2, 1, 1, 3), (1,) * 7], ids=str)
def test_chunks_give_what_one_call_gives(backend, step, zero_output, sizes):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    for keep in (KEEP, KEEP[:, ::-1], None):
        options = {"zero_output_for_mask": zero_output}
        whole = arrayrnn.rnn(step, backend.arrays(x), backend.arrays([state]), mask=keep, **options)
        stream = Stream(step, backend.arrays([state]), **options)
        found = run(stream, backend, x, keep, pieces(*sizes))
        assert_same(backend, found, to_numpy(backend, whole), exact=True)
        assert_same(backend, stream.states, to_numpy(backend, whole[2]), exact=True)


@keeping
@pytest.mark.parametrize("cut", range(1, TIME))
def test_a_step_that_mixes_samples_sees_what_one_call_shows_it(backend, cut):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    for keep in (KEEP, KEEP | (np.arange(TIME) < cut), KEEP | (np.arange(TIME) >= cut)):
        expected = together(mixing, x, [state], keep)
        stream = Stream(mixing, backend.arrays([state]))
        found = run(stream, backend, x, keep, pieces(cut, TIME - cut))
        assert_same(backend, found, expected, exact=True)


@keeping
@pytest.mark.parametrize("padding", [np.nan, 0.0, -1.0])
@pytest.mark.parametrize("options", [{}, {"zero_output_for_mask": True}], ids=str)
@pytest.mark.parametrize("sizes", [(7,), (2, 5), (3, 4), (1,) * 7], ids=str)
def test_samplewise_keeps_padding_from_the_step(backend, padding, options, sizes):
    def step(x_t, states):
        remaining, total = states
        total = total + array_api_compat.array_namespace(x_t).log(x_t) / remaining
        return total, [remaining - 1.0, total]

    values = np.random.default_rng(4).random((SAMPLES, TIME, 1)) + 0.5
    x = np.where(KEEP[..., None], values, padding).astype(backend.float)
    states = [KEEP.sum(axis=1, keepdims=True).astype(backend.float), draw(backend, SAMPLES, 1)]
    zero_output = bool(options)
    expected = recurrence(step, x, states, KEEP, zero_output=zero_output)
    stream = Stream(step, backend.arrays(states), samplewise=True, **options)
    assert_same(backend, run(stream, backend, x, KEEP, pieces(*sizes)), expected)


def test_each_chunk_has_a_donor_of_its_own():
    given = []

    def step(x_t, states):
        given.append((x_t[:, 0].tolist(), states[0][:, 0].tolist()))
        return x_t, [states[0] + 1]

    x = np.arange(8.0).reshape(2, 4, 1)
    stream = Stream(step, [np.asarray([[10.0], [20.0]])], samplewise=True)
    stream(x[:, :2], mask=[[0, 1], [0, 0]])
    stream(x[:, 2:], mask=[[0, 0], [0, 1]])
    assert given == [([1.0, 1.0], [10.0, 10.0]), ([7.0, 7.0], [20.0, 20.0])]


@keeping
def test_lengths_count_from_the_start_of_the_chunk(backend):
    x, state = draw(backend, 3, 6, 2), draw(backend, 3, 2)
    keep = np.arange(6) < np.array([[5], [0], [4]])
    stream = Stream(halving, backend.arrays([state]))
    stream(backend.arrays(x[:, :4]), input_length=[4, 0, 4])
    last, _, states = stream(backend.arrays(x[:, 4:]), input_length=[1, 0, 0])
    expected = recurrence(halving, x, [state], keep)
    assert_same(backend, (last, states), (expected[0], expected[2]), exact=True)


@keeping
def test_one_length_cuts_the_chunk(backend):
    x, state = draw(backend, 2, 6, 1), draw(backend, 2, 1)
    stream = Stream(halving, backend.arrays([state]))
    outputs = stream(backend.arrays(x[:, :4]), input_length=3)[1]
    assert outputs.shape == (2, 3, 1)
    _, _, states = stream(backend.arrays(x[:, 4:]))
    rest = np.delete(x, 3, axis=1)
    assert_same(backend, states, recurrence(halving, rest, [state])[2], exact=True)


def saved(backend: Backend, carry):
    """Return what comes back of a carry that was brought to the host and saved there."""
    return backend.arrays(pickle.loads(pickle.dumps(to_numpy(backend, carry))))


def streamed(call: Call, backend: Backend, cuts: list[int]):
    """Return what a stream makes of a drawn call; every other chunk is another stream's."""
    inputs, states, options = call.arguments(backend)
    names = ("constants", "time_major", "zero_output_for_mask", "initial_output", "samplewise")
    options = {name: options[name] for name in (*names, "return_all_outputs")}
    streams = [Stream(call.step, states, **options) for _ in range(2)]
    outputs = []
    ends = [*cuts, call.time]
    for k, (start, end) in enumerate(zip([0, *cuts], ends, strict=True)):
        part = call.at(range(start, end))
        inputs, _, own = part.arguments(backend)
        stream = streams[k % 2]
        if k:
            stream.carry = saved(backend, streams[1 - k % 2].carry)
        last, piece, new = stream(inputs, own["mask"], own["input_length"])
        outputs.append(to_numpy(backend, piece))
    axis = 0 if call.options["time_major"] else 1
    joined = optree.tree_map(lambda *leaves: np.concatenate(leaves, axis), *outputs)
    return last, backend.arrays(joined), new


@keeping
def test_any_cutting_gives_what_one_call_gives(backend):
    @settings(
        max_examples=EXAMPLES.get(str(backend), 30 if backend.library == "strict" else 150),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(calls(backend), st.data())
    def holds(call, data):
        call = call.over_all_timesteps(go_backwards=False, return_all_outputs=True)
        cuts = data.draw(st.lists(st.integers(1, max(1, call.time - 1)), max_size=4, unique=True))
        cuts = sorted(cut for cut in cuts if cut < call.time)
        expected = to_numpy(backend, call.run(backend))
        assert_same(backend, streamed(call, backend, cuts), expected, exact=True)
        last = call.with_options(return_all_outputs=False)
        found = streamed(last, backend, cuts)
        assert_same(backend, (found[0], found[2]), (expected[0], expected[2]), exact=True)

    holds()


def test_the_step_is_called_once_for_each_timestep_that_some_sample_sees():
    called = []

    def step(x_t, states):
        called.append(float(x_t[0, 0]))
        return x_t, states

    stream = Stream(step, [np.zeros((1, 1))])
    for t in range(6):
        stream(np.full((1, 1, 1), float(t)), mask=[[t in (3, 5)]])
    assert called == [0.0, 3.0, 5.0]  # the first for the shape of the output


# ---------------------------------------------------------------------------------- the carry


@keeping
def test_a_stream_goes_on_from_the_carry_of_another(backend):
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    whole = arrayrnn.rnn(mixing, backend.arrays(x), backend.arrays([state]), mask=KEEP)

    def renew(stream):
        fresh = Stream(mixing, backend.arrays([state]))
        fresh.carry = stream.carry
        return fresh

    found = run(renew(Stream(mixing, backend.arrays([state]))), backend, x, KEEP, pieces(*[1] * 7),
                renew=renew)  # fmt: skip
    assert_same(backend, found, to_numpy(backend, whole), exact=True)


def test_it_goes_on_in_a_new_process(tmp_path):
    x, state = draw(Backend.NUMPY, SAMPLES, TIME, 2) / 3.0, draw(Backend.NUMPY, SAMPLES, 2) / 7.0
    stream = Stream(halving, [state])
    stream(x[:, :4], mask=KEEP[:, :4])
    expected = arrayrnn.rnn(halving, x, [state], mask=KEEP)
    leaves = optree.tree_leaves(stream.carry)
    np.savez(tmp_path / "leaves.npz", *leaves)
    (tmp_path / "carry.pickle").write_bytes(pickle.dumps(stream.carry))
    np.savez(tmp_path / "rest.npz", x=x[:, 4:], keep=KEEP[:, 4:], state=state)
    code = """
import pickle
import numpy as np, optree
from arrayrnn import Stream
from arrayrnn._arguments.reading import read_inputs
from support.oracle import halving
rest = np.load("rest.npz")
carry = pickle.load(open("carry.pickle", "rb"))
saved = np.load("leaves.npz")
for carry in (carry, optree.tree_unflatten(optree.tree_structure(carry), saved.values())):
    stream = Stream(halving, [rest["state"]])
    stream.carry = carry
    last, _, (state,) = stream(rest["x"], mask=rest["keep"])
    print(last.tobytes().hex(), state.tobytes().hex())
"""
    own = [str(Path(__file__).parent), str(Path(arrayrnn.__file__).parent.parent)]
    paths = filter(None, [*own, os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code]
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, check=True, **options)
    shown = f"{expected[0].tobytes().hex()} {expected[2][0].tobytes().hex()}"
    assert done.stdout.splitlines() == [shown, shown]


@keeping
def test_the_carry_before_the_first_chunk_is_where_it_began(backend):
    x = backend.array(draw(backend, 2, 3, 1))
    state = backend.array(np.ones((2, 1)))
    stream = Stream(halving, [state])
    begin = stream.carry
    assert begin == {"states": [state], "output": None}
    once = stream(x)
    stream.carry = begin
    assert_same(backend, stream(x), to_numpy(backend, once), exact=True)


CARRIES = {
    "no dict": ([], TypeError, "`carry` is of type list; expected a dict"),
    "other keys": ({"state": 1}, ValueError, "expected ['output', 'states']"),
    "structure": ({"states": []}, ValueError, "expected that of the states of the stream"),
    "states": (
        {"states": [np.zeros((3, 1))]},
        ValueError,
        "expected the shape of the states of the stream, (2, 1)",
    ),
    "dtype": (
        {"states": [np.zeros((2, 1), "int32")]},
        TypeError,
        "expected the dtype of the states of the stream, float64",
    ),
    "no array": ({"states": ["h"]}, TypeError, "expected an array"),
    "output": ({"output": np.zeros((3, 1))}, ValueError, "`carry['output']` is"),
    "more keys": ({"donor": None}, ValueError, "expected ['output', 'states']"),
}


@keeping
def test_only_a_chunk_unlike_the_last_one_is_read(backend, monkeypatch):
    read = []

    def recorded(words, chunk, *arguments):
        read.append(tuple(chunk.shape))
        return read_inputs(words, chunk, *arguments)

    monkeypatch.setattr("arrayrnn._stream.read_inputs", recorded)
    stream = Stream(halving, [backend.array(np.zeros((2, 2)))])
    x = draw(backend, 2, 9, 2)
    mask = np.asarray([[1, 0], [1, 1]], dtype=bool)
    found = [
        stream(backend.array(x[:, :2])),
        stream(backend.array(x[:, 2:4])),
        stream(backend.array(x[:, 4:6])),
        stream(backend.array(x[:, 6:8]), backend.array(mask)),
        stream(backend.array(x[:, 8:])),
    ]
    assert read == [(2, 2, 2), (2, 2, 2), (2, 1, 2)]
    whole = np.ones((2, 9), dtype=bool)
    whole[:, 6:8] = mask
    expected = recurrence(halving, x, [np.zeros((2, 2), backend.float)], whole)
    assert_same(backend, backend.xp.concat([y for _, y, _ in found], axis=1), expected[1])


def test_a_carry_with_an_output_of_another_structure_is_refused_at_the_next_chunk():
    def step(x_t, states):
        h = states[0] + x_t
        return h, [h]

    stream = Stream(step, [np.zeros((2, 1))])
    stream(np.ones((2, 3, 1)))
    states = stream.carry["states"]
    # Without an output the stream forgets what its outputs are like, so that any is taken over.
    stream.carry = {"states": states, "output": None}
    stream.carry = {"states": states, "output": {"y": np.zeros((2, 1))}}
    with pytest.raises(ValueError, match="returned an output of the structure"):
        stream(np.ones((2, 3, 1)))


@pytest.mark.parametrize(("change", "error", "message"), CARRIES.values(), ids=CARRIES)
def test_a_carry_that_does_not_fit_is_refused(change, error, message):
    stream = Stream(halving, [np.zeros((2, 1))])
    stream(np.ones((2, 3, 1)))
    before = stream.carry
    carry = before | change if isinstance(change, dict) else change
    with pytest.raises(error, match=re.escape(message)):
        stream.carry = carry
    assert_untouched(stream, before)


def test_numbers_get_their_dtype_from_the_first_chunk_and_a_carry_has_to_have_it():
    stream = Stream(lambda x_t, states: (x_t, states), [0.0])
    stream.carry = {"states": [np.float64(1.0)], "output": None}
    with pytest.raises(TypeError, match="expected the dtype of `initial_states`, float32"):
        stream(np.ones((2, 3, 1), "float32"))


# ---------------------------------------------------------------------------------- reset


@keeping
def test_all_samples_begin_anew(backend):
    x = backend.array(draw(backend, 2, 3, 1))
    state = backend.array(np.ones((2, 1)))
    stream = Stream(halving, [state])
    first = stream(x)
    stream(x)
    stream.reset()
    assert stream.states[0] is state
    assert_same(backend, stream(x), to_numpy(backend, first), exact=True)


@keeping
@pytest.mark.parametrize("given", [[2, 0], [True, False, True], (0, 2, 2)], ids=str)
@pytest.mark.parametrize("kind", ["list", "numpy", "own"])
def test_chosen_samples_begin_anew(backend, given, kind):
    x, state = draw(backend, 3, 4, 2), draw(backend, 3, 2)
    before = draw(backend, 3, 2) + 5.0
    stream = Stream(halving, backend.arrays([state]), initial_output=backend.arrays(before))
    _, _, (current,) = stream(backend.arrays(x))
    last = to_numpy(backend, stream.carry["output"])
    samples = {"list": given, "numpy": np.asarray(given), "own": backend.array(np.asarray(given))}
    stream.reset(samples[kind])
    rows = np.array([[True], [False], [True]])
    now = [np.where(rows, state, backend.numpy(current))]
    carry = stream.carry
    assert_same(backend, stream.states, now, exact=True)
    assert_same(backend, carry["output"], np.where(rows, before, last), exact=True)
    found = stream(backend.arrays(x), mask=np.zeros((3, 4)))
    assert_same(backend, found[0], np.where(rows, before, last), exact=True)


@keeping
def test_without_an_initial_output_samples_begin_with_zeros(backend):
    stream = Stream(halving, [backend.array(np.ones((2, 1)))])
    stream(backend.array(np.ones((2, 3, 1))))
    stream.reset([1])
    output = backend.numpy(stream.carry["output"])
    assert output[0] != 0
    assert output[1] == 0


@keeping
def test_no_samples_begin_anew(backend):
    stream = Stream(halving, [backend.array(np.ones((2, 1)))])
    stream(backend.array(np.ones((2, 3, 1))))
    before = to_numpy(backend, stream.states)
    stream.reset([])
    assert_same(backend, stream.states, before, exact=True)


RESETS = {
    "too large": ([0, 2], ValueError, "`samples` has 2; expected 0 <= sample < 2"),
    "negative": ([-1], ValueError, "`samples` has -1; expected 0 <= sample < 2"),
    "bools": ([True], ValueError, "expected one bool for each sample, shape (2,)"),
    "floats": ([0.5], TypeError, "expected integers in one dimension"),
    "two dimensions": ([[0]], TypeError, "expected integers in one dimension"),
    "a number": (1, TypeError, "`samples` is of type int; expected a list or an array"),
}


@keeping
@pytest.mark.parametrize("chunks", [0, 1])
@pytest.mark.parametrize(("samples", "error", "message"), RESETS.values(), ids=RESETS)
def test_samples_that_do_not_exist_are_refused(backend, chunks, samples, error, message):
    stream = Stream(halving, [backend.array(np.ones((2, 1)))])
    for _ in range(chunks):
        stream(backend.array(np.ones((2, 3, 1))))
    before = stream.carry
    with pytest.raises(error, match=re.escape(message)):
        stream.reset(samples)
    assert_untouched(stream, before)


@keeping
def test_states_that_samples_share_cannot_begin_anew_for_some(backend):
    stream = Stream(halving, [0.0])
    with pytest.raises(ValueError, match=r"`states\[0\]` is of type float; expected \(samples"):
        stream.reset([0])
    stream = Stream(lambda x_t, states: (x_t, states), [0.0])
    stream(backend.array(np.ones((2, 3, 1))))
    with pytest.raises(ValueError, match=r"`states\[0\]` is an array of shape \(\) .*Broadcast"):
        stream.reset([0])


@keeping
def test_a_stream_without_states_learns_its_samples_from_the_first_chunk(backend):
    stream = Stream(lambda x_t, states: (2.0 * x_t, []), [])
    with pytest.raises(ValueError, match="before the first chunk"):
        stream.reset([0])
    stream(backend.array(np.ones((2, 3, 1))))
    stream.reset([0])
    assert backend.numpy(stream.carry["output"]).tolist() == [[0.0], [2.0]]
    with pytest.raises(ValueError, match="expected 0 <= sample < 2"):
        stream.reset([2])


# ---------------------------------------------------------------------------------- bad input


def assert_untouched(stream, before):
    now, before = (optree.tree_flatten(carry) for carry in (stream.carry, before))
    assert now[1] == before[1]
    assert all(one is other for one, other in zip(now[0], before[0], strict=True))


def chunks_refused(backend):
    other = Backend.STRICT if backend.library == "numpy" else Backend.NUMPY
    x = np.ones((2, 3, 2))
    return {
        "samples": (backend.array(x[:1]), ValueError, "expected 2 samples, as in the first"),
        "features": (backend.array(x[..., :1]), ValueError, "expected (samples, time, 2), with"),
        "rank": (backend.array(x[..., None]), ValueError, "expected (samples, time, 2), with"),
        "no time axis": (backend.array(x[:, 0]), ValueError, "expected (samples, time, 2), with"),
        "dtype": (
            backend.array(x, "int32"),
            TypeError,
            f"expected the dtype of the first chunk, {backend.float}",
        ),
        "library": (other.array(x), TypeError, "like the first chunk. Convert it."),
        "structure": ([backend.array(x)], ValueError, "expected that of the first chunk, *"),
        "no array": (3.0, TypeError, "`chunk` is of type float; expected an array."),
        "no timesteps": (backend.array(x[:, :0]), ValueError, "`chunk` is an array of shape (2, 0"),
    }


@keeping
@pytest.mark.parametrize("what", chunks_refused(Backend.NUMPY))
def test_a_chunk_unlike_the_first_is_refused(backend, what):
    chunk, error, message = chunks_refused(backend)[what]
    stream = Stream(halving, backend.arrays([np.zeros((2, 2), backend.float)]))
    stream(backend.array(np.ones((2, 3, 2))))
    before = stream.carry
    with pytest.raises(error, match=re.escape(message)):
        stream(chunk)
    assert_untouched(stream, before)


def test_a_chunk_on_another_device_is_refused():
    first, second = Backend.STRICT.device, Backend.STRICT_DEVICE1.device
    xp = Backend.STRICT.xp
    stream = Stream(halving, [xp.zeros((2, 1), device=first)])
    stream(xp.ones((2, 3, 1), device=first))
    before = stream.carry
    with pytest.raises(ValueError, match=r"`chunk` is on device .*device1"):
        stream(xp.ones((2, 3, 1), device=second))
    assert_untouched(stream, before)


@keeping
@pytest.mark.parametrize("chunks", [0, 2])
def test_a_stream_whose_step_raised_is_as_it_was(backend, chunks):
    count = 0

    def step(x_t, states):
        nonlocal count
        count += 1
        if count == 3 * chunks + 2:
            raise ZeroDivisionError
        return halving(x_t, states)

    state, x = np.zeros((2, 1)), draw(backend, 2, 9, 1)
    stream = Stream(step, backend.arrays([state.astype(backend.float)]))
    for k in range(chunks):
        stream(backend.arrays(x[:, 3 * k : 3 * k + 3]))
    before = stream.carry
    with pytest.raises(ZeroDivisionError) as caught:
        stream(backend.arrays(x[:, 6:]))
    (note,) = caught.value.__notes__
    assert note.startswith(
        "arrayrnn.Stream: at timestep 1 of 3, counted from 0. `step_function` was"
    )
    assert_untouched(stream, before)


def test_an_output_unlike_that_of_earlier_chunks_is_refused():
    widths = iter([1, 2])
    stream = Stream(lambda x_t, states: (np.ones((2, next(widths))), states), [0.0])
    stream(np.ones((2, 1, 1)))
    with pytest.raises(ValueError, match="expected the first timestep's shape"):
        stream(np.ones((2, 1, 1)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3, [0.0]), {}, "`step_function` is of type int"),
        ((halving, 0.0), {}, "`initial_states` is of type float"),
        ((halving, [0.0]), {"constants": np.ones(3)}, "`constants` is an array"),
    ],
)
def test_what_is_wrong_from_the_start_is_said_then(arguments, options, message):
    with pytest.raises(TypeError, match=message):
        Stream(*arguments, **options)


# ---------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_number_of_chunks():
    stream = Stream(halving, [np.zeros((4, 2_000))], return_all_outputs=False)
    mask = np.arange(10) < np.array([[10], [7], [3], [0]])
    chunks = (np.ones((4, 10, 2_000)) for _ in range(800))

    def memory_after(count):
        tracemalloc.reset_peak()
        for chunk in islice(chunks, count):
            stream(chunk, mask)
        gc.collect()
        return tracemalloc.get_traced_memory()

    tracemalloc.start()
    try:
        memory_after(300)  # fills what Python keeps of freed tuples
        held, peak = memory_after(100)
        held_late, peak_late = memory_after(400)
    finally:
        tracemalloc.stop()
    # A chunk takes 640,000 bytes. Freed tuples, up to 2,000 of each length, await collection.
    assert held_late - held < 1_600
    assert peak_late - peak < 640_000


# ---------------------------------------------------------------------------------- autograd


def graph_size(tensor):
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return len(seen)


def weighted(x_t, states):
    h, w = states
    h = w * h + x_t
    return h, [h]


@pytest.mark.parametrize("detached", [False, True])
def test_gradients_flow_through_chunks_unless_the_carry_is_detached(detached):
    torch = pytest.importorskip("torch")
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x, keep = torch.ones(2, 6, 1, dtype=torch.float64), [[1] * 6, [1, 1, 1, 1, 0, 1]]
    stream = Stream(weighted, [torch.zeros(2, 1, dtype=torch.float64)], constants=[w])
    sizes = []
    for k in range(3):
        part = slice(2 * k, 2 * k + 2)
        last, _, _ = stream(x[:, part], [row[part] for row in keep])
        sizes.append(graph_size(last))
        if detached and k < 2:
            stream.carry = optree.tree_map(torch.Tensor.detach, stream.carry)
    (found,) = torch.autograd.grad(last.sum(), w)

    once = arrayrnn.rnn(weighted, x, [torch.zeros(2, 1, dtype=torch.float64)], mask=keep,
                        constants=[w])  # fmt: skip
    if detached:
        held = arrayrnn.rnn(weighted, x[:, :4], [torch.zeros(2, 1, dtype=torch.float64)],
                            mask=[row[:4] for row in keep], constants=[w])  # fmt: skip
        before = held[2][0].detach()
        once = arrayrnn.rnn(weighted, x[:, 4:], [before], mask=[row[4:] for row in keep],
                            constants=[w])  # fmt: skip
        assert sizes[0] < 20
        assert sizes[2] < 2 * sizes[0] + 10
    else:
        assert sizes[0] < sizes[1] < sizes[2]
    (expected,) = torch.autograd.grad(once[0].sum(), w)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------- traced


def test_arrays_without_values_are_refused(backend):
    x, state = backend.array(np.ones((2, 3, 1))), np.ones((2, 1))
    stream, found = Stream(halving, [backend.array(state)]), []
    if backend is Backend.JAX_JIT:
        run = backend.module.jit(lambda x: found.append(stream(x)[1]))
    elif backend is Backend.ONNX:
        x, run = backend.module.argument(shape=("samples", "time", 1), dtype=x.dtype), stream
    else:
        run = stream
    if Ability.VALUES.is_lacked_by(backend):
        with pytest.raises(TypeError, match=r"no values.*`arrayrnn\.rnn`.*`initial_output`"):
            run(x)
        assert stream.carry["output"] is None
    else:
        run(x)
        assert stream.carry["output"] is not None


def test_a_weight_that_jax_traces_is_refused():
    jax = pytest.importorskip("jax")
    x, weight = jax.numpy.ones((2, 3, 1), "float32"), [2.0]
    stream = Stream(lambda x_t, states: (x_t, [states[0] * weight[0]]), [x[:, 0]])
    stream(x)
    before = stream.carry

    def loss(w):
        weight[0] = w
        return stream(x)[2][0].sum()

    with pytest.raises(TypeError, match="traced or lazy"):
        jax.grad(loss)(2.0)
    assert_untouched(stream, before)


@pytest.mark.parametrize("how", ["vmap", "grad", "meta", "make_fx"])
def test_tensors_that_are_traced_or_have_no_values_are_refused(how):
    torch = pytest.importorskip("torch")
    from torch.fx.experimental.proxy_tensor import make_fx

    def call(x):
        return Stream(lambda x_t, states: (x_t, states), [0.0])(x)[0].sum()

    transform = {"vmap": torch.vmap, "grad": torch.func.grad, "make_fx": make_fx}
    x = torch.ones(4, 2, 3, 1) if how == "vmap" else torch.ones(2, 3, 1)
    x = x.to("meta") if how == "meta" else x
    with pytest.raises(TypeError, match="traced or lazy"):
        transform.get(how, lambda f: f)(call)(x)


def kept_by(stream, how):
    """Return a function of an array that a stream would keep."""
    if how == "chunk":
        return stream
    if how == "samples":
        return lambda rows: stream.reset(rows[:, 0, 0] > 0)
    return lambda x: setattr(stream, "carry", stream.carry | {how: [x[:, 0]]})


@pytest.mark.parametrize("how", ["chunk", "samples", "states"])
def test_nothing_that_jax_traces_comes_into_a_stream(how):
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones((2, 3, 1))
    stream = Stream(halving, [x[:, 0]])
    stream(x)
    before = stream.carry
    with pytest.raises(TypeError, match=r"no values.*`arrayrnn\.rnn`"):
        jax.jit(lambda x: kept_by(stream, how)(x) and None)(x)
    assert_untouched(stream, before)
    with pytest.raises(TypeError, match=r"no values.*`arrayrnn\.rnn`"):
        jax.jit(lambda: stream.reset([0]))()  # where all that JAX computes is traced
    assert_untouched(stream, before)


@pytest.mark.parametrize("how", ["chunk", "samples", "states"])
@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_nothing_that_torch_traces_comes_into_a_stream(how, transform):
    torch = pytest.importorskip("torch")
    x = torch.ones(2, 3, 1)
    stream = Stream(halving, [x[:, 0]])
    stream(x)
    before = stream.carry

    def call(x):
        kept_by(stream, how)(x)
        return x.sum()

    run = {"vmap": lambda x: torch.vmap(call)(x[None]), "grad": torch.func.grad(call)}[transform]
    with pytest.raises(TypeError, match=r"no values.*`arrayrnn\.rnn`"):
        run(x)
    assert_untouched(stream, before)


def test_torch_compile_leaves_it_out_of_the_graph():
    torch = pytest.importorskip("torch")
    stream = Stream(halving, [torch.zeros(2, 1)])
    compiled = torch.compile(lambda x: stream(x + 1.0)[0] * 2.0, backend="eager")
    x = torch.ones(2, 3, 1)
    compiled(x)
    found = compiled(x)
    whole = arrayrnn.rnn(halving, torch.full((2, 6, 1), 2.0), [torch.zeros(2, 1)])
    torch.testing.assert_close(found, whole[0] * 2.0, rtol=0, atol=0)
