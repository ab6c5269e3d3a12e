"""What is wrong with what a step function returned."""

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat

from arrayrnn._checks.wording import describe, dtype_name, library
from arrayrnn._tree import Nest, NestMismatchError
from arrayrnn._typing import Array, Namespace


def pair(result: Any) -> None:
    if not isinstance(result, list | tuple):
        came = describe(result).replace("of type", "a value of type")
        raise TypeError(f"`step_function` returned {came}; expected a pair `(output, new_states)`.")
    if len(result) != 2:
        raise TypeError(
            f"`step_function` returned a {type(result).__name__} of length {len(result)}; expected "
            "a pair `(output, new_states)`."
        )


def new_states(new: Any, nest: Nest, initial: Sequence[Array], xp: Namespace) -> None:
    """Compare what a step returned with `initial_states`."""
    count = nest.spec.num_children
    if not isinstance(new, list | tuple):
        raise ValueError(
            f"`step_function` returned `new_states`, {describe(new)}; expected a list or tuple of "
            f"length {count}, one new state for each initial state."
        )
    if len(new) != count:
        raise ValueError(
            f"`step_function` returned {len(new)} state{'s' * (len(new) != 1)} where "
            f"`initial_states` has {count}. Return one new state for each initial state."
        )
    leaves = _leaves(tuple(new), nest, "new_states", "`initial_states`")

    def came(k: int) -> str:
        return f"`step_function` returned `{nest.paths('new_states')[k]}`, {describe(leaves[k])}"

    for k, (leaf, old) in enumerate(zip(leaves, initial, strict=True)):
        _same_kind(leaf, xp, came, k)
        if tuple(leaf.shape) != tuple(old.shape):
            raise ValueError(
                f"{came(k)}; expected the shape of the initial state, {tuple(old.shape)}."
            )
        if leaf.dtype != old.dtype:
            raise TypeError(
                f"{came(k)}; expected the dtype of the initial state, {dtype_name(old.dtype)}. "
                f"{_dtype_cure(leaf)}"
            )


def _dtype_cure(leaf: Array) -> str:
    if dtype_name(leaf.dtype) in ("float16", "bfloat16"):
        return (
            "If this is mixed precision (autocast), cast the state back in the step, or disable "
            "autocast around the call."
        )
    return "Cast the state in the step, or give `initial_states` the dtype that the step computes."


def first_output(nest: Nest, leaves: Sequence[Any], samples: int | None, xp: Namespace) -> None:
    """Check the first output of the step; `samples` is None if nothing is masked."""

    def came(k: int) -> str:
        return f"`step_function` returned `{nest.paths('output')[k]}`, {describe(leaves[k])}"

    for k, leaf in enumerate(leaves):
        _same_kind(leaf, xp, came, k)
        if leaf.ndim == 0:
            raise ValueError(f"{came(k)}; expected (samples, ...), at least 1 dimension.")
        if samples is not None and leaf.shape[0] != samples:
            raise ValueError(
                f"{came(k)}; under a mask or lengths expected (samples, ...) with samples = "
                f"{samples}."
            )


def same_output(output: Any, nest: Nest, first: Sequence[Array], xp: Namespace) -> None:
    """Compare an output with that of the first timestep."""
    leaves = _leaves(output, nest, "an output", "the first timestep")

    def came(k: int) -> str:
        return f"`step_function` returned `{nest.paths('output')[k]}`, {describe(leaves[k])}"

    for k, (leaf, old) in enumerate(zip(leaves, first, strict=True)):
        _same_kind(leaf, xp, came, k)
        if tuple(leaf.shape) != tuple(old.shape):
            raise ValueError(f"{came(k)}; expected the first timestep's shape, {tuple(old.shape)}.")
        if leaf.dtype != old.dtype:
            expected = dtype_name(old.dtype)
            raise TypeError(f"{came(k)}; expected the first timestep's dtype, {expected}.")


def initial_output(given: Any, nest: Nest, outputs: Sequence[Array]) -> None:
    """Compare `initial_output` with the first output of the step."""
    try:
        leaves = nest.flatten(given)
    except NestMismatchError:
        raise ValueError(
            f"`initial_output` is of the structure {_structure(Nest.of(given)[1])}; expected that "
            f"of the output of `step_function`, {_structure(nest)} (* is an array)."
        ) from None
    paths = nest.paths("initial_output")
    for k, (leaf, output) in enumerate(zip(leaves, outputs, strict=True)):
        if tuple(leaf.shape) != tuple(output.shape) or leaf.dtype != output.dtype:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected it like the "
                f"output of `step_function`, {describe(output)}."
            )


def _leaves(tree: Any, nest: Nest, name: str, model: str) -> tuple[Any, ...]:
    try:
        return nest.flatten(tree)
    except NestMismatchError:
        raise ValueError(
            f"`step_function` returned {name} of the structure {_structure(Nest.of(tree)[1])}; "
            f"expected that of {model}, {_structure(nest)} (* is an array)."
        ) from None


def _same_kind(leaf: Any, xp: Namespace, came: Callable[[int], str], k: int) -> None:
    if not array_api_compat.is_array_api_obj(leaf):
        raise TypeError(f"{came(k)}; expected an array.")
    own_xp = array_api_compat.array_namespace(leaf)
    if own_xp is not xp:
        raise TypeError(
            f"{came(k)}, of {library(own_xp)}; expected an array of {library(xp)}, as in `inputs`."
        )


def _structure(nest: Nest) -> str:
    return str(nest.spec).removeprefix("PyTreeSpec(").removesuffix(")")


def note(error: Exception, t: int, time: int, *, go_backwards: bool) -> None:
    """Say on the step's own exception at which timestep it came."""
    direction = ", going backwards" if go_backwards else ""
    error.add_note(f"arrayrnn.rnn: at timestep {t} of {time}, counted from 0{direction}.")
