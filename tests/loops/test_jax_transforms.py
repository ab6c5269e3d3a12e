"""JAX sees ordinary traceable code: under its transforms, with its dtypes, in its strict modes."""

import functools

import numpy as np
import pytest

from arrayrnn import bidirectional, pad_sequences, reverse_sequence, rnn, scan
from support.backends import assert_same
from support.on_jax import MASK, OTHER_MASK, decaying, jax, jnp, masked_run, normal

check_grads = pytest.importorskip("jax.test_util").check_grads
pytestmark = pytest.mark.usefixtures("jax_only")


@pytest.fixture
def no_x64():
    """Leave JAX as it comes, without 64-bit dtypes."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


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
}


@pytest.mark.parametrize("mode", STRICT.values(), ids=STRICT)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("call", CALLED_STRICTLY.values(), ids=CALLED_STRICTLY)
def test_strict_modes_change_nothing(call, jit, mode):
    x, h = normal(3, 4, 2), normal(3, 2)
    expected = call(x, h)
    with mode():
        found = (jax.jit(call) if jit else call)(x, h)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
