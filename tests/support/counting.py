"""How much PyTorch computes. Imported where PyTorch is known to be installed."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Counting"]


class Counting(TorchDispatchMode):
    """Count the elements of all results."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else [results]:
            self.elements += result.numel() if isinstance(result, torch.Tensor) else 0
        return results
