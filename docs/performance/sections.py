"""What the page about performance says around its figures, and which of them stand where."""

from collections.abc import Callable
from typing import Any, NamedTuple

LIBRARIES = {
    "dask": "Dask",
    "gpu": "GPU",
    "jax": "JAX",
    "nile": "Nile",
    "pytorch": "PyTorch",
    "numba": "Numba",
    "numpy": "NumPy",
    "onnx": "ONNX",
    "torch": "PyTorch",
}


class Section(NamedTuple):
    """A part of the page."""

    title: str
    topics: tuple[str, ...]  # modules of tests/bench
    text: str
    tests: tuple[str, ...] = ()  # of these modules; all, if there are none
    apart: bool = False  # a table for each test
    plot: str = ""

    def takes(self, row: dict[str, Any]) -> bool:
        """Say whether a row belongs here."""
        return row["topic"] in self.topics and (not self.tests or row["test"] in self.tests)


def of(topic: str, against: str, test: str = "", on: str = "") -> Callable[[dict[str, Any]], bool]:
    """Return what says whether a row is of a topic and held against something."""
    return lambda row: (
        row["topic"] == topic
        and on in row["on"]
        and row["against"].startswith(against)
        and test in row["test"]
        and row["unit"].startswith(("ms", "µs"))
    )


# What the two sentences and the first plot compare.
GROUPS = {
    ("`rnn`", "a loop by hand"): of("speed", "by hand", "loop_by_hand"),
    ("`rnn`", "Keras 3's loop"): of("speed", "Keras"),
    ("`rnn`", "Keras 3's loop over one timestep or ten"): of("short_calls", "Keras"),
    ("`rnn` in `jax.jit`", "`lax.scan` by hand"): of("jax", "scan", "running"),
    ("`compiled.rnn`", "a loop by hand"): of("compiled", "by hand"),
    ("`compiled.rnn`", "the eager loop"): of("compiled", "eager", "against"),
    ("`compiled.rnn`", "Numba's loop"): of("compiled", "numba"),
    ("`compiled.rnn`", "`jax.jit` of the same loop"): of("compiled", "jax.jit", "other_ways"),
    ("`cells.run` on PyTorch", "`torch.nn.LSTM`"): of("cells", "torch.nn.LSTM", on="torch"),
    ("`cells.run` on NumPy", "`torch.nn.LSTM`"): of("cells", "torch.nn.LSTM", on="numpy"),
    ("`cells.run` on NumPy", "onnxruntime's LSTM"): of("cells", "onnxruntime"),
    ("`cells.run`", "Keras 3's LSTM layer"): of("cells", "Keras"),
    ("an exported loop", "onnxruntime's LSTM operator"): of("onnx", "operator"),
    ("`linear_scan`", "a loop by hand"): of("associative", "by hand", "linear_scan"),
}

WAYS = """![Time for each timestep against the number of timesteps](performance/ways.svg)"""
MATRICES = """![Time of linear_scan relative to a loop by hand, against the size of the matrices](performance/matrices.svg)"""

SECTIONS = (
    Section(
        "A loop by hand, and Keras",
        ("speed",),
        """`rnn` on NumPy and PyTorch. Where timesteps are small, the loop around the step is what takes the time; an
LSTM's products take longer than any loop. Keeping padding from the step with `samplewise=True` takes time where too
little is left out; [packing](guide/masks.md#packing) pays where much is. Nested states and outputs are compared with
one another at every timestep, which a loop by hand does not do.""",
    ),
    Section(
        "Short calls",
        ("short_calls",),
        """A call reads and checks its arguments, chooses a loop, and watches the first calls of the step for writes.
That counts where there are few timesteps: in controllers, simulations and servers that get one at a time. Keras
checks nothing, reads no nests, and lets a step write into its own results. A `Stream` knows a chunk that is like the
last one, and checks less.""",
    ),
    Section(
        "Inside `jax.jit`",
        ("jax",),
        """`rnn` inside `jax.jit` against a `lax.scan` written by hand, masking included, running and compiling. The
mask is an argument, so that its values are not known when the scan is compiled.""",
        apart=True,
    ),
    Section(
        "`compiled.rnn` against loops by hand",
        ("compiled",),
        """The time that recording the step takes at each call is included. *small* is in float64, *lstm* in float32;
shapes are (samples, time, features). The last word of a case is the loop, each the fastest of its kind: a plain one,
one that takes care of the order of memory and writes outputs into their place, and one without a step, with its
operations written into the loop.""",
        tests=("against_loops_by_hand",),
    ),
    Section(
        "`compiled.rnn` against other ways to run the same step",
        ("compiled",),
        """NumPy arrays to NumPy arrays: the eager loop, `jax.jit` around `rnn`, and an exported model in onnxruntime.
The first call compiles, or exports. The grid of the Nile is that of [the example](auto_gallery/plot_nile.rst), whose
operations are wide enough to take most of the time of an eager loop.""",
        tests=(
            "against_other_ways",
            "the_first_call",
            "the_overhead_of_a_call",
            "the_grid_of_the_nile",
            "all_grids_of_the_nile",
            "on_pytorch_against_eager",
            "fresh_closures",
        ),
        apart=True,
        plot=WAYS,
    ),
    Section(
        "Cells",
        ("cells",),
        """`cells.run` on two threads, float32, with a rest between calls in which idle threads stop spinning. Sizes
are samples × timesteps × features→units. On PyTorch it runs the same kernel as `torch.nn.LSTM`, so what differs is
the reading of arguments. On NumPy the products and the activations are NumPy's, and no match for oneDNN.""",
    ),
    Section(
        "ONNX",
        ("onnx",),
        """An exported LSTM in onnxruntime, on one thread, against the loop on NumPy and against a model of
onnxruntime's own LSTM operator. *Masked* means lengths, with outputs of zeros behind them, as the operator has.""",
    ),
    Section(
        "Dask",
        ("dask_workers",),
        """Two local worker processes of one thread each, against one; and the size of the graph, which depends on
the number of blocks and not on the number of timesteps. Other work on two cores shows here.""",
    ),
    Section(
        "Packing",
        ("packing",),
        """`samplewise=True` against the masked loop, for sequences of different lengths, and where nothing is
padded; and against `torch.nn.LSTM` on a packed sequence.""",
    ),
    Section(
        "Checkpoints",
        ("checkpoint",),
        """Gradients with `checkpoint`, against gradients without. Time grows, since steps are computed again; memory
is that of saved tensors on PyTorch, and the temporary memory of the compiled program on JAX.""",
    ),
    Section(
        "Streams",
        ("stream",),
        """A `Stream` over chunks of a sequence against one call of `rnn` over all of it, and the growth of the
process's memory over many chunks against that over few. With the last outputs only, the cost of a chunk shows beside
a very small step; larger chunks reduce it in proportion.""",
    ),
    Section(
        "Associative scans",
        ("associative",),
        """The recurrence `h = a * h + b`, time first, in float64: `linear_scan` and `associative_scan` of pairs,
against the loop that one would write, and against `jax.lax.associative_scan` in `jax.jit`. *Why wide elements gain
nothing* stands in [the guide](guide/associative_scan.md#when-a-loop-is-faster).""",
        apart=True,
        plot=MATRICES,
    ),
    Section(
        "Growth in time",
        ("scaling",),
        """Backward of a long sequence against as many backwards of a short one; and the peak of memory of a call
that keeps the last output only, for a long sequence against a short one.""",
    ),
)
