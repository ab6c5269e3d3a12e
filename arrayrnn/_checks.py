"""Every error and its wording: which argument, what was expected, what came, what to do."""

import math
import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import array_api_compat

from arrayrnn._host import to_numpy
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Namespace

# ---------------------------------------------------------------------------------- wording


def describe(value: Any) -> str:
    """Say what `value` is: an array's dtype and shape, else its type."""
    if not array_api_compat.is_array_api_obj(value):
        return "None" if value is None else f"of type {type(value).__name__}"
    return f"an array of shape {tuple(value.shape)} and dtype {dtype_name(value.dtype)}"


def dtype_name(dtype: Any) -> str:
    return str(dtype).rsplit(".", maxsplit=1)[-1]


def library(xp: Namespace) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.")


def is_array(value: Any, where: str) -> None:
    if not array_api_compat.is_array_api_obj(value):
        raise TypeError(f"`{where}` is {describe(value)}; expected an array.")


def fail_library(
    where: str, xp: Namespace, expected: Namespace, first_where: str = "inputs"
) -> NoReturn:
    raise TypeError(
        f"`{where}` is an array of {library(xp)}, `{first_where}` of {library(expected)}; expected "
        "arrays of one library. Convert one of them."
    )


# ---------------------------------------------------------------------------------- arguments


def step_function(value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"`step_function` is {describe(value)}; expected a callable "
            "`step_function(input_t, states) -> (output, new_states)`."
        )


def inputs(
    value: Any, leaves: Sequence[Any], paths: Sequence[str], *, time_major: bool, unroll: Any
) -> tuple[int, int]:
    """Check the leaves of `inputs` and return their numbers of samples and timesteps."""
    if value is None:
        is_array(value, "inputs")
    if not leaves:
        raise ValueError("`inputs` is an empty nest; expected at least one array.")
    axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
    for leaf, path in zip(leaves, paths, strict=True):
        is_array(leaf, path)
        if leaf.ndim < 3:
            raise ValueError(
                f"`{path}` is {describe(leaf)}; expected {axes}, at least 3 dimensions. "
                "Give one number per timestep a last axis of length 1."
            )
        _known_time(leaf.shape[0 if time_major else 1], path, unroll)
    first = tuple(leaves[0].shape[:2])
    for leaf, path in zip(leaves, paths, strict=True):
        if tuple(leaf.shape[:2]) != first:
            raise ValueError(
                f"`{path}` is {describe(leaf)}, `{paths[0]}` is {describe(leaves[0])}; expected "
                f"the same samples and time, {axes}, in every array of `inputs`."
            )
    time, samples = first if time_major else first[::-1]
    if time == 0:
        raise ValueError(
            f"`{paths[0]}` is {describe(leaves[0])}, without timesteps; expected at least one."
        )
    return samples, time


def _known_time(time: Any, path: str, unroll: Any) -> None:
    # Lazy arrays leave a length open as None or nan.
    if time is None or math.isnan(time):
        reason = "`unroll=True`" if unroll is True else "a Python loop"
        raise ValueError(
            f"`{path}` has an unknown number of timesteps ({time}); {reason} needs a fixed one."
        )


def unroll(value: Any) -> None:
    if isinstance(value, bool):
        return
    try:
        factor = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`unroll` is {describe(value)}; expected a bool or an integer of at least 1."
        ) from None
    if factor < 1:
        raise ValueError(f"`unroll` is {factor}; expected a bool or an integer of at least 1.")


def progress(value: Any) -> None:
    if not (value is None or isinstance(value, bool) or callable(value)):
        raise TypeError(
            f"`progress` is {describe(value)}; expected True for a bar, or a callable "
            "`progress(timesteps_done, timesteps_in_all)`."
        )


def sequence(value: Any, name: str, hint: str) -> None:
    if not isinstance(value, list | tuple):
        raise TypeError(f"`{name}` is {describe(value)}; expected a list or tuple. {hint}")


def states_under_mask(leaves: Sequence[Array], paths: Sequence[str], samples: int) -> None:
    for leaf, path in zip(leaves, paths, strict=True):
        if leaf.ndim < 1 or leaf.shape[0] != samples:
            raise ValueError(
                f"`{path}` is {describe(leaf)}; under a mask or lengths expected "
                f"(samples, ...) with samples = {samples}, since a masked sample keeps its own "
                "state. Broadcast the state to all samples."
            )


def constants(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    sequence(value, "constants", "Put a single one into a list.")
    return tuple(value)


def placed_alike(xp: Namespace, leaves: Sequence[Array], paths: Sequence[str]) -> None:
    """Check that all leaves are of the library and on the device of the first."""
    for leaf, path in zip(leaves, paths, strict=True):
        one_library(leaf, path, xp, paths[0])
        _one_device(xp, leaf, path, leaves[0], paths[0])


def one_library(leaf: Array, where: str, xp: Namespace, first_where: str = "inputs") -> None:
    own_xp = array_api_compat.array_namespace(leaf)
    if own_xp is not xp:
        fail_library(where, own_xp, xp, first_where)


def _one_device(xp: Namespace, leaf: Any, where: str, first: Any, first_where: str) -> None:
    """Refuse two devices if the library itself refuses to compute with both."""
    device, expected = array_api_compat.device(leaf), array_api_compat.device(first)
    if device == expected:
        return
    try:
        xp.logical_or(*(xp.astype(_few(xp, array), xp.bool) for array in (leaf, first)))
    # Each library has an exception of its own for this.
    except Exception as error:
        raise ValueError(
            f"`{where}` is on device {device}, `{first_where}` on {expected}, and "
            f"{library(xp)} does not compute across them. Move one of them."
        ) from error


def _few(xp: Namespace, array: Any) -> Any:
    # Some libraries accept a 0-d array from another device, so its rank has to stay.
    return array if array.ndim == 0 else xp.reshape(array[(slice(0, 1),) * array.ndim], (-1,))


# ---------------------------------------------------------------------------------- mask, lengths


def rectangular(values: Sequence[Any], name: str) -> Any:
    """Return a nested list as an array of the host."""
    try:
        return to_numpy(values)
    except ValueError as error:
        raise ValueError(f"`{name}` is a ragged list ({error}); expected equal lengths.") from None


def mask(xp: Namespace, mask: Any, samples: int, time: int, *, time_major: bool) -> None:
    if not xp.isdtype(mask.dtype, ("bool", "real floating", "integral")):
        raise TypeError(f"`mask` is {describe(mask)}; expected a bool or real dtype.")
    expected = (time, samples) if time_major else (samples, time)
    if tuple(mask.shape) not in (expected, (*expected, 1)):
        axes = "(time, samples)" if time_major else "(samples, time)"
        raise ValueError(
            f"`mask` is {describe(mask)}; expected {axes} = {expected}, or {(*expected, 1)}."
        )


def states_to_mask(nest: Nest) -> None:
    if nest.spec.num_children == 0:
        raise ValueError(
            "`mask` is given and `initial_states` is empty; expected at least one state for the "
            "mask to hold. Without states, select from the outputs."
        )


def length(value: Any, time: int) -> int | None:
    """Return `input_length` as an integer, or None if there is one for each sample, or none."""
    if value is None or isinstance(value, list | tuple):
        return None
    is_one = value.ndim == 0 if array_api_compat.is_array_api_obj(value) else True
    if not is_one:
        return None
    try:
        if isinstance(value, bool) or dtype_name(getattr(value, "dtype", "")).startswith("bool"):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`input_length` is {describe(value)}; expected an integer, or one integer for each "
            "sample."
        ) from None
    if not 1 <= number <= time:
        raise ValueError(
            f"`input_length` is {number}; expected 1 <= input_length <= {time}, the timesteps of "
            "`inputs`."
        )
    return number


def lengths(xp: Namespace, lengths: Any, samples: int) -> None:
    if not xp.isdtype(lengths.dtype, "integral"):
        raise TypeError(f"`input_length` is {describe(lengths)}; expected an integer dtype.")
    if tuple(lengths.shape) != (samples,):
        raise ValueError(
            f"`input_length` is {describe(lengths)}; expected one length for each sample, shape "
            f"{(samples,)}."
        )


def length_values(values: Any, time: int) -> None:
    for sample, value in enumerate(values.tolist()):
        if not 0 <= value <= time:
            raise ValueError(
                f"`input_length[{sample}]` is {value}; expected 0 <= length <= {time}, the "
                "timesteps of `inputs`."
            )


# ---------------------------------------------------------------------------------- the step


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
