"""What each switch does on each library: the cells of a table in docs/libraries.md.

A test looks up what it has seen under what the table says, so the words are as binding as the rest.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import arrayrnn
from arrayrnn import compiled
from support import running
from support.abilities import Ability
from support.backends import Backend, assert_same
from support.oracle import Recorder
from support.running import rnn

PAGE = Path(__file__).parent.parent / "docs" / "libraries.md"
ROWS = {
    Backend.NUMPY: "NumPy, CuPy",
    Backend.CUPY: "NumPy, CuPy",
    Backend.TORCH: "PyTorch",
    Backend.TORCH_CUDA: "PyTorch",
    Backend.JAX: "JAX",
    Backend.JAX_JIT: "JAX, traced",
    Backend.DASK: "Dask",
    Backend.ONNX: "ndonnx",
}
OTHERS = "dpnp, array-api-strict, others"
COMPILED = "`arrayrnn.compiled`"
IN_TORCH_COMPILE = "PyTorch in `torch.compile`"
# What a cell says of calls that are not unrolled, and what of those that are.
APART = ("; unrolled: ", "; in the graph: ")

SAMPLES, TIME = 4, 6
LENGTHS = [6, 4, 3, 1]
WIDE = 8192  # features of which leaving out some rows is worth it
UNROLLED = pytest.mark.parametrize("unroll", [False, True])


def table():
    """Return the rows of the table, each by the names of its columns."""
    _, _, section = PAGE.read_text().partition("\n## What the switches do\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    columns = [name.strip("`") for name in header[1:]]
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}


def said(backend, column, *, unroll=False):
    """Return what the table says of a switch, called unrolled or not."""
    row = COMPILED if backend.is_compiled else ROWS.get(backend, OTHERS)
    return said_in(row, column, unroll=unroll)


def said_in(row, column, *, unroll=False):
    cell = table()[row][column]
    for mark in APART:
        if mark in cell:
            return cell.split(mark)[unroll is True]
    return cell


def step(x_t, states):
    level = 0.5 * states[0] * x_t + x_t
    return level, [level]


def run(backend, *, features=1, before=None, **options):
    """Run an average; return the first column of its outputs, and what the step was called with."""
    recorded = Recorder(step)
    x = backend.array(np.ones((SAMPLES, TIME, features), backend.float))
    h = backend.array(np.zeros((SAMPLES, features), backend.float))
    with running.known_shapes():
        outputs = rnn(recorded, x, [h], initial_output=before, **options)[1]
    return backend.numpy(outputs)[..., 0], recorded.inputs


def forget_programs(backend):
    if backend.is_compiled:
        compiled.cache_clear()


def calls_of_step(backend, **options):
    return len(run(backend, **options)[1])


def test_every_library_has_a_row_and_nothing_else_has():
    assert {*table()} == {*ROWS.values(), OTHERS, COMPILED, IN_TORCH_COMPILE}


def test_unroll(backend):
    forget_programs(backend)
    rolled, by_two, unrolled = (calls_of_step(backend, unroll=how) for how in (False, 2, True))
    if backend is Backend.DASK:  # its blocks call the step when they are computed
        assert rolled == by_two != unrolled
        rolled = by_two = 1
    each_timestep = rolled == by_two < unrolled == TIME
    as_ever = rolled == by_two == unrolled == TIME
    programs = compiled.cache_info().misses if backend.is_compiled else 0
    assert {
        "changes nothing": as_ever,
        "True: each timestep; else one `lax.scan`": each_timestep,
        "True: each timestep; else a task for each block": each_timestep,
        "True: each timestep; else one `Loop`": each_timestep,
        "True: all timesteps; else a loop": (rolled, by_two, unrolled, programs) == (1, 1, 1, 3),
    }[said(backend, "unroll")]


@UNROLLED
def test_samplewise(backend, unroll):
    options = {"input_length": LENGTHS, "features": WIDE, "unroll": unroll}
    outputs, seen = run(backend, samplewise=True, **options)
    np.testing.assert_allclose(outputs, run(backend, **options)[0])
    assert {x_t.shape[0] for x_t in seen} == {
        "packs": {4, 3, 2, 1},
        "changes nothing": {4},
        "chunks of samples apart, each packs": {2, 1},
    }[said(backend, "samplewise", unroll=unroll)]


@UNROLLED
def test_checkpoint(backend, unroll):
    options = {"input_length": LENGTHS, "unroll": unroll}
    outputs, seen = run(backend, checkpoint=2, **options)
    expected, usually_seen = run(backend, **options)
    np.testing.assert_array_equal(outputs, expected)
    assert said(backend, "checkpoint") in (
        "changes nothing",
        "recomputed by `torch.utils.checkpoint`",
        "recomputed by `jax.checkpoint`",  # see tests/loops/test_jax_checkpoints.py
    )
    if not (backend.library == "jax" and unroll):  # of which only blocks are unrolled
        assert len(seen) == len(usually_seen)


@pytest.mark.needs(Ability.CALLS)
@UNROLLED
def test_checkpoint_calls_the_step_again_in_backward(backend, unroll):
    if backend.library != "torch":
        pytest.skip(f"{backend} has no gradients without tracing")
    recorded, x = Recorder(step), backend.array(np.ones((2, TIME, 1))).requires_grad_()
    outputs = rnn(recorded, x, [backend.array(np.zeros((2, 1)))], checkpoint=4, unroll=unroll)[1]
    assert len(recorded.inputs) == TIME
    outputs.sum().backward()
    again = {"changes nothing": 0, "recomputed by `torch.utils.checkpoint`": TIME}
    assert len(recorded.inputs) == TIME + again[said(backend, "checkpoint", unroll=unroll)]


@UNROLLED
def test_progress(backend, unroll):
    reports = []
    run(backend, progress=lambda *report: reports.append(report), unroll=unroll)
    every = [(t, TIME) for t in range(1, TIME + 1)]
    assert reports == {"called": every, "not called": []}[said(backend, "progress", unroll=unroll)]


@UNROLLED
def test_initial_output(backend, unroll):
    forget_programs(backend)
    options = {"mask": np.asarray([[0, 1, 1, 1, 1, 1]] * SAMPLES), "unroll": unroll}
    for value in (5, 7):
        before = backend.array(np.full((SAMPLES, 1), value, backend.float))
        outputs, _ = run(backend, before=before, **options)
        np.testing.assert_array_equal(outputs[:, :2], [[value, 1]] * SAMPLES)
    what = said(backend, "initial_output")
    assert what in ("an array", "has a gradient", "lazy", "part of the model", "serves any values")
    if what == "serves any values":
        assert compiled.cache_info().misses == 1


@UNROLLED
def test_initial_output_has_a_gradient(backend, unroll):
    if said(backend, "initial_output") != "has a gradient":
        pytest.skip(f"{backend}: {said(backend, 'initial_output')}")
    x, h = (backend.array(np.ones(shape)) for shape in ((2, 3, 1), (2, 1)))
    before, mask = backend.array(np.full((2, 1), 7.0)), np.asarray([[0, 0, 1], [1, 1, 1]])

    def shown(before):
        return arrayrnn.rnn(step, x, [h], mask=mask, initial_output=before, unroll=unroll)[1].sum()

    if backend.library == "jax":
        gradient = backend.module.grad(shown)(before)
    else:
        gradient = backend.module.func.grad(shown)(before)
    assert_same(backend, gradient, np.asarray([[2], [0]], backend.float))


def test_compiled(backend):
    pytest.importorskip("jax")
    compiled.cache_clear()
    x, h = backend.array(np.ones((2, 3, 1))), backend.array(np.zeros((2, 1)))
    says = said(backend, "arrayrnn.compiled")
    if says == "refused":
        with pytest.raises(TypeError, match="takes arrays of NumPy, CuPy and PyTorch"):
            compiled.rnn(step, x, [h])
        return
    assert says == "one program"
    outputs = compiled.rnn(step, x, [h])[1]
    assert_same(backend, outputs, np.asarray([[[1], [1.5], [1.75]]] * 2, backend.float))
    assert compiled.cache_info().misses == 1


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@UNROLLED
def test_in_torch_compile(unroll):
    import torch
    from torch._dynamo.testing import CompileCounter

    rows, reports, graphs = [], [], CompileCounter()

    def counting(x_t, states):
        rows.append(x_t.shape[0])
        return step(x_t, states)

    @torch.compile(backend=graphs, fullgraph=unroll)
    def program(x):
        options = {"input_length": LENGTHS, "samplewise": True, "checkpoint": 2, "unroll": unroll}
        return arrayrnn.rnn(
            counting,
            x,
            [torch.zeros(SAMPLES, WIDE)],
            progress=lambda *report: reports.append(report),
            **options,
        )[1]

    def says(column):
        return said_in(IN_TORCH_COMPILE, column, unroll=unroll)

    outputs = program(torch.ones(SAMPLES, TIME, WIDE, requires_grad=True))
    assert says("unroll") == "True: in the graph; else left out of it"
    assert (graphs.op_count >= TIME) is unroll
    packs, whole = [4, 3, 3, 2, 1, 1], [SAMPLES] * TIME
    assert rows == {"packs": packs, "changes nothing": whole}[says("samplewise")]
    assert len(reports) == {"called": TIME, "not called": 0}[says("progress")]
    outputs.sum().backward()
    again = {"changes nothing": 0, "recomputed by `torch.utils.checkpoint`": TIME}
    assert len(rows) == TIME + again[says("checkpoint")]
