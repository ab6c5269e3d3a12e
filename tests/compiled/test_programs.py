"""`arrayrnn.compiled`: nothing is stale, and nothing is compiled without need."""

import dataclasses
import gc
import subprocess
import sys
import threading
import tomllib
import weakref
from pathlib import Path

import numpy as np
import pytest

from arrayrnn import compiled, rnn
from arrayrnn._recurrence.options import Options
from support.backends import Backend

jax = pytest.importorskip("jax", reason="these tests are about programs that JAX compiles")
jnp = pytest.importorskip("jax.numpy")


@pytest.fixture(autouse=True)
def numpy_compiled_only(backend):
    if backend is not Backend.NUMPY_COMPILED:
        pytest.skip("these tests are about programs for NumPy, and count them")
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


X, H = normal(2, 3, 2), normal(2, 2)


def weighted(weight):
    """Return a step that closes over an array."""

    def step(x_t, states):
        h = states[0] + x_t @ weight
        return h, [h]

    return step


def assert_right(step, x=X, h=H, **options):
    """Compare a call with the loop in Python."""
    actual, expected = (f(step, x, [h], **options) for f in (compiled.rnn, rnn))
    for found, wanted in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def counts():
    """Return the numbers of hits and of misses."""
    return compiled.cache_info()[:2]


# ---------------------------------------------------------------------------------- closed over


def test_fresh_closures_over_other_arrays_run_the_same_program():
    for k in range(4):
        assert_right(weighted(normal(2, 2) + k))
    assert counts() == (3, 1)


def test_arrays_that_were_written_into_count_as_they_are():
    weight = normal(2, 2)
    step = weighted(weight)
    assert_right(step)
    weight[0, 1] = 7.0
    assert_right(step)
    assert counts() == (1, 1)


def test_attributes_count_as_they_are():
    class Cell:
        def __init__(self):
            self.weight, self.bias = normal(2, 2), np.asarray([1.0, 2.0])

        def __call__(self, x_t, states):
            return x_t @ self.weight, [states[0] + self.bias]

    cell = Cell()
    assert_right(cell)
    cell.weight, cell.bias = cell.weight + 1, cell.bias - 1
    assert_right(cell)
    assert counts() == (1, 1)


def test_globals_count_as_they_are(monkeypatch):
    def step(x_t, states):
        return x_t * SCALE, [states[0] * SCALE]

    assert_right(step)
    monkeypatch.setitem(globals(), "SCALE", np.asarray([3.0, -1.0]))
    assert_right(step)
    assert counts() == (1, 1)


SCALE = np.asarray([2.0, 5.0])


def test_numbers_of_python_are_part_of_the_program():
    for value in (2.0, 3.0, 2.0, 2, 2 + 0j, True):
        assert_right(lambda x_t, s, scale=value: (x_t * scale, s))
    assert counts() == (1, 5)


@pytest.mark.parametrize("make", [np.float64, np.asarray, lambda value: np.full(2, value)])
def test_numbers_of_numpy_are_arrays(make):
    for value in (2.0, 3.0, 2.0):
        scale = make(value)
        assert_right(lambda x_t, s, scale=scale: (x_t * scale, [s[0] + scale]))
    assert counts() == (2, 1)


def test_zeros_of_either_sign_and_nan_are_told_apart():
    for value in (0.0, -0.0, np.nan, np.inf, -np.inf):
        for _ in range(2):
            last, _, _ = compiled.rnn(lambda x_t, s, v=value: (np.copysign(x_t, v) + v, s), X, [H])
            np.testing.assert_array_equal(last, np.copysign(X[:, -1], value) + value)
    assert counts() == (5, 5)


def test_one_array_in_two_places_and_two_arrays_are_told_apart():
    one, other = normal(2, 2), normal(2, 2) + 1
    for first, second in ((one, one), (one, other), (other, one), (other, other)):
        assert_right(lambda x_t, s, a=first, b=second: (x_t @ a + x_t @ b, s))
    assert counts() == (2, 2)


@pytest.mark.parametrize("name", ["solve", "inv", "pinv", "qr"])
def test_linear_algebra_runs_the_same_program(name):
    def step_of(weight):
        def step(x_t, states):
            function = getattr(np.linalg, name)
            matrix = states[0] @ weight
            found = function(matrix, x_t) if name == "solve" else function(matrix)
            return (found[0] if name == "qr" else found), states

        return step

    x, h = np.ones((2, 5, 2)), np.asarray([[2.0, 1.0], [0.0, 3.0]])
    for factor in (1.0, 2.0, 3.0):
        assert_right(step_of(factor * np.eye(2)), x, h)
    assert counts() == (2, 1)


def test_other_closed_over_shapes_and_dtypes_are_other_programs():
    for scale in (np.ones(2), np.ones((2, 2)), np.ones(2, "float32"), np.ones(2, "int64")):
        assert_right(lambda x_t, s, scale=scale: (x_t * scale, s))
    assert counts() == (0, 4)


# ---------------------------------------------------------------------------------- arguments


def test_other_values_of_masks_lengths_and_arrays_run_the_same_program():
    step = weighted(normal(2, 2))
    for mask in ([[1, 0, 1], [0, 0, 0]], [[0, 1, 0], [1, 1, 1]], [[1, 1, 1]] * 2):
        assert_right(step, mask=np.asarray(mask, bool))
    for lengths in ([3, 1], [0, 2]):
        assert_right(step, X + 1, H - 1, input_length=lengths)
    assert counts() == (4, 1)


def test_what_the_loop_is_told_is_part_of_the_program():
    # Time and samples are as many: the shapes are the same with either axis first.
    x, mask = normal(2, 2, 2), np.asarray([[True, False], [True, True]])
    options = [
        {},
        {"go_backwards": True},
        {"time_major": True},
        {"unroll": True},
        {"unroll": 1},
        {"return_all_outputs": False},
        {"mask": mask},
        {"mask": mask, "zero_output_for_mask": True},
        {"mask": mask, "initial_output": np.full((2, 2), 5.0)},
        {"constants": [2]},
        {"constants": [3]},
        {"constants": [np.asarray([2.0, 3.0])]},
        {"constants": [{"c": np.asarray([2.0, 3.0])}, "text", None]},
    ]

    def step(x_t, states):
        h, *constants = states
        scale = constants[0] if constants else 1.0
        h = h + x_t * (scale["c"] if isinstance(scale, dict) else scale)
        return 2 * h, [h]

    for some in options + options[::-1]:
        assert_right(step, x, **some)
    # Constants in a nest are the same program as one alone.
    assert counts() == (len(options) + 1, len(options) - 1)


def test_every_option_but_progress_is_part_of_the_program_or_of_what_is_recorded():
    run = sys.modules["arrayrnn.compiled._run"]
    options = Options(unroll=2, time_major=True, checkpoint=3)
    values = run._OPTIONS(options)  # noqa: SLF001
    assert len(values) == len(dataclasses.fields(Options)) - 2  # `constants` and `progress`
    assert {2, True, 3} <= {*values}


@pytest.mark.parametrize("time", [3, 16, 35])
def test_on_a_gpu_several_timesteps_make_a_turn_of_the_loop(time, monkeypatch):
    torch = pytest.importorskip("torch", reason="arrays of NumPy are never on a GPU")
    x, h = torch.tensor(normal(2, time, 2)), torch.tensor(normal(2, 2))
    options = {"input_length": [time, time - 2], "go_backwards": True}

    def step(x_t, states):
        return x_t - states[0], [x_t + 0.5 * states[0]]

    expected = rnn(step, x, [h], **options)
    for factor in (None, 16):
        if factor is not None:
            run = sys.modules["arrayrnn.compiled._run"]
            monkeypatch.setattr(run, "_TIMESTEPS_OF_A_TURN", {"cpu": factor})
        found = compiled.rnn(step, x, [h], **options)
        for leaf, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            torch.testing.assert_close(leaf, wanted)
    assert counts() == (0, 2)
    compiled.rnn(step, x, [h], **options, unroll=16)
    assert counts() == (1, 2)  # that is what it is
    compiled.rnn(step, x, [h], **options, unroll=1)
    assert counts() == (1, 3)


def test_another_step_is_another_program():
    for step in (
        lambda x_t, s: (x_t + s[0], s),
        lambda x_t, s: (s[0] - x_t, s),
        lambda x_t, s: (x_t - s[0], s),
        lambda x_t, s: (x_t, [x_t]),
        lambda x_t, s: ((x_t, x_t), s),
        lambda x_t, s: ({"a": s[0]}, s),
        lambda x_t, s: (x_t[:, :1], s),
        lambda x_t, s: (np.sum(x_t, axis=1), s),
        lambda x_t, s: (np.cumsum(x_t, axis=0), s),
        lambda x_t, s: (np.cumsum(x_t, axis=1), s),
        lambda x_t, s: (np.cumsum(x_t, axis=1)[:, ::-1], s),
        lambda x_t, s: (x_t.astype("float32"), s),
    ):
        assert_right(step)
    assert counts() == (0, 12)


def test_containers_of_the_output_are_those_of_the_call():
    for nest in (lambda y: [y, y], lambda y: {"b": y, "a": y}, lambda y: (y, (y,))):
        last, _, _ = compiled.rnn(lambda x_t, s, nest=nest: (nest(x_t), s), X, [H])
        assert jax.tree.structure(last) == jax.tree.structure(nest(0))


# ---------------------------------------------------------------------------------- one kernel


@pytest.mark.parametrize("samples", [1, 2])
def test_steps_of_vectors_become_one_kernel(samples, monkeypatch):
    programs = sys.modules["arrayrnn.compiled._programs"]
    in_one_kernel, hinted = programs._in_one_kernel, []  # noqa: SLF001
    monkeypatch.setattr(programs, "_in_one_kernel", lambda f: hinted.append(1) or in_one_kernel(f))
    assert_right(weighted(normal(2, 2)), X[:samples], H[:samples])
    assert_right(weighted(normal(2, 2)), X[:samples], H[:samples], mask=[[1, 0, 1]] * samples)
    assert len(hinted) == (2 if samples == 1 else 0)
    compiled.scan(lambda c, x: (c, x), 0.0, X)  # an x of two long axes
    assert len(hinted) == (2 if samples == 1 else 0)


@pytest.mark.parametrize("function", [np.sort, np.median, np.fft.fft, np.linalg.norm])
def test_what_xla_calls_a_library_for_gets_no_hint(function, monkeypatch, capfd):
    monkeypatch.setattr(sys.modules["arrayrnn.compiled._programs"], "_in_one_kernel", None)
    assert_right(lambda x_t, s: (np.abs(function(x_t, axis=1)), s), X[:1], H[:1])
    assert capfd.readouterr().err == ""


def test_a_hint_that_xla_refuses_is_taken_back(monkeypatch):
    def refused(_):
        def call(*_):
            raise RuntimeError("UNIMPLEMENTED: not on CPU")

        return call

    monkeypatch.setattr(sys.modules["arrayrnn.compiled._programs"], "_in_one_kernel", refused)
    for _ in range(2):
        assert_right(weighted(normal(2, 2)), X[:1], H[:1])
    assert counts() == (1, 1)


# ---------------------------------------------------------------------------------- the cache


def test_the_cache_is_bounded_and_forgets_what_was_not_asked_for_longest(monkeypatch):
    cache = sys.modules["arrayrnn.compiled._programs"].CACHE
    monkeypatch.setattr(cache, "_most", 2)
    steps = [lambda x_t, s, k=k: (x_t * k, s) for k in (2.0, 3.0, 4.0)]
    for k in (0, 1, 0, 2, 0, 1):
        compiled.rnn(steps[k], X, [H])
    assert compiled.cache_info() == (2, 4, 2, 2)


def test_the_cache_can_be_emptied():
    compiled.rnn(weighted(normal(2, 2)), X, [H])
    compiled.cache_clear()
    assert compiled.cache_info() == (0, 0, 128, 0)
    assert_right(weighted(normal(2, 2)))
    assert counts() == (0, 1)


def test_an_error_in_the_step_leaves_the_cache_and_the_64_bit_mode_as_they_were():
    def step(x_t, states):
        raise KeyError("mine")

    before = jax.config.jax_enable_x64
    with pytest.raises(KeyError, match="mine"):
        compiled.rnn(step, X, [H])
    assert counts() == (0, 0)
    assert jax.config.jax_enable_x64 == before


def test_the_64_bit_mode_is_on_while_the_step_is_recorded_alone():
    before, within = jax.config.jax_enable_x64, []
    compiled.rnn(lambda x_t, s: within.append(jax.config.jax_enable_x64) or (x_t, s), X, [H])
    assert within == [True]
    assert jax.config.jax_enable_x64 == before


def test_threads_share_programs_and_not_the_64_bit_mode():
    started, leave, failed = threading.Barrier(9), threading.Event(), []

    def call(k):
        try:
            with jax.enable_x64(False):
                assert not jax.config.jax_enable_x64
                weight = normal(2, 2) + k
                started.wait(60)

                def step(x_t, states):
                    assert leave.wait(60)
                    return x_t @ weight if k % 2 else weight[:, 0] - x_t, states

                for _ in range(3):
                    _, outputs, _ = compiled.rnn(step, X, [H])
                    wanted = X @ weight if k % 2 else weight[:, 0] - X
                    np.testing.assert_allclose(outputs, wanted, rtol=1e-12)
                assert not jax.config.jax_enable_x64
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    started.wait(60)
    with jax.enable_x64(False):  # whatever other threads do
        assert jnp.asarray(1.0).dtype == "float32"
        leave.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert counts() == (22, 2)


def test_a_kept_program_keeps_nothing_of_the_call_alive():
    class Array(np.ndarray):
        """Can be referred to weakly."""

    class Step:
        def __init__(self):
            self.weight = normal(2, 2).view(Array)

        def __call__(self, x_t, states):
            return x_t @ self.weight, states

    step, x, h = Step(), X.copy().view(Array), H.copy().view(Array)
    known = [*map(weakref.ref, (step, step.weight, x, h))]
    compiled.rnn(step, x, [h])
    del step, x, h
    gc.collect()
    assert compiled.cache_info().currsize == 1
    assert [reference() for reference in known] == [None] * 4


def test_a_thousand_fresh_closures_are_one_program_and_leave_nothing_behind():
    def call(k):
        assert compiled.rnn(weighted(np.full((2, 2), float(k))), X, [H])[0].shape == (2, 2)

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for k in range(50):
        call(k)
    before = objects()
    for k in range(950):
        call(k)
    assert counts() == (999, 1)
    assert objects() - before < 100


# ---------------------------------------------------------------------------------- around it


def test_it_computes_inside_of_what_jax_traces():
    def run(scale):
        last, _, _ = compiled.rnn(weighted(normal(2, 2)), X, [H])
        assert isinstance(last, np.ndarray)
        return scale * jnp.asarray(last)

    expected = rnn(weighted(normal(2, 2)), X, [H])[0]
    for transform in (jax.jit, jax.vmap, jax.jacfwd):
        np.testing.assert_allclose(transform(run)(jnp.ones(1)).ravel(), expected.ravel(), rtol=1e-5)


def test_a_step_that_keeps_what_it_is_given_is_told_of_states():
    kept = []

    def step(x_t, states):
        kept.append(x_t)
        return x_t + kept[0], states

    compiled.rnn(step, X, [H])
    with pytest.raises(TypeError, match=r"has kept from another call.* has to be a state"):
        compiled.rnn(step, X, [H])


def test_without_jax_it_says_what_to_install_and_the_rest_works():
    code = """
import sys
class Missing:
    def find_spec(self, name, path, target=None):
        if name == "jax":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import numpy as np, arrayrnn
from arrayrnn import compiled
step = lambda x_t, s: (x_t, s)
arrayrnn.rnn(step, np.ones((1, 2, 1)), [np.ones((1, 1))])
for call in (
    lambda: compiled.rnn(step, np.ones((1, 2, 1)), [np.ones((1, 1))]),
    lambda: compiled.scan(lambda c, x: (c, x), 0.0, np.ones(2)),
    compiled.cache_info,
    compiled.cache_clear,
):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = (
        "`arrayrnn.compiled` needs JAX 0.9.2 or later. Install it with the extra "
        "`arrayrnn[compiled]`, or call `arrayrnn.rnn` or `arrayrnn.scan`."
    )
    assert shown.stdout.splitlines() == [message] * 4


def test_a_jax_that_is_too_old_is_named_like_a_missing_one(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 9, 1))
    with pytest.raises(ImportError, match=r"needs JAX 0\.9\.2 or later"):
        compiled.rnn(lambda x_t, s: (x_t, s), X, [H])


def test_the_extra_asks_for_the_same_jax():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    assert extras["compiled"] == ["jax>=0.9.2"]


def test_importing_it_imports_no_array_library():
    code = "import sys, arrayrnn.compiled; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in shown.stdout.split()}
    assert not names & {"cupy", "dask", "jax", "ndonnx", "numpy", "torch"}
