"""JAX sees ordinary traceable code, and without a tracer a loop that hardly compiles."""

import functools
import logging

import numpy as np
import pytest

from arrayrnn import bidirectional, compiled, pad_sequences, reverse_sequence, rnn, scan
from support.backends import Backend, assert_same
from support.running import needs_compiled

jax = pytest.importorskip("jax", reason="these tests are about JAX")
jnp = pytest.importorskip("jax.numpy")
check_grads = pytest.importorskip("jax.test_util").check_grads


@pytest.fixture(autouse=True)
def jax_only(backend):
    if backend is not Backend.JAX:
        pytest.skip("these tests are about JAX, and choose themselves what is traced")


@pytest.fixture
def no_x64():
    """Leave JAX as it comes, without 64-bit dtypes."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


def decaying(x_t, states):
    """Compute a smooth step whose output is not its state."""
    (h,) = states
    h = jnp.tanh(0.5 * h + x_t)
    return 2 * h, [h]


def normal(*shape, dtype="float64"):
    return jnp.asarray(np.random.default_rng(shape).standard_normal(shape), dtype=dtype)


MASK = np.asarray([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
OTHER_MASK = np.asarray([[1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0]], dtype=bool)


def masked_run(x, mask):
    return rnn(decaying, x, [normal(3, 2)], mask=mask)


# ---------------------------------------------------------------------------------- transforms


def test_jit_gives_what_the_eager_run_gives(backend):
    x, expected = normal(3, 4, 2), jax.tree.map(np.asarray, masked_run(normal(3, 4, 2), MASK))
    assert_same(backend, jax.jit(lambda x: masked_run(x, MASK))(x), expected)


def test_jit_takes_another_mask_without_compiling_again(backend):
    traces = []

    @jax.jit
    def run(x, mask):
        traces.append(mask)
        return masked_run(x, mask)

    x = normal(3, 4, 2)
    for mask in (MASK, OTHER_MASK, np.ones_like(MASK)):
        expected = jax.tree.map(np.asarray, masked_run(x, mask))
        assert_same(backend, run(x, jnp.asarray(mask)), expected)
    assert len(traces) == 1


def test_jit_clamps_lengths_that_it_cannot_read(backend):
    x = normal(3, 4, 2)
    run = jax.jit(lambda lengths: rnn(decaying, x, [normal(3, 2)], input_length=lengths))
    expected = rnn(decaying, x, [normal(3, 2)], input_length=[0, 4, 2])
    found = run(jnp.asarray([-3, 99, 2]))
    assert_same(backend, found, jax.tree.map(np.asarray, expected))


def test_jit_zeroes_the_outputs_of_a_run_in_which_nothing_is_unmasked(backend):
    @jax.jit
    def run(x, mask):
        return rnn(decaying, x, [normal(3, 2)], mask=mask, zero_output_for_mask=True)

    last, outputs, (new,) = run(jnp.full((3, 4, 2), jnp.nan), jnp.zeros((3, 4)))
    assert_same(backend, (last, outputs), (np.zeros((3, 2)), np.zeros((3, 4, 2))), exact=True)
    assert_same(backend, new, np.asarray(normal(3, 2)), exact=True)


@pytest.mark.parametrize(
    "options",
    [{"mask": MASK[:2, :3]}, {"input_length": [3, 1], "go_backwards": True}],
    ids=["mask", "lengths, backwards"],
)
def test_first_and_second_derivatives_are_those_of_finite_differences(options):
    @jax.jit
    def run(x, h, w):
        def step(x_t, states):
            h = jnp.tanh(x_t["a"] @ w + states[0]["h"])
            return (h * h, jnp.sum(h, axis=1)), [{"h": h}]

        return rnn(step, {"a": x}, [{"h": h}], **options)

    check_grads(run, (normal(2, 3, 1), normal(2, 1), normal(1, 1)), order=2, modes=("rev",))


def test_grad_reaches_what_the_step_closes_over():
    def loss(w):
        _, _, (total,) = rnn(
            lambda x_t, states: (x_t, [states[0] + w * x_t]),
            jnp.asarray([[[1.0], [2.0]], [[3.0], [4.0]]]),
            [jnp.zeros((2, 1))],
            input_length=[2, 1],
        )
        return jnp.sum(total)

    assert jax.grad(loss)(5.0) == 6.0


def test_jit_traces_constants(backend):
    def run(c):
        step = lambda x_t, states: (x_t * states[1], [states[0] + states[1]])  # noqa: E731
        return rnn(step, jnp.ones((2, 3, 1)), [jnp.zeros((2, 1))], constants=[c])

    last, _, (total,) = jax.jit(run)(4.0)
    assert_same(backend, (last, total), (np.full((2, 1), 4.0), np.full((2, 1), 12.0)), exact=True)


def test_vmap_over_inputs_and_masks_is_a_loop_over_them(backend):
    xs, masks = normal(2, 3, 4, 2), jnp.asarray([MASK, OTHER_MASK])
    run = jax.jit(masked_run)
    runs = [run(x, mask) for x, mask in zip(xs, masks, strict=True)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    assert_same(backend, jax.jit(jax.vmap(masked_run))(xs, masks), expected)


def test_jvp_is_the_slope_along_a_tangent(backend):
    x, tangent = normal(3, 4, 2), normal(3, 4, 2) ** 2

    def run(x):
        return masked_run(x, MASK)[1]

    value, slope = jax.jvp(run, (x,), (tangent,))
    slope_expected = (run(x + 1e-6 * tangent) - run(x - 1e-6 * tangent)) / 2e-6
    assert_same(backend, value, np.asarray(run(x)))
    np.testing.assert_allclose(slope, slope_expected, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------- padding

# What is NaN or infinite, or has such a slope, at a zero, at huge values, or where no timestep is.
TREACHEROUS = {
    "log(x)": lambda x, aux: (jnp.log(x), aux),
    "sqrt(x)": lambda x, aux: (jnp.sqrt(x), aux),
    "x / |x|": lambda x, aux: (x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True)), aux),
    "exp(x)": lambda x, aux: (jnp.exp(x), aux),
    "log|x - previous x|": lambda x, aux: (jnp.log(jnp.abs(x - aux)), x),
    "x / remaining": lambda x, aux: (x / aux, aux - 1),
}
PLACES = {
    "right": [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
    "left": [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]],
    "middle": [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]],
}
OF_STATES = ["log|x - previous x|", "x / remaining"]


def ordinary(*shape):
    """Return positive numbers no two of which are the same."""
    count = int(np.prod(shape))
    return np.random.default_rng(count).permutation(count).reshape(shape) / count + 1.0


class Treacherous:
    """A step with weights, and its gradients with and without padding."""

    def __init__(self, name, go_backwards):
        self.function, self.go_backwards = TREACHEROUS[name], go_backwards
        self.counts_down = name == "x / remaining"

    def step(self, w):
        def step(x_t, states):
            h, aux = states
            value, aux = self.function(x_t, aux)
            h = jnp.tanh(0.5 * h + 0.1 * value @ w)
            return 3.0 * h, [h, aux]

        return step

    @functools.partial(jax.jit, static_argnums=0)
    def alone(self, w, x, h, aux, at_outputs):
        """Return the gradients of one sample, run without arrayrnn over the timesteps given."""

        def loss(w, x, h, aux):
            states, loss = [h, aux], 0.0
            for x_t, at_output in zip(x, at_outputs, strict=True):
                output, states = self.step(w)(x_t, states)
                loss += jnp.sum(output * at_output)
            return loss + jnp.sum(states[0]) + jnp.sum(states[1])

        return jax.grad(loss, argnums=(0, 1, 2, 3))(w, x, h, aux)

    def padded(self, w, x, h, aux, at_outputs, keep):
        def loss(w, x, h, aux):
            _, outputs, states = rnn(
                self.step(w),
                x,
                [h, aux],
                self.go_backwards,
                keep,
                zero_output_for_mask=True,
                samplewise=True,
            )
            return jnp.sum(outputs * at_outputs) + jnp.sum(states[0]) + jnp.sum(states[1])

        return jax.grad(loss, argnums=(0, 1, 2, 3))(w, x, h, aux)

    def check(self, padded, keep, padding):
        samples, time = keep.shape
        w, x, h = ordinary(2, 3), ordinary(samples, time, 2), ordinary(samples, 3)
        aux = np.zeros((samples, 2)) + (keep.sum(axis=1)[:, None] if self.counts_down else 0.0)
        at_outputs = ordinary(samples, time, 3)
        x = np.where(keep[..., None], x, padding)
        found = padded(*map(jnp.asarray, (w, x, h, aux, at_outputs)), keep)
        # In the order of iteration, which outputs are in already.
        order = slice(None, None, -1 if self.go_backwards else 1)
        of_w, of_x, of_h, of_aux = 0, np.zeros_like(x), np.zeros_like(h), np.zeros_like(aux)
        for s in range(samples):
            times = np.flatnonzero(keep[s])[order]
            places = np.flatnonzero(keep[s][order])
            own = self.alone(w, x[s, times], h[s], aux[s], at_outputs[s, places])
            of_w = of_w + own[0]
            of_x[s, times], of_h[s], of_aux[s] = own[1:]
        for found_one, expected in zip(found, (of_w, of_x, of_h, of_aux), strict=True):
            np.testing.assert_allclose(found_one, expected, rtol=1e-12, atol=1e-14)
        assert not np.asarray(found[1])[~keep].any()


@pytest.mark.parametrize(
    ("name", "go_backwards"),
    [(name, False) for name in TREACHEROUS] + [(name, True) for name in OF_STATES],
)
def test_gradients_under_a_traced_mask_are_those_of_each_sample_without_its_padding(
    name, go_backwards
):
    treacherous = Treacherous(name, go_backwards)
    padded = jax.jit(treacherous.padded)
    for keep in PLACES.values():
        for padding in (np.nan, 0.0, 1e300, -1.0):
            treacherous.check(padded, np.asarray(keep, dtype=bool), padding)


@pytest.mark.parametrize("name", OF_STATES)
def test_gradients_under_a_known_mask_are_those_of_each_sample_without_its_padding(name):
    treacherous, keep = Treacherous(name, False), np.asarray(PLACES["middle"], dtype=bool)
    padded = jax.jit(lambda *arrays: treacherous.padded(*arrays, keep))
    for padding in (np.nan, 0.0, 1e300):
        treacherous.check(lambda *arrays: padded(*arrays[:-1]), keep, padding)


def test_without_the_promise_the_gradient_of_the_padding_is_there():
    x = jnp.asarray([[[2.0], [0.0]], [[2.0], [3.0]]])

    def total(w, samplewise):
        step = lambda x_t, states: ((h := states[0] + w * jnp.log(x_t)), [h])  # noqa: E731
        options = {"mask": [[1, 0], [1, 1]], "samplewise": samplewise}
        return rnn(step, x, [jnp.zeros((2, 1))], **options)[0].sum()

    np.testing.assert_allclose(total(0.5, False), 0.5 * np.log(12))
    assert jnp.isnan(jax.grad(total)(0.5, False))
    np.testing.assert_allclose(jax.grad(total)(0.5, True), np.log(12))


# ---------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mask_keeps_short_floats(dtype):
    x, h = normal(3, 4, 2, dtype=dtype), normal(3, 2, dtype=dtype)
    last, outputs, (new,) = rnn(decaying, x, [h], mask=MASK)
    assert [a.dtype.name for a in (last, outputs, new)] == [dtype] * 3
    assert new[2].tolist() == h[2].tolist()


def test_python_numbers_as_states_are_not_weakly_typed():
    seen = []

    def step(x_t, states):
        seen.extend(states)
        return x_t, [states[0] + 1, states[1] + 1, states[2]]

    rnn(step, normal(2, 2, 1, dtype="float32"), [0.0, 0, False])
    assert [s.dtype.name for s in seen] == ["float32", "int64", "bool"] * 2
    assert not any(s.weak_type for s in seen)


def test_a_weakly_typed_output_keeps_its_dtype_under_a_mask(backend):
    def step(x_t, states):
        return jnp.full(x_t.shape, 2.0), states  # weakly typed, since filled with a Python number

    last, outputs, _ = rnn(step, normal(3, 4, 1), [normal(3)], mask=MASK)
    expected = np.asarray([[0, 2, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]], dtype="float64")[..., None]
    assert_same(backend, (last, outputs), (expected[:, -1], expected), exact=True)


@pytest.mark.parametrize(
    "masking",
    [{"mask": MASK.astype("float64")}, {"input_length": np.asarray([4, 1, 0])}],
    ids=["float64 mask", "int64 lengths"],
)
def test_without_64_bits_arguments_from_the_host_will_do(backend, no_x64, masking):
    def step(x_t, states):
        return x_t * 2, [states[0] + 1]

    x, count = normal(3, 4, 1, dtype="float32"), jnp.zeros(3, dtype="int32")
    last, _, (count,) = rnn(step, x, [count], **masking)
    kept = MASK.sum(axis=1) if "mask" in masking else masking["input_length"]
    assert_same(backend, count, kept.astype("int32"))
    assert last.dtype.name == "float32"


def test_without_64_bits_python_numbers_become_32_bits(no_x64):
    _, _, states = rnn(
        lambda x_t, states: (x_t, states), normal(2, 2, 1, dtype="bfloat16"), [0.0, 0]
    )
    assert [s.dtype.name for s in states] == ["bfloat16", "int32"]


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


def equations(function, *arguments):
    """Return the names of all primitives in the program, those inside of others included."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for value in equation.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)

    return [*walk(jax.make_jaxpr(function)(*arguments).jaxpr)]


OPTIONS = {
    "plain": {},
    "backwards": {"go_backwards": True},
    "last": {"return_all_outputs": False},
    "mask": {"mask": True},
    "mask, last, zeros": {
        "mask": True,
        "return_all_outputs": False,
        "zero_output_for_mask": True,
    },
    "lengths": {"input_length": True, "go_backwards": True},
}
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def run_with(options, x, mask, lengths):
    options = dict(options)
    if "mask" in options:
        options["mask"] = mask
    if "input_length" in options:
        options["input_length"] = lengths
    return rnn(decaying, x, [jnp.ones((x.shape[0], x.shape[2]))], **options)


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
    from arrayrnn import scan

    def f(carry, x):
        h = jnp.tanh(carry["h"] + x)
        return {"h": h, "n": carry["n"] + 1}, (h * 2, carry["n"])

    init, xs = {"h": normal(3), "n": jnp.asarray(0)}, normal(50, 3)
    for reverse in (False, True):
        ours = jax.jit(functools.partial(scan, f, reverse=reverse))(init, xs)
        theirs = jax.lax.scan(f, init, xs, reverse=reverse)
        assert_same(backend, ours, jax.tree.map(np.asarray, theirs))


# ---------------------------------------------------------------------------------- checkpoints

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
    from arrayrnn import scan

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
    from arrayrnn import bidirectional

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


# ---------------------------------------------------------------------------------- strict modes

STRICT = {
    "no leaks": jax.checking_leaks,
    "no promotion of ranks": lambda: jax.numpy_rank_promotion("raise"),
    "no promotion of dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "no NaN": lambda: jax.debug_nans(True),
    "no infinities": lambda: jax.debug_infs(True),
}
LENGTHS = np.asarray([3, 0, 4])
CALLED_STRICTLY = {
    "rnn": lambda x, h: rnn(decaying, x, [h]),
    "mask": lambda x, h: rnn(decaying, x, [h], mask=MASK, go_backwards=True),
    "traced mask": lambda x, h: rnn(decaying, x, [h], mask=x[..., 0] > 0, samplewise=True),
    "lengths": lambda x, h: rnn(decaying, x, [h], input_length=jnp.asarray(LENGTHS)),
    "last output": lambda x, h: rnn(
        decaying, x, [h], input_length=LENGTHS, return_all_outputs=False, initial_output=h
    ),
    "unrolled": lambda x, h: rnn(decaying, x, [h], mask=x[..., 0] > 0, unroll=True),
    "checkpoints": lambda x, h: rnn(decaying, x, [h], mask=MASK, checkpoint=2),
    "gradient": lambda x, h: jax.grad(
        lambda h: rnn(decaying, x, [h], mask=x[..., 0] > 0, samplewise=True)[1].sum()
    )(h),
    "scan": lambda x, h: scan(lambda c, v: (c + v, c), h, x.swapaxes(0, 1)),
    "both directions": lambda x, h: bidirectional(decaying, decaying, x, [h], [h], mask=MASK),
    "reversed": lambda x, h: reverse_sequence(x, jnp.asarray(LENGTHS)),
    "reversed, mask": lambda x, h: reverse_sequence(x, mask=x[..., 0] > 0),
    "padded": lambda x, h: pad_sequences([x[0], x[1, :2]]),
    "compiled": lambda x, h: compiled.rnn(decaying, x, [h], mask=MASK),
}


@pytest.mark.parametrize("mode", STRICT.values(), ids=STRICT)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("call", CALLED_STRICTLY.values(), ids=CALLED_STRICTLY)
def test_strict_modes_change_nothing(call, jit, mode):
    if call is CALLED_STRICTLY["compiled"]:
        needs_compiled()
    x, h = normal(3, 4, 2), normal(3, 2)
    expected = call(x, h)
    with mode():
        found = (jax.jit(call) if jit else call)(x, h)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


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
