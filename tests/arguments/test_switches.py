"""Arguments that are True or False: anything else is refused, wherever they occur."""

import re

import numpy as np
import pytest

from arrayrnn import (
    Stream,
    bidirectional,
    compiled,
    pad_sequences,
    reverse_sequence,
    rnn,
    scan,
    unpad_sequences,
)
from support.backends import Backend, assert_same
from support.oracle import halving

X, H = np.asarray([[[1.0], [2.0], [4.0]], [[3.0], [5.0], [7.0]]]), np.zeros((2, 1))


def add(carry, x):
    return carry + x, carry


CALLS = {
    "rnn": (
        lambda **switch: rnn(halving, X, [H], **switch),
        ("go_backwards", "time_major", "zero_output_for_mask", "return_all_outputs", "samplewise"),
    ),
    "compiled.rnn": (
        lambda **switch: compiled.rnn(halving, X, [H], **switch),
        ("go_backwards", "time_major", "zero_output_for_mask", "return_all_outputs", "samplewise"),
    ),
    "bidirectional": (
        lambda **switch: bidirectional(halving, halving, X, [H], [H], **switch),
        ("time_major", "zero_output_for_mask", "return_all_outputs", "samplewise"),
    ),
    "Stream": (
        lambda **switch: Stream(halving, [H], **switch)(X)[1:],
        ("time_major", "zero_output_for_mask", "return_all_outputs", "samplewise"),
    ),
    "scan": (lambda **switch: scan(add, H[0], X[0], **switch), ("reverse",)),
    "compiled.scan": (lambda **switch: compiled.scan(add, H[0], X[0], **switch), ("reverse",)),
    "pad_sequences": (lambda **switch: pad_sequences([X[0]], **switch), ("time_major",)),
    "unpad_sequences": (
        lambda **switch: unpad_sequences(X[:, :2], [2, 2], **switch),
        ("time_major",),
    ),
    "reverse_sequence": (lambda **switch: reverse_sequence(X, **switch), ("time_major",)),
}
every_switch = pytest.mark.parametrize(
    ("name", "switch"), [(name, switch) for name, (_, known) in CALLS.items() for switch in known]
)


@every_switch
@pytest.mark.parametrize(
    ("value", "came"),
    [
        ("no", "'no'"),
        (1, "1"),
        (0, "0"),
        ([True], "of type list"),
        (np.asarray([True, False]), "an array of shape (2,) and dtype bool"),
        (np.float64(0), "0.0"),
    ],
    ids=["text", "1", "0", "list", "array", "number"],
)
def test_what_is_no_bool_is_refused(name, switch, value, came):
    wording = re.escape(f"`{switch}` is ") + ".*" + re.escape("; expected True or False.")
    with pytest.raises(TypeError, match=wording) as caught:
        CALLS[name][0](**{switch: value})
    assert came in str(caught.value)


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        (name, switch)
        for name, (_, known) in CALLS.items()
        for switch in known
        if switch != "samplewise"  # tests/recurrence/test_promise.py
    ],
)
def test_none_is_refused(name, switch):
    with pytest.raises(TypeError, match=f"`{switch}` is None; expected True or False"):
        CALLS[name][0](**{switch: None})


@every_switch
@pytest.mark.parametrize("value", [True, False])
def test_bools_of_numpy_are_bools(name, switch, value):
    if name.startswith("compiled"):
        pytest.importorskip("jax")
    if switch == "time_major" and name in ("rnn", "compiled.rnn", "bidirectional", "Stream"):
        value = False  # as the states are
    call = CALLS[name][0]
    found, expected = call(**{switch: np.bool_(value)}), call(**{switch: value})
    assert_same(Backend.NUMPY, found, expected, exact=True)


@pytest.mark.parametrize("value", [[3, 2], np.asarray([3, 2]), range(2), np.ones((2, 3), bool)])
def test_a_mask_or_lengths_in_the_place_of_go_backwards_are_told_where_they_belong(value):
    wording = re.escape("A mask is passed as `mask=`, lengths as `input_length=`.")
    with pytest.raises(TypeError, match=wording):
        rnn(halving, X, [H], value)


@pytest.mark.parametrize("unroll", [True, False])
def test_unroll_takes_bools_of_numpy(unroll):
    found = rnn(halving, X, [H], unroll=np.bool_(unroll))
    assert_same(Backend.NUMPY, found, rnn(halving, X, [H], unroll=unroll), exact=True)
