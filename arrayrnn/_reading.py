"""Reading the arguments of the public functions into problems for the loops."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, SupportsIndex

import array_api_compat

from arrayrnn._axes import swap_time_and_samples
from arrayrnn._checks import arguments, masks, results
from arrayrnn._checks.wording import RNN, SCAN, Caller
from arrayrnn._masking import Mask, read_lengths, read_mask
from arrayrnn._operations import device_of
from arrayrnn._problem import Problem
from arrayrnn._states import from_python, read_states
from arrayrnn._tree import Nest
from arrayrnn._typing import Array, StepFunction

__all__ = ["Direction", "problem_of_rnn", "problem_of_scan", "problems_of"]


class Direction(NamedTuple):
    """What is one direction's own of the arguments that become problems."""

    caller: Caller
    step_function: Any
    initial_states: Any
    initial_output: Any = None
    go_backwards: bool = False
    in_input_order: bool = False


def problem_of_rnn(
    step_function: StepFunction[Any, Any],
    inputs: Any,
    initial_states: Sequence[Any] | Array,
    go_backwards: bool,
    mask: Any,
    constants: Sequence[Any] | None,
    unroll: bool | int,
    input_length: SupportsIndex | Sequence[int] | Array | None,
    time_major: bool,
    zero_output_for_mask: bool,
    return_all_outputs: bool,
    initial_output: Any,
    samplewise: bool,
    checkpoint: SupportsIndex | None,
    progress: bool | Callable[[int, int], object] | None,
    *,
    caller: Caller = RNN,
) -> Problem:
    """Check and read the arguments of `rnn`."""
    arguments.step_function(step_function, caller)
    go_backwards = arguments.switch(go_backwards, "go_backwards")
    direction = Direction(caller, step_function, initial_states, initial_output, go_backwards)
    (problem,) = problems_of(
        [direction],
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
    return problem


def problems_of(
    directions: Sequence[Direction],
    inputs: Any,
    *,
    mask: Any,
    constants: Sequence[Any] | None,
    unroll: bool | int,
    input_length: SupportsIndex | Sequence[int] | Array | None,
    time_major: bool,
    zero_output_for_mask: bool,
    return_all_outputs: bool,
    samplewise: bool,
    checkpoint: SupportsIndex | None,
    progress: bool | Callable[[int, int], object] | None,
) -> list[Problem]:
    """Check and read the arguments of runs over the same inputs; what they share is read once."""
    name = directions[0].caller.inputs
    for own in directions:
        arguments.step_function(own.step_function, own.caller)
    time_major = arguments.switch(time_major, "time_major")
    zero_output_for_mask = arguments.switch(zero_output_for_mask, "zero_output_for_mask")
    return_all_outputs = arguments.switch(return_all_outputs, "return_all_outputs")
    samplewise = arguments.switch(samplewise, "samplewise")
    unroll = arguments.unroll(unroll)
    checkpoint = arguments.checkpoint(checkpoint)
    arguments.progress(progress)
    leaves, input_nest = Nest.of(inputs)
    input_paths = input_nest.paths(name)
    samples, time = arguments.inputs(inputs, leaves, input_paths, name, time_major=time_major)
    xp = array_api_compat.array_namespace(leaves[0])
    first = (leaves[0], input_paths, 0)
    names = [own.caller.initial_states for own in directions]
    states = [
        read_states(xp, own.initial_states, leaves, argument)
        for own, argument in zip(directions, names, strict=True)
    ]
    state_paths = [nest.paths(own) for (_, nest), own in zip(states, names, strict=True)]
    arguments.placed_alike(xp, leaves, input_paths, first)
    initial_outputs = []
    for own, (arrays, _), paths in zip(directions, states, state_paths, strict=True):
        arguments.placed_alike(xp, arrays, paths, first)
        initial_outputs.append(own.initial_output)
        if own.initial_output is not None:
            before, before_nest = Nest.of(own.initial_output)
            before_paths = before_nest.paths(own.caller.initial_output)
            arguments.placed_alike(xp, before, before_paths, first)
            initial_outputs[-1] = before_nest.build(before)
    constants = arguments.constants(constants)
    length = masks.length(input_length, time, name)

    over_time = [x if time_major else swap_time_and_samples(xp, x) for x in leaves]
    keep = None
    if mask is not None:
        for own, (_, nest) in zip(directions, states, strict=True):
            masks.states_to_mask(nest, own.caller)
        keep = read_mask(xp, mask, samples, time, time_major=time_major, inputs=name)
    elif input_length is not None and length is None:
        keep = read_lengths(xp, input_length, samples, time, over_time[0], name)
    if length is not None:
        over_time = [x[:length, ...] for x in over_time]
    forwards = None
    if keep is not None:
        for (arrays, _), paths in zip(states, state_paths, strict=True):
            masks.states_under_mask(arrays, paths, samples)
        own_xp, kept = keep
        kept = kept if length is None else kept[:length, ...]
        forwards = Mask.of(xp, own_xp, kept, device_of(over_time[0]))

    return [
        Problem(
            xp=xp,
            caller=own.caller,
            step_function=own.step_function,
            inputs=over_time,
            input_nest=input_nest,
            time=time if length is None else length,
            states=arrays,
            state_nest=nest,
            constants=constants,
            mask=forwards if forwards is None or not own.go_backwards else forwards.backwards(),
            initial_output=initial_output,
            zero_output_for_mask=zero_output_for_mask,
            go_backwards=own.go_backwards,
            in_input_order=own.in_input_order,
            all_outputs=return_all_outputs,
            time_axis=0 if time_major else 1,
            unroll=unroll,
            samplewise=samplewise,
            checkpoint=checkpoint,
            progress=progress,
        )
        for own, (arrays, nest), initial_output in zip(
            directions, states, initial_outputs, strict=True
        )
    ]


def problem_of_scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: SupportsIndex | None,
    reverse: bool,
    unroll: bool | int,
    checkpoint: SupportsIndex | None,
    *,
    caller: Caller = SCAN,
) -> Problem:
    """Check and read the arguments of `scan`."""
    arguments.step_function(f, caller)
    reverse = arguments.switch(reverse, "reverse")
    unroll = arguments.unroll(unroll)
    checkpoint = arguments.checkpoint(checkpoint)
    leaves, nest = Nest.of(xs)
    paths = nest.paths("xs")
    time = arguments.xs(leaves, paths, length)
    states, state_nest = Nest.of((init,))
    state_paths = caller.state_paths(state_nest, "init")
    init_arrays = [k for k, leaf in enumerate(states) if array_api_compat.is_array_api_obj(leaf)]
    if leaves:
        first = (leaves[0], paths, 0)
    elif init_arrays:
        first = (states[init_arrays[0]], state_paths, init_arrays[0])
    else:
        raise TypeError(
            "`init` and `xs` hold no array; expected at least one, whose library runs the loop."
        )
    xp = array_api_compat.array_namespace(first[0])
    models = [*leaves, *(states[k] for k in init_arrays)]
    states = tuple(from_python(xp, leaf, models) for leaf in states)
    arguments.placed_alike(xp, leaves, paths, first)
    arguments.placed_alike(xp, states, state_paths, first)

    def step(x: Any, states: tuple[Any]) -> tuple[Any, tuple[Any]]:
        result = f(states[0], x)
        results.pair(result, caller)
        carry, y = result
        return y, (carry,)

    step.__wrapped__ = f  # type: ignore[attr-defined] # whose signature is of interest
    return Problem(
        xp=xp,
        caller=caller,
        step_function=step,
        inputs=leaves,
        input_nest=nest,
        time=time,
        states=states,
        state_nest=state_nest,
        go_backwards=reverse,
        in_input_order=True,
        unroll=unroll,
        checkpoint=checkpoint,
    )
