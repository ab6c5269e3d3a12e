"""Calls of `rnn` as they are drawn for tests of properties, and what they should return."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import optree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.backends import Backend
from support.running import rnn

__all__ = ["EXAMPLES", "NESTS", "Call", "calls", "most_unrolled", "property_of_calls", "to_numpy"]

# Every new shape costs some of these libraries compilations, every call a traced one.
# Fewest where each is traced, exported or compiled. NumPy draws 200, strict 30 on each device.
EXAMPLES = {
    "jax": 5,
    "jax:jit": 6,
    "numpy:compiled": 6,
    "torch:compiled": 6,
    "dask": 6,
    "onnx": 2,
    "dpnp": 6,
    "cupy": 12,
    "cupy:compiled": 3,
    "torch:cpu": 50,
    "torch:cuda": 12,
    "torch:cuda:compiled": 3,
}


def property_of_calls(check: Callable[[Backend, "Call"], None]) -> Callable[[Backend], None]:
    """Turn ``check(backend, call)`` into a test over drawn calls."""

    def test(backend: Backend) -> None:
        @settings(
            max_examples=EXAMPLES.get(str(backend), 30 if backend.library == "strict" else 200),
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(calls(backend))
        def holds(call: Call) -> None:
            check(backend, call)

        holds()

    test.__doc__ = check.__doc__
    return test


# ---------------------------------------------------------------------------------- the step


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array to be drawn."""

    dtype: str
    features: tuple[int, ...]

    def values(self, random: np.random.Generator, *axes: int) -> np.ndarray:
        low = 0 if self.dtype.startswith(("uint", "bool")) else -3
        high = 1 if self.dtype == "bool" else low + 6
        shape = (*axes, *self.features)
        return random.integers(low, high, shape, endpoint=True).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Step:
    """Digits to base 7, so that every dtype computes exactly; each result depends on everything."""

    output: Any  # a nest of `Leaf`s; None for the first state
    states: int
    passes_last_state: bool  # on, as the very object
    lists: bool
    mixes: bool = False  # samples

    def __call__(self, x_t: Any, states: tuple[Any, ...]) -> tuple[Any, Any]:
        states, constants = states[: self.states], states[self.states :]
        xp = array_api_compat.array_namespace(optree.tree_leaves(x_t)[0])
        total = _digits(xp, (x_t, states, [c for c in constants if c is not ANYTHING]))
        if self.mixes:
            total = (total + xp.sum(total, axis=0, keepdims=True, dtype=total.dtype)) % 7
        new = optree.tree_map(lambda old: _next(xp, old, total), states)
        if self.passes_last_state:
            new = (*new[:-1], states[-1])
        total = total + _digits(xp, (x_t, new))
        output = optree.tree_map(lambda leaf: _shown(xp, leaf, total), self.output)
        return new[0] if self.output is None else output, list(new) if self.lists else new


ANYTHING = object()  # a constant that only its identity is known of


def _digits(xp: Any, tree: Any) -> Any:
    total = 0
    for x in optree.tree_leaves(tree):
        features = x.shape[1:]
        dtype = x.dtype if xp.isdtype(x.dtype, "real floating") else xp.int32
        device = array_api_compat.device(x)
        weights = xp.arange(1, math.prod(features) + 1, dtype=dtype, device=device)
        digit = xp.astype(x, dtype) * xp.reshape(weights, (1, *features))
        for _ in features:
            digit = xp.sum(digit, axis=-1, dtype=dtype)
        total = total + xp.astype(digit % 7, xp.int32)
    return total % 7


def _next(xp: Any, old: Any, total: Any) -> Any:
    total = total[(..., *(None,) * (old.ndim - 1))]
    if xp.isdtype(old.dtype, "bool"):
        return xp.logical_and(total % 2 == 1, xp.logical_not(old))
    return (3 * old + xp.astype(total, old.dtype)) % 7


def _shown(xp: Any, leaf: Leaf, total: Any) -> Any:
    size = math.prod(leaf.features)
    numbers = xp.arange(size, dtype=xp.int32, device=array_api_compat.device(total))
    shown = total[(..., *(None,) * len(leaf.features))] + xp.reshape(numbers, (1, *leaf.features))
    return shown % 2 == 1 if leaf.dtype == "bool" else xp.astype(shown % 7, getattr(xp, leaf.dtype))


# ---------------------------------------------------------------------------------- the calls


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of `rnn` with NumPy arrays, batch-major.

    With `samplewise=True` there is garbage wherever a sample is masked.
    """

    step: Any
    inputs: Any
    initial_states: Any
    options: dict[str, Any]
    mask_as: str
    lengths_as: str
    garbage: tuple[float, int]

    @property
    def samples(self) -> int:
        return optree.tree_leaves(self.inputs)[0].shape[0]

    @property
    def time(self) -> int:
        return optree.tree_leaves(self.inputs)[0].shape[1]

    @property
    def kept(self) -> np.ndarray:
        mask, lengths = self.options["mask"], self.options["input_length"]
        return kept_timesteps(self.samples, self.time, mask, lengths)

    def with_options(self, **options: Any) -> "Call":
        return dataclasses.replace(self, options=self.options | options)

    def over_all_timesteps(self, **options: Any) -> "Call":
        """Return the call without an integer as `input_length`."""
        if isinstance(self.options["input_length"], int):
            options["input_length"] = None
        return self.with_options(**options)

    def at(self, times: range) -> "Call":
        """Return the call over some of the timesteps."""
        mask, lengths = self.options["mask"], self.options["input_length"]
        if lengths is not None:
            rest = np.clip(lengths.astype(int) - times.start, 0, len(times))
            lengths = rest.astype(lengths.dtype)
        inputs = optree.tree_map(lambda x: x[:, times], self.inputs)
        call = dataclasses.replace(self, inputs=inputs)
        mask = None if mask is None else mask[:, times]
        return call.with_options(mask=mask, input_length=lengths)

    def expected(self) -> Any:
        options = dict(self.options)
        inputs, options["mask"] = self._given()
        with np.errstate(all="raise"):
            return oracle(self.step, inputs, self.initial_states, **options)

    def arguments(self, backend: Backend) -> tuple[Any, Any, dict[str, Any]]:
        """Return inputs, states and options as arrays of the backend; read-only in NumPy."""
        options = dict(self.options)
        inputs, options["mask"] = self._given()
        options["mask"] = _as(backend, self.mask_as, options["mask"])
        options["input_length"] = _as(backend, self.lengths_as, options["input_length"])
        if options["initial_output"] is not None:
            options["initial_output"] = backend.arrays(options["initial_output"])
        if options["constants"]:
            options["constants"] = [backend.array(options["constants"][0], "int32"), ANYTHING]
        inputs, states = backend.arrays((inputs, self.initial_states))
        if backend.library == "numpy":
            for array in optree.tree_leaves((inputs, states, options["initial_output"])):
                array.setflags(write=False)
        return inputs, states, options

    def run(self, backend: Backend, **changes: Any) -> Any:
        inputs, states, options = self.arguments(backend)
        return rnn(self.step, inputs, states, **options | changes)

    def _given(self) -> tuple[Any, Any]:
        """Return inputs, garbage in what no step may see, and mask, in the order of axes asked."""
        seen = np.zeros((self.samples, self.time), dtype=bool)
        seen[:, : self.kept.shape[1]] = self.kept

        def spoilt(x: np.ndarray) -> np.ndarray:
            if self.options["samplewise"]:
                garbage = np.asarray(self.garbage[x.dtype.kind != "f"])
                with np.errstate(over="ignore"):
                    x = np.where(_align(seen, x), x, garbage.astype(x.dtype))
            return x.swapaxes(0, 1) if self.options["time_major"] else x

        mask = self.options["mask"]
        if mask is not None and self.options["time_major"]:
            mask = mask.swapaxes(0, 1)
        return optree.tree_map(spoilt, self.inputs), mask


def _align(mask: np.ndarray, x: np.ndarray) -> np.ndarray:
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def to_numpy(backend: Backend, tree: Any) -> Any:
    return optree.tree_map(backend.numpy, tree)


def _as(backend: Backend, kind: str, values: Any) -> Any:
    """Return a mask or lengths as what a caller may pass them as."""
    if values is None or isinstance(values, int) or kind == "numpy":
        return values
    return values.tolist() if kind == "list" else backend.array(values, values.dtype.name)


NESTS = st.recursive(
    st.just(0),
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=2),
        st.tuples(children),
        st.tuples(children, children),
        st.fixed_dictionaries({"b": children, "a": children}),
        st.builds(Pair, children, children),
    ),
    max_leaves=3,
)


def most_unrolled(backend: Backend) -> int:
    """Return how many timesteps a Python loop is to run over."""
    # Programs grow with them, and are long in the making.
    return 9 if backend.is_traced else 130


# The longer ones lie around the sizes of the blocks in which timesteps are taken.
SOME_TIMES = st.sampled_from([*range(1, 9), *range(2, 9), 16, 17, 33, 64, 65, 130])


@st.composite
def calls(draw: Any, backend: Backend) -> Call:
    dtypes = [
        name
        for name in ("float64", "float32", "bool", "int8", "int32", "int64", "uint8")
        if backend.supports(name)
    ]
    if backend.library in ("numpy", "torch", "jax", "cupy"):
        dtypes.append("float16")

    def leaves(ranks: range) -> st.SearchStrategy[Leaf]:
        features = st.sampled_from(ranks).flatmap(
            lambda rank: st.tuples(*[st.sampled_from([1, 2, 3, 0, 2])] * rank)
        )
        return st.builds(Leaf, st.sampled_from(dtypes), features)

    def nest(ranks: range) -> Any:
        return optree.tree_map(lambda _: draw(leaves(ranks)), draw(NESTS))

    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples, time = draw(st.integers(0, 4)), draw(SOME_TIMES)
    inputs = optree.tree_map(lambda leaf: leaf.values(random, samples, time), nest(range(1, 4)))
    count = draw(st.integers(0, 3))
    states = [
        optree.tree_map(lambda leaf: leaf.values(random, samples), nest(range(4)))
        for _ in range(count)
    ]
    lone = count == 1 and isinstance(states[0], np.ndarray) and draw(st.booleans())
    output = draw(st.none()) if count and draw(st.booleans()) else nest(range(4))
    step = Step(output, count, draw(st.booleans()) and count > 1, draw(st.booleans()))
    initial_output = None
    if draw(st.booleans()):
        initial_output = (
            optree.tree_map(lambda s: s[::-1].copy(), states[0])
            if output is None
            else optree.tree_map(lambda leaf: leaf.values(random, samples), output)
        )
    mask = draw(masks(backend, random, samples, time)) if count else None
    return Call(
        step,
        inputs,
        states[0] if lone else tuple(states) if draw(st.booleans()) else states,
        {
            "go_backwards": draw(st.booleans()),
            "mask": mask,
            "constants": draw(st.sampled_from([None, (), [np.asarray([[5]], "int32"), ANYTHING]])),
            "unroll": draw(st.sampled_from([False, time <= most_unrolled(backend), 2])),
            "input_length": draw(lengths(random, samples, time)),
            "time_major": draw(st.booleans()),
            "zero_output_for_mask": draw(st.booleans()),
            "return_all_outputs": draw(st.booleans()),
            "initial_output": initial_output,
            "samplewise": draw(st.booleans()),
            "checkpoint": draw(st.sampled_from([None, None, 1, 2])),
        },
        # As lists these would not say how many timesteps, or which dtype, they are of.
        mask_as=draw(st.sampled_from(["own", "numpy", "list" if samples else "own"])),
        lengths_as=draw(st.sampled_from(["own", "numpy", "list" if samples else "own"])),
        garbage=draw(st.sampled_from(GARBAGE)),
    )


GARBAGE = [(np.nan, -1), (np.inf, 2**62), (-np.inf, -(2**62)), (1e38, 100)]


@st.composite
def masks(draw: Any, backend: Backend, random: Any, samples: int, time: int) -> Any:
    share = draw(st.sampled_from([None, None, 0.0, 0.2, 0.5, 0.8, 1.0]))
    if share is None:
        return None
    mask = random.random((samples, time)) < share
    mask |= random.random(time) < draw(st.sampled_from([0.0, 0.4]))  # whole timesteps of one kind
    mask &= random.random(time) < draw(st.sampled_from([1.0, 0.6]))
    dtype = draw(st.sampled_from(["bool", "bool", "uint8", "int64", "float32"]))
    values = [1] if dtype == "bool" else [1, 2, 200] if dtype == "uint8" else [1, -1, 256]
    mask = np.where(mask, random.choice(values, mask.shape), 0)
    mask = mask * 0.25 if dtype == "float32" else mask
    mask = mask.astype(dtype if backend.supports(dtype) else "int32")
    return mask[:, :, np.newaxis] if draw(st.booleans()) else mask


@st.composite
def lengths(draw: Any, random: Any, samples: int, time: int) -> Any:
    kind = draw(st.sampled_from([None, None, "one", "int32", "uint8"]))
    if kind is None:
        return None
    if kind == "one":
        return draw(st.integers(1, time))
    return random.integers(0, time, samples, endpoint=True).astype(kind)


# ---------------------------------------------------------------------------------- the oracle


def oracle(
    step_function: Any,
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: Any = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
    *,
    initial_output: Any = None,
    samplewise: bool = False,
    checkpoint: Any = None,
) -> tuple[Any, Any, list[Any]]:
    """Return what `rnn` should, from NumPy arrays, one sample and one timestep at a time.

    There is no mask in the recurrence: a sample's masked timesteps are left out of it, and filled
    in afterwards.
    """
    del unroll, samplewise, checkpoint  # none changes a result
    if isinstance(initial_states, np.ndarray):
        initial_states = [initial_states]
    if time_major:
        inputs = optree.tree_map(lambda x: x.swapaxes(0, 1), inputs)
        mask = mask if mask is None else mask.swapaxes(0, 1)
    samples, time = optree.tree_leaves(inputs)[0].shape[:2]
    kept = kept_timesteps(samples, time, mask, input_length)
    steps = range(kept.shape[1])
    order = steps[::-1] if go_backwards else steps
    constants = tuple(constants or ())

    def run(s: int) -> tuple[dict[int, Any], Any]:
        """Run one sample over its own timesteps; return its outputs there, and its states."""
        states, outputs = _row(tuple(initial_states), s), {}
        for t in order:
            if kept[s, t]:
                x_t = optree.tree_map(lambda x, t=t: x[s : s + 1, t], inputs)
                outputs[t], new = step_function(x_t, (*states, *constants))
                states = optree.tree_structure(states).unflatten(optree.tree_leaves(new))
        return outputs, states

    runs = [run(s) for s in range(samples)]
    called = [output for outputs, _ in runs for output in outputs.values()]
    if not called:  # the shapes of the output have to come from somewhere
        x_t = optree.tree_map(lambda x: np.zeros((1, *x.shape[2:]), x.dtype), inputs)
        states = optree.tree_map(
            lambda state: np.zeros((1, *state.shape[1:]), state.dtype), tuple(initial_states)
        )
        called = [step_function(x_t, (*states, *constants))[0]]
    zeros = optree.tree_map(np.zeros_like, called[0])

    def shown(s: int) -> list[Any]:
        """Return the outputs of a sample at all timesteps, in order of iteration."""
        outputs, filled = runs[s][0], []
        previous = zeros if initial_output is None else _row(initial_output, s)
        for t in order:
            previous = outputs.get(t, zeros if zero_output_for_mask else previous)
            filled.append(previous)
        return filled

    rows = [shown(s) for s in range(samples)]
    by_time = [_batch([row[i] for row in rows], zeros) for i in range(len(steps))]
    outputs = optree.tree_map(
        lambda *leaves: np.stack(leaves, axis=0 if time_major else 1),
        *(by_time if return_all_outputs else by_time[-1:]),
    )
    return by_time[-1], outputs, [*_batch([new for _, new in runs], tuple(initial_states))]


def kept_timesteps(samples: int, time: int, mask: Any, lengths: Any) -> np.ndarray:
    """Return which timesteps each sample sees, ``(samples, timesteps that exist)``."""
    steps = lengths if isinstance(lengths, int) else time
    kept = np.ones((samples, steps), dtype=bool)
    for s in range(samples):
        for t in range(steps):
            if mask is not None:
                kept[s, t] = mask[s, t].item() != 0
            elif isinstance(lengths, np.ndarray):
                kept[s, t] = t < lengths[s]
    return kept


def _row(tree: Any, s: int) -> Any:
    return optree.tree_map(lambda leaf: leaf[s : s + 1], tree)


def _batch(rows: list[Any], like: Any) -> Any:
    """Put samples together; `like` gives their structure if there are none."""
    if not rows:
        return optree.tree_map(lambda leaf: leaf[:0], like)
    return optree.tree_map(lambda *leaves: np.concatenate(leaves), *rows)
