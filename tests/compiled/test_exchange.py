"""`arrayrnn.compiled`: arrays go to JAX and come back, and nobody else's memory is written to."""

import re
from types import ModuleType

import numpy as np
import pytest

from arrayrnn import compiled, rnn
from support.backends import Backend

jax = pytest.importorskip("jax", reason="these tests are about programs that JAX compiles")
jnp = pytest.importorskip("jax.numpy")
ml_dtypes = pytest.importorskip("ml_dtypes")
_exchange = pytest.importorskip("arrayrnn.compiled._exchange")

LARGE = 1 << 13  # elements of 8 bytes, whose memory is shared


@pytest.fixture(autouse=True)
def numpy_compiled_only(backend):
    if backend is not Backend.NUMPY_COMPILED:
        pytest.skip("these tests choose themselves what runs where")


def accumulating(x_t, states):
    return states[0] + x_t, [states[0] + x_t]


def returning(x_t, states):
    """Return what comes: the inputs, the states and the constants as they are."""
    h, _, c = states
    return (x_t, c, h, h), [h, x_t]


def aligned(features, offset=0):
    """Return ``(2, 3, features)`` float64 in memory `offset` bytes behind a multiple of 64."""
    count = 2 * 3 * features
    memory = np.empty(8 * count + 192, dtype="uint8")
    start = -memory.ctypes.data % 64 + offset
    array = memory[start : start + 8 * count].view("float64").reshape(2, 3, features)
    array[...] = np.arange(count).reshape(array.shape)
    return array


# ---------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("features", [2, LARGE])
@pytest.mark.parametrize("options", [{}, {"mask": [[1, 0, 1], [0, 0, 0]]}, {"unroll": True}])
def test_results_have_memory_of_their_own_and_arguments_stay_as_they_were(features, options):
    x, h, c = aligned(features), aligned(features)[:, 0].copy(), aligned(features)[:, 1].copy()
    same = x[:, 0].copy()
    arguments = [x, h, same, c]
    before = [a.copy() for a in arguments]
    results = compiled.rnn(returning, x, [h, same], constants=[c], **options)
    leaves = jax.tree.leaves(results)
    for k, leaf in enumerate(leaves):
        assert leaf.flags.writeable
        assert leaf.flags.c_contiguous
        for other in [*arguments, *leaves[:k]]:
            assert not np.shares_memory(leaf, other)
    kept = [leaf.copy() for leaf in leaves]
    for argument, was in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, was)
        argument[...] = np.nan
    for leaf, was in zip(leaves, kept, strict=True):
        np.testing.assert_array_equal(leaf, was)
        leaf[...] = np.nan


def test_results_outlive_programs_and_arguments():
    x = aligned(LARGE)
    expected = x.sum(axis=1)
    last = compiled.rnn(accumulating, x, [np.zeros((2, LARGE))])[0]
    del x
    compiled.cache_clear()
    np.testing.assert_array_equal(last, expected)


def test_results_that_depend_on_nothing_are_new_at_each_call():
    x, ones = np.zeros((2, 3, 1)), np.ones((2, 1))
    for _ in range(2):
        for step in (lambda x_t, s: (np.ones((2, 1)), s), lambda x_t, s: (ones, [ones])):
            results = compiled.rnn(step, x, [ones])
            for leaf in jax.tree.leaves(results):
                np.testing.assert_array_equal(leaf, np.ones_like(leaf))
                assert not np.shares_memory(leaf, ones)
                leaf[...] = np.nan
    assert (ones == 1).all()


# ---------------------------------------------------------------------------------- layouts

base = aligned(LARGE)
read_only = aligned(LARGE)
read_only.flags.writeable = False
LAYOUTS = {
    "aligned": base,
    "read-only": read_only,
    "misaligned for XLA": aligned(LARGE, offset=8),
    "misaligned": aligned(LARGE, offset=1),
    "transposed": np.ascontiguousarray(base.T).T,
    "time first": np.ascontiguousarray(base.swapaxes(0, 1)).swapaxes(0, 1),
    "reversed": base[:, ::-1],
    "strided": np.repeat(base, 2, axis=2)[..., ::2],
    "broadcast": np.broadcast_to(base[:, :1], base.shape),
    "other byte order": base.astype(">f8"),
    "Fortran's order": np.asfortranarray(base),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_any_layout_of_memory_will_do(name):
    x = LAYOUTS[name]
    before = x.copy()
    last, outputs, (h,) = compiled.rnn(accumulating, x, [x[:, 0]], constants=[])
    np.testing.assert_array_equal(outputs, x[:, 0, None] + x.cumsum(axis=1))
    np.testing.assert_array_equal((last, h), (outputs[:, -1],) * 2)
    np.testing.assert_array_equal(x, before)
    assert outputs.dtype == np.dtype("float64")


def test_what_repeats_is_handed_over_once_and_spread_in_the_program():
    row = np.arange(6.0).reshape(1, 3, 2)
    x, h = np.broadcast_to(row, (4, 3, 2)), np.broadcast_to(np.ones(2), (4, 2))
    weight, mask = (
        np.broadcast_to(np.asarray(2.0), (4, 2)),
        np.broadcast_to([True, False, True], (4, 3)),
    )
    assert _exchange.to_jax(x).shape == (1, 3, 2)
    assert _exchange.to_jax(weight).shape == (1, 1)

    def step(x_t, states):
        h, c = states
        return x_t * weight, [h + x_t * c]

    for options in ({}, {"mask": mask}, {"unroll": True}, {"go_backwards": True}):
        found, wanted = (
            f(step, x, [h], constants=[weight], **options) for f in (compiled.rnn, rnn)
        )
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.flags.writeable


def test_no_samples_no_features_and_no_axes_will_do():
    for shape in ((0, 3, 2), (2, 3, 0)):
        last, outputs, (h,) = compiled.rnn(accumulating, np.ones(shape), [np.ones(shape)[:, 0]])
        assert outputs.shape == shape
        assert last.shape == h.shape == (shape[0], shape[2])
    carry, ys = compiled.scan(lambda c, x: (c + x, c), np.asarray(1.0), np.ones(3))
    assert (carry.shape, carry.dtype, carry.item()) == ((), np.dtype("float64"), 4.0)
    assert ys.tolist() == [1.0, 2.0, 3.0]
    assert isinstance(carry, np.ndarray)


def test_scalars_of_numpy_serve_as_states_and_constants():
    carry, _ = compiled.scan(lambda c, x: (c * x, c), np.float32(2), np.ones(3, "float32"))
    assert (carry, carry.dtype) == (2.0, np.dtype("float32"))
    step = lambda x_t, s: (x_t * s[1], [s[0]])  # noqa: E731
    for c in (np.float64(3), np.asarray(3.0), np.int8(3)):
        last, _, _ = compiled.rnn(step, np.ones((1, 2, 1)), [np.ones((1, 1))], constants=[c])
        assert last.tolist() == [[3.0]]


@pytest.mark.parametrize(
    "constant",
    [np.str_("text"), np.datetime64(3, "D"), np.asarray(["text"]), np.asarray([None, 2]), "text"],
    ids=repr,
)
def test_constants_that_are_no_numbers_reach_the_step_as_they_are(constant):
    given = []
    step = lambda x_t, s: given.append(s[1]) or (x_t, [s[0]])  # noqa: E731
    compiled.rnn(step, np.ones((1, 2, 1)), [np.ones((1, 1))], constants=[constant])
    assert given[0] is constant


# ---------------------------------------------------------------------------------- dtypes

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_dtypes_stay(dtype):
    x = np.asarray([[[0, 1], [1, 1], [1, 0]]]).astype(dtype)
    results = compiled.rnn(lambda x_t, s: ((x_t, s[0]), [x_t]), x, [x[:, 0]])
    assert [leaf.dtype for leaf in jax.tree.leaves(results)] == [x.dtype] * 5
    np.testing.assert_array_equal(results[1][0], x)
    np.testing.assert_array_equal(results[1][1], x[:, [0, 0, 1]])


def test_wide_integers_keep_all_their_bits():
    for value in (2**64 - 1, 2**63 + 1):
        x = np.full((1, 2, 1), value, dtype="uint64")
        assert compiled.rnn(lambda x_t, s: (x_t, s), x, [x[:, 0]])[0].item() == value
    x = np.full((1, 2, 1), 2**61 + 1)
    assert compiled.rnn(accumulating, x, [np.ones((1, 1), int)])[0].item() == 2**62 + 3


REFUSED = {
    "object": np.ones((2, 3, 1), object),
    "<U4": np.full((2, 3, 1), "text"),
    "datetime64[s]": np.zeros((2, 3, 1), "datetime64[s]"),
    np.dtype(np.longdouble).name: np.ones((2, 3, 1), np.longdouble),
    "[('a', '<f8')]": np.zeros((2, 3, 1), [("a", "f8")]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_jax_cannot_take_is_named(name):
    x, bad = np.ones((2, 3, 1)), REFUSED[name]
    shape = {"inputs['b']": (2, 3, 1), "initial_states[1][0]": (2, 1), "constants[0]": (2, 3, 1)}
    calls = {
        "inputs['b']": ({"a": x, "b": bad}, [x[:, 0]], None),
        "initial_states[1][0]": (x, [x[:, 0], (bad[:, 0],)], None),
    }
    if "float" in name:  # another constant goes to the step as it is
        calls["constants[0]"] = (x, [x[:, 0]], [bad])
    for path, (inputs, states, constants) in calls.items():
        message = f"`{path}` is an array of shape {shape[path]} and dtype {name}, which JAX cannot"
        with pytest.raises(TypeError, match="^" + re.escape(message)):
            compiled.rnn(accumulating, inputs, states, constants=constants)
    with pytest.raises(TypeError, match=re.escape("`init['h']`")):
        compiled.scan(lambda c, x: (c, x), {"h": bad[0, 0]}, x)


def test_a_masked_array_among_constants_would_lose_its_mask():
    x, bad = np.ones((2, 3, 1)), np.ma.masked_array(np.ones((2, 3, 1)))
    with pytest.raises(TypeError, match=r"^`constants\[0\]` is .*: its mask would be lost"):
        compiled.rnn(accumulating, x, [x[:, 0]], constants=[bad])


@pytest.mark.parametrize("library", ["array_api_strict", "dask.array"])
def test_arrays_of_other_libraries_are_refused(library):
    xp = pytest.importorskip(library)
    message = rf"^`inputs` is of {library}; .* NumPy, CuPy and PyTorch. Call `arrayrnn.rnn`.$"
    with pytest.raises(TypeError, match=message):
        compiled.rnn(accumulating, xp.ones((2, 3, 1)), [xp.ones((2, 1))])


# ---------------------------------------------------------------------------------- JAX


def test_arrays_of_jax_are_told_of_jit():
    x, h = jnp.ones((2, 3, 1)), jnp.ones((2, 1))
    with pytest.raises(TypeError, match=r"^`inputs` is of jax.numpy.* inside of `jax.jit`"):
        compiled.rnn(accumulating, x, [h])
    with pytest.raises(TypeError, match=r"^`xs` is of jax.numpy.*`arrayrnn.scan` inside of"):
        compiled.scan(lambda c, x: (c, x), h, x)
    with pytest.raises(TypeError, match=r"inside of `jax\.jit`"):
        jax.jit(lambda x: compiled.rnn(accumulating, x, [h]))(x)


@pytest.mark.parametrize(
    "step",
    [
        lambda x_t, s: (x_t * JAX_ARRAY, s),
        lambda x_t, s: (JAX_ARRAY * x_t, s),
        lambda x_t, s: (jnp.tanh(x_t), s),
        lambda x_t, s: (jax.nn.sigmoid(x_t), s),
    ],
    ids=["right", "left", "jax.numpy", "jax.nn"],
)
def test_steps_that_compute_with_jax_are_told_of_jit(step):
    x = np.ones((2, 3, 1))
    with pytest.raises(TypeError, match=r"call `arrayrnn.rnn` inside of `jax\.jit`"):
        compiled.rnn(step, x, [x[:, 0]])


JAX_ARRAY = jnp.ones(1)


# ---------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(
    ("setting", "precision"), [(None, "highest"), ("0", "highest"), ("1", "tensorfloat32")]
)
def test_matrix_products_are_as_exact_as_those_of_cupy(setting, precision, monkeypatch):
    if setting is None:
        monkeypatch.delenv("CUPY_TF32", raising=False)
    else:
        monkeypatch.setenv("CUPY_TF32", setting)
    with _exchange.as_in(ModuleType("array_api_compat.cupy")):
        assert jax.config.jax_default_matmul_precision == precision


# ---------------------------------------------------------------------------------- without axes


class OfAnotherLibrary:
    """An array that its library hands over as CuPy does."""

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    def __array_namespace__(self, api_version=None):
        return OfAnotherLibrary

    @staticmethod
    def ascontiguousarray(array):
        return OfAnotherLibrary(np.atleast_1d(array.array))

    @staticmethod
    def reshape(array, shape):
        return OfAnotherLibrary(array.array.reshape(shape))

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_arrays_of_any_shape_keep_it_where_being_contiguous_means_having_an_axis(shape):
    array = np.ones(shape, dtype="float32")
    assert _exchange.to_jax(OfAnotherLibrary(array)).shape == shape
