"""`torch.compile` makes one graph of what is unrolled, and leaves other runs as they are."""

import shutil
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

from arrayrnn import rnn
from support.on_torch import (
    MASK,
    counting,
    decaying,
    dynamo,
    in_one_graph,
    quiet_about_caches,
    quiet_about_script,
    torch,
)

pytestmark = pytest.mark.usefixtures("torch_only")


class Pair(NamedTuple):
    first: Any
    second: Any


def nested(x_t, states):
    """Compute a step all of whose arguments and results are nests."""
    state, (c,) = states
    h = torch.tanh(x_t["b"] + state["h"][0]) * x_t["a"][1]
    # A tuple where the initial state has a list.
    return Pair(h, [h.sum(dim=1), {"c": c}]), ({"h": (h,)}, [c + h * h])


def run_nested(x, step=nested, **options):
    states = [{"h": [x[:, 0]]}, (x[:, 1],)]
    return rnn(step, {"b": x, "a": (x, 2 * x)}, states, unroll=True, **options)


def run_decaying(x, **options):
    return rnn(decaying, x, [x[:, 0]], unroll=True, **options)


LISTED = MASK.tolist()
UNROLLED = {
    "whole": lambda x, mask: run_decaying(x),
    "mask": lambda x, mask: run_decaying(x, mask=mask),
    "list mask": lambda x, mask: run_decaying(x, mask=LISTED),
    "NumPy mask": lambda x, mask: run_decaying(x, mask=MASK),
    "mask, backwards": lambda x, mask: run_decaying(x, mask=mask, go_backwards=True),
    "mask, time-major": lambda x, mask: rnn(
        decaying, x.swapaxes(0, 1), [x[:, 0]], mask=mask.T, time_major=True, unroll=True
    ),
    "mask, zero outputs": lambda x, mask: run_decaying(x, mask=mask, zero_output_for_mask=True),
    "mask, last output only": lambda x, mask: run_decaying(x, mask=mask, return_all_outputs=False),
    "mask, initial output": lambda x, mask: run_decaying(x, mask=mask, initial_output=x[:, 1]),
    "lengths": lambda x, mask: run_decaying(x, input_length=mask.sum(dim=1)),
    "list of lengths": lambda x, mask: run_decaying(x, input_length=[5, 2, 0]),
    "one length": lambda x, mask: run_decaying(x, input_length=3),
    "one state": lambda x, mask: rnn(decaying, x, x[:, 0], unroll=True),
    "Python number": lambda x, mask: rnn(
        lambda x_t, states: (x_t * states[0], [1.5 * states[0]]), x, [2.0], unroll=True
    ),
    "constants": lambda x, mask: rnn(
        lambda x_t, states: (x_t * states[1], [states[0] * states[2] + x_t]),
        x,
        [x[:, 0]],
        mask=mask,
        constants=[x[:, 1], 0.5],
        unroll=True,
    ),
    "nests": lambda x, mask: run_nested(x),
    "nests, mask": lambda x, mask: run_nested(x, mask=mask),
    "nests, initial output": lambda x, mask: run_nested(
        x, mask=mask, initial_output=Pair(x[:, 2], [x[:, 2, 0], {"c": x[:, 3]}])
    ),
}


def compiled(function, backend="eager", **options):
    dynamo.reset()
    return torch.compile(function, backend=backend, **options)


def assert_same_gradients(found, expected, x):
    leaves, spec = optree.tree_flatten(found)
    expected_leaves, expected_spec = optree.tree_flatten(expected)
    assert spec == expected_spec
    torch.testing.assert_close(leaves, expected_leaves)
    (slope,) = torch.autograd.grad(sum(leaf.sum() for leaf in leaves), x)
    (expected_slope,) = torch.autograd.grad(sum(leaf.sum() for leaf in expected_leaves), x)
    torch.testing.assert_close(slope, expected_slope)


@in_one_graph
@quiet_about_caches
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("run", UNROLLED.values(), ids=UNROLLED)
def test_an_unrolled_run_compiles_to_one_graph(randn, tensor, run, compiler):
    x, mask = randn(3, 5, 2, requires_grad=True), tensor(MASK, torch.bool)
    assert_same_gradients(compiled(run, compiler, fullgraph=True)(x, mask), run(x, mask), x)


@in_one_graph
@quiet_about_caches
@quiet_about_script
@pytest.mark.skipif(shutil.which("c++") is None, reason="Inductor needs a C++ compiler")
def test_an_unrolled_run_compiles_to_machine_code(randn, tensor):
    x, mask, run = randn(3, 5, 2, requires_grad=True), tensor(MASK, torch.bool), run_nested
    assert_same_gradients(
        compiled(run, "inductor", fullgraph=True)(x, mask=mask), run(x, mask=mask), x
    )


@in_one_graph
@quiet_about_caches
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "mask"])
def test_an_unrolled_run_is_not_compiled_for_each_number_of_samples(randn, tensor, masked):
    graphs = counting.CompileCounter()
    run = compiled(lambda x, mask: run_decaying(x, mask=mask), graphs, fullgraph=True)
    for samples in (3, 4, 5, 6):
        x = randn(samples, 5, 2)
        mask = tensor(np.tile(MASK[0], (samples, 1)), torch.bool) if masked else None
        torch.testing.assert_close(run(x, mask), run_decaying(x, mask=mask))
    # The first is for 3, the second for any number.
    assert graphs.frame_count == 2


@quiet_about_caches
@pytest.mark.parametrize("time", [10, 1000])
@pytest.mark.parametrize("unroll", [False, 4])
def test_a_run_that_is_not_unrolled_is_not_compiled(randn, tensor, time, unroll):
    def run(x, h):
        return rnn(decaying, torch.sin(x), [h], unroll=unroll)[1] + 1

    ops = counting.CompileCounter()
    x, h = randn(3, time, 2), randn(3, 2)
    torch.testing.assert_close(compiled(run, ops)(x, h), run(x, h))
    # The sine before it and the sum behind it.
    assert ops.op_count == 2


@quiet_about_caches
def test_a_compiled_step_stays_so_in_a_compiled_caller(randn):
    ops = counting.CompileCounter()
    step = compiled(decaying, ops)
    run = torch.compile(lambda x, h: rnn(step, x, [h])[1], backend="eager")
    x, h = randn(3, 5, 2), randn(3, 2)
    torch.testing.assert_close(run(x, h), rnn(decaying, x, [h])[1])
    assert ops.frame_count == 1
    assert ops.op_count == 4  # two products, a sum, a tangent


@quiet_about_caches
@pytest.mark.parametrize("masking", [{}, {"mask": MASK}], ids=["whole", "mask"])
def test_an_unrolled_run_that_cannot_be_one_graph_is_not_compiled(randn, masking):
    def step(x_t, states):
        dynamo.graph_break()
        return nested(x_t, states)

    def run(x):
        return run_nested(x, step, **masking)

    graphs = counting.CompileCounter()
    x = randn(3, 5, 2)
    torch.testing.assert_close(compiled(run, graphs)(x), run(x))
    # What the caller computes of `x`; none is a timestep's.
    assert graphs.frame_count <= 1


@quiet_about_caches
def test_before_dynamo_follows_nests_an_unrolled_run_is_not_compiled(randn, monkeypatch):
    monkeypatch.setattr("arrayrnn._libraries.torch._follows_nests", lambda: False)

    def run(x):
        return run_decaying(torch.sin(x))[1] + 1

    ops = counting.CompileCounter()
    x = randn(3, 5, 2)
    torch.testing.assert_close(compiled(run, ops)(x), run(x))
    assert ops.op_count == 3  # the sine and the first timestep before it, the sum behind it
    with pytest.raises(dynamo.exc.Unsupported):
        compiled(run, ops, fullgraph=True)(x)


@quiet_about_caches
def test_errors_of_an_unrolled_run_are_those_of_any(randn):
    run = compiled(lambda x: rnn(lambda x_t, _: (x_t, [x_t[:, :1]]), x, [x[:, 0]], unroll=True))
    with pytest.raises(ValueError, match=r"new_states\[0\]`.* shape \(3, 1\)") as caught:
        run(randn(3, 5, 2))
    assert caught.value.__notes__ == ["arrayrnn.rnn: at timestep 0 of 5, counted from 0."]


@in_one_graph
@quiet_about_caches
def test_errors_of_a_run_that_has_to_be_one_graph_are_quoted_by_the_compilers(randn):
    def run(x):
        return rnn(lambda x_t, _: (x_t, [x_t[:, :1]]), x, [x[:, 0]], unroll=True)

    with pytest.raises(dynamo.exc.Unsupported, match=r"new_states\[0\]`.* shape \(3, 1\)"):
        compiled(run, fullgraph=True)(randn(3, 5, 2))
