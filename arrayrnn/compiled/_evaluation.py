"""Running a traced program on other constants than those it was traced with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

Values = Sequence[Any]

# Parameters that only differentiation asks for.
RULES_OF_DERIVATIVES = {"bwd", "fwd_jaxpr_thunk", "jvp_jaxpr_fun"}
FOR_DERIVATIVES = RULES_OF_DERIVATIVES | {"out_trees", "symbolic_zeros"}


class Given(NamedTuple):
    """Changes to the programs in a program."""

    constants: Mapping[int, Any]  # arrays in place of theirs, by the ids of those
    drops_rules: bool  # of derivatives


def evaluate(jaxpr: Jaxpr, constants: Values, arguments: Values, given: Given) -> list[Any]:
    """Run a program on constants and arguments."""
    values = dict(
        zip(chain(jaxpr.constvars, jaxpr.invars), chain(constants, arguments), strict=True)
    )

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [*map(read, equation.invars)]
        with equation.ctx.manager:
            if _changes(equation, given):
                results = _ENTERING[equation.primitive.name](equation, operands, given)
            else:
                parameters = equation.primitive.get_bind_params(equation.params)
                results = equation.primitive.bind(*operands, **parameters)
                results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [*map(read, jaxpr.outvars)]


def _changes(equation: JaxprEqn, given: Given) -> bool:
    return equation.primitive.name in _ENTERING and (
        (given.drops_rules and anywhere(has_rule, equation))
        or (bool(given.constants) and anywhere(has_constants, equation))
    )


def anywhere(test: Callable[[JaxprEqn], bool], equation: JaxprEqn) -> bool:
    """Test an equation, and those of programs in it."""
    return test(equation) or any(
        anywhere(test, inner) for program in _programs(equation) for inner in program.eqns
    )


def opened(program: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Values]:
    """Return a program and its own constants.

    Up to JAX 0.10 only a ClosedJaxpr has any, around a Jaxpr; from 0.11 on both are one class.
    """
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def has_constants(equation: JaxprEqn) -> bool:
    """Tell whether programs in an equation have constants of their own."""
    return any(opened(program)[1] for program in _programs(equation))


def has_rule(equation: JaxprEqn) -> bool:
    """Tell whether an equation says how it is to be differentiated."""
    return not FOR_DERIVATIVES.isdisjoint(equation.params)


def _programs(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    for value in equation.params.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, ClosedJaxpr | Jaxpr):
                yield item


def _function(program: ClosedJaxpr | Jaxpr, given: Given) -> Callable[..., list[Any]]:
    jaxpr, own = opened(program)
    constants = [given.constants[id(constant)] for constant in own]
    return lambda *arguments: evaluate(jaxpr, constants, arguments, given)


def _call(equation: JaxprEqn, operands: Values, given: Given) -> Values:
    parameters = equation.params
    program = parameters["jaxpr" if "jaxpr" in parameters else "call_jaxpr"]
    return _function(program, given)(*operands)


def _scan(equation: JaxprEqn, operands: Values, given: Given) -> Values:
    parameters = equation.params
    inside, _ = opened(parameters["jaxpr"])
    # The parameters that count them have changed with JAX's versions; what is iterated over, or
    # stacked, has always had one axis less inside.
    carried = len(inside.outvars) - _stacked(equation.outvars, inside.outvars)
    first = len(operands) - carried - _stacked(equation.invars, inside.invars)
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


def _stacked(outside: Values, inside: Values) -> int:
    return sum(o.aval.ndim > i.aval.ndim for o, i in zip(outside, inside, strict=True))


def _while(equation: JaxprEqn, operands: Values, given: Given) -> Values:
    parameters = equation.params
    tested = parameters["cond_nconsts"]
    first = tested + parameters["body_nconsts"]
    test, body = (_function(parameters[name], given) for name in ("cond_jaxpr", "body_jaxpr"))
    return jax.lax.while_loop(
        lambda carry: test(*operands[:tested], *carry)[0],
        lambda carry: body(*operands[tested:first], *carry),
        [*operands[first:]],
    )


def _cond(equation: JaxprEqn, operands: Values, given: Given) -> Values:
    index, *operands = operands
    branches = [_function(branch, given) for branch in equation.params["branches"]]
    return jax.lax.switch(index, branches, *operands)


# How to run what has programs in it. Those called once become part of the program around them.
_ENTERING: dict[str, Callable[[JaxprEqn, Values, Given], Values]] = {
    **dict.fromkeys(
        ("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"), _call
    ),
    **dict.fromkeys(("jit", "pjit", "remat", "remat2"), _call),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
# The primitives whose programs `evaluate` goes into.
ENTERED = frozenset(_ENTERING)
