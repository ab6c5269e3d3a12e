"""With `samplewise=True` a Python loop runs the samples that are not masked, where that pays."""

import re

import array_api_compat
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings

import arrayrnn
from arrayrnn._loops import packing as plan
from arrayrnn._loops.packing import Rows
from support.backends import assert_same
from support.drawn_calls import EXAMPLES, calls, to_numpy
from support.oracle import Recorder, draw, halving, recurrence
from support.running import rnn

# What JAX and ONNX run is compiled or becomes a graph: one shape for all timesteps.
PACKING = ("numpy", "torch:cpu", "torch:cuda", "cupy", "dpnp", "strict")

LENGTHS = [3, 7, 1, 7, 5]
KEEPS = {
    "right": np.arange(7) < np.asarray(LENGTHS)[:, None],
    "left": np.arange(7)[::-1] < np.asarray(LENGTHS)[:, None],
    "middle": np.asarray([[1, 1, 0, 0, 0, 1, 1]] * 2 + [[1, 0, 0, 1, 0, 0, 1]] * 3, bool),
    "holes": np.random.default_rng(5).random((5, 7)) < 0.5,
    "late": np.asarray([[0, 0, 1, 0, 1, 0, 0]] + [[0, 0, 0, 1, 1, 0, 0]] * 4, bool),
    "never": np.asarray([[0] * 7] * 2 + [[1, 1, 0, 1, 1, 1, 1]] * 3, bool),
}
keeps = pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
directions = pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
zero_outputs = pytest.mark.parametrize("zero_output", [False, True], ids=["held", "zeros"])
which_outputs = pytest.mark.parametrize("all_outputs", [True, False], ids=["all", "last"])


@pytest.fixture
def always(monkeypatch):
    """Pack whether it pays or not."""
    monkeypatch.setattr(plan, "_WORTH_A_CHANGE", 0)


@pytest.fixture
def packing(backend, always):
    """Run on the backends that pack only, and always."""
    if not str(backend).startswith(PACKING) or backend.is_compiled:
        pytest.skip(f"{backend} does not pack")


@pytest.fixture
def packing_anywhere(request, backend):
    """Run on Dask, too, which packs in its blocks."""
    request.getfixturevalue("always" if backend.library == "dask" else "packing")


def run(backend, step, x, states, keep, **options):
    arrays = backend.arrays((x, states))
    return rnn(step, *arrays, mask=backend.array(keep), samplewise=True, **options)


# ---------------------------------------------------------------------------------- results


@keeps
@directions
@zero_outputs
@which_outputs
def test_it_gives_what_the_masked_loop_gives(
    backend, packing_anywhere, keep, go_backwards, zero_output, all_outputs
):
    x, state, before = draw(backend, 5, 7, 2), draw(backend, 5, 2), draw(backend, 1, 5, 2)[0]
    last, outputs, states = recurrence(
        halving,
        x,
        [state],
        keep,
        go_backwards=go_backwards,
        zero_output=zero_output,
        initial_output=before,
    )
    found = run(
        backend,
        halving,
        x,
        [state],
        keep,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output,
        return_all_outputs=all_outputs,
        initial_output=backend.arrays(before),
    )
    expected = last, outputs if all_outputs else outputs[:, -1:], states
    assert_same(backend, found, expected, exact=True)


def test_whatever_the_nests_dtypes_masks_and_options(backend, packing_anywhere):
    @settings(
        max_examples=EXAMPLES.get(str(backend), 30 if backend.library == "strict" else 150),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(calls(backend))
    def holds(call):
        masked = call.with_options(samplewise=False, checkpoint=None)
        expected = to_numpy(backend, masked.run(backend))
        packed = call.with_options(samplewise=True)  # and garbage wherever a sample is masked
        assert_same(backend, packed.run(backend), expected, exact=True)

    holds()


@directions
def test_a_longer_sequence_of_more_samples(backend, packing_anywhere, go_backwards):
    keep = np.random.default_rng(3).random((40, 150)) < np.linspace(0, 1, 40)[:, None]
    x, state = draw(backend, 40, 150, 3) % 2, draw(backend, 40, 3)

    def counting(x_t, states):
        (count,) = states
        return x_t, [count + x_t]

    _, _, (expected,) = recurrence(counting, x, [state], keep, go_backwards=go_backwards)
    found = run(backend, counting, x, [state], keep, go_backwards=go_backwards)
    assert_same(backend, found[2], [expected], exact=True)


def test_both_directions_pack(backend, packing):
    keep = KEEPS["right"]
    forwards, backwards = Recorder(halving), Recorder(halving)
    arguments = backend.arrays(
        (draw(backend, 5, 7, 2), [draw(backend, 5, 2)], [draw(backend, 5, 2)])
    )
    options = {"mask": backend.array(keep)}
    found = arrayrnn.bidirectional(forwards, backwards, *arguments, samplewise=True, **options)
    masked = arrayrnn.bidirectional(halving, halving, *arguments, **options)
    assert_same(backend, found, to_numpy(backend, masked), exact=True)
    assert [x_t.shape[0] for x_t in forwards.inputs] == keep.sum(axis=0).tolist()
    assert [x_t.shape[0] for x_t in backwards.inputs] == keep.sum(axis=0).tolist()[::-1]


# ---------------------------------------------------------------------------------- what runs


@keeps
@directions
def test_the_step_is_given_the_unmasked_samples_in_their_order(
    backend, packing, keep, go_backwards
):
    x, samples = np.arange(5 * 7, dtype="int32").reshape(5, 7, 1), np.arange(5, dtype="int32")
    step = Recorder(lambda x_t, states: (x_t, states))
    run(backend, step, x, [samples[:, None]], keep, go_backwards=go_backwards)
    order = range(7)[::-1] if go_backwards else range(7)
    expected = [x[keep[:, t], t, 0].tolist() for t in order if keep[:, t].any()]
    assert [backend.numpy(x_t)[:, 0].tolist() for x_t in step.inputs] == expected
    rows = [np.flatnonzero(keep[:, t]).tolist() for t in order if keep[:, t].any()]
    assert [backend.numpy(h)[:, 0].tolist() for (h,) in step.states] == rows


@pytest.mark.parametrize("lengths", [LENGTHS, np.asarray(LENGTHS), [7, 7, 7, 7, 0]], ids=str)
def test_lengths_pack(backend, packing, lengths):
    step = Recorder(halving)
    arrays = backend.arrays((draw(backend, 5, 7, 2), [draw(backend, 5, 2)]))
    rnn(step, *arrays, input_length=lengths, samplewise=True)
    counts = (np.arange(7)[:, None] < np.asarray(lengths)).sum(axis=1)
    assert [x_t.shape[0] for x_t in step.inputs] == counts.tolist()


def test_without_the_promise_the_step_is_given_all_samples(backend, packing):
    step = Recorder(halving)
    arrays = backend.arrays((draw(backend, 5, 7, 2), [draw(backend, 5, 2)]))
    rnn(step, *arrays, input_length=LENGTHS)
    assert {x_t.shape[0] for x_t in step.inputs} == {5}


def test_nothing_unmasked_is_one_call_for_the_shapes(backend, packing):
    step = Recorder(halving)
    run(backend, step, draw(backend, 5, 7, 2), [draw(backend, 5, 2)], np.zeros((5, 7), bool))
    assert [x_t.shape for x_t in step.inputs] == [(5, 2)]


@pytest.mark.parametrize(("features", "packs"), [(383, False), (384, True)])
def test_it_packs_where_each_change_leaves_out_enough(backend, features, packs):
    if not str(backend).startswith(PACKING) or backend.is_compiled:
        pytest.skip(f"{backend} does not pack")
    # One change, after which two samples of four are left out for 16 timesteps: 32 times what
    # inputs and states have for one, and what selecting would take at each.
    assert (32 * 2 * features + 16 * 512 >= 32_768) is packs
    keep = np.ones((4, 32), bool)
    keep[2:, 16:] = False
    x, state = np.zeros((4, 32, features), "float32"), np.zeros((4, features), "float32")
    step = Recorder(lambda x_t, states: (states[0], states))
    run(backend, step, x, [state], keep)
    assert [h.shape[0] for (h,) in step.states] == [4] * 16 + [2 if packs else 4] * 16


def test_libraries_that_compile_for_each_shape_do_not_pack(backend, always):
    if backend.library != "jax" or backend.is_traced:
        pytest.skip("this test is about JAX's own loop")
    step = Recorder(halving)
    run(backend, step, draw(backend, 5, 7, 2), [draw(backend, 5, 2)], KEEPS["right"])
    assert {x_t.shape for x_t in step.inputs} == {(5, 2)}


def test_dask_packs_in_its_blocks(backend, always):
    if backend.library != "dask":
        pytest.skip("this test is about Dask")
    seen = []

    def step(x_t, states):
        seen.append(x_t.shape[0])
        return halving(x_t, states)

    x, state, keep = draw(backend, 5, 7, 2), draw(backend, 5, 2), KEEPS["right"]
    found = run(backend, step, x, [state], keep)
    seen.clear()  # of the probe
    assert_same(backend, found[0], recurrence(halving, x, [state], keep)[0], exact=True)
    assert sum(seen) == keep.sum()


def test_an_output_unlike_that_of_the_blocks_before_is_an_error(backend, always):
    if backend.library != "dask":
        pytest.skip("this test is about Dask")

    def step(x_t, states):
        return x_t.astype("float32" if x_t.max() > 5 else "float64"), states

    x = np.where(np.arange(7) < 3, 1, 9)[None, :, None] * np.ones((5, 1, 2))
    outputs = run(backend, step, x, [draw(backend, 5, 2)], KEEPS["right"])[1]
    with pytest.raises(TypeError, match="dtype float32; expected the first timestep's dtype"):
        outputs.compute()


# ---------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_rows_at_rest_are_few(backend, packing, share):
    keep = np.random.default_rng(0).random((600, 4)) < share
    values, zeros = np.zeros(4), backend.array(np.zeros(4))
    rows, current = Rows(backend.xp, [zeros], np.arange(4)), ()
    for t, running in enumerate(map(np.flatnonzero, keep)):
        (current,) = rows.change(current, running)
        assert backend.numpy(current).tolist() == values[running].tolist()
        values[running] = t
        current = [backend.array(values[running])]
        assert rows.count <= 3 * 4
    assert_same(backend, rows.all(current), [values.astype(backend.float)], exact=True)


@which_outputs
def test_progress_counts_every_timestep(backend, packing, all_outputs):
    done = []
    run(
        backend,
        halving,
        draw(backend, 5, 7, 2),
        [draw(backend, 5, 2)],
        KEEPS["late"],
        progress=lambda *counts: done.append(counts),
        return_all_outputs=all_outputs,
    )
    assert done == [(k, 7) for k in range(1, 8)]


# ---------------------------------------------------------------------------------- errors


def refused(backend, kind, wording, step, keep=KEEPS["right"], **options):
    arguments = draw(backend, 5, 7, 2), [draw(backend, 5, 2)], keep
    with pytest.raises(kind, match=re.escape(wording)) as caught:
        run(backend, step, *arguments, **options)
    return getattr(caught.value, "__notes__", [])


@directions
def test_a_step_that_has_a_row_for_each_sample_is_told_so(backend, packing, go_backwards):
    own = backend.array(np.ones((5, 2)))

    def step(x_t, states):
        if x_t.shape[0] != 5:
            raise ValueError("rows")
        return x_t + own, states

    notes = refused(backend, ValueError, "rows", step, go_backwards=go_backwards)
    first, last, count = (5, 6, 2) if go_backwards else (1, 2, 4)
    t = last if go_backwards else first
    direction = ", going backwards" if go_backwards else ""
    when, rows = notes
    like = f"({count}, 2) {backend.float}"
    assert when == (
        f"arrayrnn.rnn: at timestep {t} of 7, counted from 0{direction}. `step_function` was "
        f"called with input_t {like}; states: {like}."
    )
    assert rows == (
        f"arrayrnn.rnn: with `samplewise=True` the step was given {count} of the 5 samples at "
        f"timesteps {first} to {last}, those not masked; nothing else in it may have a row for "
        "each."
    )


def test_an_output_without_a_samples_axis(backend, packing):
    def step(x_t, states):
        return x_t[:1, ...], states

    refused(backend, ValueError, "expected (samples, ...) with samples = 5", step)


def test_an_output_that_changes_its_features_with_the_samples(backend, packing):
    def step(x_t, states):
        return x_t[:, : 2 if x_t.shape[0] > 3 else 1], states

    notes = refused(backend, ValueError, "expected the first timestep's shape, (3, 2)", step)
    assert "given 3 of the 5 samples" in notes[-1]


def test_an_output_that_changes_later_is_told_by_its_timestep(backend, packing):
    calls = []

    def step(x_t, states):
        calls.append(x_t)
        return x_t[:, : 1 if len(calls) == 4 else 2], states

    # The fourth timestep is the first of its stretch.
    mask = np.asarray([[1, 1, 1, 0, 0, 0, 0]] * 2 + [[1] * 7] * 3, dtype=bool)
    wording = "`output`, an array of shape (3, 1)"
    notes = refused(backend, ValueError, wording, step, mask)
    assert notes[0] == "arrayrnn.rnn: at timestep 3 of 7, counted from 0."


def test_an_output_that_changes_its_dtype_with_the_samples(backend, packing):
    def step(x_t, states):
        xp = array_api_compat.array_namespace(x_t)
        return xp.astype(x_t, xp.float32 if x_t.shape[0] > 3 else xp.int32), states

    refused(backend, TypeError, "expected the first timestep's dtype, float32", step)


def test_an_output_that_changes_its_structure_with_the_samples(backend, packing):
    def step(x_t, states):
        return (x_t if x_t.shape[0] > 3 else (x_t, x_t)), states

    refused(backend, ValueError, "of the structure (*, *); expected that of", step)


def test_a_state_that_loses_rows(backend, packing):
    def step(x_t, states):
        return x_t, [states[0][:1, ...] if x_t.shape[0] < 5 else states[0]]

    refused(backend, ValueError, "expected the shape of the initial state, (4, 2)", step)


def test_an_initial_output_unlike_the_output(backend, packing):
    before = backend.array(np.zeros((5, 3)))
    refused(backend, ValueError, "`initial_output` is", halving, initial_output=before)


def test_what_the_step_raises_leaves_everything_as_it_was(backend, packing):
    x, state = backend.arrays((draw(backend, 5, 7, 2), draw(backend, 5, 2)))
    before = to_numpy(backend, (x, state))

    def step(x_t, states):
        if x_t.shape[0] < 4:
            raise ArithmeticError
        return halving(x_t, states)

    with pytest.raises(ArithmeticError):
        rnn(step, x, [state], input_length=LENGTHS, samplewise=True)
    assert_same(backend, (x, state), before, exact=True)


# ---------------------------------------------------------------------------------- gradients


@pytest.fixture
def torch(backend):
    if backend.library != "torch" or backend.is_compiled:
        pytest.skip("this test is about PyTorch")
    return backend.module


def differentiated(torch, backend, keep, padding, **options):
    """Return the gradients of inputs, state and a weight, the step being one that padding hurts."""
    x, h = (backend.array(draw(backend, *shape)) / 9 for shape in ((5, 7, 2), (5, 2)))
    x[~backend.array(keep)] = padding
    w = backend.array(0.3)
    leaves = [leaf.requires_grad_() for leaf in (x, h, w)]

    def step(x_t, states):
        level = torch.tanh(w * states[0] + torch.log(x_t + 1))
        return level * torch.sqrt(x_t + 1), [level]

    last, outputs, states = rnn(
        step, x, [h], mask=keep, samplewise=True, initial_output=2 * h, **options
    )
    total = (outputs**2).sum() + last.sum() + states[0].sum()
    return [*torch.autograd.grad(total, leaves)], total


@keeps
@directions
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_gradients_are_those_of_the_masked_loop(
    torch, backend, monkeypatch, keep, go_backwards, checkpoint
):
    found = {}
    for worth in (0, float("inf")):
        monkeypatch.setattr(plan, "_WORTH_A_CHANGE", worth)
        options = {"go_backwards": go_backwards, "checkpoint": checkpoint}
        found[worth] = differentiated(torch, backend, keep, float("nan"), **options)
    (gradients, total), (expected, expected_total) = found.values()
    tight = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(total, expected_total, **tight)
    kept = backend.array(keep)
    torch.testing.assert_close(gradients[0][kept], expected[0][kept], **tight)
    assert not gradients[0][~kept].any()
    torch.testing.assert_close(gradients[1:], expected[1:], **tight)


@pytest.mark.parametrize("check", ["gradcheck", "gradgradcheck"])
@pytest.mark.parametrize("keep", [KEEPS["right"], KEEPS["holes"]], ids=["right", "holes"])
def test_derivatives_are_those_of_finite_differences(torch, backend, always, keep, check):
    x, h = (backend.array(draw(backend, *shape)) / 9 for shape in ((5, 7, 1), (5, 1)))

    def last_and_all(x, h):
        step = lambda x_t, states: (2 * (y := torch.tanh(states[0] + x_t)), [y])  # noqa: E731
        last, outputs, states = rnn(step, x, [h], mask=keep, samplewise=True)
        return last, outputs, *states

    assert getattr(torch.autograd, check)(last_and_all, [x.requires_grad_(), h.requires_grad_()])


def test_vmap_over_inputs_is_a_loop_over_them(torch, backend, always):
    x, h = backend.arrays((draw(backend, 3, 5, 7, 2), draw(backend, 5, 2)))

    def outputs(x):
        return rnn(halving, x, [h], mask=KEEPS["holes"], samplewise=True)[1]

    expected = torch.stack([outputs(one) for one in x])
    assert (torch.func.vmap(outputs)(x) == expected).all()


def test_backward_computes_a_number_of_elements_linear_in_time(torch, backend, always):
    from support.counting import Counting

    def elements(time):
        keep = (np.arange(time) % 2 == 0) | (np.arange(3) > 0)[:, None]  # changes at each timestep
        x = torch.ones((3, time, 4), device=backend.device, requires_grad=True)
        h = torch.zeros((3, 4), device=backend.device)
        outputs = rnn(halving, x, [h], mask=keep, samplewise=True)[1]
        with Counting() as counting:
            outputs.sum().backward()
        return counting.elements

    assert elements(800) < 4.4 * elements(200)


def test_leaves_of_a_nest_pack_alike(backend, packing_anywhere):
    keep, x = KEEPS["right"], draw(backend, 5, 7, 2)
    inputs = {"a": backend.arrays(x), "b": (backend.arrays(x[..., :1]),)}

    def step(x_t, states):
        (state,) = states
        total = state["total"] + x_t["a"] + x_t["b"][0]
        return {"y": (total, x_t["b"][0])}, [{"total": total}]

    arguments = inputs, [{"total": backend.arrays(draw(backend, 5, 2))}]
    masked = rnn(step, *arguments, mask=backend.array(keep))
    found = rnn(step, *arguments, mask=backend.array(keep), samplewise=True)
    assert_same(backend, found, to_numpy(backend, masked), exact=True)
    assert optree.tree_structure(found) == optree.tree_structure(masked)
