"""Expressions beyond which a step could not be traced, and the words for them."""

import ast
import sys
from typing import Any

import array_api_compat

from arrayrnn._recurrence.errors import describe
from arrayrnn._recurrence.words import Words
from arrayrnn.compiled._errors_source import Place

# Names in the standard for functions, methods and built-in functions.
STANDARD = {
    "amax": "max", "amin": "min", "array": "asarray", "as_tensor": "asarray", "bmm": "matmul",
    "cat": "concat", "clamp": "clip", "concatenate": "concat", "from_dlpack": "asarray",
    "mm": "matmul", "permute": "permute_dims", "tensor": "asarray", "unsqueeze": "expand_dims",
    "view": "reshape",
}  # fmt: skip
ATTRIBUTES = {"dim": "ndim", "size": "shape", "t": "T"}
CHOICES = {"max": "maximum(...)", "min": "minimum(...)"}
LIBRARIES = {"cupy", "cupyx", "numpy", "scipy", "torch"}
TRACED = "the traced arrays of a compiled step"
SOURCE = "from array_api_compat"


class Untraceable:
    """A place beyond which a step could not be traced."""

    def __init__(self, place: Place, words: Words, jax: Any) -> None:
        self.place, self.node, self.jax = place, place.node, jax
        self.function = self.node.func if isinstance(self.node, ast.Call) else None
        self.eagerly = f"call `arrayrnn.{words.eager}`, which runs the step as it is"
        self.passed = "in `constants`"
        if words.state_depth:
            self.passed = "in `init`, to be returned as it came, or in `xs`"
        self.namespace = f"array_namespace({self._array()})"

    @property
    def stores(self) -> bool:
        return self.place.operation == "STORE_SUBSCR"

    @property
    def indexes(self) -> bool:
        return isinstance(self.node, ast.Subscript) or self.place.operation == "BINARY_SUBSCR"

    def is_traced(self, value: Any) -> bool:
        return isinstance(value, self.jax.core.Tracer)

    def lacks(self, owner: Any) -> bool:
        """Tell whether the step itself looked for an attribute of a traced array, or of JAX."""
        if not (self.is_traced(owner) or owner is self.jax.numpy):
            return False
        if self.node is None:
            return self.place.callee not in LIBRARIES
        return isinstance(self.node, ast.Attribute)

    def _is_known(self, value: Any) -> bool:
        try:
            self.jax.typeof(value)
        except (TypeError, ValueError):
            return False
        return True

    def calls_own(self) -> bool:
        """Tell whether the step calls a method of a traced array, or a function of JAX."""
        if not isinstance(self.function, ast.Attribute):
            return False
        owner = self.function.value
        if isinstance(owner, ast.Call):
            return self.place.value(owner.func) is array_api_compat.array_namespace
        value = self.place.value(owner)
        return self.is_traced(value) or value is self.jax.numpy

    def calls_library(self) -> bool:
        return self.function is not None and self._library(self.function) in LIBRARIES

    def asks_other_array(self) -> bool:
        """Tell whether the step indexes an array of another library, or calls its method."""
        match self.node:
            case ast.Subscript(value=base, slice=index):
                names = map(self.place.value, ast.walk(index))
                return _is_other(self.place.value(base)) and any(map(self.is_traced, names))
            case ast.Call(func=ast.Attribute(value=base)):
                return _is_other(self.place.value(base))
        return False

    def operates_on_other_array(self) -> bool:
        return self.function is None and any(_is_other(value) for _, value in self.place.values())

    def meeting(self) -> str:
        for node, value in self.place.values():
            name = ast.unparse(node)
            if _is_other(value):
                what = f"computes with `{name}`, {_array_of_library(value)}"
                if isinstance(node, ast.Name) and node.id in self.place.local:
                    return (
                        f"{what}, which cannot meet {TRACED}. Pass it {self.passed}; or, if the "
                        f"step makes it, make it with functions of `{self.namespace}` {SOURCE}."
                    )
                return (
                    f"{what} that the step closes over, which cannot meet {TRACED}. Pass it "
                    f"{self.passed}."
                )
            if isinstance(node, ast.Call) and (made := self._library(node.func)) in LIBRARIES:
                return (
                    f"computes with `{name}`, an array of {made}, which cannot meet {TRACED}. Make "
                    f"it with {self._instead(node.func)}."
                )
        return (
            f"computes with an array of another library, which cannot meet {TRACED}. If the step "
            f"closes over it, pass it {self.passed}."
        )

    def taking(self) -> str | None:
        for node, value in self.place.values():
            if array_api_compat.is_numpy_array(value) and not self._is_known(value):
                return (
                    f"computes with `{ast.unparse(node)}`, {describe(value)} and of type "
                    f"{type(value).__name__}, which cannot meet {TRACED}. Convert it outside the "
                    f"step, or {self.eagerly}."
                )
        return None

    def calling(self) -> str:
        name = "a function" if self.function is None else f"`{ast.unparse(self.function)}`"
        module = self.place.value(self.function)
        if _is_module(module):
            cure = f"Use {self._instead(None)}"
            for weight in [own for own, _ in module.named_parameters()][:1]:
                cure += f", and pass its weights, such as `{name[1:-1]}.{weight}`, {self.passed}"
            return f"calls {name}, a module of torch, which does not take {TRACED}. {cure}."
        cure = f"Use {self._instead(self.function)}"
        for node, value in self.place.values():
            if _is_other(value):
                cure += f", and pass `{ast.unparse(node)}`, {_array_of_library(value)}, "
                cure += self.passed
                break
        return f"calls {name} by name, and it does not take {TRACED}. {cure}."

    def looking_up(self) -> str:
        table = ast.unparse(self.node.value) if isinstance(self.node, ast.Subscript) else "table"
        return (
            f"looks up in an array of NumPy, which {TRACED} cannot index. Make it one of theirs: "
            f"`{self.namespace}.asarray({table})[...]`, with `array_namespace` {SOURCE}."
        )

    def choosing(self) -> str:
        name = self.function.id if isinstance(self.function, ast.Name) else ""
        cure = CHOICES.get(name, "where(condition, yes, no)")
        verb = "selects" if self.indexes else "decides"
        return (
            f"{verb} by a value, and {TRACED} have none. Use `{self.namespace}.{cure}` {SOURCE}, "
            f"or {self.eagerly}."
        )

    def reading(self) -> str:
        cure = "Keep it an array, take a number from outside the step"
        if getattr(self.place.value(self.function), "__module__", None) == "math":
            cure = f"Use {self._instead(self.function)}"
        return f"asks for a value, and {TRACED} have none. {cure}, or {self.eagerly}."

    def writing(self) -> str:
        return (
            f"is written to, and {TRACED} can neither change nor be put into another array. "
            f"Compute a new one, for example with `{self.namespace}.where(condition, yes, no)` or "
            f"`{self.namespace}.stack(...)` {SOURCE}."
        )

    def lacking(self, name: str) -> str:
        node = self.node if self.function is None else self.function
        cure = self._instead(node)
        if isinstance(node, ast.Attribute) and name == "device":
            cure = f"`array_api_compat.device({ast.unparse(node.value)})`"
        elif isinstance(node, ast.Attribute) and name in ATTRIBUTES:
            cure = f"`{ast.unparse(ast.Attribute(node.value, ATTRIBUTES[name]))}`"
        return f"uses `{name}`, which {TRACED} do not have. Use {cure}."

    def misusing(self) -> str:
        if isinstance(self.function, ast.Attribute) and self.function.attr in ATTRIBUTES:
            return self.lacking(self.function.attr)
        return (
            f"gives an argument that {TRACED} do not take. Use {self._instead(self.function)}, "
            "with the arguments that it has in the array API standard."
        )

    def mixing_dtypes(self) -> str:
        return (
            f"mixes a dtype of torch with {TRACED}, which have others. Take dtypes, and functions "
            f"that make arrays, out of `{self.namespace}` {SOURCE}."
        )

    def _array(self) -> str:
        """Return how one would write some traced array, one of the expression if there is any."""
        values = [(ast.unparse(node), value) for node, value in self.place.values()]
        values += [(name, self.place.names.get(name)) for name in self.place.local]
        for name, value in values:
            if self.is_traced(value):
                return name
            if isinstance(value, list | tuple) and value and self.is_traced(value[0]):
                return f"{name}[0]"
        return "x"

    def _instead(self, function: ast.AST | None) -> str:
        """Return what of the standard does what `function` does."""
        own = getattr(function, "attr", None) or getattr(function, "id", None)
        name = STANDARD.get(str(own), str(own))
        found = getattr(self.jax.numpy, name, None)
        if callable(found) and not isinstance(found, type):
            return f"`{self.namespace}.{name}(...)` {SOURCE}"
        return f"operators, or functions of the array API standard in `{self.namespace}` {SOURCE}"

    def _library(self, function: ast.AST) -> str:
        """Return the library of a function, if it can be told."""
        value = self.place.value(function)
        if value is None:
            return self.place.callee
        module = getattr(value, "__module__", None) or type(value).__module__
        return str(module).partition(".")[0]


def _is_other(value: Any) -> bool:
    return array_api_compat.is_torch_array(value) or array_api_compat.is_cupy_array(value)


def _array_of_library(value: Any) -> str:
    return f"an array of {'torch' if array_api_compat.is_torch_array(value) else 'cupy'}"


def _is_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)
