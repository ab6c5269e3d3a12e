"""Gradient checkpointing of a Python loop: what a block computes is computed again in backward.

One of the few files that name array libraries. JAX, whose gradients come from loops of its own, has
its way in those.
"""

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat

from arrayrnn._tree import Nest, tree_leaves
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


def recomputed(run: Run, arrays: Sequence[Any]) -> Run:
    """Return `run(block, states, output, append)` such that autograd keeps what it is given only.

    `arrays` are those that it is computed from beside; the first is on the device of all.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    # From tensors it is known whose random numbers are to be drawn again.
    on_device = torch.empty(0, device=arrays[0].device)
    used = _Versions()
    used.note(arrays)

    def run_again(block: Any, states: Any, output: Any, append: Append) -> Any:
        # What autograd is to keep has to be handed over as tensors.
        given, nest = Nest.of((states, output))
        first_node, is_again = _latest_node(), False

        def within(_: Any, *given: Any) -> tuple[Any, list[Any]]:
            nonlocal is_again
            if is_again:
                used.check()
            is_again = True
            found: list[Any] = []
            states, output = nest.build(given)
            return run(block, states, output, found.append), found

        # Comparing shapes, too, not only the number of what is saved, takes 5 % more time.
        result, found = checkpoint(
            within, on_device, *given, use_reentrant=False, determinism_check="none"
        )
        if not used.has_closed_over:
            used.note_closed_over(tree_leaves((result, found)), first_node)
        for timestep in found:
            append(timestep)
        return result

    return run_again


class _Versions:
    """Tensors that blocks are computed from, and how often each had been written into by then.

    What PyTorch keeps for backward it watches itself; it cannot know what will be computed again.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Any, int]] = []
        self.has_closed_over = False

    def note(self, arrays: Sequence[Any]) -> None:
        for array in arrays:
            if array_api_compat.is_torch_array(array) and not array.is_inference():
                self._known.append((array, array._version))  # noqa: SLF001 # counts writing

    def note_closed_over(self, results: Sequence[Any], first_node: int) -> None:
        """Note the weights that nodes behind the first one of a block have used."""
        pending = [x.grad_fn for x in results if array_api_compat.is_torch_array(x)]
        seen: set[Any] = set()
        while pending:
            node = pending.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                self.note([node.variable])
            elif node._sequence_nr() > first_node:  # noqa: SLF001 # later nodes have larger ones
                self.has_closed_over = True  # at another block they would be the same
                pending.extend(function for function, _ in node.next_functions)

    def check(self) -> None:
        """Raise what PyTorch raises if it has kept something that was written into."""
        for tensor, version in self._known:
            if tensor._version != version:  # noqa: SLF001
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: a tensor of shape {tuple(tensor.shape)} and dtype "
                    f"{tensor.dtype}, which with `checkpoint` is computed from again in backward, "
                    f"is at version {tensor._version}; expected version {version}. "  # noqa: SLF001
                    "Call backward before writing into it, or write into a copy."
                )


def _latest_node() -> int:
    """Return a number that the nodes of autograd's which come from now on are behind."""
    import torch

    node: int = torch.empty(0, requires_grad=True).view(0).grad_fn._sequence_nr()  # noqa: SLF001
    return node


def _same(tensor: Any) -> Any:
    return tensor
