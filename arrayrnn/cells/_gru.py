"""The gated recurrent unit, in both of its forms."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from arrayrnn._libraries.operations import namespace_of, product
from arrayrnn._recurrence.options import read_switch
from arrayrnn.cells._activations import Activation
from arrayrnn.cells._cell import Cell, States, Step


@dataclass(frozen=True, eq=False, repr=False)
class GRU(Cell):
    """Gated recurrent unit, with the gates r (reset), z (update) and n (new) in this order.

    ::

        r = recurrent_activation(W_ir x + b_ir + W_hr h + b_hr)
        z = recurrent_activation(W_iz x + b_iz + W_hz h + b_hz)
        n = activation(W_in x + b_in + r * (W_hn h + b_hn))      # reset_after
        n = activation(W_in x + b_in + W_hn (r * h) + b_hn)      # not reset_after
        h = (1 - z) * n + z * h

    A step function of `rnn`, with the state ``[h]``, and a nest of its arrays. Fields cannot be
    set; ``dataclasses.replace`` makes another cell.

    Parameters
    ----------
    weight_ih : array
        ``(3 * units, features)``.
    weight_hh : array
        ``(3 * units, units)``.
    bias_ih, bias_hh : array, optional
        ``(3 * units,)``; None adds nothing.
    reset_after : bool, default: True
        Reset after the matrix product, as PyTorch does, Keras by default, and ONNX with
        ``linear_before_reset``; otherwise before, as in Cho et al. (2014).
    activation, recurrent_activation : str or tuple, default: 'tanh', 'sigmoid'
        By their names in ONNX, in upper or lower case: 'Relu', say, or ('LeakyRelu', 0.1) with
        alpha.
    clip : float, optional
        Bound of what activations are applied to, in absolute value.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import cells, rnn
    >>> x = np.ones((1, 2, 3))
    >>> cell = cells.GRU.initialize(3, 2, like=x, seed=0)
    >>> rnn(cell, x, cell.initial_states(x))[1].shape
    (1, 2, 2)
    """

    _: KW_ONLY
    reset_after: bool = True
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"

    gates: ClassVar[int] = 3
    sums_gates: ClassVar[bool] = False
    activations: ClassVar[tuple[str, ...]] = ("activation", "recurrent_activation")

    def __post_init__(self) -> None:
        reset_after = read_switch(self.reset_after, self.name_of("reset_after"))
        object.__setattr__(self, "reset_after", reset_after)
        super().__post_init__()

    def summed_bias(self) -> Any:
        """Return what is added to the contribution of the inputs, or None."""
        other: Any = self.bias_hh
        if not self.reset_after or other is None:
            return super().summed_bias()
        # That of n is reset, too: `advance` adds it.
        xp, at = namespace_of(other), 2 * self.units
        other = xp.concat([other[:at], xp.zeros_like(other[at:])])
        return other if self.bias_ih is None else self.bias_ih + other

    def advance(self, projected_t: Any, states: States) -> Step:
        """Return the output and new states of a timestep, given the contribution of the inputs."""
        (h, *_), xp, at, weight = states, namespace_of(projected_t), 2 * self.units, self.weight_hh
        x_rz, x_n = projected_t[:, :at], projected_t[:, at:]
        if self.reset_after:
            gates = product(xp, h, weight)
            r, z = self._reset_and_update(x_rz + gates[:, :at])
            from_h = gates[:, at:]
            if self.bias_hh is not None:
                from_h = from_h + self.bias_hh[at:]
            n = self.activated(self.activation, x_n + r * from_h)
        else:
            r, z = self._reset_and_update(x_rz + product(xp, h, weight[:at, :]))
            n = self.activated(self.activation, x_n + product(xp, r * h, weight[at:, :]))
        h = n + z * (h - n)
        return h, (h,)

    def _reset_and_update(self, gates: Any) -> tuple[Any, Any]:
        both: Any = self.activated(self.recurrent_activation, gates)
        return both[:, : self.units], both[:, self.units :]
