"""Which timesteps the step function is called for, where each holds its number."""

import numpy as np

from support.oracle import Recorder, halving
from support.running import rnn

__all__ = ["SAMPLES", "SOME", "TIME", "steps_called", "timesteps_called"]

TIME = 5
SOME = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]], dtype=bool)
SAMPLES = len(SOME)


def timesteps_called(backend, **options):
    """Return the numbers of the timesteps for which the step is called, in order."""
    # All samples hold the number of the timestep, masked or not.
    return [int(backend.numpy(x_t)[0, 0]) for x_t in steps_called(backend, **options).inputs]


def steps_called(backend, *, mask=None, go_backwards=False, time_major=False, **options):
    """Return the step with what it was called on."""
    x = np.broadcast_to(np.arange(TIME, dtype=backend.float)[:, None], (SAMPLES, TIME, 1))
    if time_major:
        x, mask = np.swapaxes(x, 0, 1), None if mask is None else mask.T
    step = Recorder(halving)
    rnn(
        step,
        backend.array(x),
        [backend.array(np.zeros((SAMPLES, 1)))],
        mask=mask,
        go_backwards=go_backwards,
        time_major=time_major,
        **options,
    )
    return step
