"""Steps that mix samples see all of them, at masked timesteps as `tf.keras.backend.rnn` shows them.

Those are the inputs that are there and the states that were held.
"""

import dataclasses
from typing import Any

import numpy as np
import optree
import pytest
from array_api_compat import array_namespace

from support.backends import assert_same
from support.drawn_calls import property_of_calls
from support.oracle import draw, together
from support.running import rnn

SAMPLES, TIME = 4, 7
RANDOM = np.random.default_rng(11)
LENGTHS = [3, 0, 7, 5]
KEEPS = {
    "random": RANDOM.random((SAMPLES, TIME)) < 0.5,
    "lengths": np.arange(TIME) < np.asarray(LENGTHS)[:, None],
    # Timesteps with the same mask one after the other, before and after a rest of all.
    "runs": np.asarray(
        [
            [1, 1, 1, 0, 1, 1, 1],
            [0, 0, 0, 0, 1, 1, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [0, 0, 1, 0, 1, 1, 1],
        ],
        dtype=bool,
    ),
}
each_keep = pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)


# Inputs are {"x": x, "shared": (number, keep)}, where `number` is the same for all samples.


def batch_mean(inputs, states):
    (h,) = states
    x, xp = inputs["x"], array_namespace(inputs["x"])
    h = 0.5 * h + x - xp.mean(x, axis=0, keepdims=True)
    return 2.0 * h, [h]


def batch_maximum(inputs, states):
    (h,) = states
    x, xp = inputs["x"], array_namespace(inputs["x"])
    h = 0.5 * (h + xp.max(x - h, axis=0, keepdims=True))
    return h, [h]


def statistics_over_unmasked_samples(inputs, states):
    (h,) = states
    x, xp = inputs["x"], array_namespace(inputs["x"])
    kept = xp.astype(inputs["shared"][1], x.dtype)
    count = xp.sum(kept, axis=0, keepdims=True)
    mean = xp.sum(kept * x, axis=0, keepdims=True) / count
    h = 0.5 * h + x - mean
    return {"h": h, "mean": mean + 0.0 * x}, [h]


def number_from_row_0(inputs, states):
    (h,) = states
    h = 0.5 * h + inputs["x"] * inputs["shared"][0][0, 0]
    return (h, [h + 1.0]), [h]


def mean_of_states(inputs, states):
    ((h, count),) = states
    xp = array_namespace(h)
    h = 0.5 * h + inputs["x"] - 0.25 * xp.mean(h, axis=0, keepdims=True)
    count = count + xp.max(count, axis=0, keepdims=True)
    return h - xp.astype(count, h.dtype), [(h, count)]


STEPS = [
    batch_mean,
    batch_maximum,
    statistics_over_unmasked_samples,
    number_from_row_0,
    mean_of_states,
]
OPTIONS = [
    {},
    {"go_backwards": True},
    {"unroll": True},
    {"zero_output_for_mask": True, "go_backwards": True},
    {"return_all_outputs": False},
    {"return_all_outputs": False, "zero_output_for_mask": True, "unroll": True},
    {"time_major": True, "go_backwards": True},
    {"checkpoint": 2},
]
each_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)


def arguments(backend, step, keep):
    """Return inputs and states of NumPy."""
    number = np.broadcast_to(np.arange(1.0, TIME + 1)[:, None], (SAMPLES, TIME, 1)) / 4
    inputs = {
        "x": draw(backend, SAMPLES, TIME, 2),
        "shared": (number.astype(backend.float), keep[..., None]),
    }
    state = draw(backend, SAMPLES, 2)
    if step is mean_of_states:
        return inputs, [(state, np.asarray([[1], [0], [2], [1]], "int32"))]
    return inputs, [state]


def check(backend, step, keep, how, options, before=None):
    inputs, states = arguments(backend, step, keep)
    last, outputs, new_states = together(
        step,
        inputs,
        states,
        keep,
        go_backwards=options.get("go_backwards", False),
        zero_output=options.get("zero_output_for_mask", False),
        initial_output=before,
    )
    axis = 0 if options.get("time_major") else 1
    if not options.get("return_all_outputs", True):
        outputs = optree.tree_map(lambda leaf: leaf[:, None], last)
    if axis == 0:
        inputs, outputs = optree.tree_map(lambda leaf: leaf.swapaxes(0, 1), (inputs, outputs))
    inputs, states, before = backend.arrays((inputs, states, before))
    found = rnn(step, inputs, states, initial_output=before, **how, **options)
    assert_same(backend, found, (last, outputs, new_states))


@each_step
@each_keep
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_computes_what_a_plain_loop_computes(backend, step, keep, options):
    mask = keep.T if options.get("time_major") else keep
    check(backend, step, keep, {"mask": mask}, options)


@each_step
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"unroll": True}], ids=str)
def test_so_it_does_under_lengths(backend, step, options):
    check(backend, step, KEEPS["lengths"], {"input_length": LENGTHS}, options)


@pytest.mark.parametrize("step", [batch_mean, batch_maximum, mean_of_states])
@each_keep
@pytest.mark.parametrize("go_backwards", [False, True])
def test_so_it_does_from_an_initial_output(backend, step, keep, go_backwards):
    before = draw(backend, 1, SAMPLES, 2)[0] + 20
    check(backend, step, keep, {"mask": keep}, {"go_backwards": go_backwards}, before)


@property_of_calls
def test_so_it_does_whatever_the_nests_dtypes_masks_and_options(backend, call):
    """Compute each result from all that each sample is given."""
    step = dataclasses.replace(call.step, mixes=True)
    call = dataclasses.replace(call, step=step).with_options(samplewise=False)
    assert_same(backend, call.run(backend), expected(call), exact=True)


def expected(call: Any) -> Any:
    options, states = call.options, call.initial_states
    keep = call.kept
    last, outputs, new_states = together(
        lambda x_t, states: call.step(x_t, (*states, *(options["constants"] or ()))),
        call.inputs,
        [states] if isinstance(states, np.ndarray) else states,
        keep,
        go_backwards=options["go_backwards"],
        zero_output=options["zero_output_for_mask"],
        initial_output=options["initial_output"],
    )
    if not options["return_all_outputs"]:
        outputs = optree.tree_map(lambda leaf: leaf[:, None], last)
    if options["time_major"]:
        outputs = optree.tree_map(lambda leaf: leaf.swapaxes(0, 1), outputs)
    return last, outputs, new_states
