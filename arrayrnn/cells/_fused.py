"""PyTorch's fused kernels (oneDNN, cuDNN) where they compute what the cells say."""

from collections.abc import Sequence
from typing import Any

import torch
from torch._C import _functorch
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from arrayrnn._arguments.reading import Inputs
from arrayrnn._libraries.host import has_values
from arrayrnn._typing import Array
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._layers import Layers
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._simple_rnn import SimpleRNN

_KERNELS = {
    (LSTM, "tanh"): torch.lstm,
    (GRU, "tanh"): torch.gru,
    (SimpleRNN, "tanh"): torch.rnn_tanh,
    (SimpleRNN, "relu"): torch.rnn_relu,
}


def run(
    layers: Layers, shared: Inputs, start: Sequence[Sequence[Any]] | None
) -> tuple[Array, Any] | None:
    """Return the outputs and last states as `cells.run` does; None if the loop has to run.

    Without `start` the first states are zeros.
    """
    (x,), options = shared.over_time.leaves, shared.options
    kernel = _kernel(layers)
    weights = [weight for placed in layers.placed for weight in _weights(placed.cell)]
    tensors = [x, *weights, *(state for own in start or () for state in own)]
    if kernel is None or options.checkpoint is not None or options.unroll is not False:
        return None
    if x.shape[1] == 0 or not has_values(shared.xp, x) or not all(map(_is_plain, tensors)):
        return None
    lengths = None
    if shared.mask is not None:
        lengths = _lengths(shared)
        if lengths is None or not options.zero_output_for_mask:
            return None
    has_biases, both = _has_biases(layers.placed[0].cell), len(layers.layers[0]) == 2
    # What trains cuDNN needs to know; no dropout.
    shape = (has_biases, len(layers.layers), 0.0, torch.is_grad_enabled(), both)
    if start is None:
        sizes, count = layers.placed[0].cell.state_sizes, len(layers.placed)
        columns = [x.new_zeros(count, x.shape[1], size) for size in sizes]
    else:
        columns = [torch.stack(column) for column in zip(*start, strict=True)]
    if lengths is None:
        hidden = columns if len(columns) > 1 else columns[0]
        outputs, *last = kernel(x, hidden, weights, *shape, False)
    else:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        columns = [column.index_select(1, packed.sorted_indices) for column in columns]
        hidden = columns if len(columns) > 1 else columns[0]
        data, *last = kernel(packed.data, packed.batch_sizes, hidden, weights, *shape)
        outputs, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
        last = [column.index_select(1, packed.unsorted_indices) for column in last]
    if options.time_axis:
        outputs = outputs.transpose(0, 1)
    return outputs, tuple(last) if len(last) > 1 else last[0]


def _kernel(layers: Layers) -> Any:
    """Return the kernel that computes what all cells do, if there is one."""
    cells = [placed.cell for placed in layers.placed]
    first: Any = cells[0]
    kinds = {
        (type(c), c.state_sizes, _has_biases(c), _has_more(c), *c.settings.values()) for c in cells
    }
    directions = {tuple(placed.goes_backwards for placed in layer) for layer in layers.layers}
    if len(kinds) > 1 or directions not in ({(False,)}, {(False, True)}) or first.clip is not None:
        return None
    if isinstance(first, LSTM) and (first.output_activation, first.peepholes) != ("tanh", None):
        return None
    if isinstance(first, GRU) and not first.reset_after:
        return None
    if getattr(first, "recurrent_activation", "sigmoid") != "sigmoid":
        return None
    return _KERNELS.get((type(first), first.activation))


def _weights(cell: Cell) -> list[Any]:
    """Return weights in PyTorch's order, a missing bias as zeros if there is another."""
    weights: list[Any] = [cell.weight_ih, cell.weight_hh]
    if _has_biases(cell):
        biases = cell.bias_ih, cell.bias_hh
        weights += [torch.zeros_like(weights[0][:, 0]) if b is None else b for b in biases]
    projection = getattr(cell, "weight_hr", None)
    return weights if projection is None else [*weights, projection]


def _has_biases(cell: Cell) -> bool:
    return not (cell.bias_ih is None and cell.bias_hh is None)


def _has_more(cell: Cell) -> tuple[bool, ...]:
    """Tell which of the arrays a cell has that only its kind may have."""
    return tuple(getattr(cell, field) is not None for field in cell.arrays[len(Cell.arrays) :])


def _is_plain(tensor: Any) -> bool:
    """Tell whether a tensor is nothing but its values, with gradients in reverse mode at most."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not tensor.is_meta
        and not _functorch.is_functorch_wrapped_tensor(tensor)
        and forward_ad._current_level < 0  # noqa: SLF001 # the kernels have no tangents
    )


def _lengths(shared: Inputs) -> Any:
    """Return the length of each sample, if all padding is on the right, and no sample is empty."""
    keep = shared.mask.read(shared.xp) if shared.mask is not None else None
    if keep is None or not keep[0].all() or (keep[1:] > keep[:-1]).any():
        return None
    return torch.from_numpy(keep.sum(axis=0))
