"""The simple recurrent cell."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from arrayrnn.cells._activations import Activation
from arrayrnn.cells._cell import Cell, States, Step


@dataclass(frozen=True, eq=False, repr=False)
class SimpleRNN(Cell):
    """Simple recurrent cell (Elman): ``h = activation(W_ih x + b_ih + W_hh h + b_hh)``.

    A step function of `rnn`, with the state ``[h]``, and a nest of its arrays. Fields cannot be
    set; ``dataclasses.replace`` makes another cell.

    Parameters
    ----------
    weight_ih : array
        ``(units, features)``.
    weight_hh : array
        ``(units, units)``.
    bias_ih, bias_hh : array, optional
        ``(units,)``; None adds nothing.
    activation : str or tuple, default: 'tanh'
        By its name in ONNX, in upper or lower case: 'Relu', say, or ('LeakyRelu', 0.1) with alpha.
    clip : float, optional
        Bound of what activations are applied to, in absolute value.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import cells, rnn
    >>> x = np.ones((1, 2, 1))
    >>> cell = cells.SimpleRNN(np.ones((1, 1)), np.ones((1, 1)), activation="Relu")
    >>> rnn(cell, x, cell.initial_states(x))[1][0]
    array([[1.],
           [2.]])
    """

    _: KW_ONLY
    activation: Activation = "tanh"

    gates: ClassVar[int] = 1

    def activate(self, gates: Any, states: States) -> Step:
        """Return the output and new states of a timestep, given the gates before activation."""
        h = self.activated(self.activation, gates)
        return h, (h,)
