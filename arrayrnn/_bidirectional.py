"""`bidirectional`: the public function."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, TypeVar, overload

from arrayrnn._checks import merging
from arrayrnn._checks.wording import BACKWARD, FORWARD
from arrayrnn._compilers import not_compiled
from arrayrnn._operations import join_features
from arrayrnn._problem import Result
from arrayrnn._reading import Direction, problems_of
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, Input, Namespace, Output, StepFunction
from arrayrnn.loops import loop_for

__all__ = ["bidirectional"]

Other = TypeVar("Other")
States = tuple[list[Any], list[Any]]


@overload
def bidirectional(
    forward_step: StepFunction[Input, Output],
    backward_step: StepFunction[Input, Output],
    inputs: Input,
    forward_states: Sequence[Any] | Array,
    backward_states: Sequence[Any] | Array,
    *,
    merge: Literal["concat", "sum", "mul", "ave"] = "concat",
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool | int = False,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    initial_output: tuple[Output | None, Output | None] | None = None,
    samplewise: bool = False,
    checkpoint: SupportsIndex | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> tuple[Output, Output, States]: ...
@overload
def bidirectional(
    forward_step: StepFunction[Input, Output],
    backward_step: StepFunction[Input, Other],
    inputs: Input,
    forward_states: Sequence[Any] | Array,
    backward_states: Sequence[Any] | Array,
    *,
    merge: None,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool | int = False,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    initial_output: tuple[Output | None, Other | None] | None = None,
    samplewise: bool = False,
    checkpoint: SupportsIndex | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> tuple[tuple[Output, Other], tuple[Output, Other], States]: ...
@not_compiled
def bidirectional(
    forward_step: StepFunction[Any, Any],
    backward_step: StepFunction[Any, Any],
    inputs: Any,
    forward_states: Sequence[Any] | Array,
    backward_states: Sequence[Any] | Array,
    *,
    merge: Literal["concat", "sum", "mul", "ave"] | None = "concat",
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool | int = False,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    initial_output: tuple[Any, Any] | None = None,
    samplewise: bool = False,
    checkpoint: SupportsIndex | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> tuple[Any, Any, States]:
    """Iterate over time in both directions, and merge the outputs of each timestep.

    Without masks, it does this::

        def bidirectional(forward_step, backward_step, inputs, forward_states, backward_states):
            last, outputs, states = rnn(forward_step, inputs, forward_states)
            its_last, its_outputs, its_states = rnn(
                backward_step, inputs, backward_states, go_backwards=True
            )
            its_outputs = flip(its_outputs, axis=1)
            return merge(last, its_last), merge(outputs, its_outputs), (states, its_states)

    Padding needs no more than that: a masked sample keeps its states, so the backward direction
    begins at each sample's last unmasked timestep.

    Parameters
    ----------
    forward_step, backward_step : callable
        ``step(input_t, states) -> (output, new_states)``, as of `rnn`: from the first timestep to
        the last, and from the last to the first. All forward steps run before all backward ones.
    inputs : array or nest of arrays
        ``(samples, time, *features)`` with at least one features axis, of any dtype.
    forward_states, backward_states : list or tuple, or array
        The initial states of each direction, as of `rnn`. They need not be alike.
    merge : {'concat', 'sum', 'mul', 'ave'} or None, default: 'concat'
        What becomes of the two outputs, leaf by leaf: they are joined along the last axis, added,
        multiplied or averaged. None gives the pair of them.
    constants : list or tuple, optional
        Anything; handed to every step of both directions behind the states.
    initial_output : tuple, optional
        A pair, one for each direction, either of which may be None: what its output is before its
        first timestep.
    progress : bool or callable, optional
        Each direction reports on its own: a bar, or calls with ``(timesteps done, in all)``.
    mask, unroll, input_length, time_major, zero_output_for_mask, return_all_outputs
        As of `rnn`, for both directions.
    samplewise, checkpoint
        As of `rnn`, for both directions.

    Returns
    -------
    last_output : array or nest of arrays
        The last output of each direction, ``(samples, *features)``, merged: that of the backward
        one belongs to the first timestep.
    outputs : array or nest of arrays
        The outputs of all timesteps, ``(samples, time, *features)``, both in the order of the
        inputs, merged.
    new_states : tuple
        The pair of lists of states after the last timestep of the forward direction and after the
        first of the backward one.

    Raises
    ------
    ValueError
        As of `rnn`; if the outputs of both directions have another structure or shape than `merge`
        needs; if `merge` is none of those.
    TypeError
        As of `rnn`; if the outputs have different dtypes, or one that `merge` cannot compute with;
        if `initial_output` is no pair.
    Exception
        What a step raises, with a note that names the timestep.

    See Also
    --------
    rnn : Each direction, and what its arguments mean.

    Notes
    -----
    After ``keras.layers.Bidirectional`` (https://keras.io/api/layers/recurrent_layers/bidirectional/),
    which shows zeros at masked timesteps: ``zero_output_for_mask=True``.

    Examples
    --------
    At each timestep, the largest number up to it and from it on; the second sequence ends early:

    >>> import numpy as np
    >>> from arrayrnn import bidirectional
    >>> def step(x_t, states):
    ...     largest = np.maximum(x_t, states[0])
    ...     return largest, [largest]
    >>> x = np.asarray([[[3.0], [1.0], [2.0]], [[4.0], [7.0], [np.nan]]])
    >>> start = [np.zeros((2, 1))]
    >>> last, outputs, states = bidirectional(
    ...     step, step, x, start, start, input_length=[3, 2], samplewise=True
    ... )
    >>> outputs[0]
    array([[3., 3.],
           [3., 2.],
           [3., 2.]])
    >>> outputs[1]
    array([[4., 7.],
           [7., 7.],
           [7., 0.]])
    """
    merging.mode(merge)
    before = merging.both(initial_output)
    problems = problems_of(
        [
            Direction(FORWARD, forward_step, forward_states, before[0]),
            Direction(
                BACKWARD,
                backward_step,
                backward_states,
                before[1],
                go_backwards=True,
                in_input_order=True,
            ),
        ],
        inputs,
        mask=mask,
        constants=constants,
        unroll=unroll,
        input_length=input_length,
        time_major=time_major,
        zero_output_for_mask=zero_output_for_mask,
        return_all_outputs=return_all_outputs,
        samplewise=samplewise,
        checkpoint=checkpoint,
        progress=progress,
    )
    loops = [loop_for(problem) for problem in problems]
    one, other = (loop(problem) for loop, problem in zip(loops, problems, strict=True))
    last, outputs = _merged(problems[0].xp, merge, one, other)
    return last, outputs, ([*one.states], [*other.states])


def _merged(xp: Namespace, merge: str | None, one: Result, other: Result) -> tuple[Any, Any]:
    """Return the last outputs and the outputs of both directions, merged."""
    if merge is None:
        return (one.last_output, other.last_output), (one.outputs, other.outputs)
    leaves, nest = Nest.of(one.last_output)
    merging.outputs(xp, merge, nest, leaves, other.last_output)

    def of_both(one: Any, other: Any) -> Any:
        pairs = zip(nest.flatten(one), nest.flatten(other), strict=True)
        return nest.build([_merged_arrays(xp, merge, *pair) for pair in pairs])

    return of_both(one.last_output, other.last_output), of_both(one.outputs, other.outputs)


def _merged_arrays(xp: Namespace, merge: str, one: Any, other: Any) -> Array:
    if merge == "concat":
        merged: Array = join_features(xp, one, other)
    elif merge == "sum":
        merged = one + other
    elif merge == "mul":
        merged = one * other
    else:
        merged = 0.5 * (one + other)
    return merged
