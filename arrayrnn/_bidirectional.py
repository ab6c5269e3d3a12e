"""`bidirectional`: a recurrence in both directions, and the merging of their outputs."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, TypedDict, TypeVar, Unpack, overload

from arrayrnn._arguments.reading import read_inputs
from arrayrnn._libraries.operations import join_features
from arrayrnn._libraries.torch import not_compiled
from arrayrnn._loops import run
from arrayrnn._recurrence.axes import agree
from arrayrnn._recurrence.errors import came, describe, expect_structure
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.problem import Result
from arrayrnn._recurrence.words import BACKWARD, FORWARD, RNN
from arrayrnn._typing import Array, Input, Namespace, Output, StepFunction

Other = TypeVar("Other")
States = tuple[list[Any], list[Any]]

_MERGES = ("concat", "sum", "mul", "ave")
_UNMERGED = "`merge=None` returns both as they are."


class Shared(TypedDict, total=False):
    """Options of `bidirectional` that both of its overloads take."""

    mask: Any
    constants: Sequence[Any] | None
    unroll: bool | int
    input_length: SupportsIndex | Sequence[int] | Array | None
    time_major: bool
    zero_output_for_mask: bool
    return_all_outputs: bool
    samplewise: bool | None
    checkpoint: SupportsIndex | None
    progress: bool | Callable[[int, int], object] | None


@overload
def bidirectional(
    forward_step: StepFunction[Input, Output],
    backward_step: StepFunction[Input, Output],
    inputs: Input,
    forward_states: Sequence[Any] | Array,
    backward_states: Sequence[Any] | Array,
    *,
    merge: Literal["concat", "sum", "mul", "ave"] = "concat",
    initial_output: tuple[Output | None, Output | None] | None = None,
    **shared: Unpack[Shared],
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
    initial_output: tuple[Output | None, Other | None] | None = None,
    **shared: Unpack[Shared],
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
    samplewise: bool | None = None,
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
        Way to merge the two outputs, leaf by leaf: join them along the last axis, add, multiply or
        average them. None gives the pair of them.
    constants : list or tuple, optional
        Anything; handed to every step of both directions behind the states.
    initial_output : tuple, optional
        A pair, the output of each direction before its first timestep; either may be None.
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
        Any exception of a step, with a note that names the timestep.

    See Also
    --------
    rnn : Each direction, and the meaning of its arguments.

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
    _check_merge(merge)
    initial = _read_initial_outputs(initial_output)
    options = Options(
        constants=constants,
        unroll=unroll,
        time_major=time_major,
        zero_output_for_mask=zero_output_for_mask,
        return_all_outputs=return_all_outputs,
        samplewise=samplewise,
        checkpoint=checkpoint,
        progress=progress,
    )
    shared = read_inputs(RNN, inputs, mask, input_length, options)
    forwards = shared.problem(FORWARD, forward_step, forward_states, initial[0])
    backwards = shared.problem(
        BACKWARD,
        backward_step,
        backward_states,
        initial[1],
        go_backwards=True,
        in_input_order=True,
    )
    one, other = run(forwards), run(backwards)
    last, outputs = _merged(forwards.xp, merge, one, other)
    return last, outputs, ([*one.states], [*other.states])


def _check_merge(value: Any) -> None:
    if not (value is None or (isinstance(value, str) and value in _MERGES)):
        came = repr(value) if isinstance(value, str) else describe(value)
        raise ValueError(f"`merge` is {came}; expected 'concat', 'sum', 'mul', 'ave' or None.")


def _read_initial_outputs(value: Any) -> tuple[Any, Any]:
    """Return `initial_output` as that of each direction."""
    if value is None:
        return None, None
    if not isinstance(value, list | tuple) or len(value) != 2:
        came = f" of length {len(value)}" if isinstance(value, list | tuple) else ""
        raise TypeError(
            f"`initial_output` is {describe(value)}{came}; expected a pair, that of the forward "
            "direction and that of the backward one, of which either may be None."
        )
    return value[0], value[1]


def _merged(xp: Namespace, merge: str | None, one: Result, other: Result) -> tuple[Any, Any]:
    """Return the last outputs and the outputs of both directions, merged."""
    if merge is None:
        return (one.last_output, other.last_output), (one.outputs, other.outputs)
    leaves, nest = Nest.of(one.last_output)
    _expect_mergeable(xp, merge, FORWARD.returned_output(leaves, nest), other.last_output)

    def of_both(one: Any, other: Any) -> Any:
        pairs = zip(nest.flatten(one), nest.flatten(other), strict=True)
        return nest.build([_merged_arrays(xp, merge, *pair) for pair in pairs])

    return of_both(one.last_output, other.last_output), of_both(one.outputs, other.outputs)


def _expect_mergeable(xp: Namespace, merge: str, forwards: Named, output: Any) -> None:
    """Compare the last outputs of both directions."""
    seen = f"`{BACKWARD.function}` returned an output"
    model = f"`{FORWARD.function}`"
    backwards = expect_structure(output, forwards.nest, seen, model, f" {_UNMERGED}")
    for k, (one, two) in enumerate(zip(forwards.leaves, backwards, strict=True)):
        seen = came(forwards, k)
        if merge == "concat" and one.ndim < 2:
            raise ValueError(
                f"{seen}; expected (samples, ..., features), at least 2 dimensions, of which "
                "`merge='concat'` joins the last. Give it a last axis of length 1."
            )
        kinds = ("real floating", "complex floating") if merge == "ave" else "numeric"
        if merge != "concat" and not xp.isdtype(one.dtype, kinds):
            expected = "floating" if merge == "ave" else "numeric"
            raise TypeError(f"{seen}; `merge={merge!r}` expected a {expected} dtype. {_UNMERGED}")
        both = f"{seen}, and `{BACKWARD.function}` {describe(two)}; `merge={merge!r}` expected"
        last = -1 if merge == "concat" else None
        if not agree(one.shape[:last], two.shape[:last]) or one.ndim != two.ndim:
            but = ", but for the last axis" if merge == "concat" else ""
            raise ValueError(f"{both} the same shape{but}. {_UNMERGED}")
        if one.dtype != two.dtype:
            raise TypeError(f"{both} the same dtype. {_UNMERGED}")


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
