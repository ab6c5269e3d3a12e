"""State of a stream between two chunks: what it keeps, saves, resumes and resets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import array_api_compat

from arrayrnn._arguments.masks import read_array
from arrayrnn._libraries import host
from arrayrnn._libraries.foreign import in_native_order
from arrayrnn._libraries.operations import (
    device_of,
    is_of_host,
    namespace_of,
    swap_time_and_samples,
)
from arrayrnn._recurrence.axes import align
from arrayrnn._recurrence.errors import (
    Spec,
    came,
    describe,
    expect_arrays,
    expect_like,
    expect_of_library,
    expect_structure,
    is_listed,
)
from arrayrnn._recurrence.mask import placed
from arrayrnn._recurrence.nests import Named, Nest, tree_leaves
from arrayrnn._recurrence.options import expect_sequence
from arrayrnn._recurrence.output import Output, check_initial_output
from arrayrnn._recurrence.problem import Carry, Problem, Result
from arrayrnn._recurrence.words import STREAM
from arrayrnn._typing import Array, Namespace

_KEYS = ("states", "output")
_FIRST = "the first chunk"


class StreamState(NamedTuple):
    """Everything that changes in a stream, replaced as a whole: a failed call changes nothing."""

    state_nest: Nest
    carry: Carry
    output_nest: Nest | None = None  # None as long as neither a chunk nor a carry has shown it
    # Problem of the last chunk that was read, without its arrays: inputs have no timesteps, and
    # zeros stand for the output.
    last: Problem | None = None
    shape: tuple[int, ...] | None = None  # of that chunk, if it was one array

    @property
    def states(self) -> list[Any]:
        """The states in the caller's containers."""
        return list(self.state_nest.build(self.carry.states))

    @property
    def _knows_output(self) -> bool:
        """Whether the output of the last chunk is of the structure of the carry's."""
        output = None if self.last is None else self.last.output
        return output is not None and output.nest is self.output_nest

    def next_problem(self, chunk: Any) -> Problem | None:
        """Return the problem of a chunk that is like the last one in all but its values.

        None if the chunk has to be read. Type, shape, dtype and device tell: anything else has been
        checked before.
        """
        last, shape = self.last, self.shape
        if last is None or shape is None or self.carry.output is None or not self._knows_output:
            return None
        (model,) = last.inputs.leaves
        if not (
            type(chunk) is type(model)
            and chunk.shape == shape
            and chunk.dtype == model.dtype
            and device_of(chunk) == device_of(model)
            and host.has_values(last.xp, chunk)
        ):
            return None
        if not last.options.time_major:
            chunk = swap_time_and_samples(last.xp, chunk)
        return last._replace(inputs=last.inputs.replaced((chunk,)), start=self.carry)

    def going_on(self, problem: Problem) -> Problem:
        """Return the problem of a chunk that was read, going on from this state."""
        output = self.carry.output
        if output is None or self.output_nest is None:
            return problem  # from the initial output
        problem = problem._replace(start=Carry(problem.start.states, output), initial_nest=None)
        if self.last is not None and self._knows_output:
            return problem._replace(output=self.last.output)
        return problem._replace(output=Output.learn(problem, self.output_nest.build(output)))

    def after(self, problem: Problem, result: Result, chunk: Any) -> "StreamState":
        """Return the state after a chunk that was read."""
        xp, inputs = problem.xp, problem.inputs
        output = problem.output or Output.learn(problem, result.last_output)
        output = output._replace(models=output.zeros(problem))
        models = [
            xp.zeros((0, *x.shape[1:]), dtype=x.dtype, device=device_of(x)) for x in inputs.leaves
        ]
        last = problem._replace(
            inputs=inputs.replaced(models),
            start=Carry(()),
            mask=None,
            initial_nest=None,
            output=output,
        )
        # An integer length cuts off timesteps, and a chunk like this one would have more.
        is_whole = inputs.nest.is_leaf and chunk.shape[problem.options.time_axis] == problem.time
        shape = chunk.shape if is_whole else None
        return StreamState(self.state_nest, result.carry, output.nest, last, shape)

    def expect_chunk(self, chunk: Any) -> None:
        """Compare a chunk with the first."""
        if self.last is None:
            return
        xp, first, time_axis = self.last.xp, self.last.inputs, self.last.options.time_axis
        leaves = expect_structure(chunk, first.nest, "`chunk` is", _FIRST)
        named = Named([*map(in_native_order, leaves)], first.nest, "chunk")
        expect_of_library(named, xp, _FIRST)
        for k, (leaf, model) in enumerate(zip(named.leaves, first.leaves, strict=True)):
            samples, features = model.shape[1], tuple(model.shape[2:])
            if leaf.ndim > 1 and leaf.shape[1 - time_axis] != samples:
                raise ValueError(
                    f"{came(named, k)}; expected {samples} samples, as in {_FIRST}. A stream has "
                    "the same samples throughout; make one for each batch."
                )
            if leaf.ndim > 1 and tuple(leaf.shape[2:]) != features:
                axes = ("time, samples", "samples, time")[time_axis]
                raise ValueError(
                    f"{came(named, k)}; expected ({', '.join([axes, *map(str, features)])}), with "
                    f"the features of {_FIRST}."
                )
        specs = [Spec(x.shape, y.dtype) for x, y in zip(leaves, first.leaves, strict=True)]
        expect_like(named, specs, f"the {{}} of {_FIRST}")
        _expect_on_device(named, first.leaves, _FIRST)

    def saved(self) -> dict[str, Any]:
        """Return all that the next chunk needs."""
        output, nest = self.carry.output, self.output_nest
        shown = None if nest is None or output is None else nest.build(output)
        return {"states": self.states, "output": shown}

    def resumed(self, saved: Mapping[str, Any]) -> "StreamState":
        """Return the state that goes on from `saved`, after comparing it with this one."""
        _check_keys(saved)
        states, output = saved["states"], saved["output"]
        expect_values(tree_leaves([states, output]))
        expect_sequence(states, "carry['states']", "It has one entry for each state.")
        known = "the states of the stream"
        leaves = _alike(tuple(states), self.state_nest, self.carry.states, "carry['states']", known)
        name, nest = "carry['output']", self.output_nest
        before: Sequence[Array] | None = None
        if output is not None and nest is not None and self.carry.output is not None:
            before = _alike(output, nest, self.carry.output, name, "the last output")
        elif output is not None:
            named = Named.of(output, name)
            arrays = filter(array_api_compat.is_array_api_obj, [*leaves, *self.carry.states])
            model = next(arrays, None)
            if model is None:
                expect_arrays(named)
            else:
                expect_of_library(named, namespace_of(model), "the states")
            before, nest = named.leaves, named.nest
        return self._replace(carry=Carry(leaves, before), output_nest=nest)

    def expect_initial(self, states: Sequence[Array], initial: Sequence[Array]) -> None:
        """Compare the states of a carry with initial ones, once their dtypes are known."""
        tree, name = self.state_nest.build(states), "carry['states']"
        _alike(tree, self.state_nest, initial, name, f"`{STREAM.initial_states}`")

    def reset(self, samples: Any, initial: Sequence[Any], initial_output: Any) -> "StreamState":
        """Return the state in which some samples begin anew."""
        expect_values([samples])
        states, output = self.carry
        seen = None if self.last is None else self.last.inputs.leaves[0].shape[1]
        named = Named(states, self.state_nest, "states")
        count = _expect_rows(named, seen)
        if output is not None and self.output_nest is not None:
            _expect_rows(Named(output, self.output_nest, "output"), count)
        model = [*states, *(output or ()), *(self.last.inputs.leaves if self.last else ())][0]
        xp, device = namespace_of(model), device_of(model)
        rows = _read_samples(xp, samples, count, device)

        def anew(initial: Sequence[Array], current: Sequence[Array]) -> list[Array]:
            pairs = zip(initial, current, strict=True)
            return [xp.where(align(xp, rows, old.ndim), new, old) for new, old in pairs]

        if output is not None and self.output_nest is not None:
            before: Sequence[Array] = [xp.zeros_like(leaf) for leaf in output]
            if initial_output is not None:
                given = Named.of(initial_output, STREAM.initial_output)
                before = check_initial_output(given, self.output_nest, output, STREAM)
            output = anew(before, output)
        carry = Carry(anew(initial, states), output)
        expect_values([*carry.states, *(output or ())])
        return self._replace(carry=carry)


def expect_values(leaves: Sequence[Any]) -> None:
    """Refuse what is traced or lazy: a stream would keep it beyond the trace."""
    for leaf in leaves:
        if is_of_host(leaf) or not array_api_compat.is_array_api_obj(leaf):
            continue
        if not host.has_values(namespace_of(leaf), leaf):
            raise TypeError(
                f"a stream was given, or computed, {describe(leaf)} that has no values: it is "
                "traced or lazy; expected arrays with values, since a stream keeps them. Call "
                "`arrayrnn.rnn`, passing its `new_states` and `last_output` on as `initial_states` "
                "and `initial_output`."
            )


def _check_keys(saved: Any) -> None:
    if not isinstance(saved, Mapping):
        raise TypeError(f"`carry` is {describe(saved)}; expected a dict, as `carry` returns it.")
    if {*saved} != {*_KEYS}:
        raise ValueError(
            f"`carry` has the keys {sorted(map(str, saved))}; expected {sorted(_KEYS)}."
        )


def _alike(tree: Any, nest: Nest, models: Sequence[Any], name: str, model: str) -> tuple[Any, ...]:
    """Return the leaves of a part of a carry, after comparing them with others.

    Python numbers among the `models` have no dtype yet.
    """
    leaves = tuple(map(in_native_order, expect_structure(tree, nest, f"`{name}` is", model)))
    for k, (leaf, other) in enumerate(zip(leaves, models, strict=True)):
        one = Named((leaf,), Nest.of(0)[1], Named(leaves, nest, name).path(k))
        if array_api_compat.is_array_api_obj(other):
            expect_of_library(one, namespace_of(other), model)
            expect_like(one, [other], f"the {{}} of {model}")
            _expect_on_device(one, [other], model)
        elif not isinstance(leaf, int | float | complex) and getattr(leaf, "shape", None) != ():
            raise ValueError(f"{came(one, 0)}; expected one number.")
    return leaves


def _expect_on_device(named: Named, models: Sequence[Array], model: str) -> None:
    for k, (leaf, other) in enumerate(zip(named.leaves, models, strict=True)):
        device, expected = device_of(leaf), device_of(other)
        if None not in (device, expected) and device != expected:
            raise ValueError(
                f"`{named.path(k)}` is on device {device}; expected {expected}, that of {model}. "
                "Move it."
            )


def _expect_rows(named: Named, count: int | None) -> int:
    """Expect arrays with a row for each sample, and return how many there are."""
    for k, leaf in enumerate(named.leaves):
        is_array = array_api_compat.is_array_api_obj(leaf)
        if not is_array or leaf.ndim < 1 or count not in (None, leaf.shape[0]):
            raise ValueError(
                f"{came(named, k)}; expected (samples, ...), to reset some samples and not the "
                "others. Broadcast it to all samples, or reset all with `reset()`."
            )
        count = leaf.shape[0]
    if count is None:
        raise ValueError(
            "`samples` are given before the first chunk to a stream without states: expected None, "
            "since it does not know yet how many samples there are."
        )
    return count


def _read_samples(xp: Namespace, samples: Any, count: int, device: Any) -> Array:
    """Return booleans ``(count,)``, True for the samples that `samples` names or marks."""
    if not is_listed(samples) and not array_api_compat.is_array_api_obj(samples):
        raise TypeError(
            f"`samples` is {describe(samples)}; expected a list or an array, of indices or of "
            "bools, such as [0] for the first sample. None means all."
        )
    if is_listed(samples) and not samples:
        return xp.zeros(count, dtype=xp.bool, device=device)
    own_xp, samples = read_array(xp, samples, "samples", "initial_states")
    is_bool = own_xp.isdtype(samples.dtype, "bool")
    if not (is_bool or own_xp.isdtype(samples.dtype, "integral")) or samples.ndim != 1:
        raise TypeError(
            f"`samples` is {describe(samples)}; expected integers in one dimension, or one bool "
            "for each sample. None means all."
        )
    if is_bool:
        if samples.shape[0] != count:
            raise ValueError(
                f"`samples` is {describe(samples)}; expected one bool for each sample, shape "
                f"{(count,)}."
            )
        return placed(xp, own_xp, samples, device, "initial_states")
    if samples.shape[0]:
        least, most = int(own_xp.min(samples)), int(own_xp.max(samples))
        if least < 0 or most >= count:
            raise ValueError(
                f"`samples` has {least if least < 0 else most}; expected 0 <= sample < {count}, "
                "the samples of the stream."
            )
    every = own_xp.arange(count, device=device_of(samples))
    samples = own_xp.astype(samples, every.dtype)
    named = own_xp.expand_dims(every, axis=1) == own_xp.expand_dims(samples, axis=0)
    return placed(xp, own_xp, own_xp.any(named, axis=1), device, "initial_states")
