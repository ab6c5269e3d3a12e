"""What is wrong with a stream's chunk, carry or reset."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import array_api_compat

from arrayrnn import _host
from arrayrnn._checks.arguments import is_array, is_listed
from arrayrnn._checks.wording import describe, dtype_name, fail_no_array, library, structure
from arrayrnn._foreign import in_native_order
from arrayrnn._operations import device_of
from arrayrnn._tree import Nest, NestMismatchError, Paths
from arrayrnn._typing import Array, Namespace

KEYS = ("states", "output")


class Chunks(NamedTuple):
    """What all chunks have in common."""

    nest: Nest
    rows: Sequence[Array]  # (1, *features), for each leaf one like it
    samples: int
    samples_axis: int


def chunk(value: Any, chunks: Chunks) -> None:
    """Compare a chunk with the first."""
    leaves, paths = _apart(value, chunks.nest, "chunk", "the first chunk")
    for k, (leaf, row) in enumerate(zip(leaves, chunks.rows, strict=True)):
        _same_library(leaf, row, paths, k, "the first chunk")
        at = chunks.samples_axis
        if leaf.ndim > 1 and leaf.shape[at] != chunks.samples:
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected {chunks.samples} samples, as in the "
                "first chunk. A stream has the same samples throughout; make one for each batch."
            )
        if leaf.ndim > 1 and tuple(leaf.shape[2:]) != tuple(row.shape[1:]):
            axes = ", ".join([("samples, time", "time, samples")[at], *map(str, row.shape[1:])])
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected ({axes}), with the features of the "
                "first chunk."
            )
        _same_dtype_and_device(leaf, row, paths, k, "the first chunk")


def with_values(leaves: Sequence[Any]) -> None:
    """Refuse what is traced or lazy: a stream would keep it beyond the trace."""
    for leaf in leaves:
        if array_api_compat.is_array_api_obj(leaf):
            xp = array_api_compat.array_namespace(leaf)
            if not _host.has_values(xp, leaf):
                raise TypeError(
                    f"a stream was given, or computed, {describe(leaf)} that has no values: it is "
                    "traced or lazy; expected arrays with values, since a stream keeps them. "
                    "Call `arrayrnn.rnn`, passing its `new_states` and `last_output` on as "
                    "`initial_states` and `initial_output`."
                )


def carry(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"`carry` is {describe(value)}; expected a dict, as `carry` returns it.")
    if {*value} != {*KEYS}:
        raise ValueError(
            f"`carry` has the keys {sorted(map(str, value))}; expected {sorted(KEYS)}."
        )


def like(value: Any, nest: Nest, models: Sequence[Any], name: str, model: str) -> tuple[Any, ...]:
    """Return the leaves of a part of a carry, compared with others.

    Python numbers among the `models` are of no dtype yet.
    """
    leaves, paths = _apart(value, nest, name, model)
    for k, (leaf, other) in enumerate(zip(leaves, models, strict=True)):
        if not array_api_compat.is_array_api_obj(other):
            if not isinstance(leaf, int | float | complex) and getattr(leaf, "shape", None) != ():
                raise ValueError(f"`{paths[k]}` is {describe(leaf)}; expected one number.")
            continue
        _same_library(leaf, other, paths, k, model)
        if tuple(leaf.shape) != tuple(other.shape):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected shape {tuple(other.shape)}, from "
                f"{model}."
            )
        _same_dtype_and_device(leaf, other, paths, k, model)
    return leaves


def arrays(value: Any, name: str, model: Any) -> tuple[tuple[Array, ...], Nest]:
    """Return the leaves of a part of a carry of which nothing is known yet, and its nest."""
    leaves, nest = Nest.of(value)
    paths = nest.paths(name)
    for k, leaf in enumerate(leaves):
        if model is None and not array_api_compat.is_array_api_obj(leaf):
            fail_no_array(leaf, paths[k])
        if model is not None:
            _same_library(leaf, model, paths, k, "the states")
    return leaves, nest


def samples_given(value: Any) -> None:
    if not is_listed(value) and not array_api_compat.is_array_api_obj(value):
        raise TypeError(
            f"`samples` is {describe(value)}; expected a list or an array, of indices or of bools, "
            "such as [0] for the first sample. None means all."
        )


def samples(xp: Namespace, samples: Any, count: int) -> None:
    if not xp.isdtype(samples.dtype, ("bool", "integral")) or samples.ndim != 1:
        raise TypeError(
            f"`samples` is {describe(samples)}; expected integers in one dimension, or one bool "
            "for each sample. None means all."
        )
    if xp.isdtype(samples.dtype, "bool") and samples.shape[0] != count:
        raise ValueError(
            f"`samples` is {describe(samples)}; expected one bool for each sample, shape "
            f"{(count,)}."
        )


def samples_exist(xp: Namespace, samples: Any, count: int) -> None:
    if samples.shape[0] == 0:
        return
    least, most = int(xp.min(samples)), int(xp.max(samples))
    if least < 0 or most >= count:
        wrong = least if least < 0 else most
        raise ValueError(
            f"`samples` has {wrong}; expected 0 <= sample < {count}, the samples of the stream."
        )


def to_reset(leaves: Sequence[Any], paths: Paths, count: int | None) -> int:
    """Check that chosen samples can be reset, and return how many there are."""
    for k, leaf in enumerate(leaves):
        is_array = array_api_compat.is_array_api_obj(leaf)
        if not is_array or leaf.ndim < 1 or count not in (None, leaf.shape[0]):
            raise ValueError(
                f"`{paths[k]}` is {describe(leaf)}; expected (samples, ...), to reset some samples "
                "and not the others. Broadcast it to all samples, or reset all with `reset()`."
            )
        count = leaf.shape[0]
    if count is None:
        raise ValueError(
            "`samples` are given before the first chunk to a stream without states: expected None, "
            "since it does not know yet how many samples there are."
        )
    return count


def _apart(value: Any, nest: Nest, name: str, model: str) -> tuple[tuple[Any, ...], Paths]:
    try:
        return tuple(map(in_native_order, nest.flatten(value))), nest.paths(name)
    except NestMismatchError:
        raise ValueError(
            f"`{name}` is of the structure {structure(Nest.of(value)[1])}; expected that of "
            f"{model}, {structure(nest)} (* is an array)."
        ) from None


def _same_library(leaf: Any, other: Array, paths: Paths, k: int, model: str) -> None:
    is_array(leaf, paths, k)
    if type(leaf) is type(other):
        return  # asking each for its namespace takes a while
    xp, expected = (array_api_compat.array_namespace(a) for a in (leaf, other))
    if xp is not expected:
        raise TypeError(
            f"`{paths[k]}` is an array of {library(xp)}; expected one of {library(expected)}, like "
            f"{model}. Convert it."
        )


def _same_dtype_and_device(leaf: Array, other: Array, paths: Paths, k: int, model: str) -> None:
    if leaf.dtype != other.dtype:
        raise TypeError(
            f"`{paths[k]}` is {describe(leaf)}; expected dtype {dtype_name(other.dtype)}, that of "
            f"{model}."
        )
    device, expected = (device_of(a) for a in (leaf, other))
    if None not in (device, expected) and device != expected:
        raise ValueError(
            f"`{paths[k]}` is on device {device}; expected {expected}, that of {model}. Move it."
        )
