"""The ways to iterate, all of one signature; which of them serves given arrays."""

from collections.abc import Callable

import array_api_compat

from arrayrnn._checks import arguments
from arrayrnn._problem import Problem, Result
from arrayrnn.loops import eager

__all__ = ["loop_for"]


def loop_for(problem: Problem) -> Callable[[Problem], Result]:
    """Return the loop that serves the arrays of `problem`."""
    if problem.unroll is not True:
        if array_api_compat.is_jax_namespace(problem.xp):
            from arrayrnn.loops import jax

            return jax.loop
        if array_api_compat.is_dask_namespace(problem.xp):
            from arrayrnn.loops import dask

            return dask.loop
        if array_api_compat.is_ndonnx_namespace(problem.xp):
            from arrayrnn.loops import onnx

            return onnx.loop
    arguments.known_time(problem.time, problem.caller, unroll=problem.unroll)
    if problem.checkpoint is not None and array_api_compat.is_jax_namespace(problem.xp):
        # While tracing, blocks of timesteps are checkpointed; only these are unrolled.
        from arrayrnn.loops import jax

        return jax.loop
    return eager.loop
