"""`rnn`: a step function, iterated over the time dimension."""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from arrayrnn._arguments.reading import read_inputs
from arrayrnn._libraries.torch import not_compiled
from arrayrnn._loops import run
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.words import RNN
from arrayrnn._typing import Array, Input, Output, StepFunction


@not_compiled
def rnn(
    step_function: StepFunction[Input, Output],
    inputs: Input,
    initial_states: Sequence[Any] | Array,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool | int = False,
    input_length: SupportsIndex | Sequence[int] | Array | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    *,
    initial_output: Output | None = None,
    samplewise: bool | None = None,
    checkpoint: SupportsIndex | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> tuple[Output, Output, list[Any]]:
    """Iterate a step function over the time dimension of arrays of any array API library.

    Without a mask, and for a single input, it does this::

        def rnn(step_function, inputs, initial_states, constants=()):
            xp, states, outputs = array_namespace(inputs), tuple(initial_states), []
            for t in range(inputs.shape[1]):
                output, states = step_function(inputs[:, t, ...], (*states, *constants))
                outputs.append(output)
            return output, xp.stack(outputs, axis=1), list(states)

    `inputs`, every state and `output` may also be nests of arrays (tuples, lists, dicts,
    namedtuples and whatever else optree or JAX knows). The step function should be pure; one that
    writes into what it is given, or returns one buffer again and again, still gives the results
    that it had at each timestep. Results may alias arguments.

    Parameters
    ----------
    step_function : callable
        ``step_function(input_t, states) -> (output, new_states)``. `input_t` is one timestep of
        `inputs`, ``(samples, *features)``; `states` is one tuple, the states followed by the
        `constants`; `output` is an array ``(samples, *features)`` of any features, or a nest of
        such; `new_states` has the structure, shapes and dtypes of `initial_states`. Called once for
        each timestep at which some sample is unmasked, in order.
    inputs : array or nest of arrays
        ``(samples, time, *features)`` with at least one features axis, of any dtype.
    initial_states : list or tuple, or array
        One entry for each state, each an array ``(samples, *features)`` or a nest of such; an array
        is one state. Without a mask, states may have any shape. A Python float becomes a 0-d array
        of the dtype of the first floating input, an int or bool one of the library's default.
    go_backwards : bool, default: False
        Iterate from the last timestep to the first; `outputs` come in the order computed.
    mask : array or nested list, optional
        ``(samples, time)`` or ``(samples, time, 1)``, of bool or any real dtype: False or zero
        masks the sample at the timestep. It then keeps its states, and its output is the previous
        one. The step function is shown the inputs as they are and the states that are held; with
        `samplewise`, nothing of the padding.
    constants : list or tuple, optional
        Anything; handed to every step behind the states.
    unroll : bool or int, default: False
        How libraries with a symbolic loop run it while tracing: False uses it, True does not, an
        integer is its unroll factor. Never changes a result.
    input_length : int, or array or list of ints, optional
        An integer: only so many first timesteps exist. One for each sample, ``(samples,)``: sample
        ``s`` is masked at ``t >= input_length[s]``; ignored if there is a `mask`.
    time_major : bool, default: False
        `inputs`, `mask` and `outputs` are ``(time, samples, *features)``.
    zero_output_for_mask : bool, default: False
        The output of a masked sample is zeros rather than its previous output.
    return_all_outputs : bool, default: True
        If False, `outputs` has the last output only; memory does not grow with time.
    initial_output : array or nest of arrays, optional
        The output before the first timestep, which a sample has that is masked from there on; like
        `output`, by default zeros. With the last output and states of one call, the next continues.
    samplewise : bool, optional
        Promises that the step treats each sample on its own, as nearly all do, and that nothing but
        its inputs and states has a row for each. Padding then never reaches it, in values and
        gradients, and may be left out, so that it sees fewer samples; on Dask samples run in
        parallel. Never changes a result of such a step. By default the step itself decides,
        by its attribute `samplewise`, as cells have it; without one it makes no promise.
    checkpoint : int, optional
        For gradients, keep the states of every so many timesteps only, and compute what lies
        between again in backward: less memory, more time, and the step is called twice. About the
        square root of time is a good choice. Never changes a result.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a callable is called with ``(timesteps done, in all)``.

    Returns
    -------
    last_output : array or nest of arrays
        The output of the last timestep processed, ``(samples, *features)``.
    outputs : array or nest of arrays
        The outputs of all timesteps, ``(samples, time, *features)``.
    new_states : list
        The states after the last timestep, in the containers of `initial_states`.

    Raises
    ------
    ValueError
        If an argument, or what the step returned, has another structure, shape, length or range
        than described; if there is a `mask` and no state; if devices cannot be mixed.
    TypeError
        If something is no array or of another library, or a state or output changes its dtype; if
        a switch is no bool.
    Exception
        Any exception of the step function, with a note that names the timestep and says what the
        step was called with.

    Notes
    -----
    Clause by clause: ``docs/guide``, on masks and lengths ``docs/guide/masks.md``. After
    ``tf.keras.backend.rnn``
    (https://www.tensorflow.org/versions/r2.0/api_docs/python/tf/keras/backend/rnn).

    Examples
    --------
    A moving average, over two sequences of which the second ends a timestep earlier:

    >>> import numpy as np
    >>> from arrayrnn import rnn
    >>> def step(x_t, states):
    ...     (mean,) = states
    ...     mean = 0.5 * mean + 0.5 * x_t
    ...     return mean, [mean]
    >>> x = np.asarray([[[4.0], [8.0], [6.0]], [[2.0], [1.0], [np.nan]]])
    >>> last, means, states = rnn(step, x, [np.zeros((2, 1))], input_length=[3, 2], samplewise=True)
    >>> means[..., 0]
    array([[2. , 5. , 5.5],
           [1. , 1. , 1. ]])
    """
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
    result = run(
        shared.problem(
            RNN, step_function, initial_states, initial_output, go_backwards=go_backwards
        )
    )
    return result.last_output, result.outputs, list(result.states)
