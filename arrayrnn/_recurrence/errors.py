"""Errors about arrays in nests: which leaf, what came, what was expected, and what to do."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

import array_api_compat

from arrayrnn._libraries.foreign import are_plain, refusal
from arrayrnn._libraries.operations import device_of, is_of_host, namespace_of
from arrayrnn._recurrence.axes import agree
from arrayrnn._recurrence.nests import NAMESPACE, Named, Nest, NestMismatchError
from arrayrnn._typing import Array, Namespace

_ALL_BUT_VALUES = attrgetter("__class__", "shape", "dtype")


class Spec(NamedTuple):
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: Any


def describe(value: Any) -> str:
    """Say what `value` is: an array's shape and dtype, anything else's type."""
    if not array_api_compat.is_array_api_obj(value):
        return "None" if value is None else f"of type {type(value).__name__}"
    return f"an array of shape {tuple(value.shape)} and dtype {dtype_name(value.dtype)}"


def dtype_name(dtype: Any) -> str:
    return str(dtype).rsplit(".", maxsplit=1)[-1]


def library(xp: Namespace) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.")


def came(named: Named, k: int) -> str:
    """Say which leaf came, and what it is."""
    found = refusal(named.leaves[k])
    shown = describe(named.leaves[k]) if found is None else found.partition(". ")[0]
    if named.returned_by:
        return f"`{named.returned_by}` returned `{named.path(k)}`, {shown}"
    return f"`{named.path(k)}` is {shown}"


def is_array(value: Any) -> bool:
    """Tell whether a value is an array that holds nothing but its values."""
    if are_plain((value,)):
        return True
    return array_api_compat.is_array_api_obj(value) and refusal(value) is None


def is_listed(value: Any) -> bool:
    """Tell whether values come in a list, or in something as good as one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def are_like(leaves: Sequence[Any], models: Sequence[Array]) -> bool:
    """Tell at once that arrays are like others in every respect, if they are of plain types."""
    return are_plain(leaves) and [*map(_ALL_BUT_VALUES, leaves)] == [*map(_ALL_BUT_VALUES, models)]


def fail_no_array(value: Any, name: str) -> NoReturn:
    """Refuse an argument that is no array."""
    _fail_no_array(Named((value,), Nest.of(0)[1], name), 0)


def fail_library(name: str, xp: Namespace, expected: Namespace, inputs: str) -> NoReturn:
    """Refuse an argument of another library than `inputs`."""
    raise TypeError(
        f"`{name}` is an array of {library(xp)}, `{inputs}` of {library(expected)}; expected "
        "arrays of one library. Convert one of them."
    )


def expect_arrays(named: Named) -> None:
    for k, leaf in enumerate(named.leaves):
        if not is_array(leaf):
            _fail_no_array(named, k)


def expect_axes(
    named: Named,
    axes: str,
    shared: Sequence[str],
    rank: int,
    cure: Callable[[Array], str] = lambda _: "",
) -> None:
    """Expect arrays of at least `rank` dimensions, of which all share the first ones.

    `axes` shows the dimensions, and `shared` names those that are shared.
    """
    first, count = named.leaves[0], len(shared)
    for k, leaf in enumerate(named.leaves):
        if not is_array(leaf):
            _fail_no_array(named, k)
        if leaf.ndim < rank:
            plural = "s" * (rank != 1)
            raise ValueError(
                f"{came(named, k)}; expected {axes}, at least {rank} dimension{plural}.{cure(leaf)}"
            )
        if leaf is not first and not agree(leaf.shape[:count], first.shape[:count]):
            raise ValueError(
                f"{came(named, k)}, {came(named, 0)}; expected the same {' and '.join(shared)}, "
                f"{axes}, in every array of `{named.name}`."
            )


def expect_together(named: Named, xp: Namespace, first: Named) -> None:
    """Expect arrays of the library and on the device of the first leaf of `first`."""
    model = first.leaves[0]
    for k, leaf in enumerate(named.leaves):
        if leaf is model or (type(leaf) is type(model) and is_of_host(leaf)):
            continue
        if not is_array(leaf):
            _fail_no_array(named, k)
        if type(leaf) is not type(model) and (own_xp := namespace_of(leaf)) is not xp:
            fail_library(named.path(k), own_xp, xp, first.path(0))
        device, expected = device_of(leaf), device_of(model)
        if device != expected and (refused := _refusal_to_mix(xp, leaf, model)) is not None:
            raise ValueError(
                f"`{named.path(k)}` is on device {device}, `{first.path(0)}` on {expected}, and "
                f"{library(xp)} does not compute across them. Move one of them."
            ) from refused


def expect_samples(named: Named, samples: Any) -> None:
    """Expect states with a row for each sample."""
    for k, leaf in enumerate(named.leaves):
        if leaf.ndim < 1 or not agree(leaf.shape[:1], (samples,)):
            raise ValueError(
                f"{came(named, k)}; under a mask or lengths expected (samples, ...) with samples = "
                f"{samples}, since a masked sample keeps its own state. Broadcast the state to all "
                "samples."
            )


def expect_of_library(named: Named, xp: Namespace, like: str) -> None:
    """Expect arrays of a library; `like` says what else is of it."""
    for k, leaf in enumerate(named.leaves):
        if not is_array(leaf):
            _fail_no_array(named, k)
        if (own_xp := namespace_of(leaf)) is not xp:
            raise TypeError(
                f"{came(named, k)}, of {library(own_xp)}; expected an array of {library(xp)}, like "
                f"{like}.{'' if named.returned_by else ' Convert it.'}"
            )


def expect_like(
    named: Named,
    models: Sequence[Array | Spec],
    its: str,
    cure: Callable[[Array], str] = lambda _: "",
) -> None:
    """Expect arrays with the shapes and dtypes of others.

    `its` names one of these properties: ``"the {} of the first chunk"``, say.
    """
    for k, (leaf, model) in enumerate(zip(named.leaves, models, strict=True)):
        if not agree(leaf.shape, model.shape):
            raise ValueError(
                f"{came(named, k)}; expected {its.format('shape')}, {tuple(model.shape)}."
            )
        if leaf.dtype != model.dtype:
            raise TypeError(
                f"{came(named, k)}; expected {its.format('dtype')}, {dtype_name(model.dtype)}."
                f"{cure(leaf)}"
            )


def expect_structure(
    tree: Any, nest: Nest, seen: str, model: str, cure: str = ""
) -> tuple[Any, ...]:
    """Take apart a nest that should have the structure of `nest`; `seen` says what came."""
    try:
        return nest.flatten(tree)
    except NestMismatchError:
        raise ValueError(
            f"{seen} of the structure {_structure(Nest.of(tree)[1])}; expected that of {model}, "
            f"{_structure(nest)} (* is an array).{cure}"
        ) from None


def _structure(nest: Nest) -> str:
    return str(nest.spec).removeprefix("PyTreeSpec(").removesuffix(")")


def _fail_no_array(named: Named, k: int) -> NoReturn:
    raise TypeError(f"{came(named, k)}; expected an array.{_cure_of_no_array(named, k)}")


def _cure_of_no_array(named: Named, k: int) -> str:
    value = named.leaves[k]
    found = refusal(value)
    if found is not None:
        return f" {found.partition('. ')[2]}."
    if isinstance(value, int | float | complex):
        a_list = " Make one of numbers and nested lists first, by `asarray`."
        return "" if named.returned_by else a_list
    container = type(value)
    if container.__module__ == "builtins" or not hasattr(value, "__dict__"):
        return ""
    name = container.__name__
    return (
        f" If it is a container, register it: `optree.register_pytree_node({name}, lambda node: "
        f"(vars(node).values(), None), lambda _, leaves: {name}(*leaves), namespace="
        f"'{NAMESPACE}')`."
    )


def _refusal_to_mix(xp: Namespace, *arrays: Any) -> Exception | None:
    """Return the exception of the library if it does not compute with both of two arrays."""
    # Some libraries accept a 0-d array from another device, so the rank has to stay.
    few = [a if a.ndim == 0 else xp.reshape(a[(slice(0, 1),) * a.ndim], (-1,)) for a in arrays]
    try:
        xp.logical_or(*(xp.astype(a, xp.bool) for a in few))
    except Exception as error:  # each library has one of its own for this
        return error
    return None
