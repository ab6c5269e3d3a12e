"""The forms in which a mask may be given."""

import numpy as np
import pytest

from support.backends import assert_same
from support.oracle import draw, halving, recurrence
from support.running import rnn

KEEP = np.array([[1, 1, 0, 1, 0], [0, 1, 0, 1, 1], [1, 1, 0, 0, 1]], dtype=bool)
SAMPLES, TIME = KEEP.shape
directions = pytest.mark.parametrize("go_backwards", [False, True])


def assert_masks(backend, mask, keep=KEEP, **options):
    """Assert that `mask` keeps what `keep` says."""
    x, state = draw(backend, SAMPLES, TIME, 2), draw(backend, SAMPLES, 2)
    last, outputs, states = recurrence(
        halving, x, [state], keep, go_backwards=options.get("go_backwards", False)
    )
    if options.get("time_major"):
        x, outputs = np.swapaxes(x, 0, 1), np.swapaxes(outputs, 0, 1)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), mask=mask, **options)
    assert_same(backend, found, (last, outputs, states), exact=True)


@directions
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("last_axis", [False, True])
@pytest.mark.parametrize("form", ["own", "numpy", "list"])
def test_a_mask_may_be_an_array_of_the_library_or_of_numpy_or_a_list(
    backend, form, last_axis, time_major, go_backwards
):
    mask = KEEP[..., None] if last_axis else KEEP
    mask = np.swapaxes(mask, 0, 1) if time_major else mask
    mask = {"own": backend.arrays, "numpy": np.asarray, "list": np.ndarray.tolist}[form](mask)
    assert_masks(backend, mask, time_major=time_major, go_backwards=go_backwards)


@pytest.mark.parametrize("own", [False, True])
def test_a_mask_may_be_a_view_that_runs_through_memory_backwards(backend, own):
    if own:
        stored = backend.arrays(np.ascontiguousarray(KEEP[:, ::-1]))
        return assert_masks(backend, backend.xp.flip(stored, axis=1))
    return assert_masks(backend, np.ascontiguousarray(KEEP[:, ::-1])[:, ::-1])


def test_a_nested_mask_may_be_of_tuples_and_numbers(backend):
    assert_masks(backend, tuple(tuple(map(float, row)) for row in KEEP))


def test_as_many_samples_as_timesteps_do_not_confuse_the_axes(backend):
    keep = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=bool)
    x, state = draw(backend, 3, 3, 3), draw(backend, 3, 3)
    expected = recurrence(halving, x, [state], keep)
    found = rnn(halving, backend.arrays(x), backend.arrays([state]), mask=backend.arrays(keep))
    assert_same(backend, found, expected, exact=True)
    x_time_first = backend.arrays(np.swapaxes(x, 0, 1))
    mask = backend.arrays(np.ascontiguousarray(keep.T))
    found = rnn(halving, x_time_first, backend.arrays([state]), mask=mask, time_major=True)
    last, outputs, states = expected
    assert_same(backend, found, (last, np.swapaxes(outputs, 0, 1), states), exact=True)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint64"])
@pytest.mark.parametrize("value", [1, 2, 100])
@pytest.mark.parametrize("own", [False, True])
def test_every_integer_but_zero_keeps(backend, dtype, value, own):
    if own and not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    mask = np.where(KEEP, value, 0).astype(dtype)
    assert_masks(backend, backend.arrays(mask) if own else mask)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [1.0, 0.5, -1.0, 1e-7, np.inf, np.nan])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_every_float_but_zero_keeps_in_a_mask_of_numpy(backend, dtype, value, zero):
    mask = np.where(KEEP, value, zero).astype(dtype)
    assert_masks(backend, mask)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("value", [1.0, 0.5, -1.0, 1e-7, np.inf, np.nan])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_every_float_but_zero_keeps_in_a_mask_of_the_library(backend, dtype, value, zero):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    try:
        mask = backend.array(np.where(KEEP, value, zero), dtype)
    except RuntimeError as error:
        pytest.skip(f"the device of {backend} has no {dtype}: {error}")
    assert_masks(backend, mask)


def test_minus_one_keeps(backend):
    assert_masks(backend, np.where(KEEP, -1, 0))


@directions
def test_a_mask_of_ones_changes_nothing(backend, go_backwards):
    ones = np.ones_like(KEEP)
    assert_masks(backend, ones, keep=ones, go_backwards=go_backwards)
