"""Arrays that lie on several devices of JAX: what the loop makes itself is made like the inputs."""

import numpy as np
import pytest

from arrayrnn import Stream, rnn, scan
from support.backends import Backend

jax = pytest.importorskip("jax", reason="these tests are about JAX")
if not hasattr(jax, "shard_map"):
    pytest.skip("this JAX has no `jax.shard_map`", allow_module_level=True)
jnp = pytest.importorskip("jax.numpy")
sharding = pytest.importorskip("jax.sharding")

SAMPLES, TIME, FEATURES = 8, 6, 3
ROWS = sharding.PartitionSpec("rows")


@pytest.fixture(autouse=True)
def jax_only(backend):
    if backend is not Backend.JAX:
        pytest.skip("these tests are about JAX, and choose themselves what is traced")
    assert jax.device_count() >= 4, "Backend.prepare asks for that many"


def drawn():
    rng = np.random.default_rng(0)
    return {
        "inputs": rng.standard_normal((SAMPLES, TIME, FEATURES)),
        "h": rng.standard_normal((SAMPLES, FEATURES)),
        "mask": rng.random((SAMPLES, TIME)) < 0.6,
        "input_length": np.asarray([6, 1, 3, 0, 2, 5, 6, 4]),
        "initial_output": rng.standard_normal((SAMPLES, FEATURES)),
    }


def step(x_t, states):
    h = jnp.tanh(0.5 * states[0] + x_t)
    return 2 * h, [h]


def mesh_of(axis_type):
    devices = jax.devices()[:4]
    return jax.make_mesh((4,), ("rows",), axis_types=(axis_type,), devices=devices)


AUTO, EXPLICIT = sharding.AxisType.Auto, sharding.AxisType.Explicit


def in_a_shard_map(layer, arrays, *, check_vma=True):
    mesh = mesh_of(AUTO)
    mapped = jax.shard_map(layer, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=check_vma)
    with jax.set_mesh(mesh):
        return jax.jit(mapped)(arrays)


def on_a_mesh(layer, arrays, *, axis_type, jit):
    mesh = mesh_of(axis_type)
    placed = jax.device_put(arrays, sharding.NamedSharding(mesh, ROWS))
    layer = jax.jit(layer) if jit else layer
    if axis_type is AUTO:
        return layer(placed)
    with jax.set_mesh(mesh):
        return layer(placed)


WAYS = {
    "shard_map": in_a_shard_map,
    "shard_map, unchecked": lambda *given: in_a_shard_map(*given, check_vma=False),
    "jit": lambda *given: on_a_mesh(*given, axis_type=AUTO, jit=True),
    "jit, explicit mesh": lambda *given: on_a_mesh(*given, axis_type=EXPLICIT, jit=True),
    "eager": lambda *given: on_a_mesh(*given, axis_type=AUTO, jit=False),
    "eager, explicit mesh": lambda *given: on_a_mesh(*given, axis_type=EXPLICIT, jit=False),
}
# Those of `rnn`, and an array.
OPTIONS = {
    "as it comes": ({}, ""),
    "backwards, zeros": ({"go_backwards": True, "zero_output_for_mask": True}, ""),
    "last output, an initial one": ({"return_all_outputs": False}, "initial_output"),
    "backwards, an initial output": ({"go_backwards": True}, "initial_output"),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
@pytest.mark.parametrize(("options", "initial"), OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize(
    "masking", ["", "mask", "input_length"], ids=["unmasked", "mask", "lengths"]
)
def test_results_are_those_on_one_device(way, options, initial, samplewise, masking):
    arrays = {name: x for name, x in drawn().items() if name in ("inputs", "h", masking, initial)}

    def layer(given):
        given = dict(given)
        inputs, h = given.pop("inputs"), given.pop("h")
        return rnn(step, inputs, [h], samplewise=samplewise, **given, **options)

    # Arrays of NumPy's would be on no device.
    expected = layer(jax.tree.map(jnp.asarray, arrays))
    found = way(layer, arrays)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-12, atol=1e-12)


@ways
def test_gradients_are_those_on_one_device(way):
    arrays = {name: x for name, x in drawn().items() if name in ("inputs", "h", "input_length")}

    def layer(given):
        def loss(h):
            length = given["input_length"]
            outputs = rnn(step, given["inputs"], [h], input_length=length, samplewise=True)[1]
            return (outputs * outputs).sum()

        return jax.grad(loss)(given["h"])

    expected = layer(jax.tree.map(jnp.asarray, arrays))
    np.testing.assert_allclose(np.asarray(way(layer, arrays)), expected, rtol=1e-12, atol=1e-12)


@ways
def test_scan(way):
    arrays = {name: x for name, x in drawn().items() if name == "h"}

    def layer(given):
        return scan(lambda h, _: (0.5 * h, h), given["h"], None, length=3)[0]

    np.testing.assert_array_equal(np.asarray(way(layer, arrays)), arrays["h"] / 8)


@pytest.mark.parametrize("axis_type", [AUTO, EXPLICIT], ids=["auto", "explicit"])
def test_a_stream(axis_type):
    given = drawn()
    expected = rnn(step, jnp.asarray(given["inputs"]), [jnp.asarray(given["h"])])

    def layer(given):
        stream = Stream(step, [given["h"]])
        stream(given["inputs"][:, :2])
        return stream(given["inputs"][:, 2:])

    arrays = {name: given[name] for name in ("inputs", "h")}
    found = on_a_mesh(layer, arrays, axis_type=axis_type, jit=False)
    np.testing.assert_allclose(np.asarray(found[0]), expected[0], rtol=1e-12, atol=1e-12)
