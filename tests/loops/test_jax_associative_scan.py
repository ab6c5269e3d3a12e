"""On JAX the scans are `jax.lax.associative_scan` where something is traced, and equal to it."""

import functools

import numpy as np
import pytest

from arrayrnn import associative_scan, linear_scan
from support.backends import assert_same
from support.on_jax import equations, jax, jnp, normal

check_grads = pytest.importorskip("jax.test_util").check_grads
pytestmark = pytest.mark.usefixtures("jax_only")
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])


def followed(a, b):
    """Combine two maps ``x -> factor @ x + term`` to one: not commutative."""
    term = jnp.einsum("...ij,...j->...i", b["factor"], a["term"]) + b["term"]
    return {"factor": b["factor"] @ a["factor"], "term": term}


def maps(time):
    return {"factor": 0.5 * normal(time, 2, 2), "term": normal(time, 2)}


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)


# ---------------------------------------------------------------------------------- equal to JAX's


@both_ways
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("time", [1, 2, 40])
def test_nests_give_what_they_give_there(backend, time, jit, reverse):
    ours = functools.partial(associative_scan, followed, reverse=reverse)
    theirs = jax.lax.associative_scan(followed, maps(time), reverse=reverse)
    assert_same(backend, (jax.jit(ours) if jit else ours)(maps(time)), as_numpy(theirs))


@both_ways
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("axis", [1, -1, -3])
def test_axes_are_those_of_there(backend, axis, jit, reverse):
    x = normal(20, 20, 20)
    ours = functools.partial(associative_scan, jnp.add, axis=axis, reverse=reverse)
    # JAX itself does not flip a negative axis.
    theirs = jax.lax.associative_scan(jnp.add, x, axis=axis % 3, reverse=reverse)
    assert_same(backend, (jax.jit(ours) if jit else ours)(x), as_numpy(theirs))


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_a_negative_axis_of_arrays_of_several_ranks(backend, jit):
    def fn(a, b):
        return a[0] * b[0], b[0][..., None] * a[1] + b[1]

    elems = 0.5 * normal(3, 20), normal(3, 20, 2)
    ours = functools.partial(associative_scan, fn, axis=-1)
    # JAX counts from the end of the first array, too.
    theirs = jax.lax.associative_scan(fn, elems, axis=-1)
    assert_same(backend, (jax.jit(ours) if jit else ours)(elems), as_numpy(theirs))


MASK = np.random.default_rng(0).random((3, 40)) < 0.6
LENGTHS = np.asarray([40, 0, 17])
LINEAR = {
    "numbers": linear_scan,
    "matrices": lambda a, b, h: linear_scan(0.3 * a[..., None] * a[..., None, :], b, h),
    "shared": lambda a, b, h: linear_scan(a[:1, :1], b, h),
    "reverse": lambda a, b, h: linear_scan(a, b, h, reverse=True),
    "mask": lambda a, b, h: linear_scan(a, b, h, mask=MASK),
    "lengths, reverse": lambda a, b, h: linear_scan(a, b, h, input_length=LENGTHS, reverse=True),
    "length": lambda a, b, h: linear_scan(a, b, h, input_length=30),
    "last axis": lambda a, b, h: linear_scan(
        jnp.moveaxis(a, 1, 2), jnp.moveaxis(b, 1, 2), h, axis=-1
    ),
}
each_linear = pytest.mark.parametrize("run", LINEAR.values(), ids=LINEAR)


def arguments():
    return 0.7 * normal(3, 40, 2), normal(3, 40, 2), normal(3, 2)


@each_linear
def test_jit_gives_what_the_eager_run_gives(backend, run):
    assert_same(backend, jax.jit(run)(*arguments()), as_numpy(run(*arguments())))


def test_jit_takes_masks_and_lengths_that_it_cannot_read(backend):
    a, b, h = arguments()
    masked = jax.jit(lambda mask: linear_scan(a, b, h, mask=mask))(jnp.asarray(MASK))
    assert_same(backend, masked, as_numpy(LINEAR["mask"](a, b, h)))
    cut = jax.jit(lambda n: linear_scan(a, b, h, input_length=n))(jnp.asarray([99, -3, 17]))
    assert_same(backend, cut, as_numpy(linear_scan(a, b, h, input_length=LENGTHS)))


def test_weights_that_the_function_closes_over_are_enough_to_trace():
    x = normal(70, 2)

    def loss(w):
        return jnp.sum(associative_scan(lambda a, b: a + b * w / w, x))

    # Concrete elements, so that blocks of them are combined, with a traced weight.
    np.testing.assert_allclose(jax.jit(loss)(2.0), np.cumsum(x, axis=0).sum(), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(loss)(2.0), 0.0, atol=1e-9)


# ---------------------------------------------------------------------------------- the program


@pytest.mark.parametrize(
    "run",
    [
        lambda x: associative_scan(jnp.add, x),
        lambda x: associative_scan(jnp.add, x, reverse=True),
        lambda x: linear_scan(0.5, x, axis=0),
        lambda x: linear_scan(x[..., None] * x[..., None, :], x, axis=0),
        lambda x: linear_scan(x, x, mask=x[..., 0] > 0, time_major=True),
    ],
    ids=["scan", "reverse", "linear", "matrices", "masked"],
)
def test_the_program_has_no_loop_and_grows_with_the_logarithm_of_time(run):
    programs = [equations(run, jnp.ones((time, 3, 2))) for time in (2**4, 2**8, 2**12)]
    assert not {"scan", "while"} & {name for program in programs for name in program}
    short, longer, longest = map(len, programs)
    assert longest - longer == longer - short > 0


def test_a_program_may_be_exported_for_any_number_of_samples(backend):
    from jax import export

    (samples,) = export.symbolic_shape("samples")
    shapes = ((samples, 40, 2), "float64"), ((samples, 40), bool), ((samples, 2), "float64")

    def run(x, mask, h):
        return linear_scan(0.5, x, h, mask=mask)

    exported = export.export(jax.jit(run))(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    for count in (1, 3):
        given = normal(count, 40, 2), normal(count, 40) > 0, normal(count, 2)
        assert_same(backend, exported.call(*given), as_numpy(run(*given)))


# ---------------------------------------------------------------------------------- transforms


def test_first_and_second_derivatives_are_those_of_finite_differences():
    run = jax.jit(functools.partial(associative_scan, followed))
    check_grads(run, (maps(18),), order=2, modes=("rev",))


@pytest.mark.parametrize("kind", ["matrices", "mask", "lengths, reverse"])
def test_derivatives_of_a_linear_recurrence_are_those_of_finite_differences(kind):
    check_grads(jax.jit(LINEAR[kind]), arguments(), order=2, modes=("rev",))


@each_linear
def test_slopes_along_a_tangent_are_those_of_finite_differences(run):
    check_grads(jax.jit(run), arguments(), order=1, modes=("fwd",))


@both_ways
def test_gradients_are_those_of_a_loop(backend, reverse):
    weights = normal(3, 40, 2)

    def loop(a, b, h):
        def step(h, x):
            h = x[0] * h + x[1]
            return h, h

        xs = jnp.swapaxes(a, 0, 1), jnp.swapaxes(b, 0, 1)
        return jnp.swapaxes(jax.lax.scan(step, h, xs, reverse=reverse)[1], 0, 1)

    def ours(a, b, h):
        return linear_scan(a, b, h, reverse=reverse)

    found, expected = (
        jax.jit(jax.grad(lambda *given, run=run: jnp.sum(weights * run(*given)), (0, 1, 2)))
        for run in (ours, loop)
    )
    assert_same(backend, found(*arguments()), as_numpy(expected(*arguments())))


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_gradients_are_zero_at_what_is_masked_even_if_it_is_nan(jit):
    a, b, h = arguments()
    keep = jnp.asarray(MASK[..., None])
    a, b = jnp.where(keep, a, jnp.nan), jnp.where(keep, b, jnp.nan)

    def loss(a, b, h):
        return jnp.sum(linear_scan(a, b, h, mask=MASK) ** 2)

    slopes = (jax.jit if jit else lambda f: f)(jax.grad(loss, (0, 1, 2)))(a, b, h)
    for slope in slopes:
        assert np.isfinite(slope).all()
    for slope in slopes[:2]:
        assert not np.asarray(slope)[~MASK].any()
        assert np.asarray(slope)[MASK].any()


def test_vmap_maps_whatever_is_mapped(backend):
    a, b, h = (jnp.stack([x, 2 * x, -x]) / 2 for x in arguments())
    masks, lengths = jnp.stack([MASK, ~MASK, MASK]), jnp.stack([LENGTHS, LENGTHS[::-1], LENGTHS])
    cases = [
        (linear_scan, (a, b, h)),
        (lambda mask: linear_scan(a[0], b[0], mask=mask), (masks,)),
        (lambda lengths: linear_scan(a[0], b[0], input_length=lengths), (lengths,)),
        (lambda h: linear_scan(a[0], b[0], h), (h,)),
        (lambda b: associative_scan(jnp.add, b, axis=1), (b,)),
    ]
    for run, given in cases:
        one_by_one = [as_numpy(run(*each)) for each in zip(*given, strict=True)]
        assert_same(backend, jax.vmap(run)(*given), np.stack(one_by_one))


def test_what_is_wrong_with_a_function_is_our_error_and_not_that_of_jax():
    with pytest.raises(TypeError, match="expected the dtype of its arguments, float64") as raised:
        jax.jit(lambda x: associative_scan(lambda a, b: (a + b).astype("float32"), x))(normal(9, 2))
    assert type(raised.value) is TypeError
    with pytest.raises(ValueError, match="expected the shape of its arguments") as raised:
        jax.jit(lambda x: associative_scan(lambda a, b: (a + b).sum(axis=0), x))(normal(9, 2))
    assert type(raised.value) is ValueError


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_numbers_that_a_program_is_given_take_the_dtype_of_the_summands(dtype):
    b = jnp.ones((1, 3), dtype)
    eagerly = linear_scan(2, b, 1)
    traced = jax.jit(linear_scan)(2, b, 1)
    assert traced.dtype == eagerly.dtype == b.dtype
    np.testing.assert_array_equal(traced, eagerly)


# ---------------------------------------------------------------------------------- many devices


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("axis", [0, 1], ids=["samples", "time"])
def test_arrays_on_several_devices(backend, axis, jit):
    if jax.device_count() < 4:
        pytest.skip("this JAX makes one device of a CPU")
    spec = jax.sharding.PartitionSpec(*["parts" if k == axis else None for k in range(2)])
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("parts",))
    x = normal(8, 40)
    placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
    for run in (
        lambda x: linear_scan(0.5, x),
        lambda x: associative_scan(jnp.add, x, axis=1, reverse=True),
    ):
        found = (jax.jit(run) if jit else run)(placed)
        np.testing.assert_allclose(found, run(x), rtol=1e-12, atol=1e-12)
        assert len(found.sharding.device_set) == 4
