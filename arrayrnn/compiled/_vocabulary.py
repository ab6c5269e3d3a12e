"""Vocabulary: the operation that a function of a library means, and the function of JAX for it.

An operation that the standard has goes by its name there; another by its name in NumPy or, behind
``torch.``, in PyTorch.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arrayrnn._typing import Namespace
from arrayrnn.compiled._vocabulary_torch import FUNCTIONS_OF_TORCH

Vocabulary = dict[Any, str]  # from functions of a library to operations


def _names(text: str) -> set[str]:
    return {*text.split()}


_OPERATORS = {
    "abs": "abs", "add": "add", "and_": "bitwise_and", "eq": "equal", "floordiv": "floor_divide",
    "ge": "greater_equal", "getitem": "getitem", "gt": "greater", "invert": "bitwise_invert",
    "le": "less_equal", "lshift": "bitwise_left_shift", "lt": "less", "matmul": "matmul",
    "mod": "remainder", "mul": "multiply", "ne": "not_equal", "neg": "negative",
    "or_": "bitwise_or", "pos": "positive", "pow": "pow", "rshift": "bitwise_right_shift",
    "sub": "subtract", "truediv": "divide", "xor": "bitwise_xor",
}  # fmt: skip
OPERATORS: Vocabulary = {getattr(operator, own): name for own, name in _OPERATORS.items()}
# NumPy's names for functions that the standard names otherwise.
_IN_NUMPY = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "concatenate": "concat",
    "conjugate": "conj", "invert": "bitwise_invert", "left_shift": "bitwise_left_shift",
    "power": "pow", "right_shift": "bitwise_right_shift", "transpose": "permute_dims",
    "true_divide": "divide",
}  # fmt: skip
# PyTorch's for functions that take the same arguments in the same order.
_IN_TORCH = {
    "arccos": "acos", "arcsin": "asin", "arctan": "atan", "absolute": "abs", "bitwise_not":
    "bitwise_invert", "bmm": "matmul", "eq": "equal", "ge": "greater_equal", "gt": "greater",
    "le": "less_equal", "lt": "less", "mm": "matmul", "mul": "multiply", "mv": "matmul",
    "ne": "not_equal", "neg": "negative",
}  # fmt: skip
_IN_TORCH |= {
    name: name
    for name in _names(
        "abs acos acosh asin asinh atan atan2 atanh bitwise_and bitwise_or bitwise_xor ceil conj "
        "copysign cos cosh diagonal dot exp exp2 expm1 floor floor_divide fmod greater hypot imag "
        "isfinite isinf isnan less log log10 log1p log2 logaddexp logical_and logical_not "
        "logical_or logical_xor matmul maximum minimum multiply negative nextafter ones_like "
        "outer pow positive real reciprocal remainder round signbit sin sinh sqrt square tan "
        "tanh trunc zeros_like"
    )
}
# As the standard has them if nothing but two arrays is given.
WITHOUT_OPTIONS = {"torch.add": "add", "torch.div": "divide", "torch.sub": "subtract"}
# Parameters that JAX, or a function for PyTorch, names otherwise. PyTorch takes `axis`, too.
PARAMETERS = {"a_max": "max", "a_min": "min"}
# Parameters that change nothing here: there is one device, and all sorting is stable.
WITHOUT_EFFECT = {"device", "kind"}
PARAMETERS_OF_TORCH = {"axis": "dim", "input": "x", "keepdims": "keepdim", "other": "y"}

METHODS_OF_NUMPY = _names(
    "all any argmax argmin argsort clip copy conj cumprod cumsum diagonal dot max mean min prod "
    "ravel repeat reshape round squeeze std sum swapaxes take trace transpose var"
)
COMPARING = _names("equal greater greater_equal less less_equal not_equal")
OF_ANY_SHAPE = _names(
    "nonzero argwhere flatnonzero unique unique_all unique_counts unique_inverse unique_values "
    "extract compress torch.nonzero torch.masked_select torch.unique"
)
# Answered from shapes and dtypes alone.
_STATIC_IN_TORCH = _names("dim is_complex is_floating_point ndimension nelement numel size")
STATIC = _names("ndim shape size iscomplexobj isrealobj")
STATIC |= {f"torch.{name}" for name in _STATIC_IN_TORCH}
# Operations that compute in the dtype of their results, beside ufuncs and most of PyTorch's.
_PROMOTING = _names(
    "clip concat cumprod cumsum cumulative_prod cumulative_sum dot einsum inner mean outer prod "
    "stack std sum tensordot trace var vdot vecdot where"
)
# Not these: they have indices among their operands or results, or share memory with the former.
_NOT_PROMOTING = {"bitwise_count", "ldexp"} | {
    f"torch.{name}"
    for name in _names(
        "argmax argmin bfloat16 bool chunk contiguous detach double dropout embedding expand "
        "expand_as flatten float gather half index_select int long max min moveaxis movedim "
        "permute reshape scaled_dot_product_attention short sort split squeeze swapaxes swapdims t "
        "to transpose type type_as unbind unsqueeze view view_as"
    )
}
# Operations that return new arrays, beside those.
_NEW = _names(
    "argsort astype copy empty_like full_like ones_like repeat roll sort take take_along_axis tile "
    "torch.argmax torch.argmin torch.embedding torch.gather torch.index_select zeros_like"
)
# PyTorch returns real numbers as they came, and looks at complex ones.
_PASSING = {"conj", "positive"}
# Of jax.numpy's, those that write files and the like.
_NO_OPERATIONS = _names("array array_repr array_str asarray from_dlpack load save savez")


def standard_name(name: str) -> str:
    """Return the standard's name of what NumPy names so; the same if it has none."""
    return _IN_NUMPY.get(name, name)


def promotes(name: str) -> bool:
    """Tell whether an operation computes in the dtype of its results."""
    is_known = isinstance(getattr(np, name, None), np.ufunc) or name in _PROMOTING
    return (is_known or name.startswith("torch.")) and name not in _NOT_PROMOTING


def makes(name: str) -> bool:
    """Tell whether the results of an operation are new arrays, for certain."""
    return (promotes(name) or name in _NEW) and name not in _PASSING


def is_a_kernel(name: str) -> bool:
    """Tell whether XLA computes an operation itself, by code that can be part of a larger kernel.

    For the others it calls functions of its run time, or of a library.
    """
    called = ("fft.", "linalg.", "solve", "sort", "topk", "median", "percentile", "quantile")
    return not any(part in name for part in called)


def function_of(name: str) -> Callable[..., Any]:
    """Return the function of JAX, or made of JAX's, that computes an operation."""
    if name.startswith("torch."):
        return FUNCTIONS_OF_TORCH[name.removeprefix("torch.")]
    module = jax.scipy if name.startswith("special.") else jnp
    found: Callable[..., Any] = _OWN.get(name) or operator.attrgetter(name)(module)
    return found


def vocabulary_of(xp: Namespace) -> Vocabulary:
    """Return what the functions of a namespace mean, as far as JAX has them."""
    found: Vocabulary = {}
    for prefix in ("", "linalg.", "fft."):
        ours, theirs = (getattr(x, prefix.rstrip("."), x) for x in (jnp, xp))
        for name in {*dir(theirs)} & {*dir(ours)} - _NO_OPERATIONS:
            function = getattr(theirs, name)
            if callable(function) and not isinstance(function, type):
                found.setdefault(function, prefix + standard_name(name))
    return found


def vocabulary_of_torch(torch: Any) -> Vocabulary:
    """Return what functions of PyTorch mean, and methods of its tensors."""
    own = {*FUNCTIONS_OF_TORCH, *_STATIC_IN_TORCH, "masked_select", "nonzero"}
    names = _IN_TORCH | {name: f"torch.{name}" for name in own}
    names |= {f"__{own.strip('_')}__": name for own, name in _OPERATORS.items()}
    found: Vocabulary = {
        torch.linalg.solve: "linalg.solve",
        torch.linalg.norm: "torch.linalg_norm",
        torch.linalg.solve_triangular: "torch.solve_triangular",
        torch.linalg.vector_norm: "torch.vector_norm",
    }
    for name, operation in names.items():
        for module in (torch, torch.Tensor, torch.nn.functional, torch.special):
            function = getattr(module, name, None)
            if callable(function) and function is not getattr(object, name, None):
                found.setdefault(function, operation)
    return found


def _getitem(array: Any, key: Any) -> Any:
    keys = key if isinstance(key, tuple) else (key,)
    return array[tuple(jnp.asarray(k) if isinstance(k, list) else k for k in keys)]


_OWN: dict[str, Callable[..., Any]] = {
    "bitwise_count": lambda x: jnp.bitwise_count(jnp.abs(x)),  # NumPy counts those of |x|
    "concat": lambda arrays, axis=0: jnp.concatenate(arrays, axis),  # by place, as NumPy has it
    "getitem": _getitem,  # JAX refuses lists
    "permute_dims": lambda a, axes=None: jnp.transpose(a, axes),  # as NumPy's `transpose`
}
