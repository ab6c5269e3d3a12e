"""What is wrong with what a step function returned."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import array_api_compat

from arrayrnn._axes import agree, is_open
from arrayrnn._checks.wording import (
    Caller,
    came_instead,
    describe,
    dtype_name,
    library,
    no_array_cure,
    structure,
)
from arrayrnn._compilers import add_note, is_compiling
from arrayrnn._foreign import refusal
from arrayrnn._tree import Nest, NestMismatchError, Paths
from arrayrnn._typing import Array, Namespace

if TYPE_CHECKING:
    from arrayrnn._problem import Problem


def pair(result: Any, caller: Caller) -> None:
    if not isinstance(result, list | tuple):
        came = describe(result).replace("of type", "a value of type")
        raise TypeError(f"`{caller.function}` returned {came}; expected a pair `{caller.returns}`.")
    if len(result) != 2:
        raise TypeError(
            f"`{caller.function}` returned a {type(result).__name__} of length {len(result)}; "
            f"expected a pair `{caller.returns}`."
        )


def new_states(
    new: Any, nest: Nest, initial: Sequence[Array], xp: Namespace, caller: Caller
) -> None:
    """Compare what a step returned with `initial_states`."""
    count = nest.spec.num_children
    if not isinstance(new, list | tuple):
        raise ValueError(
            f"`{caller.function}` returned `{caller.new_states}`, {describe(new)}; expected a list "
            f"or tuple of length {count}, one new state for each initial state."
        )
    if len(new) != count:
        raise ValueError(
            f"`{caller.function}` returned {len(new)} state{'s' * (len(new) != 1)} where "
            f"`{caller.initial_states}` has {count}. Return one new state for each initial state."
        )
    tree = new[0] if caller.single_state else tuple(new)
    model = f"`{caller.initial_states}`"
    nest = nest.only_child if caller.single_state else nest
    leaves = _leaves(tree, nest, caller, caller.all_new_states, model)
    came = _came(nest.paths(caller.new_states), leaves, caller)
    for k, (leaf, old) in enumerate(zip(leaves, initial, strict=True)):
        _same_kind(leaf, xp, came, k)
        if not agree(leaf.shape, old.shape):
            raise ValueError(
                f"{came(k)}; expected the shape of {caller.initial_state}, {tuple(old.shape)}."
            )
        if leaf.dtype != old.dtype:
            raise TypeError(
                f"{came(k)}; expected the dtype of {caller.initial_state}, "
                f"{dtype_name(old.dtype)}. {_dtype_cure(leaf, caller)}"
            )


def _dtype_cure(leaf: Array, caller: Caller) -> str:
    if dtype_name(leaf.dtype) in ("float16", "bfloat16"):
        return (
            "If this is mixed precision (autocast), cast the state back in the step, or disable "
            "autocast around the call."
        )
    return (
        f"Cast the state in the step, or give `{caller.initial_states}` the dtype that the step "
        "computes."
    )


def first_output(
    nest: Nest, leaves: Sequence[Any], samples: Any, xp: Namespace, caller: Caller
) -> None:
    """Check the first output of the step; `samples` is None if nothing is masked."""
    came = _came(nest.paths(caller.output), leaves, caller)
    for k, leaf in enumerate(leaves):
        _same_kind(leaf, xp, came, k)
        if leaf.ndim < caller.least_output_rank:
            raise ValueError(f"{came(k)}; expected {caller.output_axes}.")
        if not is_open(samples) and not agree(leaf.shape[:1], (samples,)):
            raise ValueError(
                f"{came(k)}; under a mask or lengths expected (samples, ...) with samples = "
                f"{samples}."
            )


class Kind(NamedTuple):
    """What an array is compared with in place of another array."""

    shape: tuple[int, ...]
    dtype: Any


def same_output(
    output: Any, nest: Nest, first: Sequence[Array | Kind], xp: Namespace, caller: Caller
) -> None:
    """Compare an output with that of the first timestep."""
    leaves = _leaves(output, nest, caller, caller.any_output, "the first timestep")
    came = _came(nest.paths(caller.output), leaves, caller)
    for k, (leaf, old) in enumerate(zip(leaves, first, strict=True)):
        _same_kind(leaf, xp, came, k)
        if not agree(leaf.shape, old.shape):
            raise ValueError(f"{came(k)}; expected the first timestep's shape, {tuple(old.shape)}.")
        if leaf.dtype != old.dtype:
            expected = dtype_name(old.dtype)
            raise TypeError(f"{came(k)}; expected the first timestep's dtype, {expected}.")


def note_rows(error: Exception, caller: Caller, times: range, rows: int, samples: int) -> None:
    """Say that a step saw but some of the samples at some timesteps."""
    if rows < samples:
        add_note(
            error,
            f"arrayrnn.{caller.name}: with `samplewise=True` the step was given {rows} of the "
            f"{samples} samples at timesteps {min(times)} to {max(times)}, those not masked; "
            "nothing else in it may have a row for each.",
        )


def initial_output(given: Any, nest: Nest, outputs: Sequence[Array], caller: Caller) -> None:
    """Compare `initial_output` with the first output of the step."""
    try:
        leaves = nest.flatten(given)
    except NestMismatchError:
        raise ValueError(
            f"`{caller.initial_output}` is of the structure {structure(Nest.of(given)[1])}; "
            f"expected that of the output of `{caller.function}`, {structure(nest)} (* is an "
            "array)."
        ) from None
    paths = nest.paths(caller.initial_output)
    for k, (leaf, output) in enumerate(zip(leaves, outputs, strict=True)):
        if not agree(leaf.shape, output.shape) or leaf.dtype != output.dtype:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected it like the output of "
                f"`{caller.function}`, {describe(output)}."
            )


def _leaves(tree: Any, nest: Nest, caller: Caller, name: str, model: str) -> tuple[Any, ...]:
    try:
        return nest.flatten(tree)
    except NestMismatchError:
        raise ValueError(
            f"`{caller.function}` returned {name} of the structure {structure(Nest.of(tree)[1])}; "
            f"expected that of {model}, {structure(nest)} (* is an array)."
        ) from None


def _came(paths: Paths, leaves: Sequence[Any], caller: Caller) -> Callable[[int], str]:
    return lambda k: f"`{caller.function}` returned `{paths[k]}`, {came_instead(leaves[k])}"


def _same_kind(leaf: Any, xp: Namespace, came: Callable[[int], str], k: int) -> None:
    if not array_api_compat.is_array_api_obj(leaf) or refusal(leaf) is not None:
        cure = no_array_cure(leaf) if not isinstance(leaf, int | float | complex) else ""
        raise TypeError(f"{came(k)}; expected an array.{cure}")
    own_xp = array_api_compat.array_namespace(leaf)
    if own_xp is not xp:
        raise TypeError(
            f"{came(k)}, of {library(own_xp)}; expected an array of {library(xp)}, like what it "
            "is given."
        )


def note(
    error: Exception, problem: "Problem", t: int | None, *, is_raised_by_step: bool = False
) -> None:
    """Say on the step's own exception at which timestep it came; None if all are traced as one."""
    if is_compiling():
        return
    caller = problem.caller
    if t is None:
        when = f"while tracing `{caller.function}` for all timesteps"
    else:
        direction = ", going backwards" if problem.go_backwards else ""
        when = f"at timestep {t} of {problem.time}, counted from 0{direction}"
    called = f" {called_with(problem)}" if is_raised_by_step else ""
    add_note(error, f"arrayrnn.{caller.name}: {when}.{called}")


def called_with(problem: "Problem") -> str:
    """Say what a step is called with, and how it has to be written if it is not."""
    caller = problem.caller
    rows = () if problem.rows is None else (problem.rows,)
    input_t = [Kind((*rows, *x.shape[1 + len(rows) :]), x.dtype) for x in problem.inputs]
    given = [
        f"{caller.input_t} {_all_briefly(input_t, problem.input_nest.paths(''))}",
        f"{caller.states} {_all_briefly(problem.states, problem.state_nest.paths(''))}",
    ]
    given = given[::-1] if caller.single_state else given
    if count := len(problem.constants):
        given.append(f"constants: {count} value{'s' * (count != 1)}")
    called = f"`{caller.function}` was called with {'; '.join(given)}."
    if _takes_others(problem.step_function, caller):
        called += f" It is called as `{caller.function}({caller.takes})`."
    return called


def _all_briefly(leaves: Sequence[Any], paths: Paths) -> str:
    """Give shapes and dtypes; places in the nest where they tell anything."""
    briefly = [f"{tuple(leaf.shape)} {dtype_name(leaf.dtype)}" for leaf in leaves]
    if len(briefly) > 1:
        briefly = [f"{paths[k]} {leaf}".lstrip("* ") for k, leaf in enumerate(briefly)]
    return ", ".join(briefly) or "none"


def _takes_others(function: Any, caller: Caller) -> bool:
    """Tell whether a signature shows other parameters, or the right ones the wrong way round."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none to look at
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return True
    first = next(iter(signature.parameters), "")
    return first in caller.not_first
