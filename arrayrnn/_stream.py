"""`Stream`: a recurrence over a sequence that comes in chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, SupportsIndex

import array_api_compat

from arrayrnn._axes import align
from arrayrnn._carry import Carry, go_on
from arrayrnn._checks import arguments, results, streams
from arrayrnn._checks.wording import STREAM
from arrayrnn._compilers import never_compiled
from arrayrnn._held import Held
from arrayrnn._operations import device_of
from arrayrnn._problem import Problem
from arrayrnn._purity import Purity
from arrayrnn._reading import Direction, problems_of
from arrayrnn._samples import read_samples
from arrayrnn._states import from_python, states_apart
from arrayrnn._tree import tree_leaves
from arrayrnn._typing import Array, Input, Output, StepFunction
from arrayrnn.loops import loop_for

__all__ = ["Stream"]


class Stream(Generic[Input, Output]):
    """Iterate a step function over a sequence that comes in chunks.

    However a sequence is cut into chunks, they give exactly what one call of `rnn` gives over all
    of it. A stream holds what one chunk leaves to the next, and nothing else of the chunks.

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
    samplewise : bool, default: False
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
    Semantics, to the clause: ``docs/semantics.md``.

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
        samplewise: bool = False,
    ) -> None:
        arguments.step_function(step_function, STREAM)
        self._step_function = step_function
        self._initial_states, nest = states_apart(initial_states, STREAM.initial_states)
        self._constants = arguments.constants(constants)
        self._time_major = arguments.switch(time_major, "time_major")
        self._zero_output_for_mask = arguments.switch(zero_output_for_mask, "zero_output_for_mask")
        self._return_all_outputs = arguments.switch(return_all_outputs, "return_all_outputs")
        self._initial_output = initial_output
        self._samplewise = arguments.switch(samplewise, "samplewise")
        self._purity: Purity | None = None
        samples_axis = 1 if self._time_major else 0
        self._now = self._new = Held(nest, samples_axis, Carry(self._initial_states))

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
            What the step function raises, with a note that names the timestep of the chunk.
        """
        now = self._now
        states, before = now.carry.states, self._initial_output
        given: Any = (chunk, mask, input_length, states, self._constants, before)
        streams.with_values(tree_leaves(given))
        if now.chunks is not None:
            streams.chunk(chunk, now.chunks)
        direction = Direction(STREAM, self._step_function, self.states, self._initial_output)
        (problem,) = problems_of(
            [direction],
            chunk,
            mask=mask,
            constants=self._constants,
            unroll=False,
            input_length=input_length,
            time_major=self._time_major,
            zero_output_for_mask=self._zero_output_for_mask,
            return_all_outputs=self._return_all_outputs,
            samplewise=self._samplewise,
            checkpoint=None,
            progress=None,
        )
        if now.chunks is None:
            self._check_numbers(problem)
        carry = now.carry._replace(states=problem.states)
        like = None
        if now.output is not None and carry.output is not None:
            like = now.output, [problem.xp.zeros_like(leaf) for leaf in carry.output]
        self._purity = self._purity or Purity(problem.xp)
        problem = replace(problem, purity=self._purity)
        result, carry = go_on(problem, carry, like, loop_for(problem))
        streams.with_values([*carry.states, *(carry.output or ())])
        self._now = now.after(carry, result.last_output, problem.input_nest, problem.inputs)
        return result.last_output, result.outputs, list(result.states)

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
            return
        streams.with_values([samples])
        now, (states, output) = self._now, self._now.carry
        count = streams.to_reset(states, now.state_nest.paths("states"), now.samples)
        if output is not None and now.output is not None:
            streams.to_reset(output, now.output.paths("output"), count)
        model = [*states, *(output or ()), *(now.chunks.rows if now.chunks else ())][0]
        xp, device = array_api_compat.array_namespace(model), device_of(model)
        rows = read_samples(xp, samples, count, device)

        def anew(initial: Sequence[Array], current: Sequence[Array]) -> list[Array]:
            pairs = zip(initial, current, strict=True)
            return [xp.where(align(xp, rows, old.ndim), new, old) for new, old in pairs]

        carry = now.carry._replace(states=anew(self._initial_states, states))
        if output is not None and now.output is not None:
            before = [xp.zeros_like(leaf) for leaf in output]
            if self._initial_output is not None:
                results.initial_output(self._initial_output, now.output, output, STREAM)
                before = [*now.output.leaves(self._initial_output)]
            carry = carry._replace(output=anew(before, output))
        streams.with_values([*carry.states, *(carry.output or ())])
        self._now = replace(now, carry=carry)

    def _check_numbers(self, problem: Problem) -> None:
        """Compare a carry with initial states whose dtype the first chunk decides about."""
        xp, inputs = problem.xp, problem.inputs
        initial = [from_python(xp, leaf, inputs) for leaf in self._initial_states]
        states = self._now.state_nest.build(problem.states)
        streams.like(states, self._now.state_nest, initial, "carry['states']", "`initial_states`")
