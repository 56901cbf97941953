"""The forward without derivatives of its own: the same operations, JAX's rules for each.

A custom_jvp or custom_vjp inside a forward says what its derivative is; autodiff believes
it, and a hand-written backward that calls it is compared with itself. Its inner program,
inlined wherever it stands (in jit, scan, while, cond, checkpoint), is a forward that has no
such word in it. With the stop_gradients taken out, too, it has the derivative of the values.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.extend.core import Literal

from fnn.checking.measure.jaxprs import bind, programs, uses
from fnn.checking.measure.problem import Leaves

OWN = ("custom_jvp", "custom_vjp")  # what brings its own derivative
CUT = "stop_gradient"
INNER = {  # operations that are no more than the program in them
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
LOOPS = ("scan", "while", "cond")


def plain(
    forward: Callable[[Leaves], Leaves], *, without: tuple[str, ...]
) -> Callable[[Leaves], Leaves]:
    """The forward without those operations: of OWN, or CUT."""

    def run(leaves):
        closed = jax.make_jaxpr(forward)(leaves)
        return evaluate(closed.jaxpr, closed.consts, leaves, without)

    return run


def evaluate(jaxpr: Any, consts: Any, args: Any, without: tuple[str, ...]) -> list[Any]:
    """The results of a program, without those operations."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)

    def read(v):
        return v.val if isinstance(v, Literal) else values[v]

    for eqn in jaxpr.eqns:
        operands = [read(v) for v in eqn.invars]
        values.update(zip(eqn.outvars, results(eqn, operands, without), strict=True))
    return [read(v) for v in jaxpr.outvars]


def results(eqn: Any, operands: list[Any], without: tuple[str, ...]) -> list[Any]:
    """The results of one operation."""
    name = eqn.primitive.name
    if name == CUT and CUT in without:
        return operands
    inside = any(uses(inner, kind) for inner in programs(eqn) for kind in without)
    if name in INNER and (inside or name.startswith(without)):
        return evaluate(*opened(eqn.params[INNER[name]]), operands, without)
    if name in LOOPS and inside:
        params = {key: rewritten(value, without) for key, value in eqn.params.items()}
        return bind(eqn.replace(params=params), operands)
    return bind(eqn, operands)


def opened(program: Any) -> tuple[Any, Any]:
    """A program and its constants."""
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def rewritten(value: Any, without: tuple[str, ...]) -> Any:
    """A loop's programs without those operations; any other parameter as it is."""
    if isinstance(value, tuple):
        return tuple(rewritten(inner, without) for inner in value)
    if not hasattr(value, "jaxpr"):
        return value
    run = partial(evaluate, *opened(value), without=without)
    return jax.make_jaxpr(lambda *args: run(args))(*value.in_avals)
