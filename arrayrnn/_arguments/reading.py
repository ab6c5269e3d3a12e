"""Reading the arguments of the public functions: inputs first, then the rest of a problem."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import array_api_compat

from arrayrnn._arguments.masks import Axes, read_length, read_lengths, read_mask
from arrayrnn._libraries.foreign import are_plain
from arrayrnn._libraries.operations import device_of, namespace_of, swap_time_and_samples
from arrayrnn._recurrence.axes import is_open, known
from arrayrnn._recurrence.errors import (
    describe,
    expect_axes,
    expect_samples,
    expect_together,
    fail_no_array,
)
from arrayrnn._recurrence.mask import Mask
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options, expect_sequence, read_switch
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Array, Namespace


class Inputs(NamedTuple):
    """Arguments that several runs can share: inputs, mask or lengths, and options."""

    xp: Namespace
    first: Named  # as it came; all other arrays belong to its library and device
    over_time: Named  # time first
    samples: Any
    time: Any
    mask: Mask | None  # for going forwards
    needs_states: bool  # a mask was given, and not only lengths
    options: Options

    def problem(
        self,
        words: Words,
        step: Any,
        initial_states: Any,
        initial_output: Any = None,
        *,
        go_backwards: bool = False,
        in_input_order: bool = False,
    ) -> Problem:
        """Read the arguments of one run."""
        xp, mask, step = self.xp, self.mask, read_step(step, words)
        go_backwards = go_backwards is True or read_switch(go_backwards, "go_backwards")
        leaves, state_nest = states_apart(initial_states, words.initial_states)
        if not are_plain(leaves):
            inputs = self.over_time.leaves
            leaves = tuple([from_python(xp, leaf, inputs) for leaf in leaves])
        states = words.initial(leaves, state_nest)
        expect_together(states, xp, self.first)
        output = None
        if initial_output is not None:
            output = Named.of(initial_output, words.initial_output)
            expect_together(output, xp, self.first)
        if mask is not None:
            if self.needs_states and not state_nest.width:
                raise ValueError(
                    f"`mask` is given and `{states.name}` is empty; expected at least one state, "
                    "which masked samples keep. Without states, select from the outputs."
                )
            expect_samples(states, self.samples)
        return Problem(
            xp=xp,
            words=words,
            step=step,
            inputs=self.over_time,
            time=self.time,
            start=Carry(states.leaves, None if output is None else output.leaves),
            state_nest=state_nest,
            initial_nest=None if output is None else output.nest,
            options=_with_promise(self.options, step, words),
            mask=mask.backwards() if mask is not None and go_backwards else mask,
            go_backwards=go_backwards,
            in_input_order=in_input_order,
        )


def read_inputs(
    words: Words, inputs: Any, mask: Any, input_length: Any, options: Options
) -> Inputs:
    """Read and check the arguments that several runs can share."""
    time_major = options.time_major
    named = Named.of(inputs, words.inputs)
    axes = read_over_time(inputs, named, time_major=time_major, least_rank=3)
    samples, time, name = axes
    if time == 0:
        raise ValueError(
            f"`{named.path(0)}` is {describe(named.leaves[0])}, without timesteps; expected at "
            "least one."
        )
    xp = namespace_of(named.leaves[0])
    expect_together(named, xp, named)
    length = None if input_length is None else read_length(input_length, time, name)
    over_time = [x if time_major else swap_time_and_samples(xp, x) for x in named.leaves]
    keep = None
    if mask is not None:
        keep = read_mask(xp, mask, axes, time_major=time_major)
    elif input_length is not None and length is None:
        keep = read_lengths(xp, input_length, axes, over_time[0])
    if length is not None:
        over_time, time = [x[:length, ...] for x in over_time], length
    whole = None
    if keep is not None:
        own_xp, kept = keep
        kept = kept if length is None else kept[:length, ...]
        whole = Mask.of(xp, own_xp, kept, device_of(over_time[0]))
    time_first, needs_states = named.replaced(over_time), mask is not None
    return Inputs(xp, named, time_first, samples, time, whole, needs_states, options)


def read_over_time(argument: Any, named: Named, *, time_major: bool, least_rank: int = 2) -> Axes:
    """Check arrays of samples and time, and return how many of each there are."""
    if argument is None:
        fail_no_array(argument, named.name)
    leaves = named.leaves
    if not leaves:
        raise ValueError(f"`{named.name}` is an empty nest; expected at least one array.")
    axes = "(time, samples, ...)" if time_major else "(samples, time, ...)"
    shared = ("samples", "time")

    def cure(leaf: Array) -> str:
        return _missing_axis(argument, leaf, time_major) if least_rank == 3 else ""

    expect_axes(named, axes, shared, least_rank, cure)
    first, second = leaves[0].shape[:2]
    if is_open(first) or is_open(second):
        first, second = (known([leaf.shape[axis] for leaf in leaves]) for axis in (0, 1))
    return Axes(second, first, named.name) if time_major else Axes(first, second, named.name)


def read_step(value: Any, words: Words) -> Any:
    """Return a step function after checking that it can be called."""
    if not callable(value):
        name = words.function
        raise TypeError(
            f"`{name}` is {describe(value)}; expected a callable "
            f"`{name}({words.takes}) -> {words.returns}`."
        )
    return value


def _with_promise(options: Options, step: Any, words: Words) -> Options:
    """Return the options, `samplewise` as the step promises if the caller leaves it open."""
    if options.samplewise is not None:
        return options
    promise = getattr(step, "samplewise", False)
    if promise is False:
        return options
    return replace(options, samplewise=read_switch(promise, f"{words.function}.samplewise"))


def states_apart(initial_states: Any, name: str) -> tuple[tuple[Any, ...], Nest]:
    """Return the leaves of the states, and their nest: a tuple with one entry for each state."""
    if type(initial_states) is not list and array_api_compat.is_array_api_obj(initial_states):
        initial_states = (initial_states,)
    expect_sequence(initial_states, name, "Put a single state into a list; [] means none.")
    return Nest.of(tuple(initial_states))


def from_python(xp: Namespace, number: Any, inputs: Sequence[Array]) -> Any:
    """Return a Python number as a 0-d array, and anything else as it is."""
    # NumPy's float64 is a Python float as well.
    if not isinstance(number, int | float | complex) or array_api_compat.is_array_api_obj(number):
        return number
    device = device_of(inputs[0])
    defaults = xp.__array_namespace_info__().default_dtypes(device=device)
    if isinstance(number, bool):
        dtype = xp.bool
    elif isinstance(number, int):
        dtype = defaults["integral"]
    else:
        kind = "real floating" if isinstance(number, float) else "complex floating"
        own = (x.dtype for x in inputs if xp.isdtype(x.dtype, kind))
        dtype = next(own, defaults[kind])
    return xp.asarray(number, dtype=dtype, device=device)


def _missing_axis(inputs: Any, leaf: Array, time_major: bool) -> str:
    """Say how an array of fewer than three dimensions, or a list of such, may have been meant."""
    if isinstance(inputs, list | tuple):
        return (
            " A list is a nest, whose arrays go side by side. If these are sequences, one for each "
            "sample, pass what `pad_sequences` makes of them, or, if they are equally long, "
            "`stack`."
        )
    if leaf.ndim < 2:
        return " For one number at each timestep of one sample: `x[None, :, None]`."
    samples = "x[:, None]" if time_major else "x[None]"
    return (
        f" If it is one sample, (time, features): `{samples}`. If it is one number for each sample "
        "and timestep: `x[..., None]`."
    )
