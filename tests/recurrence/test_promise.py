"""`samplewise=None`, the default, asks the step: its attribute `samplewise` is its promise."""

import numpy as np
import pytest

from arrayrnn import Stream, bidirectional, compiled, rnn
from support.backends import assert_same
from support.running import rnn as traced_rnn

X = np.asarray([[[2.0], [3.0], [5.0]], [[7.0], [np.nan], [np.nan]]])
LENGTHS = [3, 1]
H = np.zeros((2, 1))


class Total:
    """A step that shows whether padding reaches it: NaN would become a number."""

    def __init__(self, **promise):
        self.saw_padding = False
        self.__dict__.update(promise)

    def __call__(self, x_t, states):
        self.saw_padding |= bool(np.isnan(x_t).any())
        total = states[0] + x_t
        return total, [total]


CALLS = {
    "rnn": lambda step, **given: rnn(step, X, [H], input_length=LENGTHS, **given),
    "bidirectional": lambda step, **given: bidirectional(
        step, step, X, [H], [H], input_length=LENGTHS, **given
    ),
    "Stream": lambda step, **given: Stream(step, [H], **given)(X, input_length=LENGTHS),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
@pytest.mark.parametrize(
    ("promise", "given", "sees_padding"),
    [
        ({}, {}, True),
        ({"samplewise": True}, {}, False),
        ({"samplewise": False}, {}, True),
        ({"samplewise": True}, {"samplewise": None}, False),
        ({"samplewise": True}, {"samplewise": False}, True),
        ({}, {"samplewise": True}, False),
        ({"samplewise": False}, {"samplewise": True}, False),
        ({"samplewise": np.True_}, {}, False),
    ],
)
def test_the_step_promises_and_the_caller_decides(call, promise, given, sees_padding):
    step = Total(**promise)
    call(step, **given)
    assert step.saw_padding == sees_padding


def test_each_direction_has_a_step_that_promises_for_itself():
    forward, backward = Total(samplewise=True), Total()
    bidirectional(forward, backward, X, [H], [H], input_length=LENGTHS)
    assert (forward.saw_padding, backward.saw_padding) == (False, True)


def test_a_function_promises_by_an_attribute(backend):
    def step(x_t, states):
        total = states[0] + x_t
        return total, [total]

    step.samplewise = True
    x, h = backend.array(np.nan_to_num(X)), backend.array(H)
    found = traced_rnn(step, x, [h], input_length=LENGTHS)
    outputs = np.asarray([[[2.0], [5.0], [10.0]], [[7.0], [7.0], [7.0]]], backend.float)
    assert_same(backend, found[1], outputs)


@every_call
def test_a_promise_is_true_or_false(call):
    with pytest.raises(TypeError, match=r"_?step.*\.samplewise` is 'yes'; expected True or False"):
        call(Total(samplewise="yes"))


def test_a_compiled_call_asks_the_step_too():
    with pytest.raises(TypeError, match=r"`step_function\.samplewise` is 1; expected True or Fal"):
        compiled.rnn(Total(samplewise=1), X, [H], input_length=LENGTHS)
