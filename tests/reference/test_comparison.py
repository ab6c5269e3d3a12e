"""The comparison itself: it covers what it claims, it excuses nothing needlessly, it can fail."""

from itertools import product

import optree
import pytest

import arrayrnn
from comparing import assert_same, failure
from differences import DIFFERENCES, cured, differences
from drawing import MIXING, draw
from runs import ours, reference

DRAWN = [draw(seed) for seed in range(1000)]
DIFFERENTIATED = [case.differentiated() for case in DRAWN if case.differentiable]
COMPARED_AS_IT_IS = [case for case in DRAWN if not differences(case)]


def test_a_quarter_of_the_cases_have_gradients():
    assert len(DIFFERENTIATED) >= len(DRAWN) / 4


def test_a_quarter_of_the_cases_have_steps_that_mix_samples():
    assert sum(bool(case.mixing) for case in DRAWN) >= len(DRAWN) / 4
    masked = [case for case in DRAWN if case.masked or case.masked_by_lengths]
    assert sum(bool(case.mixing) for case in masked) >= len(masked) / 4
    for cases in (masked, DIFFERENTIATED):
        assert {case.mixing for case in cases} == {None, *MIXING}


def test_most_cases_are_compared_as_they_are():
    assert len(COMPARED_AS_IT_IS) > len(DRAWN) / 2
    assert sum(not differences(case) for case in DIFFERENTIATED) > len(DIFFERENTIATED) / 2


@pytest.mark.parametrize("case", [draw(seed) for seed in range(2)], ids=["0", "1"])
def test_a_seed_is_always_the_same_case(case):
    again = draw(case.seed)
    assert repr(again) == repr(case)
    assert_same(ours(again), ours(case), tolerance=0)


def test_options_are_drawn_in_every_combination():
    flags = ("go_backwards", "unroll", "time_major", "zero_output_for_mask", "return_all_outputs")

    def combination(case):
        lengths = type(case.options["input_length"]).__name__
        return (case.masked, lengths, *(bool(case.options[flag]) for flag in flags))

    every = product([False, True], ["NoneType", "int", "ndarray"], *[[False, True]] * len(flags))
    assert set(map(combination, map(draw, range(10_000)))) == set(every)


@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: entry.name)
def test_a_difference_is_listed_because_the_reference_differs(entry):
    alone = [case for case in DRAWN + DIFFERENTIATED if differences(case) == [entry]]
    assert any(map(reference_differs, alone))


def reference_differs(case):
    """Say whether the reference answers the call as it was drawn otherwise than it should."""
    try:
        result = reference(case)
    except Exception:
        return True
    must_raise = any(entry.cure is None for entry in differences(case))
    return must_raise or differ(result, reference(cured(case)), case.tolerance)


def differ(actual, expected, tolerance):
    try:
        assert_same(actual, expected, tolerance)
    except AssertionError:
        return True
    return False


def test_a_donor_in_masked_rows_is_noticed():
    def promising(*arguments, **options):
        return arrayrnn.rnn(*arguments, **options | {"samplewise": True})

    mixing = [case for case in DRAWN[:300] if case.mixing]
    assert any(failure(case, promising) for case in mixing)


OPTIONS = {
    "go_backwards": False,
    "mask": None,
    "constants": None,
    "input_length": None,
    "time_major": False,
    "zero_output_for_mask": False,
    "return_all_outputs": True,
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_forgotten_option_is_noticed(option):
    def forgetful(*arguments, **options):
        return arrayrnn.rnn(*arguments, **options | {option: OPTIONS[option]})

    assert any(failure(case, forgetful) for case in DRAWN[:100])


CHANGES = {
    "value": lambda x: (x * 1.001).astype(x.dtype),
    "dtype": lambda x: x.astype("complex64"),
    "shape": lambda x: x[..., None],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("position", range(3), ids=["last_output", "outputs", "new_states"])
def test_a_change_of_one_result_is_noticed(position, change):
    def changing(*arguments, **options):
        results = list(arrayrnn.rnn(*arguments, **options))
        results[position] = optree.tree_map(change, results[position])
        return tuple(results)

    assert any(failure(case, changing) for case in DRAWN[:100])


def test_a_missing_state_is_noticed():
    def losing(*arguments, **options):
        last_output, outputs, new_states = arrayrnn.rnn(*arguments, **options)
        return last_output, outputs, new_states[:-1]

    assert any(failure(case, losing) for case in DRAWN[:100])


@pytest.mark.parametrize("position", [1, 2], ids=["inputs", "initial_states"])
def test_a_missing_gradient_is_noticed(position):
    def detaching(*arguments, **options):
        arguments = list(arguments)
        arguments[position] = optree.tree_map(lambda x: x.detach(), arguments[position])
        return arrayrnn.rnn(*arguments, **options)

    assert any(failure(case, detaching) for case in DIFFERENTIATED[:100])
