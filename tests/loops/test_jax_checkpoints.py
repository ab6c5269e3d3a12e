"""Where JAX traces, `checkpoint=k` keeps the states of every k timesteps, and computes the rest."""

import functools

import numpy as np
import pytest

from arrayrnn import bidirectional, rnn, scan
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

# Of 7 timesteps: each; blocks and a rest; one block and a rest; all; more than there are.
EVERY = [1, 3, 6, 7, 100]
each_every = pytest.mark.parametrize("checkpoint", EVERY)
LONG_MASK = np.asarray([[0, 1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0], [0] * 7], dtype=bool)


def weighted_loss(x, h, w, c, before, **options):
    """Return a loss that depends on all that a step can be given, and on all that comes back."""

    def step(x_t, states):
        h, count, c = states
        h = jnp.tanh(x_t["a"] @ w + c * h)
        return (h * h, jnp.sum(h, axis=1)), [h, count + 1]

    last, outputs, (h, _) = rnn(
        step,
        {"a": x},
        [h, jnp.zeros(3, int)],
        constants=[c],
        initial_output=(before, before[:, 0]),
        **options,
    )
    return sum(k * jnp.sum(leaf**2) for k, leaf in enumerate([*last, *outputs, h], 1))


def loss_arguments():
    return normal(3, 7, 2), normal(3, 4), normal(2, 4), normal(4), normal(3, 4)


def assert_close(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "checkpoint"),
    [
        *(({"mask": LONG_MASK}, every) for every in EVERY),
        ({}, 3),
        ({"go_backwards": True, "return_all_outputs": False}, 3),
        ({"mask": LONG_MASK, "go_backwards": True, "zero_output_for_mask": True, "unroll": 2}, 3),
        ({"input_length": [0, 7, 5], "return_all_outputs": False, "unroll": True}, 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_gradients_with_checkpoints_are_those_without(options, checkpoint):
    def gradients(**how):
        loss = functools.partial(weighted_loss, **options, **how)
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4)))(*loss_arguments())

    assert_close(gradients(checkpoint=checkpoint), gradients())


@each_every
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("has_xs", [True, False])
def test_scans_with_checkpoints_have_the_same_gradients(checkpoint, reverse, has_xs):

    def loss(h, xs, **how):
        def f(h, x):
            h = jnp.sin(2 * h) if x is None else jnp.sin(2 * h + x)
            return h, (h * h, None)

        h, (ys, _) = scan(f, h, xs if has_xs else None, length=7, reverse=reverse, **how)
        return jnp.sum(h) + jnp.sum(jnp.arange(7)[:, None] * ys)

    def gradients(**how):
        run = jax.jit(jax.value_and_grad(functools.partial(loss, **how), argnums=(0, 1)))
        return run(normal(2), normal(7, 2))

    assert_close(gradients(checkpoint=checkpoint), gradients())


def test_both_directions_have_checkpoints():

    def loss(x, **how):
        last, outputs, _ = bidirectional(
            decaying, decaying, x, [normal(3, 2)], [normal(3, 2)], mask=LONG_MASK, **how
        )
        return jnp.sum(last**2) + jnp.sum(outputs**3)

    def gradient(**how):
        return jax.value_and_grad(functools.partial(loss, **how))

    found, expected = (jax.jit(gradient(checkpoint=k))(normal(3, 7, 2)) for k in (3, None))
    assert_close(found, expected)
    assert str(jax.make_jaxpr(gradient(checkpoint=3))(normal(3, 7, 2))).count("remat") >= 2


TRANSFORMS = {
    "hessian": jax.hessian,
    "grad of grad": lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2)),
    "vmap of grad": lambda f: lambda x: jax.vmap(jax.grad(f))(jnp.stack([x, 2 * x])),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x**2,)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_go_through_checkpoints(name):
    def loss(x, checkpoint):
        last, outputs, _ = rnn(decaying, x, [normal(3, 2)], mask=LONG_MASK, checkpoint=checkpoint)
        return jnp.sum(last) + jnp.sum(outputs**2)

    found, expected = (
        jax.jit(TRANSFORMS[name](functools.partial(loss, checkpoint=k)))(normal(3, 7, 2))
        for k in (3, None)
    )
    assert_close(found, expected)


@each_option
def test_the_program_does_not_grow_with_time_with_checkpoints_either(options):
    def program(time):
        def loss(x, *masking):
            run = run_with(options | {"checkpoint": 4}, x, *masking)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run))

        arguments = jnp.ones((3, time, 2)), jnp.ones((3, time), bool), jnp.asarray([1, 2, time])
        return equations(jax.grad(loss), *arguments)

    assert program(10) == program(10_002)
    assert "remat2" in program(10)
    assert "remat2" not in equations(masked_run, normal(3, 4, 2), MASK)


@pytest.mark.parametrize("unroll", [False, 4, True])
def test_checkpoints_take_less_memory(unroll):
    def deep(x_t, states):
        h = states[0]
        for _ in range(5):
            h = jnp.sin(h + x_t)
        return h, [h]

    def memory(**how):
        loss = lambda x: jnp.sum(rnn(deep, x, [x[:, 0]], **how)[0])  # noqa: E731
        lowered = jax.jit(jax.grad(loss)).lower(normal(8, 256, 32))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory(checkpoint=16, unroll=unroll) < 0.6 * memory()


@pytest.mark.parametrize("unroll", [False, True])
def test_without_a_tracer_checkpoints_change_nothing(unroll):
    calls = []

    def step(x_t, states):
        calls.append(float(x_t[0, 0]))  # has a value
        return decaying(x_t, states)

    x = jnp.asarray([[[1.0], [2.0], [3.0]]])
    rnn(step, x, [jnp.ones((1, 1))], checkpoint=2, unroll=unroll)
    assert calls == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("unroll", "factor"), [(False, 1), (3, 3), (True, 4)])
def test_what_is_unrolled_is_each_block(unroll, factor):
    run = functools.partial(rnn, decaying, checkpoint=4, unroll=unroll)
    program = str(jax.make_jaxpr(lambda x: run(x, [x[:, 0]]))(normal(3, 8, 2)))
    assert program.count(f"unroll={factor}\n") == (1 if factor > 1 else 2)


@pytest.mark.parametrize("options", [{}, {"mask": True, "go_backwards": True}], ids=str)
def test_exporting_gradients_with_checkpoints_leaves_samples_and_time_open(options):
    from jax import export

    samples, time = export.symbolic_shape("samples, time")
    shapes = ((samples, time, 2), "float64"), ((samples, time), bool)
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]

    @jax.jit
    @jax.value_and_grad
    def gradient(x, mask):
        # At zero, which is what padding is, the square root has an infinite slope.
        run = run_with(options | {"checkpoint": 3, "unroll": 2}, jnp.sqrt(x), mask, None)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run))

    exported = export.export(gradient)(*arguments)
    for samples, time in [(1, 1), (3, 4), (2, 6)]:
        given = normal(samples, time, 2) ** 2, normal(samples, time) > 0
        assert_close(exported.call(*given), gradient(*given))


def test_an_unknown_number_of_timesteps_cannot_be_unrolled_with_checkpoints_either():
    from jax import export

    (time,) = export.symbolic_shape("time")
    run = jax.jit(lambda x: rnn(decaying, x, [jnp.ones((2, 1))], unroll=True, checkpoint=2))
    with pytest.raises(ValueError, match=r"timesteps \(time\); `unroll=True` needs"):
        export.export(run)(jax.ShapeDtypeStruct((2, time, 1), "float64"))
