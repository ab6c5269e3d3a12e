"""Recording of a step: the same lines for the same computation, and errors for what has none."""

import copy
import math
import re

import numpy as np
import pytest
from array_api_compat import array_namespace

from arrayrnn import compiled, rnn
from support.backends import assert_same

jax = pytest.importorskip("jax", reason="these tests are about programs that JAX compiles")
dialects = pytest.importorskip("arrayrnn.compiled._dialect")

EAGERLY = r"or call `arrayrnn\.rnn`, which runs the step as it is\."


@pytest.fixture(autouse=True)
def compiled_only(backend):
    if not backend.is_compiled:
        pytest.skip("these tests are about what compiled steps do")
    compiled.cache_clear()


@pytest.fixture
def run(backend):
    """Run a step on (2, 3, 4) ones and a state of zeros, compiled and in Python; compare them."""

    def run(step, **options):
        x, h = backend.array(np.ones((2, 3, 4))), backend.array(np.zeros((2, 4)))
        found, wanted = (f(step, x, [h], **options) for f in (compiled.rnn, rnn))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert_same(backend, one, backend.numpy(other))

    return run


@pytest.fixture
def refused(backend):
    """Call a step of (2, 3, 4) and a state, and return what it is refused for."""

    def refused(step, kind=TypeError):
        x, h = backend.array(np.ones((2, 3, 4))), backend.array(np.zeros((2, 4)))
        with pytest.raises(kind) as raised:
            compiled.rnn(step, x, [h])
        assert any(entry.name == step.__name__ for entry in raised.traceback)  # shows the line
        assert compiled.cache_info()[:2] == (0, 0)
        return str(raised.value)

    return refused


# ---------------------------------------------------------------------------------- the same lines


def gated(weight, tanh):
    def step(x_t, states):
        gate = 1 / (1 + tanh(x_t @ weight))
        h = gate * states[0] + (1 - gate) * x_t
        return h, [h]

    return step


def test_a_function_by_name_and_by_the_namespace_are_one_program(backend, run):
    weight = backend.array(np.eye(4))
    run(gated(weight, lambda x: array_namespace(x).tanh(x)))
    run(gated(weight + 1, backend.module.tanh))
    run(
        gated(
            np.eye(4) if backend.library == "numpy" else weight,
            lambda x: x.__class__ and backend.module.tanh(x),
        )
    )
    assert compiled.cache_info()[:2] == (2, 1)


def test_what_is_equal_on_two_libraries_is_one_program(backend):
    torch = pytest.importorskip("torch")
    for module, asarray in ((np, np.asarray), (torch, torch.asarray)):
        x, h = asarray(np.ones((2, 3, 4))), asarray(np.zeros((2, 4)))
        compiled.rnn(gated(asarray(np.eye(4)), module.tanh), x, [h])
    assert compiled.cache_info()[:2] == (1, 1)


def test_numbers_count_by_type_and_value(run):
    for number in (2, 2.0, 2 + 0j, True, 3):
        run(lambda x_t, s, number=number: (x_t * number, s))
        run(lambda x_t, s, number=number: (number * x_t, s))
    assert compiled.cache_info()[:2] == (0, 10)


def test_lookups_are_bounded(run, backend, monkeypatch):
    monkeypatch.setattr(dialects, "_MOST", 5)
    for k in range(20):
        run(lambda x_t, s, k=k: ((x_t + k) * 2.0 - 1.0, s))
    assert len(dialects.dialect_of(backend.xp).known) <= 5
    run(lambda x_t, s: ((x_t + 3) * 2.0 - 1.0, s))
    assert compiled.cache_info()[:2] == (1, 20)  # the program is found again all the same


# ---------------------------------------------------------------------------------- closed over


def test_arrays_meet_on_either_side(backend, run):
    a, b = backend.array(np.arange(4.0)), backend.array(np.eye(4))

    def step(x_t, states):
        y = a * x_t + x_t * a - (a - x_t) / (1 + a) + a**x_t
        h = b @ (b[0] + x_t).T + (x_t @ b).T
        return y, [states[0] + h.T * (a < x_t)]

    run(step)


def test_arrays_of_numpy_meet_those_of_pytorch(backend):
    if backend.library != "torch":
        pytest.skip("about two libraries")
    a, x, h = np.arange(4.0), backend.array(np.ones((2, 3, 4))), backend.array(np.zeros((2, 4)))
    _, found, _ = compiled.rnn(lambda x_t, s: (a * x_t + x_t @ np.eye(4) + a**x_t, s), x, [h])
    np.testing.assert_array_equal(backend.numpy(found), np.ones((2, 3, 4)) * (2 * a + 1))


def test_results_may_be_arrays_that_the_step_closes_over(backend, run):
    ones = backend.array(np.ones((2, 4)))
    run(lambda x_t, s: (ones, [ones]))
    run(lambda x_t, s: ({"a": x_t, "b": [ones, s[0]]}, [2 * ones]))


def test_a_step_may_make_arrays(backend, run):
    def step(x_t, states):
        xp = array_namespace(x_t)
        both = xp.concat([xp.zeros((2, 1), dtype=x_t.dtype), x_t], axis=1)
        return both * xp.asarray([1.0, 2.0, 3.0, 4.0, 5.0]), [
            states[0] + xp.ones(4, dtype=x_t.dtype)
        ]

    run(step)


def test_functions_of_the_namespace_compute_with_closed_over_arrays_alone(backend, run):
    table = backend.array(np.arange(8.0).reshape(2, 4))

    def step(x_t, states):
        xp = array_namespace(x_t)
        doubled = xp.exp(table) + table
        return x_t * doubled, [states[0] + xp.sum(table, axis=0)]

    run(step)


def test_numbers_of_numpy_are_arrays(backend, run):
    if backend.library != "numpy":
        pytest.skip("about NumPy's numbers")
    for number in (np.float64(0.5), np.float32(0.5), np.int64(2), np.asarray(3.0)):
        run(lambda x_t, s, c=number: (x_t * c, [c * s[0] + x_t[:, np.int64(0) : np.int64(4)]]))
        run(lambda x_t, s, c=number: (x_t.reshape((np.int64(2), 4)) * c, s))


def test_other_libraries_are_refused_by_name(refused, backend):
    strict = pytest.importorskip("array_api_strict")
    weight = strict.ones((2, 4))

    def step(x_t, states):
        return x_t + weight, states

    assert "of array_api_strict" in refused(step)


# ---------------------------------------------------------------------------------- other uses


def test_a_loop_in_the_step_becomes_part_of_it(backend, run):
    def inner(row, states):
        h = row + 0.5 * states[0]
        return h, [h]

    def step(x_t, states):
        for loop in (rnn, compiled.rnn):
            last, _, _ = loop(inner, x_t[:, :, None], [x_t[:, :1]], unroll=True)
        return x_t * last, [states[0] + last]

    x, h = backend.array(np.ones((2, 3, 4))), backend.array(np.zeros((2, 4)))
    _, found, _ = compiled.rnn(step, x, [h])
    np.testing.assert_allclose(backend.numpy(found), np.full((2, 3, 4), 1.9375))
    run(lambda x_t, s: (rnn(inner, x_t[:, :, None], [x_t[:, :1]])[1][..., 0], s))


def test_rows_can_be_iterated_and_unpacked(run):
    def step(x_t, states):
        first, second = x_t
        total = sum(row for row in x_t)
        xp = array_namespace(x_t)
        return xp.stack([first, second]) + total, states

    run(step)


def test_intermediate_results_can_be_updated_in_place(backend, run):
    def step(x_t, states):
        xp = array_namespace(x_t)
        total = xp.zeros_like(x_t)
        total += x_t
        more = xp.ones((2, 4), dtype=x_t.dtype)
        more *= xp.astype(x_t, x_t.dtype)
        z = total * 2 * more
        z += states[0]
        z *= 3.0
        same = z
        z -= 1
        if backend.library == "torch":
            z.clamp_(max=7.0).mul_(2)
        return same + z, [z]

    run(step)


def test_a_view_made_without_gradients_or_by_keyword_is_a_view(backend, refused):
    library = backend.module

    def without_gradients(x_t, states):
        y = x_t * 1
        with library.no_grad():
            part = y[:, :2]
        y += 1
        return part, states

    def by_keyword(x_t, states):
        y = x_t * 1
        part = library.squeeze(input=y, dim=1) if torch else library.transpose(a=y)
        y += 1
        return part, states

    torch = backend.library == "torch"
    for step in (without_gradients, by_keyword) if torch else (by_keyword,):
        assert "writes into an array" in refused(step)


def test_a_copy_by_asarray_is_another_array(run):
    def step(x_t, states):
        xp = array_namespace(x_t)
        y = x_t * 1
        other, same = xp.asarray(y, copy=True), xp.asarray(y, dtype=y.dtype)
        y += 1
        return (other, same), states

    run(step)


def test_a_proxy_shows_what_it_is(capsys, backend):
    def step(x_t, states):
        print(x_t)
        return x_t, states

    compiled.rnn(step, backend.array(np.ones((2, 3, 4))), [backend.array(np.zeros((2, 4)))])
    assert capsys.readouterr().out == "<array of shape (2, 4) and dtype float64, no values>\n"


def test_it_can_be_copied_by_the_step(run):
    def step(x_t, states):
        first, second = copy.copy(x_t), copy.deepcopy(states[0].shape)
        return first + 1, [states[0] * second[0]]

    run(step)


def test_attributes_are_those_of_the_library(backend):
    def step(x_t, states):
        assert x_t.shape == (2, 4)
        assert type(x_t.shape) is type(backend.array(np.ones(1)).shape)
        assert x_t.dtype == backend.dtype("float64")
        assert (x_t.ndim, x_t.device) == (2, backend.device)
        assert x_t.to_device(x_t.device) is x_t
        xp = array_namespace(x_t)
        assert xp.float32 is backend.xp.float32
        assert xp.isdtype(x_t.dtype, "real floating")
        assert xp.result_type(x_t, xp.float32) == x_t.dtype
        assert xp.finfo(x_t.dtype).bits == 64
        assert xp.pi == math.pi
        assert not hasattr(x_t, "no_such_thing")
        return x_t, states

    compiled.rnn(step, backend.array(np.ones((2, 3, 4))), [backend.array(np.zeros((2, 4)))])


def test_errors_of_the_library_are_its_own(backend, refused):
    """Asked for shapes and dtypes, it refuses what it refuses otherwise."""

    def step(x_t, states):
        return x_t @ x_t, states

    with pytest.raises(Exception, match=r"matmul|mat1|multiplied") as eager:
        rnn(step, backend.array(np.ones((2, 3, 4))), [backend.array(np.zeros((2, 4)))])
    refused(step, type(eager.value))


# ---------------------------------------------------------------------------------- no values


def decides(x_t, states):
    return (x_t if x_t[0, 0] > 3 else states[0]), states


def repeats(x_t, states):
    while x_t[0, 0] < 3:
        x_t = x_t + 1
    return x_t, states


def chooses(x_t, states):
    return x_t * max(x_t[0, 0], 3), states


def converts(x_t, states):
    return x_t * float(x_t[0, 0]), states


def truncates(x_t, states):
    return x_t * int(x_t[0, 0]), states


def takes_an_item(x_t, states):
    return x_t * x_t[0, 0].item(), states


def lists(x_t, states):
    return x_t * x_t.tolist()[0][0], states


def formats(x_t, states):
    print(f"{x_t}")
    return x_t, states


def formats_a_number(x_t, states):
    print(f"{x_t[0, 0]:.3f}")
    return x_t, states


def computes_with_math(x_t, states):
    return x_t * math.exp(x_t[0, 0]), states


def searches(x_t, states):
    return x_t * (1.0 in x_t), states


def counts_to(x_t, states):
    return sum(x_t for _ in range(x_t[0, 0])), states


def slices_by(x_t, states):
    return x_t[:, : x_t[0, 0]], states


def makes_an_array(x_t, states):
    return np.asarray(x_t), states


def fills_a_buffer(x_t, states):
    buffer = np.zeros((2, 4))
    buffer[...] = x_t
    return x_t, states


VALUES = {
    decides: (r"bool\(\)", r"Select with `where\(condition, a, b\)`"),
    repeats: (r"bool\(\)", r"Select with `where\(condition, a, b\)`"),
    chooses: (r"bool\(\)", r"in place of `if`.*`max\(\)`"),
    converts: (r"float\(\)", "Compute with the array itself"),
    truncates: (r"int\(\)", "Compute with the array itself"),
    takes_an_item: (r"`\.item`", "Compute with the array itself"),
    lists: (r"`\.tolist`", "Compute with the array itself"),
    formats: ("formatting", r"`print\(x\)` shows its shape"),
    formats_a_number: ("formatting", r"`print\(x\)` shows its shape"),
    computes_with_math: (r"float\(\)", "Compute with the array itself"),
    searches: ("`in`", "Compute with the array itself"),
    counts_to: ("an index or a length", "Compute with the array itself"),
    slices_by: ("an index or a length", "Compute with the array itself"),
    makes_an_array: ("NumPy", r"write `xp.take.*`xp.stack\(\[\.\.\.\]\)` to make one of several"),
    fills_a_buffer: ("NumPy", "all else by operators and functions of `xp`"),
}


@pytest.mark.parametrize("step", VALUES, ids=lambda step: step.__name__)
def test_a_value_that_is_asked_for(step, refused):
    asked_by, cure = VALUES[step]
    said = refused(step)
    assert re.match(rf"`step_function` asks for values, by {asked_by}, of an array of shape ", said)
    assert re.search(cure, said)
    assert re.search(EAGERLY, said)


def test_a_table_of_numpy_is_looked_up_by_take(refused, backend):
    if backend.library != "numpy":
        pytest.skip("tensors are looked up in by indexing them")
    table = np.arange(4.0)

    def step(x_t, states):
        return table[x_t.astype(int)], states

    assert "`xp.take(table, indices, axis=0)` to look up rows" in refused(step)


def test_scan_is_told_of_scan(backend):
    xs = backend.array(np.ones((3, 4)))
    with pytest.raises(TypeError, match=r"^`f` asks for values.* call `arrayrnn.scan`, which"):
        compiled.scan(lambda carry, x: (carry, x if x[0] else -x), [], xs)


# ---------------------------------------------------------------------------------- writing


def sets(x_t, states):
    x_t[0] = 0
    return x_t, states


def adds_to_a_part(x_t, states):
    y = x_t * 1
    y[:, 0] += 1
    return y, states


def adds_to_an_argument(x_t, states):
    states[0] += x_t
    return x_t, states


def adds_to_a_view(x_t, states):
    y = x_t * 1
    part = y[:, :2]
    part += 1
    return y, states


def adds_to_what_is_viewed(x_t, states):
    y = x_t * 1
    part = y[:, :2]
    y += 1
    return part, states


def changes_a_dtype_in_place(x_t, states):
    y = x_t > 0
    y += x_t
    return y, states


@pytest.mark.parametrize(
    "step",
    [
        *(sets, adds_to_a_part, adds_to_an_argument, adds_to_a_view, adds_to_what_is_viewed),
        changes_a_dtype_in_place,
    ],
    ids=lambda step: step.__name__,
)
def test_writing(step, refused):
    said = refused(step)
    assert said.startswith("`step_function` writes into an array of shape ")
    assert "Make a new array, with `where(...)`, `concat(...)` or `a = a + b`" in said
    assert re.search(EAGERLY, said)


def test_writing_through_functions(refused, backend):
    library = backend.module

    def writes_into(x_t, states):
        library.add(x_t, x_t, out=x_t)
        return x_t, states

    def adds_to_the_closed_over(x_t, states):
        weight = backend.array(np.ones(4))
        weight += x_t[0]
        return x_t, states

    def calls_a_method(x_t, states):
        x_t.add_(1) if backend.library == "torch" else x_t.fill(1)
        return x_t, states

    for step in (writes_into, adds_to_the_closed_over, calls_a_method):
        assert "writes into an array" in refused(step)


# ---------------------------------------------------------------------------------- not known


def test_an_attribute_that_arrays_do_not_have(refused):
    def step(x_t, states):
        return x_t.no_such_thing, states

    said = refused(step, AttributeError)
    assert said.startswith("`step_function` asks for `.no_such_thing` of an array of shape (2, 4)")
    assert re.search(EAGERLY, said)


def test_a_function_that_is_not_known(refused, backend):
    module, name = backend.module, {"numpy": "real_if_close", "torch": "histc"}[backend.library]

    def step(x_t, states):
        return getattr(module, name)(x_t), states

    said = refused(step)
    assert (
        f"`step_function` calls `{backend.library}.{name}`, which is not known in a compiled step."
        in said
    )
    assert "operators and functions of the array API standard" in said
    assert re.search(EAGERLY, said)


def test_arguments_that_are_not_known(refused, backend):
    def step(x_t, states):
        return array_namespace(x_t).sum(x_t, axis=object()), states

    assert "computes with a value of type object" in refused(step)


def test_an_operator_with_what_is_no_array(refused):
    def step(x_t, states):
        return x_t + {}, states

    assert "computes with a value of type dict; expected arrays and numbers" in refused(step)


def test_what_is_kept_from_another_call(backend):
    kept, x, h = [], backend.array(np.ones((2, 3, 4))), backend.array(np.zeros((2, 4)))

    def step(x_t, states):
        kept.append(x_t)
        return x_t, states

    compiled.rnn(step, x, [h])
    for use in (
        lambda: kept[0] + 1,
        lambda: compiled.rnn(lambda x_t, s: (x_t + kept[0], s), x, [h]),
    ):
        with pytest.raises(TypeError, match=r"has kept from another call.*has to be a state"):
            use()


def test_errors_of_its_own_are_left_alone(backend, refused):
    def step(x_t, states):
        raise TypeError("mine")

    assert refused(step).startswith("mine")
