"""Gradient checkpointing of a Python loop: what a block computes is computed again in backward.

One of the few files that name array libraries. JAX, whose gradients come from loops of its own, has
its way in those.
"""

from collections.abc import Callable
from typing import Any

import array_api_compat
import optree

from arrayrnn._typing import Namespace

__all__ = ["After", "Append", "Run", "States", "recomputed", "recomputes"]

States = tuple[Any, ...]
Append = Callable[[Any], object]
After = tuple[States, Any]  # the states and the output after the last timestep
# (block, states, output, append) -> (states, output)
Run = Callable[[Any, States, Any, Append], After]


def recomputes(xp: Namespace) -> bool:
    """Tell whether there is anything to compute again: an autograd that follows the loop."""
    if not array_api_compat.is_torch_namespace(xp):
        return False
    import torch

    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    try:
        with torch.autograd.graph.saved_tensors_hooks(_same, _same):
            return True
    except RuntimeError as error:
        raise RuntimeError(
            f"`checkpoint` cannot be used here: {error} Leave it out, or use torch.autograd.grad."
        ) from error


def recomputed(run: Run, like: Any) -> Run:
    """Return `run(block, states, output, append)` such that autograd keeps what it is given only.

    `like` is an array on the device of all.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    # From tensors it is known whose random numbers are to be drawn again.
    on_device = torch.empty(0, device=like.device)

    def run_again(block: Any, states: Any, output: Any, append: Append) -> Any:
        # What autograd is to keep has to be handed over as tensors.
        both: Any = (states, output)
        given, spec = optree.tree_flatten(both)

        def within(_: Any, *given: Any) -> tuple[Any, list[Any]]:
            found: list[Any] = []
            before: Any = spec.unflatten(given)
            states, output = before
            return run(block, states, output, found.append), found

        # Comparing shapes, too, not only the number of what is saved, takes 5 % more time.
        result, found = checkpoint(
            within, on_device, *given, use_reentrant=False, determinism_check="none"
        )
        for timestep in found:
            append(timestep)
        return result

    return run_again


def _same(tensor: Any) -> Any:
    return tensor
