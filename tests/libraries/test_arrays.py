"""dtypes, aliasing, and what may be done to the arrays that are passed in."""

import numpy as np
import pytest

from support.abilities import Ability
from support.backends import assert_same
from support.oracle import Recorder, draw, halving, recurrence
from support.running import rnn

STANDARD = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64"),
    pytest.param("uint64", marks=pytest.mark.needs(Ability.UINT64)),
    pytest.param("complex64", marks=pytest.mark.needs(Ability.COMPLEX)),
    pytest.param("complex128", marks=pytest.mark.needs(Ability.COMPLEX)),
]
KEEP = np.array([[0, 1, 1, 0], [1, 0, 1, 1]], dtype=bool)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("dtype", STANDARD)
def test_every_dtype_of_inputs_states_and_outputs_is_preserved(backend, dtype, masked, zero_output):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    rng = np.random.default_rng(0)
    x, state = (rng.integers(0, 2, shape).astype(dtype) for shape in [(2, 4, 3), (2, 3)])

    def swap(x_t, states):
        return states[0], [x_t]

    step = Recorder(swap)
    found = rnn(
        step,
        backend.arrays(x),
        backend.arrays([state]),
        mask=KEEP if masked else None,
        zero_output_for_mask=zero_output,
    )
    expected = recurrence(swap, x, [state], KEEP if masked else None, zero_output=zero_output)
    assert_same(backend, found, expected, exact=True)
    given = [*step.inputs, *(states[0] for states in step.states)]
    assert {backend.name_of(array.dtype) for array in given} == {dtype}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_preserved(backend, dtype, masked):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    x, state = (draw(backend, *shape).astype("float32") for shape in [(2, 4, 3), (2, 3)])
    try:
        arrays = [backend.array(values, dtype) for values in (x, state)]
    except RuntimeError as error:
        pytest.skip(f"the device of {backend} has no {dtype}: {error}")
    keep = KEEP if masked else None
    found, _, states = rnn(halving, arrays[0], [arrays[1]], mask=keep)
    expected, _, expected_states = recurrence(halving, x, [state], keep)
    for array, values in [(found, expected), (states[0], expected_states[0])]:
        assert backend.name_of(array.dtype) == dtype
        # Small whole numbers halved four times: exact even in the 8 bits of bfloat16.
        np.testing.assert_array_equal(backend.numpy(array).astype("float32"), values)


@pytest.mark.parametrize("masked", [False, True])
def test_one_call_may_mix_dtypes(backend, masked):
    x = draw(backend, 2, 4, 1)
    keep = KEEP if masked else np.ones_like(KEEP)

    def step(x_t, states):
        count, seen_negative = states
        negative = x_t < 0
        return (count, negative), [count + 1, seen_negative | negative]

    count, seen = np.zeros((2, 1), backend.int), np.zeros((2, 1), bool)
    _, outputs, states = rnn(
        step, backend.arrays(x), backend.arrays([count, seen]), mask=keep, zero_output_for_mask=True
    )
    counts = np.cumsum(keep, axis=1, dtype=backend.int)[..., None] - 1
    negative = (x < 0) & keep[..., None]
    assert_same(backend, outputs, (np.where(keep[..., None], counts, 0), negative))
    assert_same(backend, states, [counts[:, -1] + 1, np.any(negative, axis=1)])


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("masking", ["mask", "input_length"])
def test_no_argument_is_written_to(backend, masking, host, go_backwards):
    # A mask of numbers, which would not survive being made boolean in place.
    values = {"mask": np.where(KEEP, 0.5, 0), "input_length": np.array([3, 1])}[masking]
    given = values.copy() if host else backend.array(values)
    arguments = {
        "inputs": [draw(backend, 2, 4, 3), draw(backend, 2, 4, 2)],
        "initial_states": [draw(backend, 2, 3)],
        "constants": [draw(backend, 3)],
        "initial_output": draw(backend, 2, 3) + 1,
    }
    passed = {name: backend.arrays(value) for name, value in arguments.items()}

    def step(x_t, states):
        total = states[0] + x_t[0] * states[1]
        return total, [total]

    rnn(step, go_backwards=go_backwards, **passed, **{masking: given})
    for name, value in arguments.items():
        assert_same(backend, passed[name], value, exact=True)
    np.testing.assert_array_equal(given if host else backend.numpy(given), values)


def test_lists_that_are_passed_in_are_left_alone(backend):
    x, state = backend.array([[[1.0], [2.0]]]), backend.array([[0.0]])
    states, constants, nest = [state], ["c"], [x]
    rnn(lambda x_t, s: (x_t[0], s[:1]), nest, states, constants=constants)
    assert states[0] is state
    assert nest[0] is x
    assert (len(nest), len(states), constants) == (1, 1, ["c"])


@pytest.mark.parametrize("given", ["mask", "input_length", None])
def test_read_only_arrays_of_numpy(given):
    x, state = np.arange(24.0).reshape(2, 4, 3), np.ones((2, 3))
    lengths = np.array([3, 1])
    keep = {"mask": KEEP, "input_length": np.arange(4) < lengths[:, None], None: None}[given]
    arguments = [x, state, KEEP.copy(), lengths, np.ones((2, 3))]
    for array in arguments:
        array.flags.writeable = False
    x, state, mask, lengths, initial = arguments
    options = {"mask": {"mask": mask}, "input_length": {"input_length": lengths}, None: {}}[given]
    found = rnn(halving, x, [state], initial_output=initial, **options)
    expected = recurrence(halving, x, [state], keep, initial_output=initial)
    for array, values in zip((*found[:2], *found[2]), (*expected[:2], *expected[2]), strict=True):
        np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("given", ["mask", "input_length"])
def test_a_read_only_mask_or_length_of_numpy_beside_any_library(backend, given):
    values = {"mask": KEEP.copy(), "input_length": np.array([3, 1])}[given]
    values.flags.writeable = False
    keep = {"mask": KEEP, "input_length": np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)}[given]
    x, state = draw(backend, 2, 4, 3), draw(backend, 2, 3)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), **{given: values})
    assert_same(backend, found, recurrence(halving, x, [state], keep), exact=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_broadcast_inputs_and_states(backend, axis, masked):
    x, state = draw(backend, 2, 4, 3), draw(backend, 2, 3)
    x = x.take([0], axis=axis)
    state = state[:1] if axis == 0 else state
    keep = KEEP if masked else None
    found = rnn(
        halving,
        backend.xp.broadcast_to(backend.arrays(x), (2, 4, 3)),
        [backend.xp.broadcast_to(backend.arrays(state), (2, 3))],
        mask=keep,
    )
    x, state = np.broadcast_to(x, (2, 4, 3)), np.broadcast_to(state, (2, 3))
    assert_same(backend, found, recurrence(halving, x, [state], keep), exact=True)


@pytest.mark.parametrize("masked", [False, True])
def test_inputs_that_are_views_of_another_order(backend, masked):
    stored, state = draw(backend, 3, 2, 4), draw(backend, 2, 3)
    x = np.moveaxis(stored, 0, 2)
    keep = KEEP if masked else None
    view = backend.xp.moveaxis(backend.arrays(stored), 0, 2)
    found = rnn(halving, view, backend.arrays([state]), mask=keep)
    assert_same(backend, found, recurrence(halving, x, [state], keep), exact=True)


@pytest.mark.parametrize("masked", [False, True])
def test_features_may_be_empty(backend, masked):
    x, state = np.zeros((2, 4, 0), backend.float), np.zeros((2, 0), backend.float)
    mask = KEEP if masked else None
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), mask=mask)
    assert_same(backend, found, (state, x, [state]))


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_may_return_its_arguments_as_they_are(backend, masked):
    x, a, b = draw(backend, 2, 4, 3), draw(backend, 2, 3), draw(backend, 3, 3)[:2]
    keep = KEEP if masked else None

    def exchange(x_t, states):
        return (states[0], x_t, states[0], states[2]), [states[1], x_t]

    constant = backend.arrays(a)
    found = rnn(
        exchange, backend.arrays(x), backend.arrays([a, b]), mask=keep, constants=[constant]
    )
    parts = [
        recurrence(lambda x_t, states: (states[0], [states[1], x_t]), x, [a, b], keep),
        recurrence(lambda x_t, states: (x_t, [states[1], x_t]), x, [a, b], keep),
    ]
    first, second = (part[1] for part in parts)
    held = np.broadcast_to(a[:, None], (2, 4, 3)).copy()
    if masked:
        held[0, 0] = 0  # nothing before the first timestep
    outputs = (first, second, first, held)
    last = tuple(leaf[:, -1] for leaf in outputs)
    assert_same(backend, found, (last, outputs, parts[0][2]), exact=True)


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_may_return_one_array_for_everything(backend, masked):
    x, state = draw(backend, 2, 4, 3), draw(backend, 2, 3)
    keep = KEEP if masked else None

    def step(x_t, states):
        total = states[0] + x_t
        return [total, total], [total, total]

    def alone(x_t, states):
        return states[0] + x_t, [states[0] + x_t, states[0] + x_t]

    found = rnn(step, backend.arrays(x), backend.arrays([state, 0 * state]), mask=keep)
    last, outputs, states = recurrence(alone, x, [state, 0 * state], keep)
    assert_same(backend, found, ([last, last], [outputs, outputs], states), exact=True)
