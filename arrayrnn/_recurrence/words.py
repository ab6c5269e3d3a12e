"""Words: how the caller of a public function calls things. They never decide what is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from arrayrnn._recurrence.nests import Named, Nest


@dataclass(frozen=True, slots=True)
class Words:
    """Names of a public function, of its arguments, and of what its step takes and returns."""

    name: str
    function: str
    takes: str
    not_first: tuple[str, ...]  # parameter names that show a step with its parameters swapped
    returns: str
    inputs: str
    input_t: str
    states: str
    output: str
    any_output: str
    initial_states: str
    initial_state: str
    new_states: str
    new_states_as_one: str
    output_axes: str
    state_depth: int = 0  # levels of a nest of states that the caller does not write
    initial_output: str = "initial_output"

    @property
    def eager(self) -> str:
        """Name of the function that does the same in Python."""
        return self.name.removeprefix("compiled.")

    def initial(self, leaves: Sequence[Any], nest: Nest) -> Named:
        """Name initial states."""
        return Named(leaves, nest, self.initial_states, self.state_depth)

    def returned_states(self, leaves: Sequence[Any], nest: Nest) -> Named:
        """Name the states that a step returned."""
        return Named(leaves, nest, self.new_states, self.state_depth, self.function)

    def returned_output(self, leaves: Sequence[Any], nest: Nest) -> Named:
        """Name the output that a step returned."""
        return Named(leaves, nest, self.output, returned_by=self.function)


RNN = Words(
    name="rnn",
    function="step_function",
    takes="input_t, states",
    not_first=("state", "states", "carry"),
    returns="(output, new_states)",
    inputs="inputs",
    input_t="input_t",
    states="states:",
    output="output",
    any_output="an output",
    initial_states="initial_states",
    initial_state="the initial state",
    new_states="new_states",
    new_states_as_one="new_states",
    output_axes="(samples, ...), at least 1 dimension",
)
STREAM = replace(RNN, name="Stream", inputs="chunk")
COMPILED_RNN = replace(RNN, name="compiled.rnn")
CELLS = replace(RNN, name="cells.run", function="cell", initial_states="states")
SCAN = Words(
    name="scan",
    function="f",
    takes="carry, x",
    not_first=("x", "x_t", "xs", "input", "inputs"),
    returns="(carry, y)",
    inputs="xs",
    input_t="x",
    states="carry",
    output="y",
    any_output="a `y`",
    initial_states="init",
    initial_state="`init`",
    new_states="carry",
    new_states_as_one="a carry",
    output_axes="(...)",
    state_depth=1,
)
COMPILED_SCAN = replace(SCAN, name="compiled.scan")
ASSOCIATIVE_SCAN = replace(
    SCAN,
    name="associative_scan",
    function="fn",
    takes="a, b",
    not_first=("b",),
    returns="c",
    inputs="elems",
    input_t="b",
    states="a",
    output="c",
)
COMPILED_ASSOCIATIVE_SCAN = replace(ASSOCIATIVE_SCAN, name="compiled.associative_scan")
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
