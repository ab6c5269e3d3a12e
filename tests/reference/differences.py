"""Where the reference's answer does not count, and the equivalent call that it answers rightly."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import optree

from cases import Spec


@dataclass(frozen=True)
class Difference:
    """Bugs of the reference and stated differences of the contract, as data."""

    name: str
    reason: str
    applies: Callable
    cure: Callable | None  # None: the call must raise ValueError


def differences(case):
    """Give all entries that apply to a call as it was drawn."""
    return [entry for entry in DIFFERENCES if entry.applies(case)]


def cured(case):
    """Give an equivalent call which no entry applies to."""
    while entries := [entry for entry in differences(case) if entry.cure]:
        case = entries[0].cure(case)
    return case


def rolled(case):
    return case.with_options(unroll=False)


def cut(case):
    first, mask = case.options["input_length"], case.options["mask"]
    if mask is not None:
        mask = mask[:first] if case.options["time_major"] else mask[:, :first]
    return replace(case, first=first).with_options(input_length=None, mask=mask)


def lengths_as_mask(case):
    kept = case.kept.T if case.options["time_major"] else case.kept
    return case.with_options(mask=kept, input_length=None)


def lengths_as_int32(case):
    return case.with_options(input_length=case.options["input_length"].astype("int32"))


def is_flat(nest):
    entries = nest if isinstance(nest, list | tuple) else [nest]
    return all(isinstance(entry, np.ndarray) for entry in entries)


def has_vectors(case):
    outputs, states = optree.tree_leaves(case.output), optree.tree_leaves(case.states)
    return any(not x.features for x in outputs) or any(x.ndim == 1 for x in states)


DIFFERENCES = [
    Difference(
        "mask without states",
        "The reference documents a ValueError and raises none.",
        applies=lambda case: case.masked and not case.states,
        cure=None,
    ),
    Difference(
        "integer length",
        "An integer input_length is ignored.",
        applies=lambda case: (
            type(case.options["input_length"]) is int
            and case.options["input_length"] < case.sizes[1]
        ),
        cure=cut,
    ),
    Difference(
        "lengths unrolled",
        "An unrolled loop ignores an array of lengths.",
        applies=lambda case: case.masked_by_lengths and case.options["unroll"],
        cure=rolled,
    ),
    Difference(
        "lengths not int32",
        "Only int32 lengths can be compared with the loop's counter.",
        applies=lambda case: (
            case.masked_by_lengths and case.options["input_length"].dtype != "int32"
        ),
        cure=lengths_as_int32,
    ),
    Difference(
        "lengths backwards",
        "Going backwards takes the longest length for the time, so padding is consumed.",
        applies=lambda case: (
            case.masked_by_lengths
            and case.options["go_backwards"]
            and case.options["input_length"].max() < case.sizes[1]
        ),
        cure=lengths_as_mask,
    ),
    Difference(
        "nested inputs unrolled",
        "An unrolled loop takes a dict or a deeper nest for a flat tuple.",
        applies=lambda case: case.options["unroll"] and not is_flat(case.inputs),
        cure=rolled,
    ),
    Difference(
        "nested outputs unrolled",
        "An unrolled loop takes the step's output for one tensor.",
        applies=lambda case: case.options["unroll"] and not isinstance(case.output, Spec),
        cure=rolled,
    ),
    Difference(
        "zeros unrolled backwards",
        "An unrolled loop zeroes the outputs in the order of the mask, not of the iteration.",
        applies=lambda case: (
            case.masked
            and case.options["unroll"]
            and case.options["go_backwards"]
            and case.options["zero_output_for_mask"]
        ),
        cure=rolled,
    ),
    Difference(
        "last output zeroed unrolled",
        "An unrolled loop zeroes its one output with the mask of all timesteps.",
        applies=lambda case: (
            case.masked
            and case.options["unroll"]
            and case.options["zero_output_for_mask"]
            and not case.options["return_all_outputs"]
            and (case.first or case.sizes[1]) > 1
        ),
        cure=rolled,
    ),
    Difference(
        "vectors under a mask",
        "A mask (samples, 1) spreads outputs and states (samples,) over a square, or raises.",
        applies=lambda case: case.masked and has_vectors(case) and not case.lifted,
        cure=lambda case: replace(case, lifted=True),
    ),
    Difference(
        "one bare state",
        "A tensor as initial_states is documented, and taken apart along its samples.",
        applies=lambda case: not isinstance(case.initial_states, list | tuple),
        cure=lambda case: replace(case, initial_states=[case.initial_states]),
    ),
]
