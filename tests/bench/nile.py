"""The grid of the gallery's script about the Nile, and its filter in Numba."""

import math
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from support.gallery import computed

EXAMPLE = SimpleNamespace(**computed("nile"))
COMPILED = SimpleNamespace(
    **computed("nile", {"from arrayrnn import rnn": "from arrayrnn.compiled import rnn"})
)
FLOWS = EXAMPLE.flows


def grid() -> tuple[Any, Any, Any]:
    """Return the flows and the variances of the first grid, as `kalman_filter` takes them."""
    tried = np.var(FLOWS) * np.logspace(-4, 0, EXAMPLE.POINTS)
    irregular, level = (x.reshape(-1, 1) for x in np.meshgrid(tried, tried, indexing="ij"))
    return FLOWS, irregular.copy(), level.copy()


def filter_in_numba(flows: Any, irregular: Any, level: Any) -> Any:
    # Time first: so the filters lie side by side, and several are computed at once.
    results = [np.empty((len(flows), len(irregular))) for _ in EXAMPLE.Filtered._fields]
    _fill(flows, irregular[:, 0], level[:, 0], EXAMPLE.VAGUE, *results)
    return EXAMPLE.Filtered(*(array.T[..., None] for array in results))


@numba.njit(error_model="numpy")
def _fill(
    flows: Any,
    irregular: Any,
    level: Any,
    vague: float,
    log_likelihoods: Any,
    levels: Any,
    variances: Any,
) -> None:
    count = len(irregular)
    a, p = np.zeros(count), np.full(count, vague)
    for t in range(len(flows)):
        for i in range(count):
            v = flows[t] - a[i]
            f = p[i] + irregular[i]
            k = p[i] / f
            log_likelihoods[t, i] = -0.5 * (math.log(2 * math.pi) + math.log(f) + v**2 / f)
            a[i] = levels[t, i] = a[i] + k * v
            variances[t, i] = p[i] * (1 - k)
            p[i] = variances[t, i] + level[i]
