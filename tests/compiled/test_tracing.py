"""What is said of a step that cannot be traced: which expression, what came, what to do."""

import math
import statistics
import sys
from types import ModuleType

import numpy as np
import pytest
from array_api_compat import array_namespace

from arrayrnn._recurrence.words import RNN, SCAN
from arrayrnn.compiled._errors_tracing import explain

jax = pytest.importorskip("jax", reason="these tests are about what JAX cannot trace")
jnp = pytest.importorskip("jax.numpy")

MATRIX = np.ones((3, 3))
TRACED = "the traced arrays of a compiled step"
NAMESPACE = "`array_namespace(x)` from array_api_compat"
# From Python 3.12 on a comprehension is no function of its own, with the loop's variable for its
# argument, and the place of an f-string's error is what the braces hold.
ROW, FORMATTED = ("row", 'f"{n:.3f}"') if sys.version_info < (3, 12) else ("x", "{n:.3f}")


def explained(step, caller=RNN):
    """Trace a step and return what it raises in place of its error, and that error."""
    found = []

    def traced(x, n):
        try:
            step(x, n)
        except Exception as error:
            found.extend([explain(error, caller), error])

    jax.eval_shape(traced, np.ones((3, 3), "float32"), 1)
    return found


def message(step, caller=RNN):
    explanation, error = explained(step, caller)
    assert type(explanation) is TypeError, f"it is passed on: {error!r}"
    return str(explanation)


def at(code):
    return f"`{code}` (test_tracing.py, line "


def function(name, array="x"):
    return f"Use `array_namespace({array}).{name}` from array_api_compat"


def each(*cases):
    """Give the cases their code as names."""
    return pytest.mark.parametrize(
        ("step", "code", "cure"), [pytest.param(*case, id=case[1]) for case in cases]
    )


# ------------------------------------------------------------------------ functions by their name


def helper(h):
    return np.tanh(h)


def parts(states):
    return np.stack(states)


def over_lines(x, n):
    return np.concatenate(
        [x, x],
        axis=0,
    )


@each(
    (lambda x, n: np.tanh(x), "np.tanh(x)", function("tanh(...)")),
    (lambda x, n: np.tanh(1 - x @ MATRIX), "np.tanh(1 - x @ MATRIX)", function("tanh(...)")),
    (lambda x, n: np.concatenate([x, x]), "np.concatenate([x, x])", function("concat(...)")),
    (lambda x, n: np.einsum("ij,jk", x, x), 'np.einsum("ij,jk", x, x)', function("einsum(...)")),
    (lambda x, n: np.asarray(x), "np.asarray(x)", function("asarray(...)")),
    (lambda x, n: np.array([n, 1]), "np.array([n, 1])", function("asarray(...)", "n")),
    (
        lambda x, n: np.linalg.norm(x),
        "np.linalg.norm(x)",
        f"Use operators, or functions of the array API standard in {NAMESPACE}",
    ),
    (
        lambda x, n: np.float64(x),
        "np.float64(x)",
        f"Use operators, or functions of the array API standard in {NAMESPACE}",
    ),
    (lambda x, n: helper(x), "np.tanh(h)", function("tanh(...)", "h")),
    (lambda x, n: jax.jit(helper)(x), "np.tanh(h)", function("tanh(...)", "h")),
    (lambda x, n: [np.tanh(row) for row in (x, x)], "np.tanh(row)", function("tanh(...)", ROW)),
    (lambda x, n: parts((x, n)), "np.stack(states)", function("stack(...)", "states[0]")),
    (over_lines, "np.concatenate( [x, x], axis=0, )", function("concat(...)")),
)
def test_a_function_called_by_name(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    assert f"by name, and it does not take {TRACED}. {cure}." in said


def test_a_function_of_scipy():
    special = pytest.importorskip("scipy.special")
    said = message(lambda x, n: special.expit(x))
    assert said.startswith(at("special.expit(x)"))
    assert f"Use operators, or functions of the array API standard in {NAMESPACE}." in said


def test_a_table_of_numpy():
    said = message(lambda x, n: MATRIX[n])
    assert said.startswith(at("MATRIX[n]"))
    assert "looks up in an array of NumPy" in said
    assert "`array_namespace(n).asarray(MATRIX)[...]`" in said


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (MATRIX.astype(MATRIX.dtype.newbyteorder()), f"dtype {MATRIX.dtype.newbyteorder()} and"),
        (MATRIX.astype(object), "dtype object and of type ndarray"),
        (np.ma.masked_array(MATRIX), "dtype float64 and of type MaskedArray"),
    ],
    ids=["byte order", "object", "masked"],
)
def test_an_array_of_numpy_that_jax_cannot_take(table, what):
    said = message(lambda x, n: x @ table)
    assert said.startswith(at("x @ table"))
    assert f"computes with `table`, an array of shape {table.shape} and {what}" in said
    assert f"cannot meet {TRACED}. Convert it outside the step, or call" in said


# ---------------------------------------------------------------------------------------- values


@each(
    (lambda x, n: math.exp(n), "math.exp(n)", function("exp(...)", "n")),
    (lambda x, n: math.exp(x), "math.exp(x)", function("exp(...)")),
    (lambda x, n: float(n), "float(n)", "Keep it an array"),
    (lambda x, n: float(x), "float(x)", "Keep it an array"),
    (lambda x, n: statistics.fmean([n]), "statistics.fmean([n])", "Keep it an array"),
    (lambda x, n: int(x.sum()), "int(x.sum())", "Keep it an array"),
    (lambda x, n: x.sum().item(), "x.sum().item()", "Keep it an array"),
    (lambda x, n: x.tolist(), "x.tolist()", "Keep it an array"),
    (lambda x, n: list(range(n)), "range(n)", "take a number from outside the step"),
    (lambda x, n: ["a", "b"][n], '["a", "b"][n]', "take a number from outside the step"),
    (lambda x, n: x[:n], "x[:n]", "take a number from outside the step"),
    (lambda x, n: x.reshape(n, -1), "x.reshape(n, -1)", "take a number from outside the step"),
    (lambda x, n: f"{n:.3f}", FORMATTED, "Keep it an array"),
)
def test_a_value_that_is_asked_for(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    assert f"asks for a value, and {TRACED} have none. " in said
    assert cure in said
    assert said.endswith("or call `arrayrnn.rnn`, which runs the step as it is.")


def loop(x, n):
    while n < 3:
        n = n + 1


WHERE = function("where(condition, yes, no)", "n")


@each(
    (lambda x, n: 1 if n > 3 else 2, "n > 3", WHERE),
    (loop, "n < 3", WHERE),
    (lambda x, n: bool(n), "bool(n)", WHERE),
    (lambda x, n: not n, "not n", WHERE),
    (lambda x, n: n and x, "n and x", WHERE),
    (lambda x, n: 0 < n < 3, "0 < n < 3", WHERE),
    (lambda x, n: max(n, 3), "max(n, 3)", function("maximum(...)", "n")),
    (lambda x, n: x[x > 0], "x[x > 0]", function("where(condition, yes, no)")),
)
def test_a_branch_on_a_value(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    verb = "selects" if code == "x[x > 0]" else "decides"
    assert f"{verb} by a value, and {TRACED} have none. {cure}" in said
    assert said.endswith("or call `arrayrnn.rnn`, which runs the step as it is.")


def test_a_scan_is_told_of_scan():
    assert "call `arrayrnn.scan`" in message(lambda x, n: bool(n), SCAN)


# --------------------------------------------------------------------------------------- writing


def write(x, n):
    x[0] = 0


def add_to_part(x, n):
    x[0, ...] += 1


def fill_row(x, n):
    buffer = np.zeros((3, 3))
    buffer[0] = x[0]


def fill_number(x, n):
    buffer = np.zeros(3)
    buffer[0] = n


@each(
    (write, "x[0]", "`array_namespace(x).where(condition, yes, no)`"),
    (add_to_part, "x[0, ...]", "`array_namespace(x).where(condition, yes, no)`"),
    (fill_row, "buffer[0]", "`array_namespace(x).stack(...)`"),
    (fill_number, "buffer[0]", "`array_namespace(x).stack(...)`"),
)
def test_writing_into_an_array(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    assert f"is written to, and {TRACED} can neither change nor be put into another array" in said
    assert cure in said


# ---------------------------------------------------------------------- what arrays of JAX lack


def namespace_has_none(x, n):
    xp = array_namespace(x)
    return xp.sigmoid(x)


@each(
    (
        lambda x, n: x.sigmoid(),
        "x.sigmoid",
        f"Use operators, or functions of the array API standard in {NAMESPACE}.",
    ),
    (
        namespace_has_none,
        "xp.sigmoid",
        f"Use operators, or functions of the array API standard in {NAMESPACE}.",
    ),
    (lambda x, n: x.unsqueeze(0), "x.unsqueeze", function("expand_dims(...)")),
    (lambda x, n: x.tanh(), "x.tanh", function("tanh(...)")),
    (lambda x, n: x.size(0), "x.size(0)", "Use `x.shape`."),
    (lambda x, n: (x + 1).dim(), "(x + 1).dim", "Use `(x + 1).ndim`."),
    (lambda x, n: x.device, "x.device", "Use `array_api_compat.device(x)`."),
)
def test_a_method_that_arrays_of_jax_lack(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    assert f"`, which {TRACED} do not have. {cure}" in said


def argument_of_torch(x, n):
    xp = array_namespace(x)
    return xp.sum(x, dim=1)


@each(
    (lambda x, n: x.sum(dim=1), "x.sum(dim=1)", function("sum(...)")),
    (argument_of_torch, "xp.sum(x, dim=1)", function("sum(...)")),
)
def test_an_argument_that_functions_of_jax_lack(step, code, cure):
    said = message(step)
    assert said.startswith(at(code))
    assert f"gives an argument that {TRACED} do not take. {cure}, with the arguments" in said


# ---------------------------------------------------------------------- arrays of other libraries


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


class Cell:
    """A step with weights of its own."""

    def __init__(self, weight):
        self.w = weight
        self.parameters = {"bias": [weight]}


OPERATORS = {
    "x @ w": lambda x, w: x @ w,
    "w @ x": lambda x, w: w @ x,
    "x + w": lambda x, w: x + w,
    "x > w": lambda x, w: x > w,
    "w.add(x)": lambda x, w: w.add(x),
    "x[w]": lambda x, w: x[w],
    "jnp.dot(x, w.T)": lambda x, w: jnp.dot(x, w.T),
    "jnp.where(x > 0, x, w)": lambda x, w: jnp.where(x > 0, x, w),
    "array_namespace(x, w)": lambda x, w: array_namespace(x, w).matmul(x, w),
    "array_namespace(x).matmul(x, w)": lambda x, w: array_namespace(x).matmul(x, w),
}


@pytest.mark.parametrize("code", OPERATORS)
def test_a_weight_of_torch_that_a_helper_is_given(code, torch):
    weight = torch.ones(3, 3)
    said = message(lambda x, n: OPERATORS[code](x, weight))
    assert said.startswith(at(code))
    assert f"computes with `w`, an array of torch, which cannot meet {TRACED}." in said
    assert "Pass it in `constants`; or, if the step makes it, make it with functions" in said


def test_a_weight_of_torch_in_a_closure(torch):
    weight = torch.nn.Parameter(torch.ones(3, 3))
    said = message(lambda x, n: x @ weight)
    assert said.startswith(at("x @ weight"))
    assert said.endswith(
        f"computes with `weight`, an array of torch that the step closes over, which cannot meet "
        f"{TRACED}. Pass it in `constants`."
    )


def test_weights_of_torch_that_are_attributes(torch):
    cell = Cell(torch.ones(3, 3))
    assert "with `cell.w`, an array of torch that" in message(lambda x, n: x @ cell.w.T)
    said = message(lambda x, n: x + cell.parameters["bias"][0].sum())
    assert "with `cell.parameters['bias'][0]`, an array of torch that" in said


def test_a_weight_of_torch_in_a_scan(torch):
    weight = torch.ones(3, 3)
    said = message(lambda x, n: x @ weight, SCAN)
    assert said.endswith("Pass it in `init`, to be returned as it came, or in `xs`.")


def in_place(x, weight):
    x += weight


def test_an_operator_in_place(torch):
    weight = torch.ones(3, 3)
    assert message(lambda x, n: in_place(x, weight)).startswith(at("x += weight"))


def test_a_table_of_torch(torch):
    table = torch.ones(3, 3)
    said = message(lambda x, n: table[n])
    assert said.startswith(at("table[n]"))
    assert "computes with `table`, an array of torch that the step closes over" in said


def test_an_array_that_the_step_makes_with_torch(torch):
    said = message(lambda x, n: x + torch.zeros(3))
    assert f"computes with `torch.zeros(3)`, an array of torch, which cannot meet {TRACED}" in said
    assert "Make it with `array_namespace(x).zeros(...)` from array_api_compat." in said


def test_an_array_whose_name_cannot_be_told(torch):
    def weight():
        return torch.ones(3, 3)

    said = message(lambda x, n: x @ weight())
    assert said.startswith(at("x @ weight()"))
    assert "computes with an array of another library" in said
    assert "If the step closes over it, pass it in `constants`." in said


def test_functions_of_torch_by_name(torch):
    for step, cure in [
        (lambda x, n: torch.tanh(x), function("tanh(...)")),
        (lambda x, n: torch.cat([x, x]), function("concat(...)")),
        (lambda x, n: torch.where(x > 0, x, x), function("where(...)")),
        (lambda x, n: torch.as_tensor(x), function("asarray(...)")),
        (
            lambda x, n: torch.nn.functional.softmax(x, dim=-1),
            f"Use operators, or functions of the array API standard in {NAMESPACE}",
        ),
        (
            lambda x, n: torch.nn.functional.relu(x),
            f"Use operators, or functions of the array API standard in {NAMESPACE}",
        ),
    ]:
        said = message(step)
        assert f"by name, and it does not take {TRACED}. {cure}." in said


def test_a_function_of_torch_on_a_weight(torch):
    weight = torch.ones(3, 3)
    said = message(lambda x, n: torch.nn.functional.linear(x, weight))
    assert "calls `torch.nn.functional.linear` by name" in said
    assert said.endswith(", and pass `weight`, an array of torch, in `constants`.")


def test_a_module_of_torch(torch):
    linear, tanh = torch.nn.Linear(3, 3), torch.nn.Tanh()
    said = message(lambda x, n: linear(x))
    assert said.startswith(at("linear(x)"))
    assert f"calls `linear`, a module of torch, which does not take {TRACED}." in said
    assert said.endswith(", and pass its weights, such as `linear.weight`, in `constants`.")
    assert message(lambda x, n: tanh(x)).endswith(
        f"Use operators, or functions of the array API standard in {NAMESPACE}."
    )


def test_a_dtype_of_torch(torch):
    for step in [
        lambda x, n: torch.zeros(3, dtype=x.dtype),
        lambda x, n: jnp.astype(x, torch.float32),
    ]:
        said = message(step)
        assert f"mixes a dtype of torch with {TRACED}, which have others." in said
        assert f"out of {NAMESPACE}" in said


# It refuses other arrays as CuPy does, whose operators and functions all go through one check.
CUPY = """
class ndarray:
    def __matmul__(self, other):
        raise TypeError(f"Unsupported type {type(other)}")

    __rmatmul__ = __matmul__

def tanh(x):
    raise TypeError(f"Unsupported type {type(x)}")
"""


def test_what_cupy_refuses(monkeypatch):
    cupy = ModuleType("cupy")
    exec(CUPY, vars(cupy))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    weight = cupy.ndarray()
    for step in (lambda x, n: x @ weight, lambda x, n: weight @ x):
        said = message(step)
        assert "computes with `weight`, an array of cupy that the step closes over" in said
    said = message(lambda x, n: cupy.tanh(x))
    assert "calls `cupy.tanh` by name" in said
    assert said.endswith(f"{function('tanh(...)')}.")


# ---------------------------------------------------------------------------- without the source


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("np.tanh(x)", "calls a function by name"),
        ("MATRIX[n]", "looks up in an array of NumPy"),
        ("float(n)", "asks for a value"),
        ("1 if n else 2", "decides by a value"),
        ("x.__setitem__(0, 1)", "is written to"),
        ("x.sigmoid()", "uses `sigmoid`"),
        ("x + None", None),
    ],
)
def test_without_the_source_it_names_the_function_and_the_line(code, what):
    names = {"np": np, "MATRIX": MATRIX}
    exec(f"def step(x, n):\n    return {code}", names)
    if what is None:
        assert explained(names["step"])[0] is None
    else:
        assert message(names["step"]).startswith(f"`step` (<string>, line 2) {what}")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("x @ W", "computes with an array of another library"),
        ("W > x", "computes with an array of another library"),
        ("torch.tanh(x)", "calls a function by name"),
        ("torch.nn.functional.softmax(x, dim=-1)", "calls a function by name"),
    ],
)
def test_without_the_source_a_weight_and_a_function_of_torch(code, what, torch):
    names = {"torch": torch, "W": torch.ones(3, 3)}
    exec(f"def step(x, n): return {code}", names)
    assert message(names["step"]).startswith(f"`step` (<string>, line 1) {what}")


# ------------------------------------------------------------------------------ the step's own


def own_type_error(x, n):
    raise TypeError(f"expected <class 'torch.Tensor'>, got {type(x)}")


def own_subclass(x, n):
    raise type("OwnError", (KeyError,), {})("mine")


@pytest.mark.parametrize(
    "step",
    [
        own_type_error,
        own_subclass,
        lambda x, n: {}["key"],
        lambda x, n: x @ np.ones((4, 4)),
        lambda x, n: x + np.ones(5),
        lambda x, n: x.reshape(2, 2),
        lambda x, n: x + None,
        lambda x, n: x + "a",
        lambda x, n: [1] * n,
        lambda x, n: {x},
        lambda x, n: "".join([x]),
        lambda x, n: bool(x),  # ambiguous in every library, traced or not
        lambda x, n: np.zeros("a"),
        lambda x, n: helper(),
        lambda x, n: math.exp("a"),
        lambda x, n: n.missing.attribute if n is None else None.missing,
    ],
)
def test_an_error_of_its_own_is_left_alone(step):
    explanation, error = explained(step)
    assert explanation is None, str(explanation)
    assert isinstance(error, Exception)


def test_errors_of_torch_that_are_its_own_are_left_alone(torch):
    weight = torch.ones(3, 3)
    for step in [
        lambda x, n: torch.tanh("a"),
        lambda x, n: torch.zeros("a"),
        lambda x, n: weight @ torch.ones(4, 4),
        lambda x, n: weight.missing,
        lambda x, n: x.reshape(weight.shape[0], 7),
    ]:
        assert explained(step)[0] is None
