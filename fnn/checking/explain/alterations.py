"""One local derivative of the forward altered, every value kept.

With sg = `stop_gradient`, every value stays as it is and one derivative changes:

    sg(a) + c (a − sg(a))          has the value a and c times its derivative: c = 0 drops
                                   the path, −1 turns its sign, 2 counts it twice
    sg(y) + d (u − sg(u))          y = f(u) entry by entry, with d in the place of f′(u)
    sg(y) + (a − sg(a)) w′ + sg(a) (w − sg(w))         y = a w, a sent back through w′

A chain of elementwise operations that hangs on one array is one activation, a `Unit`:
GELU's twelve operations have one f′.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fnn.checking.measure.jaxprs import Change, Graph, Values, bind, gradient, read
from fnn.checking.measure.problem import Leaves, Problem
from fnn.numerics import is_floating

sg = jax.lax.stop_gradient
# fmt: off
ELEMENTWISE = frozenset({
    "abs", "add", "atan2", "clamp", "cbrt", "copy", "convert_element_type", "copysign", "cos",
    "cosh", "custom_jvp_call", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt",
    "max", "min", "mul", "ne", "neg", "not", "pow", "reduce_precision", "rem", "round", "rsqrt",
    "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
})
# fmt: on
NONLINEAR = frozenset({"tanh", "logistic", "exp", "custom_jvp_call", "erf", "sin", "cos", "log"})


class Unit(NamedTuple):
    """An activation: y = f(u), entry by entry."""

    u: int
    y: int
    nodes: tuple[int, ...]  # the operations from u to y


def units(graph: Graph, values: Values) -> list[Unit]:
    """The activations: the longest elementwise chains that hang on one array."""
    root: dict[int, int] = {}
    chains: dict[int, list[int]] = {}
    found = []
    for i, node in enumerate(graph.nodes):
        operands = active_operands(graph, i)
        roots = {root.get(r, r) for r in operands}
        if len(roots) == 1 and node.eqn.primitive.name in ELEMENTWISE:
            u, y = *roots, node.outs[0]
            if values[u].shape == values[y].shape:
                root[y] = u
                chains.setdefault(u, []).append(i)
    for chain in chains.values():  # a single function inside of a longer chain
        for i in chain:
            node, operands = graph.nodes[i], active_operands(graph, i)
            if node.eqn.primitive.name in NONLINEAR and len(operands) == 1:
                found.append(Unit(operands[0], node.outs[0], (i,)))
    for y, u in root.items():
        users = [n for n in graph.nodes if y in n.ins]
        inside = users and all(root.get(n.outs[0]) == u for n in users)
        if (not inside or y in graph.outputs) and is_floating(values[y]):
            nodes = tuple(i for i in chains[u] if graph.nodes[i].outs[0] <= y)
            found.append(Unit(u, y, nodes))
    return list(dict.fromkeys(found))


def active_operands(graph: Graph, i: int) -> list[int]:
    """The operands of an operation that have a derivative."""
    return [r for r in graph.nodes[i].ins if isinstance(r, int) and r in graph.active]


def same_function(graph: Graph, a: Unit, b: Unit) -> bool:
    """Whether two activations are made of the same operations."""
    first, second = ([graph.nodes[i].eqn.primitive.name for i in unit.nodes] for unit in (a, b))
    return first == second


def derivative(graph: Graph, unit: Unit, values: Values, u: Array) -> Array:
    """f′ of a unit at u, entry by entry."""

    def f(u):
        inner = values | {unit.u: u}
        for i in unit.nodes:
            node = graph.nodes[i]
            inner.update(zip(node.outs, bind(node.eqn, read(inner, node.ins)), strict=True))
        return inner[unit.y]

    return jax.jvp(f, (u,), (jnp.ones_like(u),))[1]


def scaled(node: int, operand: int, c: float) -> Change:
    """The derivative in one operand of an operation, times c."""

    def alter(operands):
        a = operands[operand]
        return [*operands[:operand], sg(a) + c * (a - sg(a)), *operands[operand + 1 :]]

    return Change(node, operands=alter)


def replaced(unit: Unit, d: Array) -> Change:
    """The derivative d in the place of f′."""

    def finish(y, operands, values):
        u = values[unit.u]
        return sg(y) + d * (u - sg(u))

    return Change(unit.nodes[-1], result=finish)


def through(graph: Graph, node: int, operand: int, partner: Array) -> Change:
    """y = a w with a sent back through `partner` in the place of w."""
    eqn = graph.nodes[node].eqn

    def product(a, w):
        return bind(eqn, [a, w] if operand == 0 else [w, a])[0]

    def finish(y, operands, values):
        a, w = operands[operand], operands[1 - operand]
        there = product(a, partner) - product(sg(a), partner)
        back = product(sg(a), w) - product(sg(a), sg(w))
        return sg(y) + there + back

    return Change(node, result=finish)


def without_inert(problem: Problem, graph: Graph, leaves: Leaves, dy: Leaves) -> Graph:
    """The graph without the derivative of a max that changes nothing.

    Softmax is the same whatever is subtracted first; that path only hides mistakes in others.
    """
    truth = gradient(problem, graph, leaves, dy)
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name == "reduce_max" and node.ins[0] in graph.active:
            shorter = graph._replace(cut=graph.cut | {i})
            made = gradient(problem, shorter, leaves, dy)
            if all(jnp.allclose(a, b, rtol=1e-9) for a, b in zip(made, truth, strict=True)):
                graph = shorter
    return graph


def arrangements(a: Any) -> list[tuple[Any, str]]:
    """An array, transposed, and reshaped where a transpose belongs."""
    reshaped = [(a.reshape(a.shape[::-1]).T, "reshaped")] if a.ndim == 2 else []
    return [(a, ""), (a.T, "transposed"), *reshaped]
