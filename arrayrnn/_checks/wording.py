"""Words that the errors share."""

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import array_api_compat

from arrayrnn._foreign import refusal
from arrayrnn._tree import NAMESPACE, Nest, Paths
from arrayrnn._typing import Namespace


@dataclass(frozen=True, slots=True)
class Caller:
    """How a public function calls what the loops speak of."""

    name: str
    function: str
    takes: str
    not_first: tuple[str, ...]  # names of parameters that the other comes before
    returns: str
    inputs: str
    input_t: str
    states: str
    output: str
    any_output: str
    initial_states: str
    new_states: str
    all_new_states: str  # as one thing
    initial_state: str
    output_axes: str
    least_output_rank: int
    single_state: bool  # the function takes and gives the only state itself, no list of states
    initial_output: str = "initial_output"

    @property
    def eager(self) -> str:
        """The function that does the same in Python."""
        return self.name.removeprefix("compiled.")

    def state_paths(self, nest: Nest, name: str) -> Paths:
        """Return for each leaf of the states how one would write it, the states called `name`."""
        return (nest.only_child if self.single_state else nest).paths(name)


RNN = Caller(
    name="rnn",
    function="step_function",
    takes="input_t, states",
    not_first=("state", "states", "carry"),
    input_t="input_t",
    states="states:",
    returns="(output, new_states)",
    inputs="inputs",
    output="output",
    any_output="an output",
    initial_states="initial_states",
    new_states="new_states",
    all_new_states="new_states",
    initial_state="the initial state",
    output_axes="(samples, ...), at least 1 dimension",
    least_output_rank=1,
    single_state=False,
)
STREAM = replace(RNN, name="Stream", inputs="chunk")
COMPILED_RNN = replace(RNN, name="compiled.rnn")
SCAN = Caller(
    name="scan",
    function="f",
    takes="carry, x",
    not_first=("x", "x_t", "xs", "input", "inputs"),
    input_t="x",
    states="carry",
    returns="(carry, y)",
    inputs="xs",
    output="y",
    any_output="a `y`",
    initial_states="init",
    new_states="carry",
    all_new_states="a carry",
    initial_state="`init`",
    output_axes="(...)",
    least_output_rank=0,
    single_state=True,
)
COMPILED_SCAN = replace(SCAN, name="compiled.scan")
# The two directions of `bidirectional`.
FORWARD = replace(
    RNN,
    name="bidirectional",
    function="forward_step",
    initial_states="forward_states",
    initial_output="initial_output[0]",
)
BACKWARD = replace(
    FORWARD,
    function="backward_step",
    initial_states="backward_states",
    initial_output="initial_output[1]",
)


def describe(value: Any) -> str:
    """Say what `value` is: an array's dtype and shape, else its type."""
    if not array_api_compat.is_array_api_obj(value):
        return "None" if value is None else f"of type {type(value).__name__}"
    return f"an array of shape {tuple(value.shape)} and dtype {dtype_name(value.dtype)}"


def dtype_name(dtype: Any) -> str:
    return str(dtype).rsplit(".", maxsplit=1)[-1]


def structure(nest: Nest) -> str:
    return str(nest.spec).removeprefix("PyTreeSpec(").removesuffix(")")


def library(xp: Namespace) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.")


def fail_no_array(value: Any, where: str) -> NoReturn:
    raise TypeError(f"`{where}` is {came_instead(value)}; expected an array.{no_array_cure(value)}")


def came_instead(value: Any) -> str:
    """Say what came in place of an array."""
    found = refusal(value)
    return describe(value) if found is None else found.partition(". ")[0]


def no_array_cure(value: Any) -> str:
    """Say what to do about what is no array, or more than one."""
    found = refusal(value)
    if found is not None:
        return f" {found.partition('. ')[2]}."
    if isinstance(value, int | float | complex):
        return " Make one of numbers and nested lists first, by `asarray`."
    kind = type(value)
    if kind.__module__ == "builtins" or not hasattr(value, "__dict__"):
        return ""
    return (
        " If it is a container, register it: `optree.register_pytree_node("
        f"{kind.__name__}, lambda node: (vars(node).values(), None), lambda _, leaves: "
        f"{kind.__name__}(*leaves), namespace='{NAMESPACE}')`."
    )


def fail_library(
    where: str, xp: Namespace, expected: Namespace, inputs: str = "inputs"
) -> NoReturn:
    raise TypeError(
        f"`{where}` is an array of {library(xp)}, `{inputs}` of {library(expected)}; expected "
        "arrays of one library. Convert one of them."
    )
