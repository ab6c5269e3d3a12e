"""Output: what the outputs of a step are like. Also the checks of all that a step returns."""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from arrayrnn._libraries.foreign import are_plain
from arrayrnn._libraries.operations import namespace_of
from arrayrnn._recurrence.axes import agree, is_open
from arrayrnn._recurrence.errors import (
    Spec,
    are_like,
    came,
    describe,
    dtype_name,
    expect_like,
    expect_of_library,
    expect_structure,
)
from arrayrnn._recurrence.nests import Named, Nest, NestMismatchError
from arrayrnn._recurrence.notes import note
from arrayrnn._recurrence.words import Words
from arrayrnn._typing import Array

if TYPE_CHECKING:
    from arrayrnn._recurrence.problem import Problem

_GIVEN = "what it is given"


class Output(NamedTuple):
    """Structure and specs of a step's output, learned from one; all others are held to it."""

    nest: Nest
    specs: Sequence[Spec]
    state_of: Sequence[int]  # for each leaf, which new state it was as well, or -1
    models: Sequence[Array]  # arrays like the leaves

    @classmethod
    def learn(cls, problem: "Problem", output: Any, new_states: Sequence[Array] = ()) -> "Output":
        """Learn from the first output, or from anything like it, after checking it."""
        leaves, nest = Nest.of(output)
        mask = problem.mask
        check_first(problem, leaves, nest, None if mask is None else mask.keep.shape[1])
        before, initial_nest = problem.start.output, problem.initial_nest
        if before is not None and initial_nest is not None:
            given = Named(before, initial_nest, problem.words.initial_output)
            check_initial_output(given, nest, leaves, problem.words)
        # Where blocks are computed again, a kept result would keep itself alive.
        keeps = problem.options.checkpoint is None
        models = leaves if keeps else [*map(problem.xp.zeros_like, leaves)]
        state_of = [_place(leaf, new_states) for leaf in leaves]
        return cls(nest, [Spec(leaf.shape, leaf.dtype) for leaf in leaves], state_of, models)

    def of_rows(self, count: int) -> "Output":
        """Return what outputs of fewer samples are like."""
        specs = [Spec((count, *shape[1:]), dtype) for shape, dtype in self.specs]
        return Output(self.nest, specs, self.state_of, self.models)

    def zeros(self, problem: "Problem") -> list[Array]:
        """Return leaves of zeros."""
        return [*map(problem.xp.zeros_like, self.models)]

    def initial(self, problem: "Problem") -> Sequence[Array]:
        """Return the leaves of the output of samples masked from the first timestep on."""
        start = problem.start.output
        return (
            self.zeros(problem) if start is None or problem.options.zero_output_for_mask else start
        )

    def check(self, output: Any, problem: "Problem") -> None:
        """Compare an output with the first one."""
        words = problem.words
        seen = f"`{words.function}` returned {words.any_output}"
        leaves = expect_structure(output, self.nest, seen, "the first timestep")
        named = words.returned_output(leaves, self.nest)
        expect_of_library(named, problem.xp, _GIVEN)
        expect_like(named, self.specs, "the first timestep's {}")

    def columns(
        self, outputs: Sequence[Any], problem: "Problem", times: range
    ) -> list[Sequence[Array]]:
        """Return for each leaf its values at all timesteps, after comparing them with the first.

        `outputs` are those of the last of `times`.
        """
        try:
            columns, spec_of = self.nest.columns(outputs), attrgetter("shape", "dtype")
            # One after the other: the garbage collector would go through thousands of specs.
            alike = all(
                spec_of(leaf) == spec
                for column, spec in zip(columns, self.specs, strict=True)
                for leaf in column
            )
        except (AttributeError, NestMismatchError):
            self._find_unlike(outputs, problem, times)
            raise
        if not alike:
            self._find_unlike(outputs, problem, times)
        return columns

    def _find_unlike(self, outputs: Sequence[Any], problem: "Problem", times: range) -> None:
        for t, output in zip(times[-len(outputs) :], outputs, strict=True):
            try:
                self.check(output, problem)
            except (TypeError, ValueError) as error:
                note(error, problem, t)
                raise


def expect_pair(result: Any, words: Words) -> None:
    if not isinstance(result, list | tuple):
        value = describe(result).replace("of type", "a value of type")
        raise TypeError(f"`{words.function}` returned {value}; expected a pair `{words.returns}`.")
    if len(result) != 2:
        raise TypeError(
            f"`{words.function}` returned a {type(result).__name__} of length {len(result)}; "
            f"expected a pair `{words.returns}`."
        )


def check_new_states(new: Any, problem: "Problem") -> None:
    """Compare the states that a step returned with the initial ones."""
    words, nest, count = problem.words, problem.state_nest, problem.state_nest.width
    if nest.is_flat and type(new) in (list, tuple) and are_like(new, problem.start.states):
        return
    if not isinstance(new, list | tuple):
        raise ValueError(
            f"`{words.function}` returned `{words.new_states}`, {describe(new)}; expected a list "
            f"or tuple of length {count}, one new state for each initial state."
        )
    if len(new) != count:
        raise ValueError(
            f"`{words.function}` returned {len(new)} state{'s' * (len(new) != 1)} where "
            f"`{words.initial_states}` has {count}. Return one new state for each initial state."
        )
    tree, known = tuple(new), nest
    for _ in range(words.state_depth):
        (tree,), known = tree, known.only_child
    seen = f"`{words.function}` returned {words.new_states_as_one}"
    leaves = expect_structure(tree, known, seen, f"`{words.initial_states}`")
    named = words.returned_states(leaves, nest)
    expect_of_library(named, problem.xp, _GIVEN)
    its = f"the {{}} of {words.initial_state}"
    expect_like(named, problem.start.states, its, lambda leaf: _dtype_cure(leaf, words))


def _dtype_cure(leaf: Array, words: Words) -> str:
    if dtype_name(leaf.dtype) in ("float16", "bfloat16"):
        return (
            " If this is mixed precision (autocast), cast the state back in the step, or disable "
            "autocast around the call."
        )
    return (
        f" Cast the state in the step, or give `{words.initial_states}` the dtype that the step "
        "computes."
    )


def check_first(problem: "Problem", leaves: Sequence[Any], nest: Nest, samples: Any) -> None:
    """Check the first output of a step; `samples` is None if nothing is masked."""
    words, least_rank = problem.words, 1 if problem.has_samples else 0
    named = words.returned_output(leaves, nest)
    if not are_plain(leaves) or {*map(namespace_of, leaves)} != {problem.xp}:
        expect_of_library(named, problem.xp, _GIVEN)
    for k, leaf in enumerate(leaves):
        if leaf.ndim < least_rank:
            raise ValueError(f"{came(named, k)}; expected {words.output_axes}.")
        if not is_open(samples) and not agree(leaf.shape[:1], (samples,)):
            raise ValueError(
                f"{came(named, k)}; under a mask or lengths expected (samples, ...) with samples = "
                f"{samples}."
            )


def check_initial_output(
    given: Named, nest: Nest, outputs: Sequence[Array | Spec], words: Words
) -> Sequence[Array]:
    """Compare an initial output with those of the step, and return its leaves."""
    seen = f"`{given.name}` is"
    leaves = expect_structure(given.build(), nest, seen, f"the output of `{words.function}`")
    for k, (leaf, output) in enumerate(zip(leaves, outputs, strict=True)):
        if not agree(leaf.shape, output.shape) or leaf.dtype != output.dtype:
            like = f"an array of shape {tuple(output.shape)} and dtype {dtype_name(output.dtype)}"
            raise ValueError(
                f"{came(given, k)}; expected it like the output of `{words.function}`, {like}."
            )
    return leaves


def _place(array: Array, arrays: Sequence[Array]) -> int:
    """Return where an array itself is among others, or -1."""
    return next((k for k, other in enumerate(arrays) if other is array), -1)
