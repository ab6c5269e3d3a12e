"""PyTorch traces the loop as ordinary code, tensors without values and open sizes included."""

import pytest

from arrayrnn import rnn
from support.backends import assert_same
from support.on_torch import (
    MASK,
    OTHER_MASK,
    counting,
    decaying,
    dynamo,
    in_one_graph,
    quiet_about_caches,
    quiet_about_script,
    quiet_about_shapes,
    torch,
)

pytestmark = pytest.mark.usefixtures("torch_only")


def torch_to_numpy(array):
    return array.detach().cpu().numpy()


# ---------------------------------------------------------------------------------- tracers


def test_a_compiled_step_gives_the_same(randn, backend):
    x, h = randn(3, 5, 2), randn(3, 2)
    compiled = torch.compile(decaying, backend="eager")
    expected = [torch_to_numpy(r) for r in rnn(decaying, x, [h], mask=MASK)[:2]]
    assert_same(backend, [*rnn(compiled, x, [h], mask=MASK)[:2]], expected)


def test_a_compiled_run_takes_another_mask(masked_run, randn, tensor):
    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    compiled = torch.compile(masked_run, backend="eager")
    torch.testing.assert_close(compiled(x, mask), masked_run(x, mask))
    torch.testing.assert_close(compiled(x, other), masked_run(x, other))


def test_make_fx_does_not_bake_the_mask_in(masked_run, randn, tensor):
    from torch.fx.experimental.proxy_tensor import make_fx

    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    torch.testing.assert_close(make_fx(masked_run)(x, mask)(x, other), masked_run(x, other))


@quiet_about_script
@quiet_about_shapes
def test_jit_trace_does_not_bake_the_mask_in(masked_run, randn, tensor):
    x, mask, other = randn(3, 5, 2), tensor(MASK, torch.bool), tensor(OTHER_MASK, torch.bool)
    traced = torch.jit.trace(masked_run, (x, mask))
    torch.testing.assert_close(traced(x, other), masked_run(x, other))


@quiet_about_script
@quiet_about_shapes
def test_jit_trace_does_not_bake_lengths_in(randn, tensor):
    def run(x, lengths):
        return rnn(decaying, x, [x[:, 0]], input_length=lengths)[1]

    x, lengths = randn(3, 5, 2), tensor([5, 2, 0], torch.int64)
    traced = torch.jit.trace(run, (x, tensor([1, 5, 3], torch.int64)))
    torch.testing.assert_close(traced(x, lengths), run(x, lengths))


@pytest.mark.parametrize(
    "masking",
    [{}, {"mask": MASK}, {"mask": torch.tensor(MASK).to("meta")}, {"input_length": [5, 2, 0]}],
    ids=["whole", "NumPy mask", "meta mask", "lengths"],
)
def test_meta_tensors_give_shapes_and_dtypes(masking):
    x = torch.empty(3, 5, 2, 4, dtype=torch.float32, device="meta")
    count = torch.empty(3, dtype=torch.int16, device="meta")

    def step(x_t, states):
        (count,) = states
        return {"sum": x_t.sum(axis=-1), "positive": x_t > 0}, [count + 1]

    last, outputs, (new,) = rnn(step, x, [count], **masking)
    found = [outputs["sum"], outputs["positive"], last["positive"], new]
    assert [tuple(a.shape) for a in found] == [(3, 5, 2), (3, 5, 2, 4), (3, 2, 4), (3,)]
    assert [a.dtype for a in found] == [torch.float32, torch.bool, torch.bool, torch.int16]
    assert {a.device.type for a in found} == {"meta"}


@pytest.mark.parametrize("kind", ["fake", "NumPy"])
def test_fake_tensors_give_shapes_and_dtypes(randn, tensor, kind):
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with FakeTensorMode() as mode:
        x, h, mask = map(mode.from_tensor, (randn(3, 5, 2), randn(3, 2), tensor(MASK, torch.bool)))
        _, outputs, (new,) = rnn(decaying, x, [h], mask=mask if kind == "fake" else MASK)
    assert isinstance(outputs, FakeTensor)
    assert (outputs.shape, outputs.dtype, outputs.device) == ((3, 5, 2), torch.float64, x.device)
    assert (new.shape, new.dtype, new.device) == ((3, 2), torch.float64, x.device)


# ---------------------------------------------------------------------------------- open sizes


def of_open_samples(kind, *, samplewise):
    """Return a function of ``(x, mask, lengths)``, for any number of samples."""

    def run(x, mask, lengths):
        masking = {"mask": {"mask": mask}, "lengths": {"input_length": lengths}}.get(kind, {})
        h = x[:, 0] * 0.0
        last, outputs, states = rnn(decaying, x, [h], unroll=True, samplewise=samplewise, **masking)
        return last, outputs, *states

    return run


def some_samples(samples):
    drawn = torch.Generator().manual_seed(samples)
    x = torch.randn(samples, 5, 3, generator=drawn)
    mask = torch.rand(samples, 5, generator=drawn) < 0.6
    return x, mask, torch.randint(0, 6, (samples,), generator=drawn)


open_samples = pytest.mark.parametrize("samplewise", [False, True])
each_kind = pytest.mark.parametrize("kind", ["unmasked", "mask", "lengths"])


@in_one_graph
@quiet_about_caches
@each_kind
@open_samples
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_model_takes_any_number_of_samples(kind, samplewise, strict):
    class Model(torch.nn.Module):
        def forward(self, *arguments):
            return run(*arguments)

    run, samples = (
        of_open_samples(kind, samplewise=samplewise),
        torch.export.Dim("samples", max=4096),
    )
    exported = torch.export.export(
        Model(), some_samples(4), dynamic_shapes={"arguments": ({0: samples},) * 3}, strict=strict
    ).module()
    for count in (2, 3, 500):
        torch.testing.assert_close(exported(*some_samples(count)), run(*some_samples(count)))


@in_one_graph
@quiet_about_caches
@each_kind
@open_samples
def test_one_dynamic_graph_serves_any_number_of_samples(kind, samplewise):
    run, counter = of_open_samples(kind, samplewise=samplewise), counting.CompileCounter()
    dynamo.reset()
    dynamic = torch.compile(run, backend=counter, dynamic=True, fullgraph=True)
    for count in (2, 3, 500):
        torch.testing.assert_close(dynamic(*some_samples(count)), run(*some_samples(count)))
    assert counter.frame_count == 1


@in_one_graph
@quiet_about_caches
def test_a_step_that_writes_gives_the_same_in_a_graph():
    def writing(x_t, states):
        (h,) = states
        h.mul_(0.5).add_(x_t)
        return h, [h]

    def run(step):
        return lambda x, h: rnn(step, x, [h], unroll=True)

    x, h = torch.randn(3, 5, 2), torch.randn(3, 2)
    expected = run(lambda x_t, states: (0.5 * states[0] + x_t,) * 1 + ([0.5 * states[0] + x_t],))
    before = h.clone()
    dynamo.reset()
    found = torch.compile(run(writing), backend="aot_eager", fullgraph=True)(x, h)
    torch.testing.assert_close(found, expected(x, h))
    torch.testing.assert_close(h, before)


@quiet_about_script
@quiet_about_shapes
def test_progress_is_not_called_while_anything_traces():
    from torch.fx.experimental.proxy_tensor import make_fx

    reports = []

    def run(x):
        return rnn(decaying, x, [x[:, 0]], progress=lambda *report: reports.append(report))[0]

    make_fx(run)(torch.ones(2, 3, 1))
    torch.jit.trace(run, torch.ones(2, 3, 1), check_trace=False)
    assert reports == []
