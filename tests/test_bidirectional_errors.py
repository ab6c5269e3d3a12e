"""Errors of `bidirectional`: about the arguments of each direction, its step, and merging."""

import re

import numpy as np
import pytest

import arrayrnn
from support.oracle import Recorder, draw, halving
from support.running import bidirectional

MASK = np.array([[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]], bool)


def zeros(*shape, dtype=float):
    return np.zeros(shape, dtype)


def shaped(*features, dtype=float):
    """Return a step whose output is of these features."""
    return lambda x_t, states: (zeros(x_t.shape[0], *features, dtype=dtype), states)


def call(one=halving, other=halving, **options):
    given = {"forward_states": zeros(3, 2), "backward_states": zeros(3, 2)} | options
    return arrayrnn.bidirectional(one, other, zeros(3, 5, 2), **given)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (
            TypeError,
            (
                "`backward_step` is None; expected a callable `backward_step(input_t, states) -> "
                "(output, new_states)`."
            ),
            {"other": None},
        ),
        (
            TypeError,
            (
                "`forward_states` is None; expected a list or tuple. Put a single state into a "
                "list; [] means none."
            ),
            {"forward_states": None},
        ),
        (
            TypeError,
            "`backward_states[0]['h']` is of type str; expected an array.",
            {"backward_states": [{"h": "0"}]},
        ),
        (
            ValueError,
            (
                "`backward_states[0]` is an array of shape (1, 2) and dtype float64; under a mask "
                "or lengths expected (samples, ...) with samples = 3, since a masked sample keeps "
                "its own state. Broadcast the state to all samples."
            ),
            {"backward_states": [zeros(1, 2)], "mask": MASK},
        ),
        (
            ValueError,
            (
                "`mask` is given and `backward_states` is empty; expected at least one state, "
                "which masked samples keep. Without states, select from the outputs."
            ),
            {"backward_states": [], "mask": MASK},
        ),
        (
            ValueError,
            "`merge` is 'max'; expected 'concat', 'sum', 'mul', 'ave' or None.",
            {"merge": "max"},
        ),
        (
            ValueError,
            "`merge` is of type int; expected 'concat', 'sum', 'mul', 'ave' or None.",
            {"merge": 0},
        ),
        (
            TypeError,
            (
                "`initial_output` is an array of shape (2, 2) and dtype float64; expected a pair, "
                "that of the forward direction and that of the backward one, of which either may "
                "be None."
            ),
            {"initial_output": zeros(2, 2)},
        ),
        (
            TypeError,
            (
                "`initial_output` is of type list of length 1; expected a pair, that of the "
                "forward direction and that of the backward one, of which either may be None."
            ),
            {"initial_output": [zeros(3, 2)]},
        ),
        (
            TypeError,
            (
                "`initial_output[1]['y']` is of type float; expected an array. Make one of numbers "
                "and nested lists first, by `asarray`."
            ),
            {"initial_output": (None, {"y": 0.0})},
        ),
    ],
)
def test_arguments_of_both_directions_are_checked_before_any_step(error, message, options):
    one = Recorder(halving)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(**{"one": one, "other": Recorder(halving)} | options)
    assert not one.inputs


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (
            ValueError,
            (
                "`initial_output[1]` is an array of shape (3, 4) and dtype float64; expected it "
                "like the output of `backward_step`, an array of shape (3, 2) and dtype float64."
            ),
            {"initial_output": (None, zeros(3, 4)), "mask": MASK},
        ),
        (
            ValueError,
            (
                "`initial_output[0]` is of the structure (*,); expected that of the output of "
                "`forward_step`, * (* is an array)."
            ),
            {"initial_output": ((zeros(3, 2),), None)},
        ),
        (
            ValueError,
            (
                "`backward_step` returned 1 state where `backward_states` has 2. Return one new "
                "state for each initial state."
            ),
            {
                "other": lambda x_t, states: (x_t, states[:1]),
                "backward_states": [zeros(3, 2), zeros(3, 2)],
            },
        ),
        (
            ValueError,
            (
                "`backward_step` returned `new_states[0]`, an array of shape (3, 2) and dtype "
                "float64; expected the shape of the initial state, (1, 2)."
            ),
            {"backward_states": [zeros(1, 2)]},
        ),
        (
            TypeError,
            (
                "`forward_step` returned `new_states[0]`, an array of shape (3, 2) and dtype "
                "float32; expected the dtype of the initial state, float64. Cast the state in the "
                "step, or give `forward_states` the dtype that the step computes."
            ),
            {"one": lambda x_t, states: (x_t, [states[0].astype("float32")])},
        ),
        (
            ValueError,
            (
                "`backward_step` returned an output of the structure {'y': *}; "
                "expected that of `forward_step`, * (* is an array). `merge=None` returns both as "
                "they are."
            ),
            {"other": lambda x_t, states: ({"y": x_t}, states)},
        ),
        (
            ValueError,
            (
                "`forward_step` returned `output`, an array of shape (3,) and dtype float64; "
                "expected (samples, ..., features), at least 2 dimensions, of which "
                "`merge='concat'` joins the last. Give it a last axis of length 1."
            ),
            {"one": shaped(), "other": shaped()},
        ),
        (
            ValueError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4) and dtype float64, and "
                "`backward_step` an array of shape (3, 1) and dtype float64; `merge='sum'` "
                "expected the same shape. `merge=None` returns both as they are."
            ),
            {"one": shaped(4), "other": shaped(1), "merge": "sum"},
        ),
        (
            ValueError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4, 2) and dtype float64, "
                "and `backward_step` an array of shape (3, 1, 2) and dtype float64; "
                "`merge='concat'` expected the same shape, but for the last axis. `merge=None` "
                "returns both as they are."
            ),
            {"one": shaped(4, 2), "other": shaped(1, 2)},
        ),
        (
            ValueError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4) and dtype float64, and "
                "`backward_step` an array of shape (3,) and dtype float64; `merge='concat'` "
                "expected the same shape, but for the last axis. `merge=None` returns both as they "
                "are."
            ),
            {"one": shaped(4), "other": shaped()},
        ),
        (
            TypeError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4) and dtype float64, and "
                "`backward_step` an array of shape (3, 4) and dtype float32; `merge='concat'` "
                "expected the same dtype. `merge=None` returns both as they are."
            ),
            {"one": shaped(4), "other": shaped(4, dtype="float32")},
        ),
        (
            TypeError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4) and dtype int32; "
                "`merge='ave'` expected a floating dtype. `merge=None` returns both as they are."
            ),
            {"one": shaped(4, dtype="int32"), "other": shaped(4, dtype="int32"), "merge": "ave"},
        ),
        (
            TypeError,
            (
                "`forward_step` returned `output`, an array of shape (3, 4) and dtype bool; "
                "`merge='sum'` expected a numeric dtype. `merge=None` returns both as they are."
            ),
            {"one": shaped(4, dtype="bool"), "other": shaped(4, dtype="bool"), "merge": "sum"},
        ),
    ],
)
def test_errors_name_the_direction(error, message, options):
    with pytest.raises(error) as caught:
        call(**options)
    assert str(caught.value) == message  # a note may follow


def test_a_note_says_in_which_direction_a_step_failed():
    def failing(x_t, states):
        raise KeyError(0)

    with pytest.raises(KeyError) as caught:
        call(other=failing)
    note = "arrayrnn.bidirectional: at timestep 4 of 5, counted from 0, going backwards."
    (found,) = caught.value.__notes__
    assert found.startswith(f"{note} `backward_step` was called with input_t (")
    with pytest.raises(KeyError) as caught:
        call(one=failing)
    (found,) = caught.value.__notes__
    note = "arrayrnn.bidirectional: at timestep 0 of 5, counted from 0."
    assert found.startswith(f"{note} `forward_step` was called with input_t (")


def test_what_cannot_be_merged_is_found_while_tracing(backend):
    def narrower(x_t, states):
        return x_t[:, :1], states

    x, h = backend.array(draw(backend, 3, 5, 2)), backend.array(draw(backend, 3, 2))
    with pytest.raises(ValueError, match=r"`merge='sum'` expected the same shape\. "):
        bidirectional(halving, narrower, x, h, h, merge="sum")
