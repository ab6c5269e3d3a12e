"""`arrayrnn.rnn` against `tf_keras.backend.rnn` itself, on drawn cases over all options.

`ARRAYRNN_REFERENCE_CASES` says how many cases (1000), or which: `417:418` runs one again, alone.
"""

import inspect
import os

import numpy as np
import pytest
import tf_keras

import arrayrnn
from comparing import check_all
from drawing import draw

first, _, stop = os.environ.get("ARRAYRNN_REFERENCE_CASES", "1000").rpartition(":")
parts = pytest.mark.parametrize(
    "seeds",
    [part for part in np.array_split(range(int(first or 0), int(stop)), 20) if part.size],
    ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}",
)


def test_parameters_are_the_references():
    def positional(function):
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is not p.KEYWORD_ONLY]

    assert positional(arrayrnn.rnn) == positional(tf_keras.backend.rnn)


@parts
def test_results_are_the_references(seeds):
    check_all([draw(seed) for seed in seeds.tolist()])


@parts
def test_gradients_are_the_references(seeds):
    cases = [draw(seed) for seed in seeds.tolist()]
    check_all([case.differentiated() for case in cases if case.differentiable])
