"""The public functions as the tests call them: as they are, or traced by the library under test.

Traced means that the arrays among the arguments have no values while they run, and that what is
compared comes out of the program that was traced.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import array_api_compat
import optree
import pytest

import arrayrnn
from arrayrnn import cells, compiled
from support.backends import Backend

__all__ = [
    "associative_scan",
    "backend",
    "bidirectional",
    "known_shapes",
    "linear_scan",
    "needs_compiled",
    "on",
    "pad_sequences",
    "reverse_sequence",
    "rnn",
    "run",
    "scan",
    "unpad_sequences",
]

# The arguments that hold arrays.
_OF_ARRAYS = {
    arrayrnn.rnn: (
        "inputs",
        "initial_states",
        "mask",
        "constants",
        "input_length",
        "initial_output",
    ),
    arrayrnn.bidirectional: (
        "inputs",
        "forward_states",
        "backward_states",
        "mask",
        "constants",
        "input_length",
        "initial_output",
    ),
    arrayrnn.scan: ("init", "xs"),
    arrayrnn.associative_scan: ("elems",),
    arrayrnn.linear_scan: ("a", "b", "initial", "mask", "input_length"),
    cells.run: ("inputs", "states", "mask", "input_length"),
    arrayrnn.pad_sequences: ("sequences",),
    arrayrnn.unpad_sequences: ("outputs",),
    arrayrnn.reverse_sequence: ("x", "input_length", "mask"),
}
_BACKEND: ContextVar[Backend | None] = ContextVar("backend", default=None)
_SHAPES_ARE_KNOWN: ContextVar[bool] = ContextVar("shapes are known", default=False)

Program = Callable[[Sequence[Any]], list[Any]]


def backend() -> Backend | None:
    """Return what `rnn` runs on."""
    return _BACKEND.get()


@contextmanager
def on(backend: Backend | None) -> Iterator[None]:
    """Let `rnn` run as it does on a backend."""
    token = _BACKEND.set(backend)
    yield
    _BACKEND.reset(token)


@contextmanager
def known_shapes() -> Iterator[None]:
    """Let `rnn` be traced for the numbers of samples and timesteps at hand, where that matters."""
    token = _SHAPES_ARE_KNOWN.set(True)
    yield
    _SHAPES_ARE_KNOWN.reset(token)


def needs_compiled() -> None:
    """Skip a test that calls `arrayrnn.compiled` beside other things, where it cannot be had."""
    least = ".".join(map(str, compiled._LEAST_JAX))  # noqa: SLF001 # the bound itself
    pytest.importorskip("jax", minversion=least, reason=f"`compiled` needs JAX {least} or later")


def rnn(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.rnn` on concrete or lazy arrays, or trace it and run the program."""
    return _run(arrayrnn.rnn, positional, options)


def bidirectional(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.bidirectional` like `rnn`."""
    return _run(arrayrnn.bidirectional, positional, options)


def scan(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.scan` like `rnn`."""
    return _run(arrayrnn.scan, positional, options)


def associative_scan(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.associative_scan` like `rnn`."""
    return _run(arrayrnn.associative_scan, positional, options)


def linear_scan(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.linear_scan` like `rnn`."""
    return _run(arrayrnn.linear_scan, positional, options)


def run(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.cells.run` like `rnn`."""
    own_backend = backend()
    if own_backend is not None and own_backend.is_compiled:
        return cells.run(*positional, compiled=True, **options)
    return _run(cells.run, positional, options)


def pad_sequences(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.pad_sequences` like `rnn`."""
    return _run(arrayrnn.pad_sequences, positional, options)


def unpad_sequences(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.unpad_sequences` like `rnn`."""
    return _run(arrayrnn.unpad_sequences, positional, options)


def reverse_sequence(*positional: Any, **options: Any) -> Any:
    """Call `arrayrnn.reverse_sequence` like `rnn`."""
    return _run(arrayrnn.reverse_sequence, positional, options)


def _run(function: Callable[..., Any], positional: tuple[Any, ...], options: dict[str, Any]) -> Any:
    own_backend = backend()
    if own_backend is not None and own_backend.is_compiled:
        # Those without a loop have nothing to compile.
        return getattr(compiled, function.__name__, function)(*positional, **options)
    if own_backend not in (Backend.JAX_JIT, Backend.ONNX):
        return function(*positional, **options)
    call = inspect.signature(function).bind(*positional, **options).arguments
    given = {name: call[name] for name in _OF_ARRAYS[function] if name in call}

    def is_own(leaf: Any) -> bool:
        return (
            array_api_compat.is_array_api_obj(leaf)
            and array_api_compat.array_namespace(leaf) is own_backend.xp
        )

    def holds_none(tree: Any) -> bool:  # and stays the very object that it is
        return not any(map(is_own, optree.tree_leaves(tree, none_is_leaf=True)))

    accessors, leaves, spec = optree.tree_flatten_with_accessor(
        given, is_leaf=holds_none, none_is_leaf=True
    )
    own = [k for k, leaf in enumerate(leaves) if is_own(leaf)]
    structure = None

    def program(traced: Sequence[Any]) -> list[Any]:
        nonlocal structure
        arguments = list(leaves)
        for k, array in zip(own, traced, strict=True):
            arguments[k] = array
        results = function(**call | optree.tree_unflatten(spec, arguments))
        results, structure = optree.tree_flatten(results)
        return results

    arrays = [leaves[k] for k in own]
    if own_backend is Backend.JAX_JIT:
        results = _jitted(program, arrays)
    else:
        names = [str(accessors[k][0].entry) for k in own]
        results = _exported(program, arrays, _shapes(call, names, arrays))
    return optree.tree_unflatten(structure, results)


def _jitted(program: Program, arrays: Sequence[Any]) -> list[Any]:
    import jax

    return jax.jit(program)(arrays)


def _exported(program: Program, arrays: Sequence[Any], shapes: Sequence[Any]) -> list[Any]:
    import ndonnx
    import onnx
    import onnxruntime

    arguments = {
        f"argument {k}": ndonnx.argument(shape=shape, dtype=array.dtype)
        for k, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
    }
    traced = {f"result {k}": a for k, a in enumerate(program([*arguments.values()]))}
    model = ndonnx.build(arguments, traced)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = {name: array.unwrap_numpy() for name, array in zip(arguments, arrays, strict=True)}
    results = session.run(list(traced), values)
    for (name, array), result in zip(traced.items(), results, strict=True):
        assert result.dtype == array.dtype.unwrap_numpy(), name
        declared = zip(array.shape, result.shape, strict=True)
        assert all(known in (None, length) for known, length in declared), name
    return [ndonnx.asarray(result) for result in results]


def _shapes(call: dict[str, Any], names: Sequence[str], arrays: Sequence[Any]) -> list[Any]:
    """Return the shapes to trace for: samples and time are open, features are known."""
    open_time = call.get("unroll") is not True
    if _SHAPES_ARE_KNOWN.get():
        return [array.shape for array in arrays]
    if "init" in call:
        return [
            (f"time {k}", *a.shape[1:]) if name == "xs" and open_time else a.shape
            for k, (name, a) in enumerate(zip(names, arrays, strict=True))
        ]
    if "sequences" in call:
        return [(f"time {k}", *a.shape[1:]) for k, a in enumerate(arrays)]
    if "elems" in call:
        axis = call.get("axis", 0) % arrays[0].ndim
        return [_opened(a.shape, {axis: f"time {k}"}) for k, a in enumerate(arrays)]
    if "b" in call:
        return _shapes_of_linear_scan(call, names, arrays)
    at_time = 0 if call.get("time_major") else 1
    of_inputs = ("inputs", "x")
    inputs = [a for a, name in zip(arrays, names, strict=True) if name in of_inputs and a.ndim > 1]
    numbers = {a.shape[1 - at_time] for a in inputs}

    def shape(k: int, name: str, array: Any) -> tuple[int | str, ...]:
        shape: list[int | str] = list(array.shape)
        if name == "constants":
            return tuple(shape)
        over_time = name in ("inputs", "mask", "x", "outputs")
        at_samples = 1 - at_time if over_time else int(name == "states" and "cells" in call)
        if over_time and open_time:
            shape[at_time] = f"time {k}"
        if shape[at_samples : at_samples + 1] == list(numbers):  # some states have no samples axis
            shape[at_samples] = f"samples {k}"
        return tuple(shape)

    return [shape(k, *pair) for k, pair in enumerate(zip(names, arrays, strict=True))]


def _shapes_of_linear_scan(
    call: dict[str, Any], names: Sequence[str], arrays: Sequence[Any]
) -> list[Any]:
    b = call["b"]
    axis = call.get("axis")
    at_time = (0 if call.get("time_major") else 1) if axis is None else axis % b.ndim
    are_matrices = getattr(call["a"], "ndim", 0) > b.ndim
    at_samples = 0 if at_time else 1
    rank = b.ndim - are_matrices  # axes in front of that of vectors

    def shape(k: int, name: str, array: Any) -> tuple[int | str, ...]:
        samples, time = f"samples {k}", f"time {k}"
        if name == "mask":
            return _opened(
                array.shape, {0: time, 1: samples} if at_time == 0 else {0: samples, 1: time}
            )
        if name in ("initial", "input_length"):
            return _opened(array.shape, {0: samples} if at_samples < rank and array.ndim else {})
        names = {at_time: time} | ({at_samples: samples} if at_samples < rank else {})
        # What factors share stays known: it is broadcast.
        shared = [n == 1 for n in array.shape] if name == "a" else [False] * array.ndim
        return _opened(
            array.shape,
            {at: own for at, own in names.items() if at < array.ndim and not shared[at]},
        )

    return [shape(k, *pair) for k, pair in enumerate(zip(names, arrays, strict=True))]


def _opened(shape: Sequence[int], names: dict[int, str]) -> tuple[int | str, ...]:
    """Return a shape some of whose lengths are names, and thereby open."""
    return tuple(names.get(axis, length) for axis, length in enumerate(shape))
