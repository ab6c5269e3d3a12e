"""Errors about the step function and the options."""

import numpy as np
import pytest

from support.refusals import add


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
