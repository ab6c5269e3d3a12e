"""Activations, by the names that ONNX gives them, in lower case."""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

from arrayrnn._typing import Array, Namespace

# A name, or a name with its alpha and beta.
Activation = str | tuple[str | float, ...]


class _Known(NamedTuple):
    function: Callable[..., Array]  # of the namespace, an array, and the parameters
    defaults: tuple[float, ...] = ()


def sigmoid(xp: Namespace, x: Any) -> Array:
    """Return ``1 / (1 + exp(-x))``: by `tanh`, it takes half the time and never overflows."""
    y: Array = 0.5 * xp.tanh(0.5 * x) + 0.5
    return y


def _tanh(xp: Namespace, x: Any) -> Array:
    return xp.tanh(x)


def _relu(xp: Namespace, x: Any) -> Array:
    return _leaky_relu(xp, x, 0.0)


def _leaky_relu(xp: Namespace, x: Any, alpha: float) -> Array:
    return xp.where(x <= 0, alpha * x if alpha else xp.zeros_like(x), x)


def _thresholded_relu(xp: Namespace, x: Any, alpha: float) -> Array:
    return xp.where(x <= alpha, xp.zeros_like(x), x)


def _affine(_: Namespace, x: Any, alpha: float, beta: float) -> Array:
    y: Array = alpha * x + beta
    return y


def _scaled_tanh(xp: Namespace, x: Any, alpha: float, beta: float) -> Array:
    return alpha * xp.tanh(beta * x)


def _hard_sigmoid(xp: Namespace, x: Any, alpha: float, beta: float) -> Array:
    return xp.clip(alpha * x + beta, 0.0, 1.0)


def _elu(xp: Namespace, x: Any, alpha: float) -> Array:
    zeros = xp.zeros_like(x)
    # The branch that is not taken must stay finite, or its gradient is NaN.
    return xp.where(x <= 0, alpha * xp.expm1(xp.where(x <= 0, x, zeros)), x)


def _softsign(xp: Namespace, x: Any) -> Array:
    y: Array = x / (1 + xp.abs(x))
    return y


def _softplus(xp: Namespace, x: Any) -> Array:
    return xp.logaddexp(x, xp.zeros_like(x))


_KNOWN = {
    "affine": _Known(_affine, (1.0, 0.0)),
    "elu": _Known(_elu, (1.0,)),
    "hardsigmoid": _Known(_hard_sigmoid, (0.2, 0.5)),
    "leakyrelu": _Known(_leaky_relu, (0.01,)),
    "relu": _Known(_relu),
    "scaledtanh": _Known(_scaled_tanh, (1.0, 1.0)),
    "sigmoid": _Known(sigmoid),
    "softplus": _Known(_softplus),
    "softsign": _Known(_softsign),
    "tanh": _Known(_tanh),
    "thresholdedrelu": _Known(_thresholded_relu, (1.0,)),
}


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number, NumPy's included."""
    return isinstance(value, Real) and not isinstance(value, bool)


def read_activation(value: Any, name: str) -> Activation:
    """Return an activation with all its parameters; `name` is the field that it is for."""
    listed = isinstance(value, list | tuple) and len(value) > 0
    kind, given = (value[0], value[1:]) if listed else (value, ())
    known = _KNOWN.get(kind.lower()) if isinstance(kind, str) else None
    if known is None:
        shown = ", ".join(map(repr, sorted(_KNOWN)))
        raise ValueError(f"`{name}` is {value!r}; expected one of {shown}.")
    names = ("alpha", "beta")[: len(known.defaults)]
    if len(given) > len(names) or not all(map(is_number, given)):
        expected = " and ".join(names) or "no parameters"
        raise ValueError(f"`{name}` is {value!r}; expected {expected} with {kind!r}.")
    parameters = (*map(float, given), *known.defaults[len(given) :])
    return (kind.lower(), *parameters) if parameters else kind.lower()


def activated(xp: Namespace, activation: Activation, x: Any, clip: float | None = None) -> Array:
    """Return an activation of `x`, which is clipped before."""
    if clip is not None:
        x = xp.clip(x, -clip, clip)
    if isinstance(activation, str):
        return _KNOWN[activation].function(xp, x)
    kind, *parameters = activation
    return _KNOWN[str(kind)].function(xp, x, *parameters)
