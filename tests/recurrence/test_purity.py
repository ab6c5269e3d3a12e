"""Steps that are not pure: what they write into, and the buffers that they return."""

import numpy as np
import pytest

import arrayrnn
from arrayrnn import Stream, bidirectional, scan
from support import running
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import draw
from support.running import rnn

# The arrays of these can be written into; Dask's and ndonnx's are others afterwards.
WRITABLE = ("numpy", "torch", "dpnp", "cupy", "strict")
KEEP = np.asarray([[1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 1]], dtype=bool)
LENGTHS = np.asarray([6, 2, 0])


@pytest.fixture(autouse=True)
def where_arrays_can_be_written_into(request):
    if "backend" in request.fixturenames:
        backend = request.getfixturevalue("backend")
        if backend.library not in WRITABLE or backend.is_compiled:
            pytest.skip(f"nothing is written into the arrays that a step is given on {backend}")


def pure(x_t, states):
    h = 0.5 * states[0] + x_t
    return h, [h]


def operators(x_t, states):
    (h,) = states
    h *= 0.5
    h += x_t
    return h, [h]


def items(x_t, states):
    (h,) = states
    h[...] = 0.5 * h + x_t
    return h, [h]


def of_new_ones(x_t, states):
    (h,) = states
    h *= 0.5
    h = h + x_t
    return h, [h]


def inputs(x_t, states):
    x_t += 0.5 * states[0]
    return x_t, [x_t]


def views(x_t, states):
    (h,) = states
    h *= 0.5
    h += x_t
    return h[:, :], [h]


def buffers(count):
    """Return a step that writes its results into arrays of its own, in turn."""
    own = []

    def step(x_t, states):
        result = 0.5 * states[0] + x_t
        if own and own[0].shape != result.shape:  # it is given fewer samples
            own.clear()
        if len(own) < count:
            own.append(result)
        else:
            own.append(own.pop(0))
            own[-1][...] = result
        return own[-1], [own[-1]]

    return step


STEPS = {
    "operators": lambda: operators,
    "items": lambda: items,
    "then a new array": lambda: of_new_ones,
    "its input": lambda: inputs,
    "a view": lambda: views,
    "one buffer": lambda: buffers(1),
    "two buffers": lambda: buffers(2),
}
each_step = pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)
each_mask = pytest.mark.parametrize(
    "masking",
    [{}, {"mask": KEEP}, {"input_length": LENGTHS}],
    ids=["unmasked", "mask", "lengths"],
)


@each_step
@each_mask
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("return_all_outputs", [False, True])
def test_results_are_those_of_each_timestep_and_arguments_stay_as_they_were(
    backend, make, masking, go_backwards, samplewise, return_all_outputs
):
    x, h = draw(backend, 3, 6, 2), draw(backend, 3, 2) + 0.5
    options = {
        "go_backwards": go_backwards,
        "samplewise": samplewise,
        "return_all_outputs": return_all_outputs,
        **masking,
    }
    expected = arrayrnn.rnn(pure, x, [h], **options)
    given = backend.arrays((x.copy(), [h.copy()]))
    found = rnn(make(), *given, **options)
    assert_same(backend, found, expected, exact=True)
    assert_same(backend, given, (x, [h]), exact=True)


@each_step
def test_time_major_too_where_timesteps_are_the_callers_own_memory(backend, make):
    x, h = draw(backend, 6, 3, 2), draw(backend, 3, 2)
    expected = arrayrnn.rnn(pure, x, [h], time_major=True)
    given = backend.arrays((x.copy(), [h.copy()]))
    assert_same(backend, rnn(make(), *given, time_major=True), expected, exact=True)
    assert_same(backend, given, (x, [h]), exact=True)


@each_step
def test_in_blocks_and_with_wide_timesteps(backend, make):
    x, h = draw(backend, 2, 150, 600), draw(backend, 2, 600)
    expected = arrayrnn.rnn(pure, x, [h])
    given = backend.arrays((x.copy(), [h.copy()]))
    assert_same(backend, rnn(make(), *given), expected)
    assert_same(backend, given, (x, [h]), exact=True)


@each_step
def test_packed(backend, make):
    # Wide enough for samples to be left out.
    x, h = draw(backend, 3, 6, 40_000), draw(backend, 3, 40_000)
    options = {"input_length": LENGTHS, "samplewise": True}
    expected = arrayrnn.rnn(pure, x, [h], **options)
    given = backend.arrays((x.copy(), [h.copy()]))
    assert_same(backend, rnn(make(), *given, **options), expected, exact=True)
    assert_same(backend, given, (x, [h]), exact=True)


def test_zeros_that_are_written_into_without_a_change_are_noticed(backend):
    x = np.zeros((2, 9, 1), backend.float)
    x[:, 5:] = 1.0
    h = np.zeros((2, 1), backend.float)
    keep = np.ones((2, 9), bool)
    keep[0, 7] = False
    expected = arrayrnn.rnn(pure, x, [h], mask=keep)
    found = rnn(operators, *backend.arrays((x, [h])), mask=keep)
    assert_same(backend, found, expected, exact=True)


def test_a_state_that_holds_a_cache_is_written_into(backend):
    """A shift register in place, beside a state that is made anew."""

    def step(x_t, states):
        h, cache, t = states
        cache[:, 1:] = 1.0 * cache[:, :-1]
        cache[:, 0] = x_t[:, 0]
        h = 0.5 * h + x_t
        return 1.0 * cache, [h, cache, t + 1]

    def purely(x_t, states):
        h, cache, t = states
        cache = np.concat([x_t, cache[:, :-1]], axis=1)
        return cache, [0.5 * h + x_t, cache, t + 1]

    x, h, cache = draw(backend, 3, 6, 1) + 0.5, draw(backend, 3, 1), draw(backend, 3, 4)
    t = np.zeros((3, 1), backend.int)
    expected = arrayrnn.rnn(purely, x, [h, cache, t], mask=KEEP)
    found = rnn(step, *backend.arrays((x, [h, cache, t])), mask=KEEP)
    assert_same(backend, found, expected, exact=True)


@each_mask
def test_nests(backend, masking):
    def step(x_t, states):
        (state,) = states
        state["h"] *= 0.5
        state["h"] += x_t["x"]
        return {"y": state["h"], "x": x_t["x"]}, [state]

    def purely(x_t, states):
        h = 0.5 * states[0]["h"] + x_t["x"]
        return {"y": h, "x": x_t["x"]}, [{"h": h}]

    x, states = {"x": draw(backend, 3, 6, 2)}, [{"h": draw(backend, 3, 2)}]
    expected = arrayrnn.rnn(purely, x, states, **masking)
    given = backend.arrays(({"x": x["x"].copy()}, [{"h": states[0]["h"].copy()}]))
    assert_same(backend, rnn(step, *given, **masking), expected, exact=True)
    assert_same(backend, given, (x, states), exact=True)


@pytest.mark.needs(Ability.VALUES)
def test_the_step_is_called_no_more_than_any_other(backend):
    calls = []

    def step(x_t, states):
        calls.append(x_t)
        return operators(x_t, states)

    rnn(step, *backend.arrays((draw(backend, 3, 6, 2), [draw(backend, 3, 2)])), mask=KEEP)
    assert len(calls) == KEEP.any(axis=0).sum()


def test_scan(backend):
    def f(h, x):
        h *= 0.5
        h += x
        return h, h

    x, h = draw(backend, 6, 2), draw(backend, 2)
    given = backend.arrays((h.copy(), x.copy()))
    found = scan(f, *given)
    expected = arrayrnn.scan(lambda h, x: (0.5 * h + x,) * 2, h, x)
    assert_same(backend, found, expected, exact=True)
    assert_same(backend, given, (h, x), exact=True)


def test_both_directions(backend):
    x, h = draw(backend, 3, 6, 2), draw(backend, 3, 2)
    given = backend.arrays((x.copy(), [h.copy()], [h.copy()]))
    found = bidirectional(operators, buffers(1), *given, mask=KEEP)
    expected = arrayrnn.bidirectional(pure, pure, x, [h], [h], mask=KEEP)
    assert_same(backend, found, expected, exact=True)
    assert_same(backend, given, (x, [h], [h]), exact=True)


@each_step
def test_a_stream_and_what_it_returned_before(backend, make):
    x, h = draw(backend, 3, 6, 2), draw(backend, 3, 2)
    stream = Stream(make(), backend.arrays([h]))
    parts = [
        stream(backend.arrays(x[:, t : t + 2]), mask=KEEP[:, t : t + 2]) for t in range(0, 6, 2)
    ]
    last, outputs, states = arrayrnn.rnn(pure, x, [h], mask=KEEP)
    joined = np.concat([backend.numpy(part[1]) for part in parts], axis=1)
    np.testing.assert_array_equal(joined, outputs)
    assert_same(backend, (parts[-1][0], parts[-1][2]), (last, states), exact=True)
    for k, (last, _, (state,)) in enumerate(parts):
        np.testing.assert_array_equal(backend.numpy(last), outputs[:, 2 * k + 1])
        np.testing.assert_array_equal(backend.numpy(state), outputs[:, 2 * k + 1])


def test_a_pure_step_works_on_the_arrays_themselves_from_its_fourth_call_on(backend):
    returned, same = [], []

    def step(x_t, states):
        same.append(bool(returned) and states[0] is returned[-1])
        h = 0.5 * states[0] + x_t
        returned.append(h)
        return h, [h]

    rnn(step, *backend.arrays((draw(backend, 2, 6, 1), [draw(backend, 2, 1)])))
    assert same == [False, False, False, True, True, True]


# ---------------------------------------------------------------------------- where it is traced


@pytest.mark.parametrize("library", ["jax", "dask", "onnx"])
def test_lazy_arrays_give_the_same_or_the_step_is_refused(library):
    pytest.importorskip({"onnx": "ndonnx"}.get(library, library))
    backend = {"jax": Backend.JAX_JIT, "dask": Backend.DASK, "onnx": Backend.ONNX}[library]
    x, h = np.arange(12.0).reshape(2, 3, 2).astype("float32"), np.ones((2, 2), "float32")
    keep = np.asarray([[True, False, True], [True, True, False]])
    expected = arrayrnn.rnn(pure, x, [h], mask=keep)
    for step in (operators, items):
        for unroll in (False, True):
            try:
                with running.on(backend):
                    found = rnn(step, *backend.arrays((x, [h])), mask=keep, unroll=unroll)
            except TypeError:
                assert (step, library) == (items, "jax")  # whose arrays are immutable
            else:
                assert_same(backend, found, expected, exact=True)
