"""A program as one differentiable operation of PyTorch."""

from collections.abc import Sequence
from typing import Any

import torch
from array_api_compat import torch as xp

from arrayrnn._recurrence.problem import Problem
from arrayrnn.compiled import _errors, _exchange
from arrayrnn.compiled._operands import Groups
from arrayrnn.compiled._operations import differentiated
from arrayrnn.compiled._programs import Program, Pullback
from arrayrnn.compiled._step import Recorded

Arrays = Sequence[Any]


def flows(problem: Problem, step: Recorded, groups: Groups) -> list[bool]:
    """Tell for each result of a program whether gradients flow through it: it requires them."""
    given = [*groups.inputs, *groups.states, *groups.constants, *groups.initial_output]
    sources = {k for k, x in enumerate(given) if _requires(x)}
    sources |= {~k for k, x in enumerate(step.closed_over) if _requires(x)}
    if not (torch.is_grad_enabled() and sources):
        return []
    first, count = len(groups.inputs), step.output.spec.num_leaves
    is_masked, new_states = problem.mask is not None, step.numbers[count:]
    while True:
        found = differentiated(step.lines, sources, len(given))
        carried = {first + k for k, number in enumerate(new_states) if number in found} - sources
        if not carried:
            break
        sources |= carried  # at the next timestep
    held = [False] * count
    if is_masked and groups.initial_output and not problem.options.zero_output_for_mask:
        held = [*map(_requires, groups.initial_output)]
    outputs = [
        is_held or number in found for is_held, number in zip(held, step.numbers, strict=False)
    ]
    states = [
        number in found or (is_masked and first + k in sources)
        for k, number in enumerate(new_states)
    ]
    return [*outputs, *outputs, *states]


def _requires(array: Any) -> bool:
    return isinstance(array, torch.Tensor) and array.requires_grad


def run(program: Program, operands: Arrays, arrays: Arrays, flowing: list[bool]) -> list[Any]:
    """Return the results of a program as tensors, those `flowing` with gradients.

    The `operands` are `arrays` as JAX has them.
    """
    tensors = {k: x for k, x in enumerate(arrays) if isinstance(x, torch.Tensor)}
    which = tuple(k for k, tensor in tensors.items() if tensor.requires_grad)
    pullback = program.pullback(which, tuple(tensors))
    return [*_Operation.apply(pullback, operands, flowing, *tensors.values())]


class _Operation(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    @staticmethod
    def forward(
        ctx: Any, pullback: Pullback, operands: Arrays, flowing: list[bool], *tensors: Any
    ) -> Any:
        computed = _exchange.from_jax(xp, pullback.forward(*operands))
        results, others = computed[: pullback.results], iter(computed[pullback.results :])
        # Saved by PyTorch, which notices if an argument has been written into by then.
        ctx.save_for_backward(*(next(others) if k < 0 else tensors[k] for k in pullback.saved))
        ctx.mark_non_differentiable(
            *(x for k, x in enumerate(results) if not (flowing[k] and k in pullback.differentiable))
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
        return None, None, None, *(next(found) if k else None for k in ctx.needs_input_grad[3:])
