"""PyTorch: staying out of Dynamo, and computing blocks of timesteps again in backward."""

import functools
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import array_api_compat

from arrayrnn._typing import Namespace

P = ParamSpec("P")
R = TypeVar("R")

States = tuple[Any, ...]
Append = Callable[[Any], object]
After = tuple[States, Any]  # the states and the output after the last timestep
# (block, states, output, append) -> (states, output)
RunBlock = Callable[[Any, States, Any, Append], After]


def is_compiling() -> bool:
    """Tell whether ``torch.compile`` follows what runs."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def add_note(error: Exception, note: str) -> None:
    """Add a note to `error`, unless Dynamo traces, which cannot follow that."""
    if not is_compiling():
        error.add_note(note)


def not_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run as it is inside ``torch.compile``; a step may still be compiled.

    Dynamo would unroll the loop, and compile it anew for each number of timesteps. It may do so if
    the argument `unroll` is True: then into one graph or, if it cannot, not at all. Before PyTorch
    2.10 it never can.
    """
    position = [*signature(function).parameters].index("unroll")
    alone = never_compiled(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        unroll = args[position] if len(args) > position else kwargs.get("unroll")
        if unroll is True and is_compiling() and _follows_nests():
            try:
                return function(*args, **kwargs)
            except Exception:
                # Re-raised on purpose: inside `try`, Dynamo cannot break its graph, so it runs this
                # frame as plain Python, which comes to the line below.
                raise
        return alone(*args, **kwargs)

    return wrapper


def never_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run as it is inside ``torch.compile``."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        result: R = sys.modules["torch"].compiler.disable(function)(*args, **kwargs)
        return result

    return wrapper


def _follows_nests() -> bool:
    """Tell whether Dynamo knows optree's functions, with namespaces: from PyTorch 2.10 on."""
    major, minor, *_ = sys.modules["torch"].version.__version__.split(".")
    return (int(major), int(minor)) >= (2, 10)


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


def _same(tensor: Any) -> Any:
    return tensor


def recomputed(run: RunBlock, arrays: Sequence[Any], take_apart: Callable[[Any], Any]) -> RunBlock:
    """Return `run` such that autograd keeps nothing of a block but the arguments of `run`.

    `arrays` are all others that a block is computed from; the first is on the device of all.
    `take_apart` returns the leaves of a nest and its structure.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    # From tensors it is known whose random numbers are to be drawn again.
    on_device = torch.empty(0, device=arrays[0].device)
    used = _Versions()
    used.note(arrays)

    def run_again(block: Any, states: Any, output: Any, append: Append) -> Any:
        # Autograd keeps tensors only if they are arguments of their own.
        given, nest = take_apart((states, output))
        first_node, is_again = _latest_node(), False

        def within(_: Any, *given: Any) -> tuple[Any, list[Any]]:
            nonlocal is_again
            if is_again:
                used.check()
            is_again = True
            found: list[Any] = []
            states, output = nest.build(given)
            return run(block, states, output, found.append), found

        # To compare shapes, too, and not only the number of saved tensors, takes 5 % more time.
        result, found = checkpoint(
            within, on_device, *given, use_reentrant=False, determinism_check="none"
        )
        if not used.has_closed_over:
            used.note_closed_over(take_apart((result, found))[0], first_node)
        for output_t in found:
            append(output_t)
        return result

    return run_again


class _Versions:
    """Tensors that blocks are computed from, each with the number of writes into it so far.

    PyTorch watches what it keeps for backward; it cannot know what will be computed again.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Any, int]] = []
        self.has_closed_over = False

    def note(self, arrays: Sequence[Any]) -> None:
        for array in arrays:
            if array_api_compat.is_torch_array(array) and not array.is_inference():
                self._known.append((array, array._version))  # noqa: SLF001 # counts writing

    def note_closed_over(self, results: Sequence[Any], first_node: int) -> None:
        """Note the weights that the nodes of a block have used, all later than `first_node`."""
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
    """Return the number of a new node of autograd: all later nodes have larger ones."""
    import torch

    node: int = torch.empty(0, requires_grad=True).view(0).grad_fn._sequence_nr()  # noqa: SLF001
    return node
