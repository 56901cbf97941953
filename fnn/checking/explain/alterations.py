"""One local derivative of the forward altered, every value kept.

A weight on a path multiplies the derivative that comes back through one operand of one
operation: 0 drops it, −1 turns its sign, 2 counts it twice. Other mistakes put another term
in the place of a result y, whose derivative goes back instead of that of y:

    d u                  for y = f(u) entry by entry: d in the place of f′(u)
    a w′ + sg(a) w       for y = a w: a sent back through w′ (sg is `stop_gradient`)

A chain of elementwise operations that hangs on one array is one activation, a `Unit`:
GELU's twelve operations have one f′.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fnn.checking.measure.jaxprs import Alter, Graph, Values, bind, read
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
    shape: tuple[int, ...]


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
                shape = values[node.outs[0]].shape
                found.append(Unit(operands[0], node.outs[0], (i,), shape))
    for y, u in root.items():
        users = [n for n in graph.nodes if y in n.ins]
        inside = users and all(root.get(n.outs[0]) == u for n in users)
        if (not inside or y in graph.outputs) and is_floating(values[y]):
            nodes = tuple(i for i in chains[u] if graph.nodes[i].outs[0] <= y)
            found.append(Unit(u, y, nodes, values[y].shape))
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


class Change(NamedTuple):
    """The term whose derivative goes back instead of that of an operation's result."""

    node: int
    term: Callable[[Values, list[Any], Values], Array]  # of values, operands and constants


def replaced(unit: Unit, d: Callable[[Values], Array]) -> Change:
    """The derivative d, made of the forward's values, in the place of f′."""
    return Change(
        unit.nodes[-1],
        lambda values, _, constants: (
            finite(d(constants)).astype(values[unit.u].dtype) * values[unit.u]
        ),
    )


def through(graph: Graph, node: int, operand: int, partner: Callable[[Values], Array]) -> Change:
    """y = a w with a sent back through `partner` in the place of w."""
    eqn = graph.nodes[node].eqn

    def product(a, w):
        return bind(eqn, [a, w] if operand == 0 else [w, a])[0]

    def term(_, operands, constants):
        a, w = operands[operand], operands[1 - operand]
        return product(a, finite(partner(constants))) + product(jax.lax.stop_gradient(a), w)

    return Change(node, term)


def finite(a: Array) -> Array:
    """a without NaN and ∞, which would spoil what is not chosen, too."""
    return jnp.nan_to_num(a, posinf=0.0, neginf=0.0)


def altered(changes: Sequence[Change], chosen: Array, constants: Values) -> dict[int, Alter]:
    """All changes at once, for a replay; those count that are chosen, 1 of 0 or 1."""

    def alter(several):
        def result(y, operands, values):
            terms = [changes[k].term(values, operands, constants).astype(y.dtype) for k in several]
            return combined(y, terms, chosen[np.array(several)])

        return result

    nodes: dict[int, list[int]] = {}
    for k, change in enumerate(changes):
        nodes.setdefault(change.node, []).append(k)
    return {node: alter(several) for node, several in nodes.items()}


@jax.custom_vjp
def combined(y: Array, terms: list[Array], chosen: Array) -> Array:
    """y; its derivative goes back through the chosen term, if one is."""
    return y


combined.defvjp(
    lambda y, terms, chosen: (y, chosen),
    lambda chosen, dy: (
        (1 - chosen.sum()).astype(dy.dtype) * dy,
        [c.astype(dy.dtype) * dy for c in chosen],
        jnp.zeros_like(chosen),
    ),
)


def arrangements(rank: int) -> list[tuple[str, Callable[[Any], Array]]]:
    """An array as it is, transposed, and reshaped where a transpose belongs."""
    found = [("", jnp.asarray), ("transposed", jnp.transpose)]
    reshaped = [("reshaped", lambda a: a.reshape(a.shape[::-1]).T)] if rank == 2 else []
    return [*found, *reshaped]
