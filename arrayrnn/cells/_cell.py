"""Cell: weights in a frozen dataclass, which is a step function and a nest of arrays."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Self

from arrayrnn._libraries import pytrees
from arrayrnn._libraries.conversion import Shapes, converted, drawn
from arrayrnn._libraries.foreign import in_native_order
from arrayrnn._libraries.operations import device_of, namespace_of, product
from arrayrnn._recurrence.errors import dtype_name, is_array, library
from arrayrnn._recurrence.nests import tree_map
from arrayrnn._typing import Array, Namespace
from arrayrnn.cells._activations import Activation, activated, read_activation
from arrayrnn.cells._checks import (
    check_weights,
    expect_floating,
    expect_inputs,
    read_clip,
    read_count,
)

States = Sequence[Any]
Step = tuple[Array, tuple[Any, ...]]  # what a step returns: the output and the new states


@dataclass(frozen=True, eq=False, repr=False)
class Cell:
    """What all cells share."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None
    _: KW_ONLY
    clip: float | None = None

    samplewise: ClassVar[bool] = True  # a promise that `rnn` asks for
    gates: ClassVar[int]
    sums_gates: ClassVar[bool] = True  # what inputs and states contribute is only added up
    arrays: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    activations: ClassVar[tuple[str, ...]] = ("activation",)

    def __init_subclass__(cls) -> None:
        pytrees.register(cls, _flatten, cls._unflatten)

    def __post_init__(self) -> None:
        pytrees.register_where_in_use(type(self), _flatten, self._unflatten)
        for field in self.arrays:
            object.__setattr__(self, field, in_native_order(getattr(self, field)))
        for field in self.activations:
            activation = read_activation(getattr(self, field), self.name_of(field))
            object.__setattr__(self, field, activation)
        object.__setattr__(self, "clip", read_clip(self.clip, self.name_of("clip")))
        check_weights(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled, maybe where no cell has been made yet.
        pytrees.register_where_in_use(type(self), _flatten, self._unflatten)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        weights = (self.weight_ih, self.weight_hh)
        if not all(is_array(weight) and weight.ndim == 2 for weight in weights):
            # What takes nests apart has filled it with other things.
            held = {name: getattr(self, name) for name in self.arrays}
            shown = ", ".join(f"{name}={x!r}" for name, x in held.items() if x is not None)
            return f"{type(self).__name__}({shown})"
        xp = namespace_of(self.weight_hh)
        kind = f"{dtype_name(self.weight_hh.dtype)}, {library(xp)}"
        return f"{type(self).__name__}(features={self.features}, units={self.units}, {kind})"

    @classmethod
    def _unflatten(cls, context: Any, children: Iterable[Any]) -> Self:
        """Make a cell of anything: what takes nests apart also fills them with other things."""
        present, settings = context
        cell = object.__new__(cls)
        pytrees.register_where_in_use(cls, _flatten, cls._unflatten)
        arrays = dict(zip(present, children, strict=True))
        values = {**dict.fromkeys(cls.arrays), **dict(settings), **arrays}
        for field, value in values.items():
            object.__setattr__(cell, field, value)
        return cell

    @property
    def features(self) -> int:
        """Number of features of the inputs."""
        return self.weight_ih.shape[1]

    @property
    def units(self) -> int:
        """Number of units, each with all gates."""
        return self.weight_hh.shape[0] // self.gates

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Number of features of each state; the first state is the output, too."""
        return (self.weight_hh.shape[1],)

    @property
    def settings(self) -> dict[str, Any]:
        """Fields that are not arrays."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.arrays}

    @property
    def shapes(self) -> Shapes:
        """Shape that each array has to have."""
        rows, outputs = self.gates * self.units, self.state_sizes[0]
        weights = {"weight_ih": (rows, self.features), "weight_hh": (rows, outputs)}
        return {**weights, "bias_ih": (rows,), "bias_hh": (rows,)}

    def name_of(self, field: str) -> str:
        """Return a field's name for messages."""
        return f"{type(self).__name__}.{field}"

    def initial_states(self, inputs: Any, *, time_major: bool = False) -> list[Array]:
        """Return zeros to start from, ``(samples, units)`` for each state.

        Parameters
        ----------
        inputs : array
            ``(samples, time, features)``, of the library and dtype of the weights.
        time_major : bool, default: False
            `inputs` are ``(time, samples, features)``.

        Returns
        -------
        list of arrays
            One for each state, of the library, dtype and device of `inputs`.
        """
        expect_inputs(self, inputs, type(self).__name__)
        inputs = in_native_order(inputs)
        return self.zeros(inputs[0, :, :1] if time_major else inputs[:, 0, :1])

    def zeros(self, like: Any) -> list[Array]:
        """Return initial states for as many samples as `like`, ``(samples, 1)``, has."""
        xp, device = namespace_of(like), device_of(like)
        rows = xp.zeros_like(like)
        # Added, since the number of samples may become known at run time only.
        return [
            rows + xp.zeros((1, size), dtype=like.dtype, device=device) for size in self.state_sizes
        ]

    def project(self, inputs: Any) -> Array:
        """Return what inputs contribute to the gates, ``(..., gates * units)``: one matrix product.

        Parameters
        ----------
        inputs : array
            ``(..., features)``.

        Returns
        -------
        array
            ``(..., gates * units)``, biases included.
        """
        gates = product(namespace_of(inputs), inputs, self.weight_ih)
        bias = self.summed_bias()
        return gates if bias is None else gates + bias

    @property
    def projected(self) -> "Projected":
        """The cell as a step function whose inputs are what `project` returns.

        ``rnn(cell.projected, cell.project(x), states)`` gives what ``rnn(cell, x, states)`` does,
        but for rounding.
        """
        return Projected(self)

    def summed_bias(self) -> Any:
        """Return what is added to the contribution of the inputs, or None."""
        one, other = self.bias_ih, self.bias_hh
        if one is None or other is None:
            return other if one is None else one
        return one + other  # type: ignore[operator] # of arrays

    def advance(self, projected_t: Any, states: States) -> Step:
        """Return the output and new states of a timestep, given the contribution of the inputs."""
        gates = projected_t + product(namespace_of(projected_t), states[0], self.weight_hh)
        return self.activate(gates, states)

    def activate(self, gates: Any, states: States) -> Step:
        """Return the output and new states of a timestep, given the gates before activation."""
        raise NotImplementedError

    def in_few_operations(self, weight: Any) -> tuple[Any, Callable[[Any, States], Step]]:
        """Return a weight for all gates, and a function of its product in place of `activate`.

        Together they give the results of the cell, in as few operations as there can be.
        """
        return weight, self.activate

    def activated(self, activation: Activation, gates: Any) -> Array:
        """Return gates after an activation, clipped before it."""
        return activated(namespace_of(gates), activation, gates, self.clip)

    def __call__(self, input_t: Any, states: States) -> Step:
        """Return the output and new states of a timestep: a step function, as `rnn` calls it.

        Parameters
        ----------
        input_t : array
            ``(samples, features)``.
        states : sequence of arrays
            Each ``(samples, units)``.

        Returns
        -------
        output : array
            ``(samples, units)``, which is the first of the new states.
        new_states : tuple of arrays
            Each like its state.
        """
        return self.advance(self.project(input_t), states)

    def to(self, xp: Namespace, *, device: Any = None, dtype: Any = None) -> Self:
        """Return the cell with its weights as arrays of a library, on a device, of a dtype.

        As `cells.to`, which takes nests of cells.

        Parameters
        ----------
        xp : module
            The library: ``numpy``, ``torch``, ``jax.numpy``, and so on.
        device : device, optional
            By default where the weights are, or the default of another library.
        dtype : dtype, optional
            Of `xp`; by default that of the weights.

        Returns
        -------
        cell
            Another one; this one stays as it is.
        """
        return to(self, xp, device=device, dtype=dtype)

    @classmethod
    def initialize(
        cls,
        features: int,
        units: int,
        *,
        like: Any,
        seed: Any = None,
        bias: bool = True,
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
        **settings
            Fields that are not arrays, such as ``activation``.

        Returns
        -------
        cell
            Of this class.
        """
        expect_floating(like, "like")
        features, units = read_count(features, "features"), read_count(units, "units")
        rows = cls.gates * units
        shapes: Shapes = {"weight_ih": (rows, features), "weight_hh": (rows, units)}
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        weights: dict[str, Any] = drawn(shapes, 1 / math.sqrt(units), like, seed)
        return cls(**weights, **settings)


@dataclass(frozen=True, eq=False)
class Projected:
    """A cell as a step function that is given what `Cell.project` makes of the inputs."""

    cell: Cell

    samplewise: ClassVar[bool] = True

    def __call__(self, projected_t: Any, states: States) -> Step:
        """Return the output and new states of a timestep."""
        return self.cell.advance(projected_t, states)


pytrees.register(
    Projected,
    lambda projected: ([projected.cell], None, ("cell",)),
    lambda _, children: Projected(*children),
)


def to(cells: Any, xp: Namespace, *, device: Any = None, dtype: Any = None) -> Any:
    """Return cells with their weights as arrays of a library, on a device, of a dtype.

    Parameters
    ----------
    cells : nest of cells
        A cell, or what `from_torch`, `load` and the like return.
    xp : module
        The library: ``numpy``, ``torch``, ``jax.numpy``, …
    device : device, optional
        By default where the weights are, or the default of another library.
    dtype : dtype, optional
        Of `xp`; by default that of the weights.

    Returns
    -------
    nest of cells
        Gradients flow to the given weights if the library stays the same.

    Raises
    ------
    TypeError
        If the weights have no values that could be read now: they are traced, or lazy.

    Examples
    --------
    >>> import array_api_strict as xp
    >>> import numpy as np
    >>> from arrayrnn import cells
    >>> cell = cells.GRU.initialize(3, 2, like=np.zeros(0), seed=0)
    >>> cells.to([cell], xp, dtype=xp.float32)
    [GRU(features=3, units=2, float32, array_api_strict)]
    """
    return tree_map(lambda weight: converted(weight, xp, device=device, dtype=dtype), cells)


def _flatten(cell: Cell) -> tuple[list[Any], Any, tuple[str, ...]]:
    present = tuple(name for name in cell.arrays if getattr(cell, name) is not None)
    return [getattr(cell, n) for n in present], (present, tuple(cell.settings.items())), present
