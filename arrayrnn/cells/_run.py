"""`run`: cells over time, in layers and directions."""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import array_api_compat

from arrayrnn import _loops
from arrayrnn._arguments.reading import Inputs, read_inputs
from arrayrnn._libraries.host import readable
from arrayrnn._libraries.operations import join_features, swap_time_and_samples
from arrayrnn._libraries.torch import not_compiled
from arrayrnn._recurrence.axes import align
from arrayrnn._recurrence.nests import Named
from arrayrnn._recurrence.options import Options, read_switch
from arrayrnn._recurrence.problem import Problem, Result
from arrayrnn._recurrence.words import CELLS
from arrayrnn._typing import Array
from arrayrnn.cells._cell import Cell
from arrayrnn.cells._joined import Joined
from arrayrnn.cells._layers import Layers
from arrayrnn.compiled import run_problem

Loop = Callable[[Problem], Result]

# Joined weights are faster for this many samples and more (nox -s bench, test_cells).
_SAMPLES_TO_JOIN = 8


@not_compiled
def run(
    cells: Any,
    inputs: Any,
    states: Any = None,
    *,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    mask: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = True,
    unroll: bool | int = False,
    checkpoint: SupportsIndex | None = None,
    compiled: bool = False,
) -> tuple[Any, Any]:
    """Run cells over time, in layers and in one or both directions, as ``torch.nn.LSTM`` does.

    A layer's outputs are the inputs of the next; those of its directions are joined, at each
    timestep of the inputs. For a single cell the results are those of ``rnn(cell, inputs,
    cell.initial_states(inputs), zero_output_for_mask=True)``, within rounding.

    Parameters
    ----------
    cells : cell, or list of layers
        A layer is a cell, or a pair of cells (forward, backward), of which one may be None. This is
        what `from_torch`, `from_keras`, `from_onnx` and `load` return.
    inputs : array
        ``(samples, time, features)``, of the library and dtype of the weights.
    states : array, or tuple of arrays, optional
        The initial states, in the form of those returned; zeros by default.
    input_length : int, or array or list of ints, optional
        An integer: only so many first timesteps exist. One for each sample, ``(samples,)``: what
        comes later is padding; ignored if there is a `mask`.
    mask : array or nested list, optional
        ``(samples, time)``, as for `rnn`: a masked sample keeps its states.
    time_major : bool, default: False
        `inputs`, `mask` and `outputs` are ``(time, samples, features)``.
    zero_output_for_mask : bool, default: True
        The output of a masked sample is zeros, as PyTorch pads with, rather than its previous one.
    unroll, checkpoint
        As of `rnn`.
    compiled : bool, default: False
        Run each loop as one compiled program, as `compiled.rnn` does, on NumPy, CuPy and PyTorch;
        needs JAX.

    Returns
    -------
    outputs : array
        The outputs of the last layer, ``(samples, time, directions * units)``.
    states : array, or tuple of arrays
        The last states of all cells, layer by layer, forward before backward: `h`, or ``(h, c)`` of
        LSTMs, each ``(layers * directions, samples, units)``. If cells differ in kind or units: a
        list with the list of states of each cell.

    Raises
    ------
    ValueError
        If sizes do not fit: inputs, layers and states; or as for `rnn`.
    TypeError
        If something is no cell, or of another library or dtype; or as for `rnn`.

    Notes
    -----
    On tensors PyTorch's own kernels run wherever they compute the same: for the activations that
    PyTorch has, without `clip` and peepholes, with lengths, but not in `torch.func`. They may have
    no second derivatives; `rnn` has. JAX compiles a program, once for inputs of the same shapes.

    After ``torch.nn.LSTM``
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html).

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import cells
    >>> x = np.ones((2, 5, 3))
    >>> forward = cells.LSTM.initialize(3, 4, like=x, seed=0)
    >>> backward = cells.LSTM.initialize(3, 4, like=x, seed=1)
    >>> outputs, (h, c) = cells.run([(forward, backward)], x, input_length=[5, 2])
    >>> outputs.shape, h.shape
    ((2, 5, 8), (2, 2, 4))
    """
    layers = Layers(cells)
    options = Options(
        time_major=time_major,
        zero_output_for_mask=zero_output_for_mask,
        unroll=unroll,
        checkpoint=checkpoint,
        samplewise=True,
    )
    loop = run_problem if read_switch(compiled, "compiled") else _loops.run
    layers.expect_inputs(inputs)
    shared = read_inputs(CELLS, inputs, mask, input_length, options)
    (x,) = shared.over_time.leaves
    start = None if states is None else layers.initial_states(states, x[0, :, :1])
    if loop is _loops.run and array_api_compat.is_torch_namespace(shared.xp):
        from arrayrnn.cells import _fused

        if (found := _fused.run(layers, shared, start)) is not None:
            return found
    start = start or layers.initial_states(None, x[0, :, :1])
    is_jax = array_api_compat.is_jax_namespace(shared.xp)
    if loop is _loops.run and is_jax and readable(shared.xp, x):
        from arrayrnn.cells import _jitted

        outputs, last = _jitted.run(layers, shared, start)
    else:
        outputs, last = run_layers(layers, shared, start, loop)
    return outputs, layers.joined(shared.xp, last)


def run_layers(
    layers: Layers, shared: Inputs, start: Sequence[Sequence[Array]], loop: Loop
) -> tuple[Array, list[Sequence[Array]]]:
    """Return the outputs of the last layer, and the last states of each cell."""
    (x,), starts, xp = shared.over_time.leaves, iter(start), shared.xp
    outputs: Any = x
    last: list[Sequence[Array]] = []
    for layer in layers.layers:
        results = []
        for cell, _, goes_backwards in layer:
            step, given = _form(cell, shared, x, is_compiled=loop is not _loops.run)
            problem = shared._replace(over_time=Named.of(given, "inputs")).problem(
                CELLS, step, next(starts), go_backwards=goes_backwards, in_input_order=True
            )
            results.append(loop(problem))
        last += [result.states for result in results]
        outputs = results[0].outputs
        for result in results[1:]:
            outputs = join_features(xp, outputs, result.outputs)
        x = swap_time_and_samples(xp, outputs) if shared.options.time_axis else outputs
    return outputs, last


def _form(cell: Cell, shared: Inputs, x: Any, *, is_compiled: bool) -> tuple[Any, Array]:
    """Return a cell as the step that takes the least time, and its inputs, time first."""
    xp, mask = shared.xp, shared.mask
    by_xla = is_compiled or array_api_compat.is_jax_namespace(xp)
    by_numpy = array_api_compat.is_numpy_namespace(xp) and not is_compiled
    if cell.sums_gates and (by_xla or (by_numpy and shared.samples >= _SAMPLES_TO_JOIN)):
        return Joined(cell, x[0, :, :1]), x
    if by_xla:
        return cell, x
    if mask is not None and not mask.masks_none:
        # Whatever the padding holds would reach the gradients of the weights.
        x = xp.where(align(xp, mask.keep, 3), x, xp.zeros_like(x))
    return cell.projected, cell.project(x)
