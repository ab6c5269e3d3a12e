"""A program as one differentiable operation of PyTorch."""

from collections.abc import Sequence
from typing import Any

import torch
from array_api_compat import torch as xp

from arrayrnn.compiled import _errors, _exchange
from arrayrnn.compiled._programs import Program, Pullback

Arrays = Sequence[Any]


def needs_gradients(arrays: Arrays) -> bool:
    """Tell whether gradients are asked for with respect to any of the arrays."""
    return torch.is_grad_enabled() and any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in arrays
    )


def run(program: Program, operands: Arrays, arrays: Arrays) -> list[Any]:
    """Return the results of a program as tensors through which gradients flow.

    The last of the `operands` are `arrays` as JAX has them.
    """
    first = len(operands) - len(arrays)
    tensors = {first + k: x for k, x in enumerate(arrays) if isinstance(x, torch.Tensor)}
    which = tuple(k for k, tensor in tensors.items() if tensor.requires_grad)
    pullback = program.pullback(which, tuple(tensors))
    return [*_Operation.apply(pullback, operands, *tensors.values())]


class _Operation(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    @staticmethod
    def forward(ctx: Any, pullback: Pullback, operands: Arrays, *tensors: Any) -> Any:
        computed = _exchange.from_jax(xp, pullback.forward(*operands))
        results, others = computed[: pullback.results], iter(computed[pullback.results :])
        # Saved by PyTorch, which notices if an argument has been written into by then.
        ctx.save_for_backward(*(next(others) if k < 0 else tensors[k] for k in pullback.saved))
        ctx.mark_non_differentiable(
            *(x for k, x in enumerate(results) if k not in pullback.differentiable)
        )
        ctx.pullback = pullback
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            _errors.fail_twice()
        pullback = ctx.pullback
        chosen = [gradients[k] for k in pullback.differentiable]
        with _exchange.as_in(xp):
            needed, chosen = ([*map(_exchange.to_jax, x)] for x in (ctx.saved_tensors, chosen))
            found = iter(_exchange.from_jax(xp, pullback.backward(needed, chosen)))
        return None, None, *(next(found) if k else None for k in ctx.needs_input_grad[2:])
