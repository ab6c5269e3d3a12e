"""What is wrong with what a step function returned."""

from collections.abc import Sequence
from typing import Any

import array_api_compat

from arrayrnn._checks.arguments import one_library
from arrayrnn._checks.wording import describe, dtype_name, is_array, library
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace


def pair(result: Any) -> None:
    if not (isinstance(result, list | tuple) and len(result) == 2):
        size = f" of {len(result)} entries" if isinstance(result, list | tuple) else ""
        raise TypeError(
            f"`step_function` returned {describe(result).removeprefix('of type ')}{size}; expected "
            "a pair `(output, new_states)`."
        )


def new_states(new: Any, nest: Nest, initial: Sequence[Array], xp: Namespace) -> None:
    """Compare what a step returned with `initial_states`."""
    count = nest.spec.num_children
    if not isinstance(new, list | tuple):
        raise ValueError(
            f"`step_function` returned new_states {describe(new)}; expected a list or tuple of "
            f"{count}, one new state for each initial state."
        )
    if len(new) != count:
        raise ValueError(
            f"`step_function` returned {len(new)} state{'s' * (len(new) != 1)} where "
            f"`initial_states` has {count}. Return one new state for each initial state."
        )
    leaves, own = Nest.of(tuple(new))
    if not nest.matches(tuple(new)):
        raise ValueError(
            f"`step_function` returned new_states of the structure {_structure(own)}; expected "
            f"that of `initial_states`, {_structure(nest)}."
        )
    for leaf, old, path in zip(leaves, initial, nest.paths("new_states"), strict=True):
        where = f"`step_function` returned `{path}`, which is {describe(leaf)}"
        _same_kind(leaf, where, xp)
        if tuple(leaf.shape) != tuple(old.shape):
            raise ValueError(
                f"{where}; expected the shape of the initial state, {tuple(old.shape)}."
            )
        if leaf.dtype != old.dtype:
            raise TypeError(
                f"{where}; expected the dtype of the initial state, {dtype_name(old.dtype)}. "
                f"{_dtype_cure(leaf, old)}"
            )


def _dtype_cure(leaf: Array, old: Array) -> str:
    if dtype_name(leaf.dtype) in ("float16", "bfloat16"):
        return (
            "If this is mixed precision (autocast) at work, cast the state back in the step, or "
            "disable autocast around the call."
        )
    return "Cast the state in the step, or give `initial_states` the dtype that the step computes."


def first_output(nest: Nest, leaves: Sequence[Any], samples: int | None, xp: Namespace) -> None:
    """Check the first output of the step; `samples` is None if nothing is masked."""
    for leaf, path in zip(leaves, nest.paths("output"), strict=True):
        where = f"`step_function` returned `{path}`, which is {describe(leaf)}"
        _same_kind(leaf, where, xp)
        if leaf.ndim == 0:
            raise ValueError(f"{where}; expected (samples, ...), at least 1 dimension.")
        if samples is not None and leaf.shape[0] != samples:
            raise ValueError(
                f"{where}; under a mask or lengths expected (samples, ...) with samples = "
                f"{samples}."
            )


def same_output(output: Any, nest: Nest, first: Sequence[Array]) -> None:
    """Compare an output with that of the first timestep."""
    if not nest.matches(output):
        raise ValueError(
            f"`step_function` returned an output of the structure "
            f"{_structure(Nest.of(output)[1])}; expected that of the first timestep, "
            f"{_structure(nest)}."
        )
    for leaf, old, path in zip(Nest.of(output)[0], first, nest.paths("output"), strict=True):
        where = f"`step_function` returned `{path}`, which is {describe(leaf)}"
        is_array(leaf, path)
        if tuple(leaf.shape) != tuple(old.shape):
            raise ValueError(f"{where}; expected the first timestep's shape, {tuple(old.shape)}.")
        if leaf.dtype != old.dtype:
            raise TypeError(
                f"{where}; expected the first timestep's dtype, {dtype_name(old.dtype)}."
            )


def initial_output(given: Any, nest: Nest, outputs: Sequence[Array], xp: Namespace) -> None:
    """Compare `initial_output` with the first output of the step."""
    if not nest.matches(given):
        raise ValueError(
            f"`initial_output` is of the structure {_structure(Nest.of(given)[1])}; expected that "
            f"of the output of `step_function`, {_structure(nest)}."
        )
    paths = nest.paths("initial_output")
    for leaf, output, path in zip(Nest.of(given)[0], outputs, paths, strict=True):
        is_array(leaf, path)
        one_library(leaf, path, xp)
        if tuple(leaf.shape) != tuple(output.shape) or leaf.dtype != output.dtype:
            raise ValueError(
                f"`{path}` is {describe(leaf)}; expected it like the output of `step_function`, "
                f"{describe(output)}."
            )


def _same_kind(leaf: Any, where: str, xp: Namespace) -> None:
    if not array_api_compat.is_array_api_obj(leaf):
        raise TypeError(f"{where}; expected an array.")
    own_xp = array_api_compat.array_namespace(leaf)
    if own_xp is not xp:
        raise TypeError(
            f"{where}, of {library(own_xp)}; expected an array of {library(xp)}, as `inputs` is."
        )


def _structure(nest: Nest) -> str:
    return str(nest.spec).removeprefix("PyTreeSpec(").removesuffix(")").split(", NoneIsLeaf")[0]


def note(error: Exception, t: int, time: int, *, go_backwards: bool) -> None:
    """Say on the step's own exception at which timestep it came."""
    order = f" (going backwards: number {time - 1 - t} in order)" if go_backwards else ""
    error.add_note(f"arrayrnn.rnn: raised at timestep {t} of {time}, counted from 0{order}.")
