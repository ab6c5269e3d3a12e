"""What the tests about JAX share; where it is not installed, importing this skips them."""

import numpy as np
import pytest

from arrayrnn import rnn

jax = pytest.importorskip("jax", reason="these tests are about JAX")
jnp = pytest.importorskip("jax.numpy")

__all__ = [
    "MASK",
    "OTHER_MASK",
    "decaying",
    "each_option",
    "equations",
    "jax",
    "jnp",
    "masked_run",
    "normal",
    "run_with",
]


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
