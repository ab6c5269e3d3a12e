"""Functions and methods of PyTorch, made of JAX's: its parameters, in its order, by its names.

What they return is brought to the dtypes that PyTorch gives, so functions that do nothing but
change a dtype return what they are given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Function = Callable[..., Any]


def _axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def _ints(numbers: Sequence[Any]) -> tuple[int, ...]:
    """Return numbers that were given one by one, or in a sequence."""
    return tuple(numbers[0]) if numbers and isinstance(numbers[0], list | tuple) else tuple(numbers)


def _reducing(function: Function) -> Function:
    def reduce(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        return function(x, axis=_axes(dim), keepdims=keepdim)

    return reduce


def _spreading(function: Function) -> Function:
    def spread(
        x: Any, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = 1
    ) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = correction if unbiased else 0
        return function(x, axis=_axes(dim), ddof=correction, keepdims=keepdim)

    return spread


def _extreme(whole: Function, of_two: Function, index: Function) -> Function:
    def extreme(x: Any, dim: Any = None, keepdim: bool = False, *, y: Any = None) -> Any:
        y = dim if isinstance(dim, jax.Array) else y
        if y is not None:
            return of_two(x, y)
        if dim is None:
            return whole(x)
        at = index(x, axis=dim, keepdims=True)
        found = jnp.take_along_axis(x, at, axis=dim) if x.ndim else x
        return (found, at) if keepdim or not x.ndim else (found.squeeze(dim), at.squeeze(dim))

    return extreme


def _sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    at = jnp.argsort(x, axis=dim, descending=descending, stable=True)
    return jnp.take_along_axis(x, at, axis=dim), at


def _in_parts(x: Any, sizes: Sequence[int], dim: int) -> list[Any]:
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes) - 1)]
    return jnp.split(x, ends, axis=dim)


def _split(x: Any, size: Any, dim: int = 0) -> list[Any]:
    length = x.shape[dim]
    if isinstance(size, int):
        size = [min(size, length - k) for k in range(0, length, size)] or [0]
    return _in_parts(x, size, dim)


def _chunk(x: Any, chunks: int, dim: int = 0) -> list[Any]:
    return _split(x, -(-x.shape[dim] // chunks) or 1, dim)


def _squeeze(x: Any, dim: Any = None) -> Any:
    every = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(k for k in every if x.shape[k] == 1))


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    start, end = start_dim % max(x.ndim, 1), end_dim % max(x.ndim, 1)
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def _expand(x: Any, *sizes: Any) -> Any:
    sizes = _ints(sizes)
    own = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [n if m == -1 else m for m, n in zip(sizes, own, strict=True)])


def _gather(x: Any, dim: int, index: Any) -> Any:
    within = [slice(n) for n in index.shape]
    within[dim] = slice(None)
    return jnp.take_along_axis(x[tuple(within)], index, axis=dim)


def _softmax(function: Function) -> Function:
    def softmax(x: Any, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Any:
        return function(x if dtype is None else x.astype(dtype), dim)

    return softmax


def _divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    return jnp.divide(x, y) if rounding_mode is None else jnp.trunc(jnp.divide(x, y))


def _softplus(x: Any, beta: float = 1, threshold: float = 20) -> Any:
    return jnp.where(x * beta > threshold, x, jnp.logaddexp(x * beta, 0) / beta)


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    product = x @ weight.T
    return product if bias is None else product + bias


def _layer_norm(
    x: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    x = (x - jnp.mean(x, axes, keepdims=True)) / jnp.sqrt(jnp.var(x, axes, keepdims=True) + eps)
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    order = 2 if p in ("fro", None) else p
    return jnp.linalg.vector_norm(x, axis=_axes(dim), keepdims=keepdim, ord=order)


def _linalg_norm(x: Any, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A002
    if ord is not None and not isinstance(dim, int) and x.ndim > 1:
        raise ValueError("it is the norm of a matrix")
    return _norm(x, ord, dim, keepdim)


def _normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    return x / jnp.maximum(_norm(x, p, dim, keepdim=True), eps)


def _topk(
    x: Any,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,  # noqa: A002
) -> Any:
    return tuple(jax.lax.slice_in_dim(y, 0, k, axis=dim) for y in _sort(x, dim, largest))


def _solve_triangular(
    a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    if not left:
        return _solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p:
        raise ValueError("draw random numbers before the call, and pass them with the inputs")
    return x


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    _dropout(query, dropout_p)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if attn_mask is not None:
        is_bool = attn_mask.dtype == bool
        scores = jnp.where(attn_mask, scores, -jnp.inf) if is_bool else scores + attn_mask
    return jax.nn.softmax(scores, axis=-1) @ value


def _lstm_cell(x: Any, states: Any, w: Any, u: Any, b: Any = None, d: Any = None) -> Any:
    h, c = states
    gates = _linear(x, w, b) + _linear(h, u, d)
    write, keep, candidate, read = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(keep) * c + jax.nn.sigmoid(write) * jnp.tanh(candidate)
    return jax.nn.sigmoid(read) * jnp.tanh(c), c


def _gru_cell(x: Any, h: Any, w: Any, u: Any, b: Any = None, d: Any = None) -> Any:
    ours, theirs = (jnp.split(z, 3, axis=-1) for z in (_linear(x, w, b), _linear(h, u, d)))
    reset, update = (jax.nn.sigmoid(a + b) for a, b in zip(ours[:2], theirs[:2], strict=True))
    return update * h + (1 - update) * jnp.tanh(ours[2] + reset * theirs[2])


def _rnn_cell(activation: Function) -> Function:
    return lambda x, h, w, u, b=None, d=None: activation(_linear(x, w, b) + _linear(h, u, d))


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


_REDUCING = {"all": "all", "amax": "max", "amin": "min", "any": "any", "argmax": "argmax"}
_REDUCING |= {"argmin": "argmin", "mean": "mean", "prod": "prod", "sum": "sum"}
# Functions that change no more than the dtype.
_CASTING = ["bfloat16", "bool", "clone", "contiguous", "double", "float", "half", "int", "long"]
_CASTING += ["short", "to", "type", "type_as"]

FUNCTIONS_OF_TORCH: dict[str, Function] = {
    **{name: _reducing(getattr(jnp, own)) for name, own in _REDUCING.items()},
    **dict.fromkeys(_CASTING, _same),
    "add": lambda x, y, *, alpha=1: x + (y if alpha == 1 else y * alpha),
    "addcdiv": lambda x, y, z, *, value=1: x + value * y / z,
    "addcmul": lambda x, y, z, *, value=1: x + value * y * z,
    "addmm": lambda x, y, z, *, beta=1, alpha=1: beta * x + alpha * (y @ z),
    "baddbmm": lambda x, y, z, *, beta=1, alpha=1: beta * x + alpha * (y @ z),
    "cat": lambda tensors, dim=0: jnp.concatenate(tensors, axis=dim),
    "celu": lambda x, alpha=1.0, inplace=False: jax.nn.celu(x, alpha),
    "chunk": _chunk,
    "clamp": lambda x, min=None, max=None: jnp.clip(x, min, max),  # noqa: A006
    "clamp_max": jnp.minimum,
    "clamp_min": jnp.maximum,
    "cumprod": lambda x, dim, *, dtype=None: jnp.cumprod(x, axis=dim),
    "cumsum": lambda x, dim, *, dtype=None: jnp.cumsum(x, axis=dim),
    "detach": jax.lax.stop_gradient,
    "div": _divide,
    "dropout": _dropout,
    "einsum": lambda equation, *x: jnp.einsum(equation, *_ints(x)),
    "elu": lambda x, alpha=1.0, inplace=False: jax.nn.elu(x, alpha),
    "embedding": lambda x, weight, **_: jnp.take(weight, x, axis=0),
    "erf": jax.scipy.special.erf,
    "expand": _expand,
    "expand_as": lambda x, y: jnp.broadcast_to(x, y.shape),
    "flatten": _flatten,
    "flip": lambda x, *dims: jnp.flip(x, _ints(dims)),
    "gather": _gather,
    "gelu": lambda x, *, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "glu": lambda x, dim=-1: jax.nn.glu(x, dim),
    "gru_cell": _gru_cell,
    "hardsigmoid": lambda x, inplace=False: jax.nn.hard_sigmoid(x),
    "hardswish": lambda x, inplace=False: jax.nn.hard_swish(x),
    "hardtanh": lambda x, min_val=-1.0, max_val=1.0, inplace=False: jnp.clip(x, min_val, max_val),
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda x, negative_slope=0.01, inplace=False: jax.nn.leaky_relu(
        x, negative_slope
    ),
    "lerp": lambda x, y, weight: x + weight * (y - x),
    "linear": _linear,
    "log_softmax": _softmax(jax.nn.log_softmax),
    "linalg_norm": _linalg_norm,
    "logsigmoid": jax.nn.log_sigmoid,
    "logsumexp": _reducing(jax.scipy.special.logsumexp),
    "lstm_cell": _lstm_cell,
    "masked_fill": lambda x, mask, value: jnp.where(mask, value, x),
    "max": _extreme(jnp.max, jnp.maximum, jnp.argmax),
    "min": _extreme(jnp.min, jnp.minimum, jnp.argmin),
    "mish": lambda x, inplace=False: jax.nn.mish(x),
    "new_full": lambda x, size, value, dtype=None: jnp.full(size, value, dtype or x.dtype),
    "new_ones": lambda x, *size, dtype=None: jnp.ones(_ints(size), dtype or x.dtype),
    "new_zeros": lambda x, *size, dtype=None: jnp.zeros(_ints(size), dtype or x.dtype),
    "norm": _norm,
    "normalize": _normalize,
    "one_hot": jax.nn.one_hot,
    "movedim": jnp.moveaxis,
    "permute": lambda x, *dims: jnp.transpose(x, _ints(dims)),
    "relu": lambda x, inplace=False: jax.nn.relu(x),
    "relu6": lambda x, inplace=False: jax.nn.relu6(x),
    "repeat": lambda x, *sizes: jnp.tile(x, _ints(sizes)),
    "reshape": lambda x, *shape: x.reshape(_ints(shape)),
    "rnn_relu_cell": _rnn_cell(jax.nn.relu),
    "rnn_tanh_cell": _rnn_cell(jnp.tanh),
    "roll": lambda x, shifts, dims=None: jnp.roll(x, shifts, dims),
    "rsqrt": jax.lax.rsqrt,
    "rsub": lambda x, y, *, alpha=1: y - (x if alpha == 1 else x * alpha),
    "scaled_dot_product_attention": _attention,
    "selu": lambda x, inplace=False: jax.nn.selu(x),
    "sigmoid": jax.nn.sigmoid,
    "sign": lambda x: jnp.where(jnp.isnan(x), 0, jnp.sign(x)),
    "silu": lambda x, inplace=False: jax.nn.silu(x),
    "softmax": _softmax(jax.nn.softmax),
    "softplus": _softplus,
    "solve_triangular": _solve_triangular,
    "softsign": jax.nn.soft_sign,
    "sort": _sort,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda tensors, dim=0: jnp.stack(tensors, axis=dim),
    "std": _spreading(jnp.std),
    "sub": lambda x, y, *, alpha=1: x - (y if alpha == 1 else y * alpha),
    "t": lambda x: x.T,
    "tensordot": lambda x, y, dims=2: jnp.tensordot(x, y, axes=dims),
    "topk": _topk,
    "tanhshrink": lambda x: x - jnp.tanh(x),
    "transpose": jnp.swapaxes,
    "tril": lambda x, diagonal=0: jnp.tril(x, diagonal),
    "triu": lambda x, diagonal=0: jnp.triu(x, diagonal),
    "unbind": lambda x, dim=0: jnp.unstack(x, axis=dim),
    "unsqueeze": jnp.expand_dims,
    "var": _spreading(jnp.var),
    "vector_norm": lambda x, ord=2, dim=None, keepdim=False: _norm(x, ord, dim, keepdim),  # noqa: A006
    "view": lambda x, *shape: x.reshape(_ints(shape)),
    "view_as": lambda x, y: x.reshape(y.shape),
    "where": jnp.where,
}
# By other names.
_SAME = {"clip": "clamp", "concat": "cat", "concatenate": "cat", "divide": "div", "subtract": "sub"}
_SAME |= {"true_divide": "div", "swapaxes": "transpose", "swapdims": "transpose"}
_SAME |= {"expit": "sigmoid", "moveaxis": "movedim"}
FUNCTIONS_OF_TORCH |= {name: FUNCTIONS_OF_TORCH[own] for name, own in _SAME.items()}
