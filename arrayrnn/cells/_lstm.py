"""The LSTM, with projection and peepholes."""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Self

from arrayrnn._libraries.conversion import Shapes, drawn, random_generator
from arrayrnn._libraries.operations import namespace_of, product
from arrayrnn._typing import Array, Namespace
from arrayrnn.cells._activations import Activation, activated
from arrayrnn.cells._cell import Cell, States, Step
from arrayrnn.cells._checks import read_count

_PLAIN = {"activation": "tanh", "recurrent_activation": "sigmoid", "output_activation": "tanh"}


@dataclass(frozen=True, eq=False, repr=False)
class LSTM(Cell):
    """Long short-term memory, with the gates i (input), f (forget), g (cell), o (output) in order.

    ::

        i = recurrent_activation(W_ii x + b_ii + W_hi h + b_hi + p_i * c)
        f = recurrent_activation(W_if x + b_if + W_hf h + b_hf + p_f * c)
        g = activation(W_ig x + b_ig + W_hg h + b_hg)
        c = f * c + i * g
        o = recurrent_activation(W_io x + b_io + W_ho h + b_ho + p_o * c)
        h = W_hr (o * output_activation(c))

    A step function of `rnn`, with the states ``[h, c]``, and a nest of its arrays. Fields cannot be
    set; ``dataclasses.replace`` makes another cell.

    Parameters
    ----------
    weight_ih : array
        ``(4 * units, features)``.
    weight_hh : array
        ``(4 * units, units)``; with a projection, as many columns as that has rows.
    bias_ih, bias_hh : array, optional
        ``(4 * units,)``; None adds nothing.
    weight_hr : array, optional
        ``(projection, units)``, from the units to the output (Sak et al., 2014).
    peepholes : array, optional
        ``(3 * units,)``: what i, f and o see of the cell state, in this order.
    activation, recurrent_activation : str or tuple, default: 'tanh', 'sigmoid'
        By their names in ONNX, in upper or lower case: 'Relu', say, or ('LeakyRelu', 0.1) with
        alpha.
    output_activation : str or tuple, default: 'tanh'
        The same, of the cell state.
    clip : float, optional
        Bound of what i, f, g and o are activations of, in absolute value.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import cells, rnn
    >>> x = np.ones((1, 2, 3))
    >>> cell = cells.LSTM.initialize(3, 2, like=x, seed=0)
    >>> last, outputs, (h, c) = rnn(cell, x, cell.initial_states(x))
    >>> outputs.shape, c.shape
    ((1, 2, 2), (1, 2))
    """

    _: KW_ONLY
    weight_hr: Array | None = None
    peepholes: Array | None = None
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"
    output_activation: Activation = "tanh"

    gates: ClassVar[int] = 4
    arrays: ClassVar[tuple[str, ...]] = (*Cell.arrays, "weight_hr", "peepholes")
    activations: ClassVar[tuple[str, ...]] = (
        "activation",
        "recurrent_activation",
        "output_activation",
    )

    @classmethod
    def initialize(
        cls,
        features: int,
        units: int,
        *,
        like: Any,
        seed: Any = None,
        bias: bool = True,
        projection: int | None = None,
        **settings: Any,
    ) -> Self:
        """Return a cell with new weights, uniform up to ``1 / sqrt(units)`` as PyTorch draws them.

        Parameters
        ----------
        features, units : int
            How many the cell takes, and has.
        like : array
            Its library, device and floating dtype are those of the weights.
        seed : int or numpy.random.Generator, optional
            For the same numbers again, on any library; None for other ones each time.
        bias : bool, default: True
            Whether there are biases.
        projection : int, optional
            Number of features that the output is projected to.
        **settings
            Fields that are not arrays, such as ``activation``.

        Returns
        -------
        LSTM
            The new cell.
        """
        generator = random_generator(seed)
        shared = {"like": like, "seed": generator, "bias": bias}
        cell = super().initialize(features, units, **shared, **settings)
        if projection is None:
            return cell
        outputs = read_count(projection, "projection")
        shapes: Shapes = {"weight_hh": (4 * units, outputs), "weight_hr": (outputs, units)}
        weights: dict[str, Any] = drawn(shapes, 1 / math.sqrt(units), like, generator)
        return replace(cell, **weights)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Number of features of each state: of the output, and of the cell state."""
        return (self.weight_hh.shape[1], self.units)

    @property
    def shapes(self) -> Shapes:
        """Shape that each array has to have."""
        projection = (self.weight_hh.shape[1], self.units)
        return {**super().shapes, "weight_hr": projection, "peepholes": (3 * self.units,)}

    def activate(self, gates: Any, states: States) -> Step:
        """Return the output and new states of a timestep, given the gates before activation."""
        (_, c), units, xp = states, self.units, namespace_of(gates)
        both, g, o = gates[:, : 2 * units], gates[:, 2 * units : 3 * units], gates[:, 3 * units :]
        seen: Any = self.peepholes
        if seen is not None:
            both = both + xp.concat([seen[:units] * c, seen[units : 2 * units] * c], axis=1)
        both = self.activated(self.recurrent_activation, both)
        c = both[:, units:] * c + both[:, :units] * self.activated(self.activation, g)
        if seen is not None:
            o = o + seen[2 * units :] * c
        opened: Any = self.activated(self.recurrent_activation, o)
        # c is not clipped before: onnxruntime does not, although ONNX may be read so.
        h = self._shown(xp, opened * activated(xp, self.output_activation, c))
        return h, (h, c)

    def in_few_operations(self, weight: Any) -> tuple[Any, Callable[[Any, States], Step]]:
        """Return a weight for all gates, and a function of its product: one `tanh` serves all.

        ``sigmoid(x)`` is ``0.5 * tanh(0.5 * x) + 0.5``: the weight halves i, f and o beforehand.
        """
        is_plain = self.peepholes is None and self.clip is None
        if not is_plain or any(getattr(self, f) != _PLAIN[f] for f in self.activations):
            return super().in_few_operations(weight)
        xp, at = namespace_of(weight), 2 * self.units
        i_f, g, o = weight[:at, :], weight[at : at + self.units, :], weight[at + self.units :, :]
        return xp.concat([0.5 * i_f, g, 0.5 * o]), self._activate_by_tanh

    def _activate_by_tanh(self, gates: Any, states: States) -> Step:
        (_, c), units, xp = states, self.units, namespace_of(gates)
        g = xp.tanh(gates)
        i_f_o = 0.5 * g + 0.5
        g = g[:, 2 * units : 3 * units]
        c = i_f_o[:, units : 2 * units] * c + i_f_o[:, :units] * g
        h = self._shown(xp, i_f_o[:, 3 * units :] * xp.tanh(c))
        return h, (h, c)

    def _shown(self, xp: Namespace, h: Any) -> Any:
        """Return the output that units make, by the projection if there is one."""
        return h if self.weight_hr is None else product(xp, h, self.weight_hr)
