"""One case, both sides."""

from collections import Counter

import numpy as np
import optree
import pytest

import arrayrnn
from differences import cured, differences
from runs import ours, reference

COUNTS = Counter()


def check_all(cases):
    for case in cases:
        COUNTS["gradients" if case.gradients else "results"] += 1
        COUNTS.update([f"  {entry.name}" for entry in differences(case)] or ["  as it is"])
    failures = [error for error in map(failure, cases) if error]
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(cases)} cases differ", failures)


def failure(case, rnn=arrayrnn.rnn):
    try:
        check(case, rnn)
    except (Exception, pytest.fail.Exception) as error:
        error.add_note(repr(case))
        return error
    return None


def check(case, rnn=arrayrnn.rnn):
    if any(entry.cure is None for entry in differences(case)):
        with pytest.raises(ValueError, match="initial_states"):
            ours(case, rnn)
    else:
        assert_same(ours(case, rnn), reference(cured(case)), case.tolerance)


def assert_same(actual, expected, tolerance):
    assert optree.tree_structure(actual) == optree.tree_structure(expected)
    paths, leaves, _ = optree.tree_flatten_with_path(expected)
    for path, value, result in zip(paths, leaves, optree.tree_leaves(actual), strict=True):
        where = f"result{list(path)}"
        assert isinstance(result, np.ndarray | np.generic), where
        assert result.shape == value.shape, where
        assert result.dtype == value.dtype, where
        assert np.isfinite(value).all(), where
        atol = tolerance * max(1, np.abs(value).max())
        np.testing.assert_allclose(result, value, rtol=tolerance, atol=atol, err_msg=where)
