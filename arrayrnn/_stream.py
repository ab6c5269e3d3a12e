"""`Stream`: a recurrence over a sequence that comes in chunks."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, SupportsIndex

from arrayrnn._arguments.reading import from_python, read_inputs, read_step, states_apart
from arrayrnn._libraries.torch import never_compiled
from arrayrnn._loops import run
from arrayrnn._recurrence.nests import tree_leaves
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.purity import Purity
from arrayrnn._recurrence.words import STREAM
from arrayrnn._stream_state import StreamState, expect_values
from arrayrnn._typing import Array, Input, Output, StepFunction


class Stream(Generic[Input, Output]):
    """Iterate a step function over a sequence that comes in chunks.

    Chunks give exactly the results of one call of `rnn` over the whole sequence, wherever it is
    cut. A stream holds the carry from one chunk to the next, and nothing else of the chunks.

    Parameters
    ----------
    step_function : callable
        ``step_function(input_t, states) -> (output, new_states)``, as for `rnn`.
    initial_states : list or tuple, or array
        As for `rnn`. They are kept, for `reset`.
    constants : list or tuple, optional
        Anything; handed to every step behind the states.
    time_major : bool, default: False
        Chunks, masks and outputs are ``(time, samples, *features)``.
    zero_output_for_mask : bool, default: False
        The output of a masked sample is zeros rather than its previous output.
    return_all_outputs : bool, default: True
        If False, `outputs` has the last output of the chunk only.
    initial_output : array or nest of arrays, optional
        The output before the first timestep; by default zeros.
    samplewise : bool, optional
        Promises that the step treats each sample on its own, as for `rnn`.

    Attributes
    ----------
    states : list
        The states after the last chunk, in the containers of `initial_states`.
    carry : dict
        All that the next chunk needs: ``"states"``, and ``"output"``, None before the first chunk.
        Nests of arrays, to be saved by whatever saves arrays. A stream whose `carry` is set goes on
        from there, in another process too. Setting raises ValueError or TypeError if it does not
        fit the stream, which then is as it was.

    See Also
    --------
    rnn : The whole sequence in one call; also traced and lazy arrays, and going backwards.

    Notes
    -----
    Clause by clause: ``docs/guide/streams.md``.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayrnn import Stream
    >>> def step(x_t, states):
    ...     (total,) = states
    ...     total = total + x_t
    ...     return total, [total]
    >>> stream = Stream(step, [np.zeros((2, 1))])
    >>> chunks = np.split(np.ones((2, 6, 1)), 3, axis=1)
    >>> for chunk in chunks:
    ...     last, outputs, states = stream(chunk)
    ...     print(outputs[0, :, 0])
    [1. 2.]
    [3. 4.]
    [5. 6.]
    >>> stream.reset([1])
    >>> stream.states[0][:, 0]
    array([6., 0.])
    """

    def __init__(
        self,
        step_function: StepFunction[Input, Output],
        initial_states: Sequence[Any] | Array,
        *,
        constants: Sequence[Any] | None = None,
        time_major: bool = False,
        zero_output_for_mask: bool = False,
        return_all_outputs: bool = True,
        initial_output: Output | None = None,
        samplewise: bool | None = None,
    ) -> None:
        self._step = read_step(step_function, STREAM)
        self._options = Options(
            constants=constants,
            time_major=time_major,
            zero_output_for_mask=zero_output_for_mask,
            return_all_outputs=return_all_outputs,
            samplewise=samplewise,
        )
        leaves, nest = states_apart(initial_states, STREAM.initial_states)
        self._initial = Carry(leaves)
        self._initial_output = initial_output
        self._purity: Purity | None = None
        self._now = self._new = StreamState(nest, self._initial)

    @never_compiled
    def __call__(
        self,
        chunk: Input,
        mask: Any = None,
        input_length: SupportsIndex | Sequence[int] | Array | None = None,
    ) -> tuple[Output, Output, list[Any]]:
        """Go on over a chunk.

        Parameters
        ----------
        chunk : array or nest of arrays
            ``(samples, time, *features)``, of at least one timestep; but for the time, like the
            first chunk.
        mask : array or nested list, optional
            ``(samples, time)`` or ``(samples, time, 1)``, of the chunk, as for `rnn`.
        input_length : int, or array or list of ints, optional
            Of the chunk, as for `rnn`; ignored if there is a `mask`, unless it is one integer.

        Returns
        -------
        last_output : array or nest of arrays
            The output of the last timestep processed, ``(samples, *features)``.
        outputs : array or nest of arrays
            The outputs of the timesteps of the chunk, ``(samples, time, *features)``.
        states : list
            The states after the chunk, in the containers of `initial_states`.

        Raises
        ------
        ValueError
            If the chunk differs from the first in structure, samples, features or device, or as
            for `rnn`.
        TypeError
            If the chunk differs from the first in dtype or library; if something is traced or lazy;
            or as for `rnn`.
        Exception
            Any exception of the step function, with a note that names the timestep of the chunk.
        """
        now = self._now
        known = now.next_problem(chunk) if mask is None and input_length is None else None
        problem = known or self._read(chunk, mask, input_length)
        result = run(problem)
        expect_values([*result.carry.states, *(result.carry.output or ())])
        self._now = (
            now.after(problem, result, chunk) if known is None else now._replace(carry=result.carry)
        )
        return result.last_output, result.outputs, list(result.states)

    def _read(self, chunk: Any, mask: Any, input_length: Any) -> Problem:
        """Read a chunk that is not just like the last one."""
        now, options, initial_output = self._now, self._options, self._initial_output
        given: Any = (chunk, mask, input_length, now.carry.states, options.constants)
        expect_values(tree_leaves((given, initial_output)))
        now.expect_chunk(chunk)
        shared = read_inputs(STREAM, chunk, mask, input_length, options)
        problem = shared.problem(STREAM, self._step, now.states, initial_output)
        self._purity = self._purity or Purity(problem.xp)
        problem = problem._replace(purity=self._purity)
        if now.last is None:
            # A carry is compared with initial states whose dtypes only a chunk decides on.
            inputs = problem.inputs.leaves
            initial = [from_python(problem.xp, leaf, inputs) for leaf in self._initial.states]
            now.expect_initial(problem.start.states, initial)
        return now.going_on(problem)

    @property
    def states(self) -> list[Any]:
        """The states after the last chunk."""
        return self._now.states

    @property
    def carry(self) -> dict[str, Any]:
        """All that the next chunk needs."""
        return self._now.saved()

    @carry.setter
    def carry(self, carry: Mapping[str, Any]) -> None:
        self._now = self._now.resumed(carry)

    def reset(self, samples: Any = None) -> None:
        """Begin anew, with the initial states and the initial output.

        Parameters
        ----------
        samples : array or list of ints or bools, optional
            Which samples begin anew: indices, or one bool for each sample, ``(samples,)``. By
            default all do, and the stream is as if it had seen no chunk.

        Raises
        ------
        ValueError
            If a sample does not exist, or a state has no samples axis.
        TypeError
            If `samples` is of another type, dtype or library than described.
        """
        if samples is None:
            self._now = self._new
        else:
            self._now = self._now.reset(samples, self._initial.states, self._initial_output)
