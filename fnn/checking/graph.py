"""The forward's own operations, replayed with one local derivative altered.

With sg = `stop_gradient`, every value stays as it is and one derivative changes:

    sg(a) + c (a − sg(a))          has the value a and c times its derivative: c = 0 drops
                                   the path, −1 turns its sign, 2 counts it twice
    sg(y) + d (u − sg(u))          y = f(u) entry by entry, with d in the place of f′(u)
    sg(y) + (a − sg(a)) w′ + sg(a) (w − sg(w))         y = a w, a sent back through w′

A chain of elementwise operations that hangs on one array is one activation, a `Unit`:
GELU's twelve operations have one f′.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from fnn.checking.problem import Leaves, Problem
from fnn.numerics import is_floating
from fnn.records import Array

sg = jax.lax.stop_gradient
# fmt: off
ELEMENTWISE = frozenset({
    "abs", "add", "atan2", "clamp", "cbrt", "copy", "convert_element_type", "copysign", "cos",
    "cosh", "custom_jvp_call", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt",
    "max", "min", "mul", "ne", "neg", "not", "pow", "reduce_precision", "rem", "round",
    "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh",
})
# fmt: on


NONLINEAR = frozenset({"tanh", "logistic", "exp", "custom_jvp_call", "erf", "sin", "cos", "log"})


class Node(NamedTuple):
    """One operation, its operands (an id or a Literal) and the ids of its results."""

    eqn: Any
    ins: tuple[Any, ...]
    outs: tuple[int, ...]


class Unit(NamedTuple):
    """An activation: y = f(u), entry by entry."""

    u: int
    y: int
    nodes: tuple[int, ...]  # the operations from u to y


class Graph(NamedTuple):
    """A traced forward, what jit encloses included."""

    inputs: tuple[int, ...]
    consts: dict[int, Any]
    nodes: list[Node]
    outputs: tuple[Any, ...]
    moved: frozenset[int]  # the ids that depend on a differentiated leaf
    cut: frozenset[int] = frozenset()  # operations whose derivative comes to nothing


Values = dict[int, Array]  # by id
Operands = Callable[[list[Any]], list[Any]]
Finish = Callable[[Any, list[Any], Values], Any]  # (y, operands, values) → y


class Change(NamedTuple):
    """One altered derivative: of the operands of an operation, or of its result."""

    node: int
    operands: Operands | None = None
    result: Finish | None = None


def traced(problem: Problem, leaves: Leaves) -> Graph:
    """The forward's operations."""
    closed = jax.make_jaxpr(problem.forward)(leaves)
    consts: dict[int, Any] = {}
    nodes: list[Node] = []
    count = iter(range(10**9))

    def inlined(jaxpr, values, ins):
        ids: dict[Any, Any] = {}
        for v, value in zip(jaxpr.constvars, values, strict=True):
            ids[v] = next(count)
            consts[ids[v]] = value
        ids.update(zip(jaxpr.invars, ins, strict=True))

        def ref(v):
            return v if isinstance(v, Literal) else ids[v]

        for eqn in jaxpr.eqns:
            operands = tuple(ref(v) for v in eqn.invars)
            if eqn.primitive.name in ("jit", "pjit"):
                inner = eqn.params["jaxpr"]
                results = inlined(inner.jaxpr, inner.consts, operands)
            else:
                results = tuple(next(count) for _ in eqn.outvars)
                nodes.append(Node(eqn, operands, results))
            ids.update(zip(eqn.outvars, results, strict=True))
        return tuple(ref(v) for v in jaxpr.outvars)

    inputs = tuple(next(count) for _ in closed.jaxpr.invars)
    outputs = inlined(closed.jaxpr, closed.consts, inputs)
    moved = {inputs[i] for i in problem.wrt}
    for node in nodes:
        if any(i in moved for i in node.ins if isinstance(i, int)):
            results = zip(node.outs, node.eqn.outvars, strict=True)
            moved.update(i for i, v in results if is_floating(v.aval))
    return Graph(inputs, consts, nodes, outputs, frozenset(moved))


def bind(eqn: Any, operands: list[Any]) -> list[Any]:
    """The results of one operation."""
    got = eqn.primitive.get_bind_params(eqn.params)
    functions, params = got if isinstance(got, tuple) else ((), got)
    out = eqn.primitive.bind(*functions, *operands, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def replay(g: Graph, leaves: Leaves, change: Change | None = None) -> Values:
    """The value of every id, with one derivative altered."""
    values: Values = g.consts | dict(zip(g.inputs, leaves, strict=True))
    for i, node in enumerate(g.nodes):
        operands = [values[r] if isinstance(r, int) else r.val for r in node.ins]
        altered = operands
        if change is not None and change.node == i and change.operands:
            altered = change.operands(operands)
        out = bind(node.eqn, altered)
        if i in g.cut:
            out = [sg(a) for a in out]
        if change is not None and change.node == i and change.result:
            out = [change.result(out[0], operands, values), *out[1:]]
        values.update(zip(node.outs, out, strict=True))
    return values


def gradient(
    problem: Problem, g: Graph, leaves: Leaves, dy: Leaves, change: Change | None = None
) -> Leaves:
    """The gradient of somebody who makes this mistake."""

    def of(moved):
        full = list(leaves)
        for i, value in zip(problem.wrt, moved, strict=True):
            full[i] = value
        values = replay(g, full, change)
        return [values[r] if isinstance(r, int) else r.val for r in g.outputs]

    return jax.vjp(of, [leaves[i] for i in problem.wrt])[1](dy)[0]


def without_inert(problem: Problem, g: Graph, leaves: Leaves, dy: Leaves) -> Graph:
    """The graph without the derivative of a max that changes nothing.

    Softmax is the same whatever is subtracted first; that path only hides mistakes in others.
    """
    truth = gradient(problem, g, leaves, dy)
    for i, node in enumerate(g.nodes):
        if node.eqn.primitive.name == "reduce_max" and node.ins[0] in g.moved:
            shorter = g._replace(cut=g.cut | {i})
            made = gradient(problem, shorter, leaves, dy)
            if all(jnp.allclose(a, b, rtol=1e-9) for a, b in zip(made, truth, strict=True)):
                g = shorter
    return g


def units(g: Graph, values: Values) -> list[Unit]:
    """The activations: the longest elementwise chains that hang on one array."""
    root: dict[int, int] = {}
    chain: dict[int, list[int]] = {}
    for i, node in enumerate(g.nodes):
        moved = [r for r in node.ins if isinstance(r, int) and r in g.moved]
        roots = {root.get(r, r) for r in moved}
        y = node.outs[0]
        if len(roots) == 1 and node.eqn.primitive.name in ELEMENTWISE:
            (u,) = roots
            if values[u].shape == values[y].shape:
                root[y] = u
                chain.setdefault(u, []).append(i)
    ends = []
    for nodes in chain.values():  # a single function inside of a longer chain
        for i in nodes:
            node = g.nodes[i]
            operands = [r for r in node.ins if isinstance(r, int) and r in g.moved]
            if node.eqn.primitive.name in NONLINEAR and len(operands) == 1:
                ends.append(Unit(operands[0], node.outs[0], (i,)))
    for y, u in root.items():
        users = [n for n in g.nodes if y in n.ins]
        inside = users and all(root.get(n.outs[0]) == u for n in users)
        if (not inside or y in g.outputs) and is_floating(values[y]):
            nodes = tuple(i for i in chain[u] if g.nodes[i].outs[0] <= y)
            ends.append(Unit(u, y, nodes))
    return list(dict.fromkeys(ends))


def derivative(g: Graph, unit: Unit, values: Values, at: Array) -> Array:
    """f′ of a unit, entry by entry, at the array `at`."""

    def f(u):
        inner = dict(values)
        inner[unit.u] = u
        for i in unit.nodes:
            node = g.nodes[i]
            operands = [inner[r] if isinstance(r, int) else r.val for r in node.ins]
            inner.update(zip(node.outs, bind(node.eqn, operands), strict=True))
        return inner[unit.y]

    return jax.jvp(f, (at,), (jnp.ones_like(at),))[1]


def scaled(operand: int, c: float) -> Operands:
    """The derivative in one operand, times c."""

    def alter(operands):
        altered = list(operands)
        a = operands[operand]
        altered[operand] = sg(a) + c * (a - sg(a))
        return altered

    return alter


def replaced(unit: Unit, d: Array) -> Finish:
    """The derivative d in the place of f′."""

    def finish(y, operands, values):
        u = values[unit.u]
        return sg(y) + d * (u - sg(u))

    return finish


def instead(eqn: Any, operand: int, partner: Array) -> Finish:
    """y = a w with a sent back through `partner` in the place of w."""

    def finish(y, operands, values):
        other = 1 - operand
        fixed = [sg(a) for a in operands]
        with_partner = list(fixed)
        with_partner[other] = partner
        there = list(with_partner)
        there[operand] = operands[operand]
        back = list(fixed)
        back[other] = operands[other]
        return (
            sg(y)
            + (bind(eqn, there)[0] - bind(eqn, with_partner)[0])
            + (bind(eqn, back)[0] - bind(eqn, fixed)[0])
        )

    return finish
