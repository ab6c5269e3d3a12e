"""Every error: its type, its wording, when it comes, and that no argument has changed by then."""

import re
import sys
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import optree
import pytest

from support import running
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.running import rnn

SAMPLES, TIME, FEATURES = 2, 3, 4
LONG = 100  # timesteps: more than one block of 64
LATE = 70  # a timestep in the second block
MASK = np.asarray([[True, True, False], [True, True, True]])


class Pair(NamedTuple):
    first: Any
    second: Any


def add(x_t, states):
    total = states[0] + x_t
    return total, [total]


def echo(x_t, states):
    return x_t, list(states)


@pytest.fixture(autouse=True)
def shapes_are_known():
    """What has a shape of which something is unknown is compared with what is known."""
    with running.known_shapes():
        yield


@pytest.fixture
def refused(backend):
    """Return a function that calls `rnn`, by default with valid arguments, and checks its error.

    It is exactly of the type, with the message in its own, and comes after so many calls of the
    step function (None: any number of them); nothing that was given has changed. Where the step is
    traced, calls are counted with `unroll` only.
    """

    def refused(error, message, *, calls=0, **arguments):
        step = arguments.setdefault("step_function", add)
        arguments.setdefault("inputs", timesteps(backend, TIME))
        arguments.setdefault("initial_states", [zeros(backend)])
        called = 0

        def counting(x_t, states):
            nonlocal called
            called += 1
            return step(x_t, states)

        leaves, structure = optree.tree_flatten(arguments)
        before = [values(leaf) for leaf in leaves]
        with pytest.raises(error, match=re.escape(message)) as raised:
            rnn(**arguments | ({"step_function": counting} if callable(step) else {}))
        assert raised.type is error
        if backend.is_traced and calls and arguments.get("unroll") is not True:
            assert called > 0
        else:
            assert calls is None or called == calls

        after, structure_after = optree.tree_flatten(arguments)
        assert structure_after == structure
        for old, new, value in zip(leaves, after, before, strict=True):
            assert new is old
            np.testing.assert_array_equal(values(new), value)
        return raised.value

    return refused


@pytest.fixture
def refused_in_python(backend, refused):
    """Return `refused` with the Python loop, in which a step can do something else later on."""
    if Ability.LATER.is_lacked_by(backend):
        pytest.skip(f"{backend} has not: {Ability.LATER}")
    return partial(refused, unroll=backend.is_traced)


def values(leaf: Any) -> Any:
    """Return a copy of the values of an array of any library, anything else as it is."""
    if isinstance(leaf, np.ndarray):
        return np.array(leaf)
    if not array_api_compat.is_array_api_obj(leaf):
        return leaf
    if str(array_api_compat.device(leaf)) == "meta":
        return tuple(leaf.shape)
    library = next(b for b in Backend if b.library in type(leaf).__module__)
    return np.array(library.numpy(leaf))


def timesteps(backend: Backend, time: int, features: int = FEATURES) -> Any:
    host = np.arange(SAMPLES * time * features, dtype="float64")
    return backend.array(host.reshape(SAMPLES, time, features))


def zeros(backend: Backend, *shape: int, dtype: str | None = None) -> Any:
    return backend.array(np.zeros(shape or (SAMPLES, FEATURES)), dtype)


def made(like: Any, *shape: int, dtype: str | None = None) -> Any:
    """Return zeros of the library of what a step is given, since it may not close over them."""
    xp = array_api_compat.array_namespace(like)
    dtype = like.dtype if dtype is None else getattr(xp, dtype)
    return xp.zeros(shape, dtype=dtype, device=array_api_compat.device(like))


def an_array(backend: Backend, *shape: int, dtype: str | None = None) -> str:
    """Return how a message describes an array."""
    return f"an array of shape {shape} and dtype {dtype or backend.float}"


def first_note(backend: Backend, time: int) -> str:
    """Return what an exception in the first call tells of its timestep."""
    if backend is Backend.DASK:
        return (
            "arrayrnn.rnn: while `step_function` was called on arrays of ones (zeros of integers) "
            "of the shapes that a block will have, to learn the shape of its output. If it cannot "
            "stand such values, `unroll=True` calls it on none, and makes tasks for each of its "
            "operations."
        )
    if backend.is_traced:
        called = "compiled.rnn" if backend.is_compiled else "rnn"
        return f"arrayrnn.{called}: while tracing `step_function` for all timesteps."
    return note(0, time)


def note(t: int, time: int, *, backwards: bool = False) -> str:
    """Return what an exception tells of its timestep."""
    direction = ", going backwards" if backwards else ""
    return f"arrayrnn.rnn: at timestep {t} of {time}, counted from 0{direction}."


def called_with(backend: Backend, samples: int = SAMPLES) -> str:
    """Return what an exception of the step's own tells of its arguments."""
    like = f"({samples}, {FEATURES}) {backend.float}"
    return f" `step_function` was called with input_t {like}; states: {like}."


def notes(error: Exception) -> list[str]:
    # JAX adds a note of its own to whatever passes through it.
    return [note for note in getattr(error, "__notes__", []) if note.startswith("arrayrnn")]


# ------------------------------------------------------------------------------------ the function


@pytest.mark.parametrize(
    ("step", "came"),
    [(None, "None"), (3, "of type int"), ((add,), "of type tuple")],
    ids=["None", "number", "tuple"],
)
def test_a_step_function_that_is_not_callable(refused, step, came):
    refused(
        TypeError,
        f"`step_function` is {came}; expected a callable "
        "`step_function(input_t, states) -> (output, new_states)`.",
        step_function=step,
    )


# ------------------------------------------------------------------------------------------ inputs


@pytest.mark.parametrize(
    ("shape", "cure"),
    [
        ((), "For one number at each timestep of one sample: `x[None, :, None]`."),
        ((TIME,), "For one number at each timestep of one sample: `x[None, :, None]`."),
        (
            (SAMPLES, TIME),
            (
                "If it is one sample, (time, features): `x[None]`. If it is one number for each "
                "sample and timestep: `x[..., None]`."
            ),
        ),
    ],
    ids=["0", "1", "2"],
)
def test_inputs_of_fewer_than_three_dimensions(backend, refused, shape, cure):
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, *shape)}; expected (samples, time, ...), at least 3 "
        f"dimensions. {cure}",
        inputs=backend.array(np.zeros(shape)),
    )


def test_inputs_of_fewer_than_three_dimensions_time_major(backend, refused):
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, TIME, SAMPLES)}; expected (time, samples, ...), at least "
        "3 dimensions. If it is one sample, (time, features): `x[:, None]`. If it is one number "
        "for each sample and timestep: `x[..., None]`.",
        inputs=zeros(backend, TIME, SAMPLES),
        time_major=True,
    )


def test_a_list_of_sequences_in_place_of_inputs(backend, refused):
    refused(
        ValueError,
        "A list is a nest, whose arrays go side by side. If these are sequences, one for each "
        "sample, pass what `pad_sequences` makes of them, or, if they are equally long, `stack`.",
        inputs=[zeros(backend, TIME, FEATURES), zeros(backend, 2, FEATURES)],
    )


def test_nested_lists_in_place_of_inputs(refused):
    refused(
        TypeError,
        "`inputs[0][0][0]` is of type float; expected an array. Make one of numbers and nested "
        "lists first, by `asarray`.",
        inputs=[[[1.0], [2.0]]],
    )


def test_a_leaf_of_inputs_of_fewer_than_three_dimensions_is_named(backend, refused):
    flat = zeros(backend, SAMPLES, TIME)
    refused(
        ValueError,
        f"`inputs[1]['k']` is {an_array(backend, SAMPLES, TIME)}; expected (samples, time, ...)",
        inputs=(timesteps(backend, TIME), {"k": flat}),
    )


def test_a_field_of_a_namedtuple_is_named(backend, refused):
    flat = zeros(backend, SAMPLES, TIME)
    refused(
        ValueError,
        f"`inputs.second` is {an_array(backend, SAMPLES, TIME)}; expected (samples, time, ...)",
        inputs=Pair(timesteps(backend, TIME), flat),
    )


@pytest.mark.parametrize(
    ("inputs", "where", "came"),
    [
        (None, "inputs", "None"),
        (1.0, "inputs", "of type float"),
        ("abc", "inputs", "of type str"),
        (range(3), "inputs", "of type range"),
        ([1.0, 2.0], "inputs[0]", "of type float"),
        ([[[1.0], [2.0]]], "inputs[0][0][0]", "of type float"),
        ({"a": "abc"}, "inputs['a']", "of type str"),
    ],
    ids=["None", "number", "str", "range", "list of numbers", "nested list", "dict"],
)
def test_inputs_that_are_no_arrays(refused, inputs, where, came):
    refused(TypeError, f"`{where}` is {came}; expected an array.", inputs=inputs)


def test_a_number_beside_an_array_in_inputs(backend, refused):
    refused(
        TypeError,
        "`inputs[1]` is of type float; expected an array.",
        inputs=(timesteps(backend, TIME), 1.0),
    )


@pytest.mark.parametrize("inputs", [(), {}, ([], {})], ids=str)
def test_inputs_that_are_an_empty_nest(refused, inputs):
    refused(ValueError, "`inputs` is an empty nest; expected at least one array.", inputs=inputs)


@pytest.mark.parametrize("time_major", [False, True], ids=["batch-major", "time-major"])
def test_inputs_without_timesteps(backend, refused, time_major):
    shape = (0, SAMPLES, FEATURES) if time_major else (SAMPLES, 0, FEATURES)
    refused(
        ValueError,
        f"`inputs` is {an_array(backend, *shape)}, without timesteps; expected at least one.",
        inputs=zeros(backend, *shape),
        time_major=time_major,
    )


def test_a_leaf_of_inputs_without_timesteps_is_named(backend, refused):
    refused(
        ValueError,
        f"`inputs['a']` is {an_array(backend, SAMPLES, 0, 1)}, without timesteps",
        inputs={"a": zeros(backend, SAMPLES, 0, 1)},
    )


@pytest.mark.parametrize(
    "shape", [(SAMPLES, TIME + 1, 1), (SAMPLES + 1, TIME, 1)], ids=["time", "samples"]
)
def test_leaves_of_inputs_that_disagree(backend, refused, shape):
    refused(
        ValueError,
        f"`inputs['b']` is {an_array(backend, *shape)}, `inputs['a']` is "
        f"{an_array(backend, SAMPLES, TIME, FEATURES)}; expected the same samples and time, "
        "(samples, time, ...), in every array of `inputs`.",
        inputs={"a": timesteps(backend, TIME), "b": zeros(backend, *shape)},
    )


def test_leaves_of_inputs_that_disagree_time_major(backend, refused):
    refused(
        ValueError,
        "expected the same samples and time, (time, samples, ...), in every array of `inputs`.",
        inputs=(zeros(backend, 3, 2, 1), zeros(backend, 4, 2, 1)),
        time_major=True,
    )


@pytest.mark.parametrize("time", [None, float("nan")], ids=["None", "nan"])
@pytest.mark.parametrize(
    ("unroll", "reason"),
    [(True, "`unroll=True`"), (False, "a Python loop")],
    ids=["unrolled", "rolled"],
)
def test_an_unknown_number_of_timesteps(backend, refused, time, unroll, reason):
    if backend is not Backend.NUMPY:
        pytest.skip("only a subclass of NumPy's array can pretend not to know its shape")

    class Unknown(np.ndarray):
        @property
        def shape(self):
            return SAMPLES, time, FEATURES

    refused(
        ValueError,
        f"`inputs` has an unknown number of timesteps ({time}); {reason} needs a fixed one.",
        inputs=timesteps(backend, TIME).view(Unknown),
        unroll=unroll,
    )


# ------------------------------------------------------------------------------------------- flags


@pytest.mark.parametrize("unroll", [0, -1, np.int64(0)], ids=repr)
def test_an_unroll_factor_below_one(refused, unroll):
    refused(
        ValueError,
        f"`unroll` is {unroll}; expected a bool or an integer of at least 1.",
        unroll=unroll,
    )


@pytest.mark.parametrize(
    ("unroll", "came"), [(1.5, "of type float"), ("yes", "of type str"), (None, "None")], ids=repr
)
def test_an_unroll_that_is_neither_a_bool_nor_an_integer(refused, unroll, came):
    refused(
        TypeError,
        f"`unroll` is {came}; expected a bool or an integer of at least 1.",
        unroll=unroll,
    )


@pytest.mark.parametrize("checkpoint", [0, -3, np.int64(0)], ids=repr)
def test_a_checkpoint_below_one(refused, checkpoint):
    refused(
        ValueError,
        f"`checkpoint` is {checkpoint}; expected None or an integer of at least 1.",
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize(
    ("checkpoint", "came"),
    [(1.5, "of type float"), ("all", "of type str"), (True, "of type bool")],
    ids=repr,
)
def test_a_checkpoint_that_is_no_integer(refused, checkpoint, came):
    refused(
        TypeError,
        f"`checkpoint` is {came}; expected None or an integer of at least 1.",
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize(("progress", "came"), [("yes", "str"), (1, "int")], ids=["str", "int"])
def test_a_progress_that_is_neither_a_bool_nor_callable(refused, progress, came):
    refused(
        TypeError,
        f"`progress` is of type {came}; expected True for a bar, or a callable "
        "`progress(timesteps_done, timesteps_in_all)`.",
        progress=progress,
    )


@pytest.mark.needs(Ability.PROGRESS)
def test_a_progress_bar_without_tqdm(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    error = refused(
        ImportError,
        "`progress=True` needs tqdm, which is not installed: python -m pip install "
        "'arrayrnn[progress]'. Or pass a callable.",
        progress=True,
    )
    assert isinstance(error.__cause__, ImportError)


@pytest.mark.needs(Ability.PROGRESS)
def test_a_progress_callable_needs_no_tqdm(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    seen = []
    rnn(add, timesteps(backend, TIME), [zeros(backend)], progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# ------------------------------------------------------------------------------- states, constants


@pytest.mark.parametrize(
    ("states", "came"),
    [(None, "None"), (0.0, "of type float"), ({"h": 0.0}, "of type dict")],
    ids=["None", "number", "dict"],
)
def test_initial_states_that_are_no_sequence(refused, states, came):
    refused(
        TypeError, f"`initial_states` is {came}; expected a list or tuple.", initial_states=states
    )


@pytest.mark.parametrize(
    ("state", "where"),
    [("abc", "initial_states[0]"), ({"a": (0.0, "abc")}, "initial_states[0]['a'][1]")],
    ids=["state", "in a nest"],
)
def test_a_state_that_is_no_array(refused, state, where):
    refused(TypeError, f"`{where}` is of type str; expected an array.", initial_states=[state])


def test_a_bare_array_as_constants(backend, refused):
    refused(
        TypeError,
        f"`constants` is {an_array(backend, SAMPLES, FEATURES)}; expected a list or tuple. Put a "
        "single one into a list.",
        constants=zeros(backend),
    )


@pytest.mark.parametrize("constants", [{"a": 1}, "abc", 3], ids=["dict", "str", "int"])
def test_constants_that_are_no_sequence(refused, constants):
    refused(
        TypeError,
        f"`constants` is of type {type(constants).__name__}; expected a list or tuple.",
        constants=constants,
    )


# -------------------------------------------------------------------------------------------- mask


@pytest.mark.parametrize("states", [[], ()], ids=["list", "tuple"])
def test_a_mask_without_states(backend, refused, states):
    refused(
        ValueError,
        "`mask` is given and `initial_states` is empty; expected at least one state, which "
        "masked samples keep. Without states, select from the outputs.",
        step_function=echo,
        initial_states=states,
        mask=backend.array(MASK),
    )


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (TIME,),
        (TIME, SAMPLES),
        (SAMPLES, TIME - 1),
        (SAMPLES, TIME + 1),
        (1, TIME),
        (SAMPLES, 1),
        (SAMPLES, TIME, 2),
        (SAMPLES, TIME, 0),
        (SAMPLES, TIME, 1, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("of_the_host", [False, True], ids=["own", "host"])
def test_a_mask_of_another_shape(backend, refused, shape, of_the_host):
    mask = np.ones(shape, bool)
    refused(
        ValueError,
        f"`mask` is {an_array(backend, *shape, dtype='bool')}; expected (samples, time) = (2, 3), "
        "or (2, 3, 1).",
        mask=mask if of_the_host else backend.array(mask),
    )


def test_a_mask_of_another_shape_time_major(backend, refused):
    refused(
        ValueError,
        f"`mask` is {an_array(backend, 2, 3, dtype='bool')}; expected (time, samples) = (3, 2), or "
        "(3, 2, 1).",
        inputs=zeros(backend, TIME, SAMPLES, FEATURES),
        mask=backend.array(MASK),
        time_major=True,
    )


def test_a_mask_beside_a_shorter_input_length_still_has_all_timesteps(backend, refused):
    refused(
        ValueError,
        f"`mask` is {an_array(backend, 2, 2, dtype='bool')}; expected (samples, time) = (2, 3)",
        mask=backend.array(MASK[:, :2]),
        input_length=2,
    )


@pytest.mark.parametrize(
    "of_the_host",
    [pytest.param(False, marks=pytest.mark.needs(Ability.COMPLEX)), True],
    ids=["own", "host"],
)
def test_a_complex_mask(backend, refused, of_the_host):
    mask = MASK.astype("complex64")
    refused(
        TypeError,
        f"`mask` is {an_array(backend, 2, 3, dtype='complex64')}; expected a bool or real dtype.",
        mask=mask if of_the_host else backend.array(mask),
    )


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("of_the_host", [False, True], ids=["own", "host"])
def test_a_real_mask_is_fine(backend, dtype, of_the_host):
    mask = (MASK * 2).astype(dtype)
    given = mask if of_the_host else backend.array(mask, dtype)
    last, _, _ = rnn(add, timesteps(backend, TIME), [zeros(backend)], mask=given)
    expected = np.asarray([[4, 6, 8, 10], [48, 51, 54, 57]], backend.float)
    assert_same(backend, last, expected)


@pytest.mark.parametrize(
    "mask",
    [[[1, 1], [1, 1, 1]], [[1, [1], 1], [1, 1, 1]], [[[1], [1], [1, 2]], [[1], [1], [1]]]],
    ids=["rows", "entries", "last axis"],
)
def test_a_ragged_mask(refused, mask):
    error = refused(ValueError, "`mask` is a ragged list", mask=mask)
    assert str(error).endswith("; expected rows of equal length.")


@pytest.mark.parametrize(
    "mask", ["abc", True, {"a": 1}, add], ids=["str", "bool", "dict", "function"]
)
def test_a_mask_that_is_no_array(refused, mask):
    refused(TypeError, f"`mask` is of type {type(mask).__name__}; expected an array.", mask=mask)


@pytest.mark.parametrize("mask", [[["a"] * 3] * 2, [[None] * 3] * 2], ids=["str", "None"])
def test_a_mask_of_no_numbers(refused, mask):
    refused(TypeError, "; expected a bool or real dtype.", mask=mask)


STATES_WITHOUT_SAMPLES = pytest.mark.parametrize(
    "shape", [(), (1,), (1, FEATURES), (SAMPLES + 1, FEATURES)], ids=str
)
LIMITS = pytest.mark.parametrize(
    "limit", [{"mask": MASK}, {"input_length": [2, 3]}], ids=["mask", "lengths"]
)


@STATES_WITHOUT_SAMPLES
@LIMITS
def test_a_state_without_samples_under_a_mask(backend, refused, shape, limit):
    refused(
        ValueError,
        f"`initial_states[1]['k']` is {an_array(backend, *shape)}; under a mask or lengths "
        "expected (samples, ...) with samples = 2, since a masked sample keeps its own state. "
        "Broadcast the state to all samples.",
        step_function=echo,
        initial_states=[zeros(backend), {"k": backend.array(np.zeros(shape))}],
        **limit,
    )


@LIMITS
def test_a_python_number_as_state_under_a_mask(backend, refused, limit):
    refused(
        ValueError,
        f"`initial_states[0]` is {an_array(backend)}; under a mask or lengths expected (samples, "
        "...) with samples = 2",
        step_function=echo,
        initial_states=[0.0],
        **limit,
    )


@STATES_WITHOUT_SAMPLES
@pytest.mark.parametrize("input_length", [None, 2])
def test_a_state_without_samples_is_fine_without_a_mask(backend, shape, input_length):
    state = backend.array(np.ones(shape))
    _, _, states = rnn(echo, timesteps(backend, TIME), [state], input_length=input_length)
    assert_same(backend, states, [np.ones(shape, backend.float)])


# ------------------------------------------------------------------------------------ input_length


@pytest.mark.parametrize("length", [-1, 0, TIME + 1, np.int32(9), 2**70], ids=repr)
def test_an_input_length_out_of_range(refused, length):
    refused(
        ValueError,
        f"`input_length` is {length}; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=length,
    )


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("length", [0, TIME + 1])
def test_an_input_length_out_of_range_as_a_0d_array(backend, refused, length):
    refused(
        ValueError,
        f"`input_length` is {length}; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=backend.array(np.asarray(length)),
    )


def test_an_input_length_out_of_range_beside_a_mask(backend, refused):
    refused(
        ValueError,
        "`input_length` is 4; expected 1 <= input_length <= 3, the timesteps of `inputs`.",
        input_length=4,
        mask=backend.array(MASK),
    )


@pytest.mark.parametrize("kind", ["Python", "NumPy", "0-d", "0-d on the host"])
@pytest.mark.parametrize("value", [True, False])
def test_a_bool_as_input_length(backend, refused, kind, value):
    given = {
        "Python": value,
        "NumPy": np.bool_(value),
        "0-d": backend.array(np.asarray(value)),
        "0-d on the host": np.asarray(value),
    }[kind]
    came = "of type bool" if kind == "Python" else an_array(backend, dtype="bool")
    refused(
        TypeError,
        f"`input_length` is {came}; expected an integer whose value is known, or one "
        "integer for each sample.",
        input_length=given,
    )


@pytest.mark.parametrize(
    ("length", "came"),
    [
        (2.0, "of type float"),
        ("2", "of type str"),
        ({0: 1, 1: 2}, "of type dict"),
        (np.float32(2), "an array of shape () and dtype float32"),
    ],
    ids=["float", "str", "dict", "NumPy float"],
)
def test_an_input_length_that_is_no_integer(refused, length, came):
    refused(
        TypeError,
        f"`input_length` is {came}; expected an integer whose value is known, or one "
        "integer for each sample.",
        input_length=length,
    )


def test_a_0d_float_array_as_input_length(backend, refused):
    refused(
        TypeError,
        f"`input_length` is {an_array(backend)}; expected an integer whose value is known, or "
        "one integer for each sample.",
        input_length=backend.array(np.asarray(2.0)),
    )


@pytest.mark.parametrize(("lengths", "sample"), [([2, 4], 1), ([-1, 4], 0)], ids=str)
@pytest.mark.parametrize(
    "kind", [pytest.param("own", marks=pytest.mark.needs(Ability.VALUES)), "host", "list", "tuple"]
)
def test_lengths_out_of_range(backend, refused, lengths, sample, kind):
    given = {"own": backend.array, "host": np.asarray, "list": list, "tuple": tuple}[kind](lengths)
    refused(
        ValueError,
        f"`input_length[{sample}]` is {lengths[sample]}; expected 0 <= length <= 3, the timesteps "
        "of `inputs`.",
        input_length=given,
    )


@pytest.mark.parametrize("lengths", [[0, 0], [0, 3], [3, 3]], ids=str)
def test_lengths_from_zero_to_all_timesteps_are_fine(backend, lengths):
    last, _, _ = rnn(echo, timesteps(backend, TIME), [zeros(backend)], input_length=lengths)
    host = backend.numpy(timesteps(backend, TIME))
    ends = [x[n - 1] if n else np.zeros(FEATURES) for x, n in zip(host, lengths, strict=True)]
    assert_same(backend, last, np.stack(ends).astype(backend.float))


@pytest.mark.parametrize("dtype", ["float32", "bool"])
@pytest.mark.parametrize("kind", ["own", "host", "list"])
def test_lengths_that_are_no_integers(backend, refused, dtype, kind):
    host = np.asarray([1, 2], dtype)
    given = {"own": backend.array(host), "host": host, "list": host.tolist()}[kind]
    came = "float64" if kind == "list" and dtype == "float32" else dtype
    refused(
        TypeError,
        f"`input_length` is {an_array(backend, 2, dtype=came)}; expected an integer dtype.",
        input_length=given,
    )


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 2), (2, 1), (2, 3)], ids=str)
def test_lengths_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`input_length` is {an_array(backend, *shape, dtype='int32')}; expected one length for "
        "each sample, shape (2,).",
        input_length=backend.array(np.ones(shape, "int32")),
    )


def test_a_list_of_more_than_numbers_as_mask(backend):
    class Unreadable:
        def __array__(self, *args, **kwargs):
            raise TypeError("implicit conversion is not allowed")

    x, h = timesteps(backend, TIME), zeros(backend)
    wording = (
        "`mask` is a list that holds more than numbers; expected numbers only. Stack a list of "
        "arrays into one."
    )
    with pytest.raises(TypeError, match=re.escape(wording)):
        rnn(forget, x, [h], mask=[Unreadable(), Unreadable()])


def test_ragged_lengths(refused):
    error = refused(ValueError, "`input_length` is a ragged list", input_length=[2, [3]])
    assert str(error).endswith("; expected rows of equal length.")


def test_lengths_without_states_are_fine(backend):
    _, outputs, states = rnn(echo, timesteps(backend, TIME), [], input_length=[3, 3])
    assert_same(backend, outputs, backend.numpy(timesteps(backend, TIME)), exact=True)
    assert states == []


# ------------------------------------------------------------------------------ libraries, devices

# What the messages call the libraries.
NAMES = {
    "dask": "dask.array",
    "jax": "jax.numpy",
    "onnx": "ndonnx",
    "strict": "array_api_strict",
}


def foreign(backend: Backend, *shape: int, host: bool = True) -> tuple[Any, str]:
    """Return zeros of another library, NumPy's if `host`, and the name of that library."""
    if host and backend.library != "numpy":
        return np.zeros(shape), "numpy"
    if backend.library != "strict" and find_spec("array_api_strict"):
        return zeros(Backend.STRICT, *shape), "array_api_strict"
    if backend.library != "torch" and find_spec("torch"):
        return zeros(Backend.TORCH, *shape), "torch"
    return pytest.skip("needs array-api-strict or torch beside the library tested")


def own_name(backend: Backend) -> str:
    """Return how messages call the library."""
    return NAMES.get(backend.library, backend.library)


def test_inputs_of_two_libraries(backend, refused):
    other, name = foreign(backend, SAMPLES, TIME, 1)
    refused(
        TypeError,
        f"`inputs['b']` is an array of {name}, `inputs['a']` of {own_name(backend)}; expected "
        "arrays of one library. Convert one of them.",
        inputs={"a": timesteps(backend, TIME), "b": other},
    )


def test_a_state_of_another_library(backend, refused):
    other, name = foreign(backend, SAMPLES, FEATURES)
    refused(
        TypeError,
        f"`initial_states[1]['k']` is an array of {name}, `inputs` of {own_name(backend)}; "
        "expected arrays of one library. Convert one of them.",
        step_function=echo,
        initial_states=[zeros(backend), {"k": other}],
    )


@pytest.mark.parametrize("argument", ["mask", "input_length"])
def test_a_mask_or_lengths_of_another_library_that_is_not_numpy(backend, refused, argument):
    other, name = foreign(backend, SAMPLES, TIME, host=False)
    refused(
        TypeError,
        f"`{argument}` is an array of {name}, `inputs` of {own_name(backend)}; expected arrays of "
        "one library. Convert one of them.",
        **{argument: other},
    )


def test_an_initial_output_of_another_library(backend, refused):
    other, name = foreign(backend, SAMPLES, FEATURES)
    refused(
        TypeError,
        f"`initial_output['k']` is an array of {name}, `inputs` of {own_name(backend)}; expected "
        "arrays of one library. Convert one of them.",
        initial_output={"k": other},
    )


@pytest.mark.parametrize("part", ["output", "new_states[0]"])
def test_a_step_that_returns_an_array_of_another_library(backend, refused, part):
    lazy = backend is Backend.DASK  # whose steps are given NumPy arrays
    # Compiled steps are given JAX's, and may return what they make of NumPy's.
    other, name = foreign(backend, SAMPLES, FEATURES, host=not (lazy or backend.is_compiled))
    error = refused(
        TypeError,
        f"`step_function` returned `{part}`, an array of shape (2, 4) and dtype ",
        calls=1,
        step_function=lambda x_t, states: (other, states) if part == "output" else (x_t, [other]),
    )
    own = "numpy" if lazy else "jax.numpy" if backend.is_compiled else own_name(backend)
    expected = f", of {name}; expected an array of {own}, like what it is given."
    assert str(error).endswith(expected)


def elsewhere(backend: Backend, *shape: int) -> Any:
    """Return zeros on a device that the library refuses to mix with that of the backend."""
    if backend.library == "strict":
        other = Backend.STRICT_DEVICE1
        if backend is other:
            other = Backend.STRICT_DEVICE2
        dtype = backend.dtype(backend.float)
        return backend.xp.zeros(shape, dtype=dtype, device=other.device)
    if backend.library == "torch":
        return backend.xp.zeros(shape, dtype=backend.xp.float64, device="meta")
    return pytest.skip(f"{backend.library} has one device here")


def apart(backend: Backend, other: Any, where: str, inputs: str = "inputs") -> str:
    """Return the message about `other`, at `where`."""
    return (
        f"`{where}` is on device {array_api_compat.device(other)}, `{inputs}` on "
        f"{backend.device}, and {own_name(backend)} does not compute across them. Move one of them."
    )


@pytest.mark.parametrize("shape", [(SAMPLES, FEATURES), (1,), ()], ids=str)
def test_a_state_on_another_device(backend, refused, shape):
    other = elsewhere(backend, *shape)
    refused(ValueError, apart(backend, other, "initial_states[0]"), initial_states=[other])


def test_inputs_on_two_devices(backend, refused):
    other = elsewhere(backend, SAMPLES, TIME, 1)
    refused(
        ValueError,
        apart(backend, other, "inputs[1]", "inputs[0]"),
        inputs=(timesteps(backend, TIME), other),
    )


@pytest.mark.parametrize("argument", ["mask", "input_length"])
def test_a_mask_whose_values_cannot_be_moved(backend, refused, argument):
    if backend.library != "torch":
        pytest.skip("only PyTorch has arrays without values")
    shape = (SAMPLES, TIME) if argument == "mask" else (SAMPLES,)
    dtype = backend.xp.bool if argument == "mask" else backend.xp.int64
    empty = backend.xp.zeros(shape, dtype=dtype, device="meta")
    refused(
        ValueError,
        f"`mask` or `input_length` is on device meta and cannot be moved to {backend.device}",
        **{argument: empty},
    )


def test_an_initial_output_on_another_device(backend, refused):
    other = elsewhere(backend, SAMPLES, FEATURES)
    refused(ValueError, apart(backend, other, "initial_output"), initial_output=other)


def test_the_librarys_own_refusal_to_mix_devices_is_the_cause(backend, refused):
    other = elsewhere(backend, SAMPLES, FEATURES)
    error = refused(ValueError, "Move one of them.", initial_states=[other])
    assert error.__cause__ is not None


# -------------------------------------------------------------------------------- the first output


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_an_output_of_rank_0(backend, refused, masked):
    error = refused(
        ValueError,
        f"`step_function` returned `output['k']`, {an_array(backend)}; expected (samples, "
        "...), at least 1 dimension.",
        calls=1,
        step_function=lambda x_t, states: ({"k": made(x_t)}, states),
        mask=MASK if masked else None,
    )
    assert notes(error) == [first_note(backend, 3)]


OUTPUTS_WITHOUT_SAMPLES = pytest.mark.parametrize("shape", [(1,), (1, FEATURES), (3,)], ids=str)


@OUTPUTS_WITHOUT_SAMPLES
@LIMITS
def test_an_output_without_samples_under_a_mask(backend, refused, shape, limit):
    refused(
        ValueError,
        f"`step_function` returned `output[1]`, {an_array(backend, *shape)}; under a mask "
        "or lengths expected (samples, ...) with samples = 2.",
        calls=1,
        step_function=lambda x_t, states: ((x_t, made(x_t, *shape)), states),
        **limit,
    )


@OUTPUTS_WITHOUT_SAMPLES
def test_an_output_without_samples_is_fine_without_a_mask(backend, shape):
    last, _, _ = rnn(
        lambda x_t, states: (made(x_t, *shape), states),
        timesteps(backend, TIME),
        [zeros(backend)],
    )
    assert_same(backend, last, np.zeros(shape, backend.float))


@pytest.mark.parametrize(
    ("output", "where", "came"),
    [
        (1.0, "output", "float"),
        ("abc", "output", "str"),
        ([1.0, 2.0], "output[0]", "float"),
        ({"a": "abc"}, "output['a']", "str"),
    ],
    ids=["number", "str", "list of numbers", "dict"],
)
def test_an_output_that_is_no_array(refused, output, where, came):
    refused(
        TypeError,
        f"`step_function` returned `{where}`, of type {came}; expected an array.",
        calls=1,
        step_function=lambda _, states: (output, states),
    )


# ---------------------------------------------------------------------------------- initial_output


@pytest.mark.parametrize("shape", [(), (1, FEATURES), (SAMPLES, 3), (SAMPLES, TIME, 4)], ids=str)
def test_an_initial_output_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, *shape)}; expected it like the output of "
        f"`step_function`, {an_array(backend, SAMPLES, FEATURES)}.",
        calls=1,
        initial_output=backend.array(np.zeros(shape)),
    )


def test_an_initial_output_of_another_dtype(backend, refused):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected it "
        f"like the output of `step_function`, {an_array(backend, SAMPLES, FEATURES)}.",
        calls=1,
        initial_output=zeros(backend, dtype="int32"),
    )


def test_a_leaf_of_initial_output_unlike_the_output_is_named(backend, refused):
    refused(
        ValueError,
        f"`initial_output[1]['k']` is {an_array(backend, SAMPLES, 3)}; expected it like the output",
        calls=1,
        step_function=lambda x_t, states: ((x_t, {"k": x_t}), states),
        initial_output=(zeros(backend), {"k": zeros(backend, SAMPLES, 3)}),
    )


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [
        (lambda leaf: [leaf], "[*]"),
        (lambda leaf: (leaf, leaf), "(*, *)"),
        (lambda leaf: {"a": leaf}, "{'a': *}"),
    ],
    ids=["list", "tuple", "dict"],
)
def test_an_initial_output_of_another_structure(backend, refused, wrap, structure):
    refused(
        ValueError,
        f"`initial_output` is of the structure {structure}; expected that of the output of "
        "`step_function`, * (* is an array).",
        calls=1,
        initial_output=wrap(zeros(backend)),
    )


def test_an_initial_output_that_is_no_array(refused):
    refused(
        TypeError,
        "`initial_output` is of type float; expected an array.",
        initial_output=0.0,
    )


def test_an_initial_output_is_checked_even_if_never_needed(backend, refused):
    refused(
        ValueError,
        f"`initial_output` is {an_array(backend, SAMPLES, 3)}; expected it like the output",
        calls=1,
        initial_output=zeros(backend, SAMPLES, 3),
        mask=MASK,
        zero_output_for_mask=True,
    )


# ---------------------------------------------------------------------------- the pair, the states


@pytest.mark.parametrize("returned", ["None", "array", "1", "3", "dict", "str"])
def test_a_step_that_returns_no_pair(backend, refused, returned):
    def step(x_t, states):
        return {
            "None": None,
            "array": x_t,
            "1": (x_t,),
            "3": (x_t, x_t, states),
            "dict": {"output": x_t, "new_states": states},
            "str": "ab",
        }[returned]

    error = refused(TypeError, "`step_function` returned ", calls=1, step_function=step)
    assert str(error).endswith("; expected a pair `(output, new_states)`.")
    assert notes(error) == [first_note(backend, 3)]


def test_a_step_that_returns_an_array_in_place_of_a_pair_is_told_its_shape(backend, refused):
    refused(
        TypeError,
        f"`step_function` returned {an_array(backend, SAMPLES, FEATURES)}; expected a pair",
        calls=1,
        step_function=lambda x_t, _: x_t,
    )


@pytest.mark.parametrize(
    ("count", "returned"), [(0, "0 states"), (1, "1 state"), (3, "3 states")], ids=str
)
def test_a_step_that_returns_another_number_of_states(backend, refused, count, returned):
    refused(
        ValueError,
        f"`step_function` returned {returned} where `initial_states` has 2. Return one new state "
        "for each initial state.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [x_t] * count),
        initial_states=[zeros(backend), zeros(backend)],
    )


def test_a_step_that_returns_the_constants_as_states(backend, refused):
    refused(
        ValueError,
        "`step_function` returned 2 states where `initial_states` has 1.",
        calls=1,
        step_function=echo,
        constants=[zeros(backend)],
    )


@pytest.mark.parametrize(
    "wrap",
    [lambda state: state, lambda _: None, lambda state: {"h": state}, lambda state: iter([state])],
    ids=["bare array", "None", "dict", "iterator"],
)
def test_a_step_whose_states_are_no_sequence(refused, wrap):
    error = refused(
        ValueError,
        "`step_function` returned `new_states`, ",
        calls=1,
        step_function=lambda x_t, _: (x_t, wrap(x_t)),
    )
    assert str(error).endswith(
        "; expected a list or tuple of length 1, one new state for each initial state."
    )


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [
        (lambda _: None, "(None,)"),
        (lambda state: (state,), "((*,),)"),
        (lambda state: {"b": state}, "({'b': *},)"),
    ],
    ids=["None", "tuple", "other key"],
)
def test_a_step_that_returns_a_state_of_another_structure(backend, refused, wrap, structure):
    refused(
        ValueError,
        f"`step_function` returned new_states of the structure {structure}; expected that of "
        "`initial_states`, ({'a': *},) (* is an array).",
        calls=1,
        step_function=lambda x_t, _: (x_t, [wrap(x_t)]),
        initial_states=[{"a": zeros(backend)}],
    )


@pytest.mark.parametrize("shape", [(), (SAMPLES, 1), (1, FEATURES), (SAMPLES,)], ids=str)
def test_a_step_that_returns_a_state_of_another_shape(backend, refused, shape):
    refused(
        ValueError,
        f"`step_function` returned `new_states[0]['a']`, {an_array(backend, *shape)}; "
        "expected the shape of the initial state, (2, 4).",
        calls=1,
        step_function=lambda x_t, _: (x_t, [{"a": made(x_t, *shape)}]),
        initial_states=[{"a": zeros(backend)}],
    )


def test_a_step_that_returns_a_state_of_another_dtype(backend, refused):
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected the dtype of the initial "
        f"state, {backend.float}. Cast the state in the step, or give `initial_states` the dtype "
        "that the step computes.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [made(x_t, SAMPLES, FEATURES, dtype="int32")]),
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_that_returns_a_state_of_half_precision_is_told_of_autocast(backend, refused, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype=dtype)}; expected the dtype of the initial "
        "state, float32. If this is mixed precision (autocast), cast the state back in the "
        "step, or disable autocast around the call.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [made(x_t, SAMPLES, FEATURES, dtype=dtype)]),
        initial_states=[zeros(backend, dtype="float32")],
    )


def test_a_step_that_returns_a_state_that_is_no_array(refused):
    refused(
        TypeError,
        "`step_function` returned `new_states[0]`, of type float; expected an array.",
        calls=1,
        step_function=lambda x_t, _: (x_t, [1.0]),
    )


# --------------------------------------------------------------------------------- later timesteps


def times() -> tuple[int, int]:
    """Return when it happens, and of how many timesteps."""
    # ONNX takes 50 ms for a timestep that is unrolled, partly masked.
    return (3, 6) if running.backend() is Backend.ONNX else (LATE, LONG)


def changing(before: Any, after: Any, *, back: bool = False) -> Any:
    """Return a step that does `before` for some timesteps, then `after`, then maybe `before`."""
    t = -1

    def step(x_t, states):
        nonlocal t
        t += 1
        late = times()[0]
        return (after if t == late or (t > late and not back) else before)(x_t, states)

    return step


def forget(x_t, _):
    return x_t, [x_t]


@pytest.fixture
def refused_late(backend, refused_in_python):
    """Return `refused` over many timesteps; the error comes whenever it does."""
    return partial(refused_in_python, calls=None, inputs=timesteps(backend, times()[1]))


def partly(masked: bool) -> Any:
    """Return a mask with a partly masked timestep wherever there is a second sample, or none."""
    if not masked:
        return None
    mask = np.ones((SAMPLES, times()[1]), bool)
    mask[0, 1:] = False
    return mask


MASKED = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


@pytest.mark.parametrize("returned", [None, (1, 2, 3), 4], ids=["None", "three", "number"])
@MASKED
def test_a_step_that_returns_no_pair_later(refused_late, returned, masked):
    refused_late(
        TypeError,
        "; expected a pair `(output, new_states)`.",
        step_function=changing(forget, lambda _, __: returned),
        mask=partly(masked),
    )


@pytest.mark.parametrize(("count", "returned"), [(0, "0 states"), (2, "2 states")], ids=str)
@MASKED
def test_a_step_that_returns_another_number_of_states_later(refused_late, count, returned, masked):
    refused_late(
        ValueError,
        f"`step_function` returned {returned} where `initial_states` has 1. Return one new state "
        "for each initial state.",
        step_function=changing(forget, lambda x_t, _: (x_t, [x_t] * count)),
        mask=partly(masked),
    )


@MASKED
def test_a_step_that_returns_a_state_of_another_structure_later(refused_late, masked):
    refused_late(
        ValueError,
        "`step_function` returned new_states of the structure ((*,),); expected that of "
        "`initial_states`, (*,) (* is an array).",
        step_function=changing(forget, lambda x_t, _: (x_t, [(x_t,)])),
        mask=partly(masked),
    )


@MASKED
def test_a_nested_state_of_another_structure_later(backend, refused_late, masked):
    refused_late(
        ValueError,
        "`step_function` returned new_states of the structure ({'b': *},); expected that of "
        "`initial_states`, ({'a': *},) (* is an array).",
        step_function=changing(
            lambda x_t, _: (x_t, [{"a": x_t}]), lambda x_t, _: (x_t, [{"b": x_t}])
        ),
        initial_states=[{"a": zeros(backend)}],
        mask=partly(masked),
    )


@pytest.mark.parametrize("shape", [(SAMPLES, 3), (SAMPLES, 1), (SAMPLES,)], ids=str)
@MASKED
def test_a_step_that_returns_a_state_of_another_shape_later(backend, refused_late, shape, masked):
    refused_late(
        ValueError,
        f"`step_function` returned `new_states[0]`, {an_array(backend, *shape)}; expected "
        "the shape of the initial state, (2, 4).",
        step_function=changing(forget, lambda x_t, _: (x_t, [made(x_t, *shape)])),
        mask=partly(masked),
    )


@MASKED
def test_a_step_that_returns_a_state_of_another_dtype_later(backend, refused_late, masked):
    refused_late(
        TypeError,
        "`step_function` returned `new_states[0]`, "
        f"{an_array(backend, SAMPLES, FEATURES)}; expected the dtype of the initial state, int32.",
        step_function=changing(echo, forget),
        initial_states=[zeros(backend, dtype="int32")],
        mask=partly(masked),
    )


ENDS = pytest.mark.parametrize("back", [False, True], ids=["for good", "and back"])


@pytest.mark.parametrize(
    ("wrap", "structure"),
    [(lambda x: (x, x), "(*, *)"), (lambda x: {"a": x}, "{'a': *}"), (lambda _: None, "None")],
    ids=["tuple", "dict", "None"],
)
@ENDS
@MASKED
def test_an_output_that_changes_its_structure(refused_late, wrap, structure, back, masked):
    refused_late(
        ValueError,
        f"`step_function` returned an output of the structure {structure}; expected that of the "
        "first timestep, * (* is an array).",
        step_function=changing(forget, lambda x_t, _: (wrap(x_t), [x_t]), back=back),
        mask=partly(masked),
    )


@pytest.mark.parametrize(
    "shape", [(SAMPLES, 3), (SAMPLES, 1), (SAMPLES,), (SAMPLES, 2, 2), ()], ids=str
)
@ENDS
def test_an_output_that_changes_its_shape(backend, refused_late, shape, back):
    refused_late(
        ValueError,
        f"`step_function` returned `output[1]`, {an_array(backend, *shape)}; expected the "
        "first timestep's shape, (2, 4).",
        step_function=changing(
            lambda x_t, states: ((x_t, x_t), states),
            lambda x_t, states: ((x_t, made(x_t, *shape)), states),
            back=back,
        ),
    )


def test_an_output_that_changes_its_shape_under_a_mask(backend, refused_late):
    refused_late(
        ValueError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, 3)}; expected "
        "the first timestep's shape, (2, 4).",
        step_function=changing(echo, lambda x_t, states: (made(x_t, SAMPLES, 3), states)),
        mask=partly(masked=True),
    )


def counted(x_t, states):
    return made(x_t, SAMPLES, FEATURES, dtype="int32"), states


@ENDS
def test_an_output_that_changes_its_dtype(backend, refused_late, back):
    refused_late(
        TypeError,
        "`step_function` returned `output`, "
        f"{an_array(backend, SAMPLES, FEATURES, dtype='int32')}; expected the first timestep's "
        f"dtype, {backend.float}.",
        step_function=changing(echo, counted, back=back),
    )


def test_an_output_that_changes_its_dtype_under_a_mask(backend, refused_late):
    refused_late(
        TypeError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, FEATURES)}; "
        "expected the first timestep's dtype, int32.",
        step_function=changing(counted, echo),
        mask=partly(masked=True),
    )


@pytest.mark.parametrize("later", [1.0, "abc"], ids=["number", "str"])
@MASKED
def test_an_output_that_is_no_array_later(refused_late, later, masked):
    refused_late(
        TypeError,
        f"`step_function` returned `output`, of type {type(later).__name__}; expected an array.",
        step_function=changing(forget, lambda x_t, _: (later, [x_t])),
        mask=partly(masked),
    )


def test_a_last_output_unlike_the_first_where_only_the_last_is_kept(backend, refused_late):
    refused_late(
        ValueError,
        f"`step_function` returned `output`, {an_array(backend, SAMPLES, 3)}; expected "
        "the first timestep's shape, (2, 4).",
        step_function=changing(echo, lambda x_t, states: (made(x_t, SAMPLES, 3), states)),
        return_all_outputs=False,
    )


# ---------------------------------------------------------------------------------- the step's own


class OwnError(Exception):
    """What a step function of the tests raises."""


def failing(call: int, error: Exception) -> Any:
    """Return a step that raises at a call, counted from 0."""
    count = -1

    def step(x_t, states):
        nonlocal count
        count += 1
        if count == call:
            raise error
        return x_t, [x_t]

    return step


@pytest.mark.parametrize(
    "error",
    [
        OwnError("own"),
        KeyError("own"),
        ValueError("own"),
        TypeError("own"),
        AttributeError("own"),
        StopIteration("own"),
        RuntimeError("own"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("call", [0, 1])
@MASKED
def test_the_steps_own_exception_comes_through_with_a_note(
    backend, refused_in_python, error, call, masked
):
    raised = refused_in_python(
        type(error),
        "own",
        calls=call + 1,
        step_function=failing(call, raises := type(error)("own")),
        mask=MASK if masked else None,
    )
    assert raised is raises
    assert notes(raised) == [note(call, 3) + called_with(backend)]


@MASKED
def test_the_note_where_all_timesteps_are_one(backend, refused, masked):
    raised = refused(
        OwnError,
        "own",
        calls=1,
        step_function=failing(0, OwnError("own")),
        mask=MASK if masked else None,
    )
    assert notes(raised) == [first_note(backend, 3) + called_with(backend)]


def test_the_note_comes_behind_the_exceptions_own(backend, refused_in_python):
    error = OwnError("own")
    error.add_note("mine")
    raised = refused_in_python(OwnError, "own", calls=1, step_function=failing(0, error))
    assert raised.__notes__[0] == "mine"
    assert notes(raised) == [note(0, 3) + called_with(backend)]


def test_the_note_deep_in_a_long_sequence(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=LATE + 1,
        step_function=failing(LATE, OwnError("own")),
        inputs=timesteps(backend, LONG),
    )
    assert notes(raised) == [note(70, 100) + called_with(backend)]


def test_the_note_going_backwards(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=LATE + 1,
        step_function=failing(LATE, OwnError("own")),
        inputs=timesteps(backend, LONG),
        go_backwards=True,
    )
    assert notes(raised) == [note(29, 100, backwards=True) + called_with(backend)]


def test_the_note_counts_masked_timesteps(backend, refused_in_python):
    mask = np.ones((SAMPLES, LONG), bool)
    mask[:, :40] = False
    mask[0, 50:] = False
    raised = refused_in_python(
        OwnError,
        "own",
        calls=31,
        step_function=failing(30, OwnError("own")),
        inputs=timesteps(backend, LONG),
        mask=mask,
    )
    assert notes(raised) == [note(70, 100) + called_with(backend)]


def test_the_note_counts_masked_timesteps_going_backwards(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=1,
        step_function=failing(0, OwnError("own")),
        mask=np.asarray([[True, False, False], [True, True, False]]),
        go_backwards=True,
    )
    assert notes(raised) == [note(1, 3, backwards=True) + called_with(backend)]


def test_the_note_under_an_input_length(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=2,
        step_function=failing(1, OwnError("own")),
        input_length=2,
        go_backwards=True,
    )
    assert notes(raised) == [note(0, 2, backwards=True) + called_with(backend)]


def test_the_note_time_major(backend, refused_in_python):
    raised = refused_in_python(
        OwnError,
        "own",
        calls=2,
        step_function=failing(1, OwnError("own")),
        inputs=zeros(backend, 5, SAMPLES, FEATURES),
        time_major=True,
    )
    assert notes(raised) == [note(1, 5) + called_with(backend)]


def test_the_note_is_on_what_is_wrong_with_a_returned_pair(backend, refused_in_python):
    error = refused_in_python(
        TypeError,
        "`step_function` returned None",
        calls=times()[0] + 1,
        step_function=changing(forget, lambda _, __: None),
        inputs=timesteps(backend, times()[1]),
    )
    assert notes(error) == [note(*times())]


def test_a_late_wrong_number_of_states_is_told_rather_than_what_the_next_step_makes_of_it(
    refused_in_python,
):
    def step(x_t, states):
        (h,) = states
        calls.append(h)
        return x_t, [x_t] * (2 if len(calls) == 2 else 1)

    calls = []
    error = refused_in_python(
        ValueError, "`step_function` returned 2 states", calls=2, step_function=step
    )
    assert notes(error) == [note(1, 3)]


def test_a_late_state_of_another_shape_is_told_if_the_next_step_fails_on_it(
    backend, refused_in_python
):
    def step(x_t, states):
        calls.append(x_t)
        h = states[0] + x_t
        return h, [made(x_t, SAMPLES, 3) if len(calls) == 2 else h]

    calls = []
    refused_in_python(
        ValueError,
        "expected the shape of the initial state, (2, 4).",
        calls=3,
        step_function=step,
    )


@pytest.mark.parametrize("go_backwards", [False, True])
def test_an_output_found_wrong_at_the_end_is_told_by_its_timestep(refused_in_python, go_backwards):
    def step(x_t, states):
        calls.append(x_t)
        return ([x_t] if len(calls) == 2 else x_t), states

    calls = []
    error = refused_in_python(
        ValueError,
        "returned an output of the structure",
        calls=3,
        step_function=step,
        go_backwards=go_backwards,
    )
    assert notes(error) == [note(1, 3, backwards=go_backwards)]


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("wrong", [lambda x_t: [x_t], lambda _: None], ids=["list", "None"])
def test_a_wrong_last_output_is_found_without_the_others(refused_in_python, wrong, masked):
    def step(x_t, states):
        calls.append(x_t)
        return (wrong(x_t) if len(calls) == 3 else x_t), states

    calls = []
    error = refused_in_python(
        ValueError,
        "expected that of the first timestep, *",
        calls=3,
        step_function=step,
        mask=MASK if masked else None,
        return_all_outputs=False,
    )
    assert notes(error) == [note(2, 3)]


@pytest.mark.parametrize("fails", [False, True], ids=["the last", "one before a failing call"])
def test_a_wrong_state_is_told_by_the_timestep_that_returned_it(refused_in_python, fails):
    def step(x_t, states):
        calls.append(x_t)
        if len(calls) == 3 and fails:
            raise OwnError
        wrong = len(calls) == (2 if fails else 3)
        return x_t, [states[0][:, :1] if wrong else states[0]]

    calls = []
    error = refused_in_python(
        ValueError, "expected the shape of the initial state", calls=3, step_function=step
    )
    assert notes(error) == [note(1 if fails else 2, 3)]


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_wrong_state_before_masked_timesteps_is_told_likewise(
    backend, refused_in_python, go_backwards
):
    def step(x_t, states):
        calls.append(x_t)
        return x_t, [states[0][:, :1] if len(calls) == 3 else states[0]]

    calls, times = [], [*range(LONG)][:: -1 if go_backwards else 1]
    mask = np.zeros((SAMPLES, LONG), bool)
    mask[:, times[:3]] = True  # of the first block only
    error = refused_in_python(
        ValueError,
        "expected the shape of the initial state",
        calls=3,
        step_function=step,
        inputs=timesteps(backend, LONG),
        mask=mask,
        go_backwards=go_backwards,
    )
    assert notes(error) == [note(times[2], LONG, backwards=go_backwards)]
