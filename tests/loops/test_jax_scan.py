"""Where JAX traces, the loop is one scan; without a tracer it hardly compiles."""

import functools
import logging

import numpy as np
import pytest

from arrayrnn import rnn, scan
from support.backends import assert_same
from support.on_jax import (
    MASK,
    decaying,
    each_option,
    equations,
    jax,
    jnp,
    masked_run,
    normal,
    run_with,
)

pytestmark = pytest.mark.usefixtures("jax_only")


# ---------------------------------------------------------------------------------- compilation


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_more_timesteps_are_not_more_compilations(caplog, masked):
    def compilations(time):
        jax.clear_caches()
        caplog.clear()
        x, mask = jnp.ones((2, time, 1)), np.arange(time) % 3 > np.asarray([[0], [-1]])
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            rnn(decaying, x, [jnp.zeros((2, 1))], mask=mask if masked else None)
        return sum("Compiling" in record.getMessage() for record in caplog.records)

    assert 0 < compilations(1024) < 2 * compilations(128)


# ---------------------------------------------------------------------------------- one scan


@each_option
def test_the_program_does_not_grow_with_time(options):
    def program(time):
        arguments = jnp.ones((3, time, 2)), jnp.ones((3, time), bool), jnp.asarray([1, 2, time])
        return equations(functools.partial(run_with, options), *arguments)

    assert program(10) == program(10_000)
    assert program(10).count("scan") == 1


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap", "jvp"])
def test_weights_that_the_step_closes_over_are_enough_to_scan(transform):
    def run(w):
        step = lambda x_t, states: (states[0], [jnp.tanh(x_t * w + states[0])])  # noqa: E731
        return jnp.sum(rnn(step, jnp.ones((2, 300, 1)), [jnp.zeros((2, 1))])[1])

    transformed = {
        "jit": jax.jit(run),
        "grad": jax.grad(run),
        "vmap": lambda w: jax.vmap(run)(w[None]),
        "jvp": lambda w: jax.jvp(run, (w,), (w,)),
    }[transform]
    names = equations(transformed, jnp.asarray(0.5))
    assert "scan" in names
    assert names.count("tanh") == 1


def test_concrete_arrays_are_not_scanned():
    calls = []

    def step(x_t, states):
        calls.append(float(x_t[0, 0]))  # has a value
        return decaying(x_t, states)

    rnn(step, jnp.asarray([[[1.0], [2.0], [3.0]]]), [jnp.ones((1, 1))])
    assert calls == [1.0, 2.0, 3.0]


def test_unroll_true_is_a_python_loop(backend):
    x = normal(3, 4, 2)
    run = functools.partial(rnn, decaying, initial_states=[normal(3, 2)], mask=MASK, unroll=True)
    assert "scan" not in equations(lambda x: run(inputs=x), x)
    expected = jax.tree.map(np.asarray, masked_run(x, MASK))
    assert_same(backend, jax.jit(lambda x: run(inputs=x))(x), expected)


@pytest.mark.parametrize("factor", [1, 3, 7])
def test_an_integer_unrolls_the_scan(backend, factor):
    x = normal(3, 7, 2)
    expected = jax.tree.map(np.asarray, rnn(decaying, x, [normal(3, 2)]))
    run = jax.jit(lambda x: rnn(decaying, x, [normal(3, 2)], unroll=factor))
    assert_same(backend, run(x), expected)
    assert str(jax.make_jaxpr(run)(x)).count(f"unroll={factor}\n") == 1


@each_option
def test_exporting_leaves_samples_and_time_open(backend, options):
    from jax import export

    samples, time = export.symbolic_shape("samples, time")
    shapes = ((samples, time, 2), "float64"), ((samples, time), bool), ((samples,), "int64")
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    run = functools.partial(run_with, options)
    exported = export.export(jax.jit(run))(*arguments)
    for samples, time in [(3, 4), (1, 1), (2, 70)]:
        x, mask = normal(samples, time, 2), normal(samples, time) > 0
        given = x, mask, jnp.arange(samples) % (time + 1)
        assert_same(backend, exported.call(*given), jax.tree.map(np.asarray, run(*given)))


def test_an_unrolled_run_leaves_samples_open(backend):
    from jax import export

    (samples,) = export.symbolic_shape("samples")
    shapes = ((samples, 70, 2), "float64"), ((samples, 70), bool)
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]

    def run(x, mask):
        return rnn(decaying, x, [jnp.ones((x.shape[0], 2))], mask=mask, unroll=True)

    exported = export.export(jax.jit(run))(*arguments)
    x, mask = normal(3, 70, 2), normal(3, 70) > 0
    assert_same(backend, exported.call(x, mask), jax.tree.map(np.asarray, run(x, mask)))


def test_an_unknown_number_of_timesteps_cannot_be_unrolled():
    from jax import export

    (time,) = export.symbolic_shape("time")
    run = jax.jit(lambda x: rnn(decaying, x, [jnp.ones((2, 1))], unroll=True))
    with pytest.raises(ValueError, match=r"timesteps \(time\); `unroll=True` needs"):
        export.export(run)(jax.ShapeDtypeStruct((2, time, 1), "float64"))


def test_an_unknown_number_of_timesteps_is_scanned_without_an_unroll_factor(backend):
    from jax import export

    (time,) = export.symbolic_shape("time")
    run = jax.jit(lambda x: rnn(decaying, x, [jnp.ones((2, 1))], unroll=2))
    exported = export.export(run)(jax.ShapeDtypeStruct((2, time, 1), "float64"))
    for count in (1, 5):
        x = normal(2, count, 1)
        assert_same(backend, exported.call(x), jax.tree.map(np.asarray, run(x)))


def test_a_checkpointed_step_has_the_same_gradients():
    def loss(w, x, wrap):
        step = wrap(lambda x_t, states: (states[0], [jnp.tanh(x_t @ w + states[0])]))
        return jnp.sum(rnn(step, x, [jnp.zeros((3, 2))], mask=MASK)[1] ** 2)

    w, x = normal(2, 2), normal(3, 4, 2)
    plain, checkpointed = (
        jax.jit(jax.grad(functools.partial(loss, wrap=wrap)))(w, x)
        for wrap in (lambda step: step, jax.checkpoint)
    )
    np.testing.assert_allclose(plain, checkpointed, rtol=1e-12)
    assert "remat" in str(jax.make_jaxpr(jax.grad(lambda w: loss(w, x, jax.checkpoint)))(w))


@pytest.mark.parametrize(
    ("spoil", "error", "wording"),
    [
        (lambda h: h.astype("float32"), TypeError, "expected the dtype of the initial state"),
        (lambda h: h[:, :1], ValueError, "expected the shape of the initial state, (3, 2)"),
        (lambda h: (h, h), ValueError, "returned new_states of the structure ((*, *),)"),
    ],
    ids=["dtype", "shape", "structure"],
)
def test_a_state_that_changes_is_our_error_and_not_that_of_the_scan(spoil, error, wording):
    def step(x_t, states):
        return x_t, [spoil(states[0])]

    with pytest.raises(error, match="`step_function` returned") as raised:
        jax.jit(lambda x: rnn(step, x, [normal(3, 2)]))(normal(3, 4, 2))
    assert wording in str(raised.value)
    (note,) = raised.value.__notes__[:1]
    assert note == "arrayrnn.rnn: while tracing `step_function` for all timesteps."


def test_a_step_in_which_something_is_traced_from_the_second_timestep_on_is_scanned():
    def loss(w):
        calls = iter(range(10))

        def step(x_t, states):
            return x_t, [states[0] + (w if next(calls) else 1.0)]

        return jnp.sum(rnn(step, jnp.ones((1, 3, 1)), [jnp.zeros((1, 1))])[2][0])

    # Whatever its steps do: nothing traced gets lost on the way.
    assert jax.grad(loss)(2.0) == 3.0


def test_scan_is_that_of_jax(backend):

    def f(carry, x):
        h = jnp.tanh(carry["h"] + x)
        return {"h": h, "n": carry["n"] + 1}, (h * 2, carry["n"])

    init, xs = {"h": normal(3), "n": jnp.asarray(0)}, normal(50, 3)
    for reverse in (False, True):
        ours = jax.jit(functools.partial(scan, f, reverse=reverse))(init, xs)
        theirs = jax.lax.scan(f, init, xs, reverse=reverse)
        assert_same(backend, ours, jax.tree.map(np.asarray, theirs))


# ---------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize(
    "what", ["inputs", "states", "mask", "constants", "initial", "closed over"]
)
def test_progress_is_not_called_whatever_is_traced(what, unroll):
    reports = []

    def run(traced):
        given = {
            "inputs": normal(3, 4, 2),
            "states": normal(3, 2),
            "mask": jnp.asarray(MASK),
            "constants": normal(3, 2),
            "initial": normal(3, 2),
            "closed over": normal(3, 2),
            what: traced,
        }

        def step(x_t, states):
            h = states[0] + states[1]
            return x_t, [h + given["closed over"]]

        return rnn(
            step,
            given["inputs"],
            [given["states"]],
            mask=given["mask"],
            constants=[given["constants"]],
            initial_output=given["initial"],
            unroll=unroll,
            progress=lambda *report: reports.append(report),
        )[0]

    jax.jit(run)({"inputs": normal(3, 4, 2), "mask": jnp.asarray(MASK)}.get(what, normal(3, 2)))
    assert reports == []
