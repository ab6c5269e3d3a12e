"""One seed, one case."""

import math
from dataclasses import replace

import numpy as np
import optree

from cases import Case, Pair, Spec, spec

NESTS = ["tuple", "list", "namedtuple", "dict", "deep"]
FLOATS = [("float32",), ("float64",), ("float32", "float64")]
MIXING = ["mean", "maximum", "mean of unmasked", "first row", "mean of states"]
DTYPES = ("bool", "int32", "int64", "float16", "float32", "float64")


class Draw:
    """What is drawn of a certain size, and of numbers that are computed with exactly or not."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        # A few are long enough for a loop that takes its timesteps in blocks.
        self.time = self.number(65, 150) if self.chance(0.02) else self.number(1, 7)
        self.samples = self.number(1, 4)
        self.exact = self.chance(0.4)
        self.dtypes = DTYPES if self.exact else self.pick(*FLOATS)

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def features(self, fewest):
        rank = self.number(fewest, 3)
        return tuple(self.number(1, 3 if rank < 3 else 2) for _ in range(rank))

    def nest(self, leaf, *, arrays):
        """Draw one array alone `arrays` times as often as any certain container."""
        match self.pick(*["array"] * arrays, *NESTS):
            case "array":
                return leaf()
            case "tuple":
                return tuple(leaf() for _ in range(self.number(1, 3)))
            case "list":
                return [leaf() for _ in range(self.number(1, 3))]
            case "namedtuple":
                return Pair(leaf(), leaf())
            case "dict":
                return {"b": leaf(), "a": leaf()}
            case "deep":
                return (leaf(), {"c": [leaf()]})

    def array(self, shape, *more_dtypes):
        dtype = self.pick(*self.dtypes, *more_dtypes)
        if dtype == "bool":
            numbers = self.rng.random(shape) < 0.5
        elif self.exact or dtype == "int32":
            numbers = self.rng.integers(-3, 4, shape)
        else:
            numbers = self.rng.standard_normal(shape)
        return np.asarray(numbers, dtype)

    def weights(self, width, size):
        if self.exact:
            return self.rng.integers(-2, 3, (width, size)).astype("float64")
        return self.rng.standard_normal((width, size)) / math.sqrt(width)

    def mask(self):
        samples, time = self.samples, self.time
        lengths = self.rng.integers(0, time + 1, (samples, 1))
        match self.pick("random", "random", "right", "right", "left", "left", "none", "all"):
            case "random":
                kept = self.rng.random((samples, time)) < 0.6
            case "right":
                kept = np.arange(time) < lengths
            case "left":
                kept = np.arange(time) >= lengths
            case "none":
                kept = np.full((samples, time), fill_value=False)
            case "all":
                kept = np.full((samples, time), fill_value=True)
        # Any number but zero keeps a timestep.
        keeps, dtype = self.pick((1, "bool"), (1, "bool"), (-2, "int32"), (0.5, "float32"))
        mask = (kept * keeps).astype(dtype)
        return mask[..., None] if self.chance(0.5) else mask

    def kept(self, mask, input_length):
        """Give what a step is told that looks at unmasked samples only."""
        kept = np.ones((self.samples, self.time, 1), dtype="float32")
        if mask is not None:
            kept *= mask.reshape(kept.shape) != 0
        elif isinstance(input_length, np.ndarray):
            kept *= (np.arange(self.time) < input_length[:, None])[..., None]
        return kept

    def input_length(self):
        match self.pick("none", "none", "none", "none", "integer", "array"):
            case "none":
                return None
            case "integer":
                return self.number(1, self.time)
            case "array":
                lengths = self.rng.integers(0, self.time + 1, self.samples)
                return lengths.astype(self.pick("int32", "int32", "int32", "int64", "int8"))


def draw(seed):
    d = Draw(seed)
    mask = d.mask() if d.chance(0.6) else None
    input_length = d.input_length()
    held = mask is not None or isinstance(input_length, np.ndarray)

    fewest = 0 if d.chance(0.1) else 1
    integers = ["int32"] if d.chance(0.2) else []
    inputs = d.nest(lambda: d.array((d.samples, d.time, *d.features(1)), *integers), arrays=7)
    number = 0 if d.chance(0.02 if held else 0.15) else d.number(1, 3)
    states = [
        d.nest(lambda: d.array((d.samples, *d.features(fewest))), arrays=5) for _ in range(number)
    ]
    output = d.nest(lambda: Spec(d.features(fewest), d.pick(*d.dtypes)), arrays=14)
    tied = number > 0 and d.chance(0.2)
    if tied:
        output = optree.tree_map(spec, states[0])

    mixing = d.pick(*MIXING) if d.chance(0.35) else None
    if mixing == "mean of states" and number == 0:
        mixing = "mean"
    if mixing == "mean of unmasked":
        inputs = (inputs, d.kept(mask, input_length))

    width = sum(x[0, 0].size for x in optree.tree_leaves(inputs))
    width += sum(x[0].size for x in optree.tree_leaves(states))
    sizes = [math.prod(spec(x).features) for x in optree.tree_leaves((output, states))]

    counter = None
    if not held and d.chance(0.2):
        counter = d.number(0, number)
        states.insert(counter, np.full(d.pick((), (1,)), 2, d.pick("int32", d.dtypes[-1])))
    container = d.pick(list, tuple, Pair._make if len(states) == 2 else tuple)
    bare = number == len(states) == 1 and isinstance(states[0], np.ndarray) and d.chance(0.2)

    case = Case(
        seed=seed,
        exact=d.exact,
        inputs=inputs,
        initial_states=states[0] if bare else container(states),
        counter=counter,
        output=output,
        tied=tied,
        mixing=mixing,
        weights=[d.weights(width, size) for size in sizes],
        constants=d.pick(None, None, list, tuple),
        returns=d.pick(list, tuple),
        options={
            "go_backwards": d.chance(0.5),
            "mask": mask,
            "unroll": d.pick(False, False, False, False, True, True, 2),
            "input_length": input_length,
            "time_major": False,
            "zero_output_for_mask": d.chance(0.4),
            "return_all_outputs": d.chance(0.7),
        },
        samplewise=mixing is None and d.chance(0.4),
        respelled=d.chance(0.2),
    )
    if case.samplewise and d.chance(0.5):
        # The step must not see it: without the promise it does.
        case = padded_with_nan(case)
    if d.chance(0.4):
        case = with_time_first(case)
    for leaf in optree.tree_leaves((case.inputs, case.initial_states)):
        leaf.setflags(write=False)
    return case


def padded_with_nan(case):
    def pad(x):
        kept = case.kept.reshape(case.kept.shape + (1,) * (x.ndim - 2))
        return np.where(kept, x, np.asarray(np.nan, x.dtype)) if x.dtype.kind == "f" else x

    return replace(case, inputs=optree.tree_map(pad, case.inputs))


def with_time_first(case):
    mask = case.options["mask"]
    mask = None if mask is None else mask.swapaxes(0, 1)
    inputs = optree.tree_map(lambda x: x.swapaxes(0, 1), case.inputs)
    return replace(case, inputs=inputs).with_options(time_major=True, mask=mask)
