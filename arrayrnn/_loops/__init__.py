"""Loops that iterate a recurrence, one file each, and the one that serves given arrays."""

from collections.abc import Callable

import array_api_compat

from arrayrnn._loops import eager, packed
from arrayrnn._recurrence.axes import is_fixed
from arrayrnn._recurrence.problem import Problem, Result


def run(problem: Problem) -> Result:
    """Run a problem on the loop that serves its arrays."""
    return _loop_for(problem)(problem)


def _loop_for(problem: Problem) -> Callable[[Problem], Result]:
    xp, options = problem.xp, problem.options
    is_jax = array_api_compat.is_jax_namespace(xp)
    if options.unroll is not True:
        if is_jax:
            from arrayrnn._loops import jax

            return jax.loop
        if array_api_compat.is_dask_namespace(xp):
            from arrayrnn._loops import dask

            return dask.loop
        if array_api_compat.is_ndonnx_namespace(xp):
            from arrayrnn._loops import onnx

            return onnx.loop
    if not is_fixed(problem.time):
        reason = "`unroll=True`" if options.unroll is True else "a Python loop"
        raise ValueError(
            f"`{problem.words.inputs}` has an unknown number of timesteps ({problem.time}); "
            f"{reason} needs a fixed one."
        )
    if is_jax and options.checkpoint is not None:
        # While tracing, blocks of timesteps are checkpointed; only these are unrolled.
        from arrayrnn._loops import jax

        return jax.loop
    return packed.loop if problem.mask is not None and options.samplewise else eager.loop
