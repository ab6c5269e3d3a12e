"""Structure of a traced program: all that tells two of them apart but values of arrays."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from arrayrnn.compiled._evaluation import (
    ENTERED,
    FOR_DERIVATIVES,
    RULES_OF_DERIVATIVES,
    Given,
    anywhere,
    evaluate,
    has_constants,
    has_rule,
    opened,
)

Values = Sequence[Any]

_OF_JAX = Path(jax.__file__).parent
# Arrays of up to this size may be part of the structure by their values.
_FEW = 1024  # bytes


class Structure(NamedTuple):
    """Computation of a program, whatever values its arrays have."""

    key: Any  # equal for programs that differ in the values of arrays only; None if unknown
    jaxpr: Jaxpr
    nested: Mapping[int, int]  # from the ids of constants of programs in it to their numbers
    is_differentiated: bool


def structure_of(
    traced: ClosedJaxpr, *, is_differentiated: bool = False
) -> tuple[Structure, list[Any]]:
    """Return the structure of a program and all its constants, those of programs in it last.

    `is_differentiated` says whether the program will be; if not, rules for that are dropped.
    """
    reader, constants = _Reader(is_differentiated), [*traced.consts]
    key = reader.program(traced.jaxpr, within=True)
    if not reader.is_known:
        return Structure(None, traced.jaxpr, {}, is_differentiated), constants
    nested = {of: len(constants) + k for k, of in enumerate(reader.constants)}
    structure = Structure(key, traced.jaxpr, nested, is_differentiated)
    return structure, [*constants, *reader.constants.values()]


class _Reader:
    """Writes a program down without the names of its variables and the values of its arrays."""

    def __init__(self, is_differentiated: bool) -> None:
        self.is_differentiated = is_differentiated
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
            enters = within and equation.primitive.name in ENTERED
            keeps_rule = self.is_differentiated and has_rule(equation)
            if keeps_rule:
                self.is_known = self.is_known and _has_known_rule(equation)
            parameters = tuple(
                (name, self.parameter(value, enters))
                for name, value in equation.params.items()
                if name not in FOR_DERIVATIVES
            )
            equations.append(
                (
                    equation.primitive,
                    operands(equation.invars),
                    parameters,
                    keeps_rule,
                    self.context(equation.ctx),
                )
            )
            for variable in equation.outvars:
                numbers[variable] = len(numbers)
        return types, tuple(equations), operands(jaxpr.outvars)

    def context(self, context: Any) -> Any:
        metadata = self.parameter(context.xla_metadata, within=False)
        return context.threefry_partitionable, context.compute_type, metadata

    def parameter(self, value: Any, within: bool) -> Any:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            jaxpr, constants = opened(value)
            take = self.take if within else self.value
            return tuple(map(take, constants)), self.program(jaxpr, within=within)
        if isinstance(value, list | tuple):
            return type(value), tuple(self.parameter(item, within) for item in value)
        if isinstance(value, dict):
            return tuple((name, self.parameter(item, within)) for name, item in value.items())
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype, value.tobytes()
        # A function may return something else later and stay the same, unless it is JAX's own.
        own = isinstance(value, FunctionType) and value.__module__.partition(".")[0] == "jax"
        if callable(value) and not isinstance(value, type | jax.sharding.Mesh):
            self.is_known = self.is_known and own and value.__closure__ is None
        self.is_known = self.is_known and type(value).__hash__ is not None
        return type(value), value

    def take(self, constant: Any) -> int:
        """Return the number of a constant: which are one and the same is part of the structure."""
        self.constants[id(constant)] = constant
        return [*self.constants].index(id(constant))

    def value(self, constant: Any) -> Any:
        """Return what tells a constant of a program that `evaluate` does not enter from others.

        JAX has small ones of its own in such programs, the order of two axes in a solver, say.
        """
        has_bytes = isinstance(constant, np.ndarray | np.generic | jax.Array) and not (
            isinstance(constant, jax.core.Tracer)
            or jax.dtypes.issubdtype(constant.dtype, jax.dtypes.extended)
        )
        if not has_bytes or constant.nbytes > _FEW:
            self.is_known = False
            return None
        return constant.shape, constant.dtype, np.asarray(constant).tobytes()


def _has_known_rule(equation: JaxprEqn) -> bool:
    """Tell whether a rule for derivatives is JAX's own: always the same for the same program."""
    parameters = equation.params
    functions = [parameters[name] for name in RULES_OF_DERIVATIVES if name in parameters]
    called, _ = opened(parameters["call_jaxpr"])
    information = [called.debug_info, *(f.debug_info for f in functions)]
    is_own = all(_OF_JAX in Path(found.func_filename or "").parents for found in information)
    return is_own and not anywhere(has_constants, equation)


def program_of(structure: Structure, constants: Values) -> Callable[..., list[Any]]:
    """Return the program as a function of all its constants and its arguments.

    If its structure is known, it keeps nothing of the trace alive: no constant, no function.
    """
    program = partial(_evaluate_on, structure, len(constants))
    if structure.key is None:
        return program
    arguments = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)
        for v in structure.jaxpr.invars
    ]
    freed: Callable[..., list[Any]] = jaxpr_as_fun(jax.make_jaxpr(program)(*constants, *arguments))
    return freed


def _evaluate_on(structure: Structure, count: int, *arrays: Any) -> list[Any]:
    own, constants, arguments = len(structure.jaxpr.constvars), arrays[:count], arrays[count:]
    given = Given(
        {of: constants[k] for of, k in structure.nested.items()},
        drops_rules=structure.key is not None and not structure.is_differentiated,
    )
    return evaluate(structure.jaxpr, constants[:own], arguments, given)
