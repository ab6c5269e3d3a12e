"""Cells from PyTorch's modules."""

from typing import Any

from arrayrnn._recurrence.errors import describe
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._names import Layer, in_layers, name_of
from arrayrnn.cells._simple_rnn import SimpleRNN


def from_torch(module: Any) -> list[Layer]:
    """Return the cells of a recurrent module of PyTorch, which share its parameters.

    Parameters
    ----------
    module : torch.nn.RNN, GRU or LSTM
        Or ``RNNCell``, ``GRUCell``, ``LSTMCell``. `run` takes inputs as ``(samples, time,
        features)``, or with ``time_major=not module.batch_first`` as the module does. It applies
        no dropout.

    Returns
    -------
    list of layers
        Each a cell, or a pair (forward, backward), as `run` takes them. Their weights are the
        module's own parameters: `to` makes arrays of other libraries of them, and gradients go to
        the module.

    Raises
    ------
    TypeError
        If it is another module, one with a `forward` of its own, or one whose weights are computed
        by a hook or a parametrization (weight norm, spectral norm, pruning).

    Examples
    --------
    >>> import torch
    >>> from arrayrnn import cells
    >>> cells.from_torch(torch.nn.GRU(3, 4, num_layers=2))
    [GRU(features=3, units=4, float32, torch), GRU(features=4, units=4, float32, torch)]
    """
    import torch

    kinds: dict[Any, type[Cell]] = {torch.nn.RNN: SimpleRNN, torch.nn.RNNCell: SimpleRNN}
    kinds |= {torch.nn.GRU: GRU, torch.nn.GRUCell: GRU}
    kinds |= {torch.nn.LSTM: LSTM, torch.nn.LSTMCell: LSTM}
    known = next((own for own in kinds if isinstance(module, own)), None)
    if known is None:
        raise TypeError(
            f"`module` is {describe(module)}; expected torch.nn.RNN, GRU, LSTM, or a cell of these."
        )
    if getattr(module.forward, "__func__", None) is not known.forward:
        raise TypeError(
            f"`module` is {describe(module)}, with a `forward` of its own; expected that of "
            f"torch.nn.{known.__name__}."
        )
    kind, parameters = kinds[known], dict(module.named_parameters(recurse=False))
    is_cell = isinstance(module, torch.nn.RNNCellBase)
    settings = {}
    if kind is SimpleRNN:
        settings["activation"] = module.nonlinearity

    def fields(layer: int, direction: int) -> dict[str, Any]:
        names = {f: f if is_cell else name_of(f, layer, direction) for f in kind.arrays}
        for name in names.values():
            if name not in parameters and getattr(module, name, None) is not None:
                raise TypeError(
                    f"`module.{name}` is computed, by a hook or a parametrization; expected a "
                    "parameter, which cells can share. Make it permanent first, by "
                    "`torch.nn.utils.parametrize.remove_parametrizations` or the like."
                )
        return {field: parameters[name] for field, name in names.items() if name in parameters}

    layers, directions = (1, 1) if is_cell else (module.num_layers, 1 + module.bidirectional)
    return in_layers(
        {
            (layer, direction): kind(**fields(layer, direction), **settings)
            for layer in range(layers)
            for direction in range(directions)
        }
    )
