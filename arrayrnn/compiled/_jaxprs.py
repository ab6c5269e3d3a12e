"""Programs that JAX traced: what tells two of them apart, and how to run one on other constants."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from types import FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

__all__ = ["Structure", "evaluate", "structure_of"]

Values = Sequence[Any]

# Only differentiation asks for these, and what is compiled has been differentiated before.
_FOR_DERIVATIVES = {"bwd", "fwd_jaxpr_thunk", "jvp_jaxpr_fun", "out_trees", "symbolic_zeros"}


class Structure(NamedTuple):
    """What a program computes, whatever its arrays are."""

    key: Any  # equal for programs that differ in the values of arrays only; None if unknown
    jaxpr: Jaxpr
    nested: Mapping[int, int]  # from the ids of constants of programs in it to their numbers


def structure_of(traced: ClosedJaxpr) -> tuple[Structure, list[Any]]:
    """Return the structure of a program and all its constants, those of programs in it last."""
    reader, constants = _Reader(), [*traced.consts]
    key = reader.program(traced.jaxpr, within=True)
    if not reader.is_known:
        return Structure(None, traced.jaxpr, {}), constants
    nested = {of: len(constants) + k for k, of in enumerate(reader.constants)}
    return Structure(key, traced.jaxpr, nested), [*constants, *reader.constants.values()]


class _Reader:
    """Writes a program down without the names of its variables and the values of its arrays."""

    def __init__(self) -> None:
        self.constants: dict[int, Any] = {}  # of programs in the program, by their ids
        self.is_known = True

    def program(self, jaxpr: Jaxpr, *, within: bool) -> Any:
        """Return what tells a program apart; `within` says whether `evaluate` goes into it."""
        # An effect is what else it does but compute: call back into Python, say.
        self.is_known = self.is_known and not jaxpr.effects
        numbers = {v: k for k, v in enumerate((*jaxpr.constvars, *jaxpr.invars))}
        types = tuple(v.aval for v in numbers)

        def operands(atoms: Values) -> tuple[Any, ...]:
            return tuple(
                (atom.aval, np.asarray(atom.val).tobytes())
                if isinstance(atom, Literal)
                else numbers[atom]
                for atom in atoms
            )

        equations = []
        for equation in jaxpr.eqns:
            enters = within and equation.primitive.name in _RULES
            parameters = tuple(
                (name, self.parameter(value, enters))
                for name, value in equation.params.items()
                if name not in _FOR_DERIVATIVES
            )
            equations.append((equation.primitive, operands(equation.invars), parameters))
            for variable in equation.outvars:
                numbers[variable] = len(numbers)
        return types, tuple(equations), operands(jaxpr.outvars)

    def parameter(self, value: Any, within: bool) -> Any:
        if isinstance(value, Jaxpr):
            return self.program(value, within=within)
        if isinstance(value, ClosedJaxpr):
            self.is_known = self.is_known and (within or not value.consts)
            self.constants |= {id(constant): constant for constant in value.consts}
            # Which of them are one and the same is part of the structure.
            numbers = [*self.constants]
            of = tuple(numbers.index(id(constant)) for constant in value.consts)
            return of, self.program(value.jaxpr, within=within)
        if isinstance(value, list | tuple):
            return type(value), tuple(self.parameter(item, within) for item in value)
        if isinstance(value, dict):
            return tuple((name, self.parameter(item, within)) for name, item in value.items())
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype, value.tobytes()
        # What a function returns can change while it stays the same, unless it is JAX's own.
        own = isinstance(value, FunctionType) and value.__module__.startswith("jax")
        if callable(value) and not isinstance(value, type | jax.sharding.Mesh):
            self.is_known = self.is_known and own and value.__closure__ is None
        self.is_known = self.is_known and type(value).__hash__ is not None
        return type(value), value


def evaluate(structure: Structure, constants: Values, arguments: Values) -> list[Any]:
    """Run a program on other constants."""
    given = {of: constants[k] for of, k in structure.nested.items()}
    count = len(structure.jaxpr.constvars)
    return _evaluate(structure.jaxpr, constants[:count], arguments, given)


def _evaluate(
    jaxpr: Jaxpr, constants: Values, arguments: Values, given: Mapping[int, Any]
) -> list[Any]:
    """Run a program; `given` are the arrays that take the place of constants of programs in it."""
    values = dict(
        zip(chain(jaxpr.constvars, jaxpr.invars), chain(constants, arguments), strict=True)
    )

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [*map(read, equation.invars)]
        with equation.ctx.manager:
            if given and _has_constants(equation.params):
                results = _RULES[equation.primitive.name](equation, operands, given)
            else:
                parameters = equation.primitive.get_bind_params(equation.params)
                results = equation.primitive.bind(*operands, **parameters)
                results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [*map(read, jaxpr.outvars)]


def _has_constants(parameters: Mapping[str, Any]) -> bool:
    values = chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in parameters.values())
    return any(
        (isinstance(value, ClosedJaxpr) and bool(value.consts))
        or (
            isinstance(value, ClosedJaxpr | Jaxpr)
            and any(_has_constants(equation.params) for equation in value.eqns)
        )
        for value in values
    )


def _function(program: ClosedJaxpr | Jaxpr, given: Mapping[int, Any]) -> Callable[..., list[Any]]:
    if isinstance(program, Jaxpr):
        return lambda *arguments: _evaluate(program, (), arguments, given)
    constants = [given[id(constant)] for constant in program.consts]
    return lambda *arguments: _evaluate(program.jaxpr, constants, arguments, given)


def _call(equation: JaxprEqn, operands: Values, given: Mapping[int, Any]) -> Values:
    parameters = equation.params
    program = parameters["jaxpr" if "jaxpr" in parameters else "call_jaxpr"]
    return _function(program, given)(*operands)


def _scan(equation: JaxprEqn, operands: Values, given: Mapping[int, Any]) -> Values:
    parameters = equation.params
    first, carried = parameters["num_consts"], parameters["num_carry"]
    function, constants = _function(parameters["jaxpr"], given), operands[:first]

    def step(carry: Values, x: Values) -> tuple[Values, Values]:
        results = function(*constants, *carry, *x)
        return results[:carried], results[carried:]

    carry, outputs = jax.lax.scan(
        step,
        [*operands[first : first + carried]],
        [*operands[first + carried :]],
        length=parameters["length"],
        reverse=parameters["reverse"],
        unroll=parameters["unroll"],
    )
    return [*carry, *outputs]


def _while(equation: JaxprEqn, operands: Values, given: Mapping[int, Any]) -> Values:
    parameters = equation.params
    tested = parameters["cond_nconsts"]
    first = tested + parameters["body_nconsts"]
    test, body = (_function(parameters[name], given) for name in ("cond_jaxpr", "body_jaxpr"))
    return jax.lax.while_loop(
        lambda carry: test(*operands[:tested], *carry)[0],
        lambda carry: body(*operands[tested:first], *carry),
        [*operands[first:]],
    )


def _cond(equation: JaxprEqn, operands: Values, given: Mapping[int, Any]) -> Values:
    index, *operands = operands
    branches = [_function(branch, given) for branch in equation.params["branches"]]
    return jax.lax.switch(index, branches, *operands)


# How to run what has programs in it. Those called once become part of the program around them.
_RULES: dict[str, Callable[[JaxprEqn, Values, Mapping[int, Any]], Values]] = {
    **dict.fromkeys(
        ("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"), _call
    ),
    **dict.fromkeys(("jit", "pjit", "remat", "remat2"), _call),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
