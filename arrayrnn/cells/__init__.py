"""Recurrent cells with the weights that people have, on every library.

SimpleRNN, GRU, LSTM
    Cells: frozen dataclasses of weights, each a step function of `rnn` and a nest of arrays.
run
    Cells over time, in layers and both directions, with the results of ``torch.nn.LSTM``.
from_torch, from_keras, from_onnx
    Cells from what other libraries trained.
save, load
    Cells in safetensors files, under PyTorch's names.
to
    Cells on another library or device, or in another dtype.
"""

from arrayrnn.cells._cell import to
from arrayrnn.cells._files import load, save
from arrayrnn.cells._from_keras import from_keras
from arrayrnn.cells._from_onnx import from_onnx
from arrayrnn.cells._from_torch import from_torch
from arrayrnn.cells._gru import GRU
from arrayrnn.cells._lstm import LSTM
from arrayrnn.cells._run import run
from arrayrnn.cells._simple_rnn import SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "SimpleRNN",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "run",
    "save",
    "to",
]
