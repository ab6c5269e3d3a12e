"""How typed code uses the package; checked by the type checker, not run."""

from collections.abc import Sequence
from typing import Any, NamedTuple, assert_type

import numpy as np
import numpy.typing as npt

from arrayrnn import (
    StepFunction,
    Stream,
    associative_scan,
    bidirectional,
    cells,
    compiled,
    linear_scan,
    pad_sequences,
    reverse_sequence,
    rnn,
    unpad_sequences,
)

Floats = npt.NDArray[np.float64]


class Inputs(NamedTuple):
    observed: Floats
    control: Floats


class Filtered(NamedTuple):
    level: Floats
    variance: Floats


def decay(x_t: Floats, states: tuple[Any, ...]) -> tuple[Floats, list[Floats]]:
    h: Floats = 0.9 * states[0] + x_t
    return h, [h]


def kalman(x_t: Inputs, states: tuple[Any, ...]) -> tuple[Filtered, Sequence[Filtered]]:
    (state,) = states
    new = Filtered(state.level + x_t.control, state.variance + x_t.observed)
    return new, [new]


x = np.zeros((2, 5, 3))
h = np.zeros((2, 3))

# The output's type comes back, for an array ...
last, outputs, states = rnn(decay, x, [h])
assert_type(last, Floats)
assert_type(outputs, Floats)
assert_type(states, list[Any])

# ... and for a nest, and the inputs' type is the step function's.
filtered = rnn(kalman, Inputs(x, x), [Filtered(h, h)], mask=[[1, 1, 1, 1, 0]] * 2)
assert_type(filtered, tuple[Filtered, Filtered, list[Any]])

# One array is one state; lengths, constants, and the keyword-only parameters.
cell = cells.LSTM.initialize(1, 4, like=x, seed=0, projection=2, clip=3.0)
rnn(cell, x, cell.initial_states(x))
rnn(cell.projected, cell.project(x), cell.initial_states(x))
cells.run([(cell, None), cells.GRU(x, x, reset_after=False)], x, input_length=[5, 2])
cells.GRU(x, x, weight_hr=x)  # type: ignore[call-arg]
rnn(decay, x, h, input_length=3, unroll=2, time_major=False)
rnn(decay, x, (h,), input_length=np.asarray([5, 2]), constants=["anything"])
rnn(decay, x, [0.0], initial_output=h, samplewise=True, progress=True)
rnn(decay, x, [h], progress=lambda done, total: print(f"{done / total:.0%}"))

step: StepFunction[Inputs, Filtered] = kalman

# What is merged is of the type that it was; what is not is a pair.
both = bidirectional(kalman, kalman, Inputs(x, x), [Filtered(h, h)], [Filtered(h, h)], merge="ave")
assert_type(both, tuple[Filtered, Filtered, tuple[list[Any], list[Any]]])
assert_type(bidirectional(decay, decay, x, h, h, merge=None)[1], tuple[Floats, Floats])
bidirectional(decay, decay, x, h, h, initial_output=(h, None), mask=[[1, 1, 1, 1, 0]] * 2)

# An associative function takes and gives what its elements are.
summands: Floats = x
assert_type(linear_scan(0.5, summands, h, input_length=[5, 2], reverse=True), Floats)
assert_type(linear_scan(x, summands, 1.0, mask=[[1, 1, 1, 1, 0]] * 2, axis=-2), Floats)


def affine(a: Inputs, b: Inputs) -> Inputs:
    return Inputs(a.observed * b.observed, b.observed * a.control + b.control)


assert_type(associative_scan(affine, Inputs(x, x), axis=1, reverse=True), Inputs)
assert_type(compiled.associative_scan(affine, Inputs(x, x)), Inputs)

# A stream knows the types of its step.
stream = Stream(kalman, [Filtered(h, h)], zero_output_for_mask=True, samplewise=True)
assert_type(stream(Inputs(x, x), input_length=[5, 2]), tuple[Filtered, Filtered, list[Any]])
stream.carry = stream.carry
stream.reset([1])

# What is padded, cut and reversed is of the type that it was.
assert_type(reverse_sequence(Inputs(x, x), input_length=[5, 2]), Inputs)
assert_type(pad_sequences([Inputs(x[0], x[0])], value=1)[0], Inputs)
assert_type(unpad_sequences(outputs, [5, 2], time_major=False), list[Floats])

# What a checker should refuse.
rnn(decay, Inputs(x, x), [h])  # type: ignore[arg-type]
rnn(x, x, [h])  # type: ignore[arg-type]
bidirectional(decay, decay, x, h, h, merge="max")  # type: ignore[call-overload]
pad_sequences([x], value="0")  # type: ignore[arg-type]
