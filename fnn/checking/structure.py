"""What is wrong with the chain rule: every single alteration of the forward's graph, tried.

An explanation is the altered derivative whose gradient is the hand-written one, at two
points: the activation's derivative that is missing, taken twice, of another layer or at the
wrong place; the product that goes back through another matrix; the path that is dropped, or
has a wrong sign or a wrong factor.
"""

import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.compare import host
from fnn.checking.explain import FITS, Explanation, factor, named
from fnn.checking.graph import (
    Change,
    Graph,
    Unit,
    Values,
    derivative,
    gradient,
    instead,
    replaced,
    replay,
    scaled,
    traced,
    units,
    without_inert,
)
from fnn.checking.points import Point
from fnn.checking.problem import Problem
from fnn.numerics import is_floating

STANDARD = {  # what is often written down by mistake
    "sigmoid": lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u),
    "tanh": lambda u: 1 - jnp.tanh(u) ** 2,
    "ReLU": lambda u: (u > 0).astype(u.dtype),
    "softplus": jax.nn.sigmoid,
    "exp": jnp.exp,
}
OURS = tuple(os.path.dirname(p) + os.sep for p in (jax.__file__, __file__))
LIMIT = 300  # operations: a longer program is not searched
FACTORS = {-1.0: "its sign is turned", 2.0: "it counts twice", 0.5: "it counts half"}


Made = dict[int, np.ndarray]  # gradients by position in wrt


def explain_structure(
    problem: Problem,
    pair: tuple[Point, Point],
    hands: tuple[Made, Made],
    sizes: dict[str, int],
    fits: float = FITS,
) -> dict[int, Explanation]:
    """An explanation for those wrong gradients, `hands` at both points, that a mistake explains.

    One that fits up to a constant is taken if no mistake fits as it is.
    """
    graph = traced(problem, pair[0].leaves)
    if len(graph.nodes) > LIMIT:
        return {}
    graph = without_inert(problem, graph, pair[0].leaves, pair[0].dy)
    found: dict[int, Explanation] = {}
    nearly: dict[int, Explanation] = {}
    again: list[tuple[Explanation, Change]] = []
    for k, (explanation, change) in enumerate(alterations(problem, graph, pair[0])):
        left = {i: h for i, h in hands[0].items() if i not in found}
        factors = fitting(problem, graph, pair[0], change, left, fits)
        factors = {i: c for i, c in factors.items() if is_one(c) or i not in nearly}
        if factors:
            again = again or list(alterations(problem, graph, pair[1]))
            rest = {i: hands[1][i] for i in factors}
            second = fitting(problem, graph, pair[1], again[k][1], rest, fits)
            for i, c in factors.items():
                if i in second and abs(second[i] / c - 1) < 1e-6:
                    chosen = found if is_one(c) else nearly
                    chosen[i] = explanation if is_one(c) else scaled_by(explanation, c, sizes)
        if len(found) == len(hands[0]):
            break
    return nearly | found


def is_one(c: float) -> bool:
    """Whether a factor is 1."""
    return abs(c - 1) < 1e-6


def scaled_by(explanation: Explanation, c: float, sizes: dict[str, int]) -> Explanation:
    """The same mistake, and a wrong constant."""
    return explanation._replace(text=f"{explanation.text}, and it is {named(c, sizes)} × that")


def fitting(
    problem: Problem, graph: Graph, point: Point, change: Change, hands: Made, fits: float
) -> dict[int, float]:
    """c for those gradients that are c times the one that this mistake makes."""
    made = host(gradient(problem, graph, point.leaves, point.dy, change))
    found = {}
    for i, h in hands.items():
        c = factor(h, made[i], fits)
        if c is not None and (is_one(c) or h.size > 2):
            found[i] = c
    return found


def alterations(
    problem: Problem, graph: Graph, point: Point
) -> Iterator[tuple[Explanation, Change]]:
    """Every single mistake in the chain rule, the likely ones first."""
    values = replay(graph, point.leaves)
    found = units(graph, values)
    yield from of_paths(graph, 0.0)
    yield from of_units(graph, found, values)
    yield from of_products(problem, graph, found, values)
    yield from of_factors(graph, values)
    for c in FACTORS:
        yield from of_paths(graph, c)


def of_units(
    graph: Graph, found: list[Unit], values: Values
) -> Iterator[tuple[Explanation, Change]]:
    """Activations without their derivative, with it twice, or with a wrong one."""
    ds = [derivative(graph, unit, values, values[unit.u]) for unit in found]
    for unit, d in zip(found, ds, strict=True):
        last = next(i for i, node in enumerate(graph.nodes) if unit.y in node.outs)
        name = place(graph, last)

        def change(d, unit=unit, last=last):
            return Change(last, result=replaced(unit, d))

        missing = Explanation("missing derivative", f"the derivative of {name} is missing")
        yield missing, change(1.0 + 0 * d)
        yield (
            Explanation("extra derivative", f"the derivative of {name} is in twice"),
            change(d * d),
        )
        for other, e in STANDARD.items():
            text = f"the derivative of {other} stands for that of {name}"
            yield Explanation("other activation", text), change(e(values[unit.u]))
        at_y = derivative(graph, unit, values, values[unit.y])
        text = f"the derivative of {name} is taken at its result instead of its input"
        yield Explanation("other activation", text), change(at_y)
        for other, e in zip(found, ds, strict=True):
            if not set(unit.nodes) & set(other.nodes) and e.shape == d.shape:
                text = f"the derivative of {name} is taken at another layer's values"
                if same_function(graph, unit, other):
                    e = derivative(graph, unit, values, values[other.u])
                else:
                    text = f"the derivative of another activation stands for that of {name}"
                yield Explanation("other activation", text), change(e)


def same_function(graph: Graph, a: Unit, b: Unit) -> bool:
    """Whether two activations are made of the same operations."""
    return [graph.nodes[i].eqn.primitive.name for i in a.nodes] == [
        graph.nodes[i].eqn.primitive.name for i in b.nodes
    ]


def of_products(
    problem: Problem, graph: Graph, found: list[Unit], values: Values
) -> Iterator[tuple[Explanation, Change]]:
    """Matrix products that go back through another matrix, or meet another activation."""
    inputs = set(problem.inputs)
    weights = {graph.inputs[i]: n for i, n in zip(problem.wrt, problem.names, strict=True)}
    others = {id_: name for id_, name in weights.items() if is_floating(values[id_])}
    for unit in found:
        others |= {unit.u: "the values before an activation", unit.y: "an activation's result"}
    are_inputs = {graph.inputs[i] for i in inputs}
    for i, operand in two_operands(graph, "dot_general"):
        node = graph.nodes[i]
        other = node.ins[1 - operand]
        if not isinstance(other, int):
            continue
        for id_, name in others.items():
            is_weight = id_ in weights and id_ not in are_inputs
            kind = "other weight" if is_weight else "other activation"
            for partner, how in forms(values[id_], name):
                if partner.shape != values[other].shape or (how == name and id_ == other):
                    continue
                text = f"{place(graph, i)} goes back with {how}"
                yield (
                    Explanation(kind, text),
                    Change(i, result=instead(node.eqn, operand, partner)),
                )


def of_factors(graph: Graph, values: Values) -> Iterator[tuple[Explanation, Change]]:
    """Products entry by entry that go back without the other factor."""
    for i, operand in two_operands(graph, "mul"):
        node = graph.nodes[i]
        other, y = node.ins[1 - operand], values[node.outs[0]]
        one = jnp.ones_like(values[other] if isinstance(other, int) else y)
        text = f"of the product {place(graph, i)} one factor is missing"
        change = Change(i, result=instead(node.eqn, operand, one))
        yield Explanation("missing factor", text), change


def two_operands(graph: Graph, primitive: str) -> Iterator[tuple[int, int]]:
    """The operations of this kind, and each of their operands that has a derivative."""
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name == primitive:
            for operand, r in enumerate(node.ins):
                if isinstance(r, int) and r in graph.moved:
                    yield i, operand


def forms(a: Any, name: str) -> Iterator[tuple[Any, str]]:
    """An array, transposed, and reshaped where a transpose belongs."""
    yield a, name
    yield a.T, f"{name} transposed"
    if a.ndim == 2:
        yield a.reshape(a.shape[::-1]).T, f"{name} reshaped instead of transposed"


def of_paths(graph: Graph, c: float) -> Iterator[tuple[Explanation, Change]]:
    """Paths of the derivative that are dropped (c = 0) or have a wrong factor."""
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name == "stop_gradient":
            continue
        for operand, r in enumerate(node.ins):
            if not isinstance(r, int) or r not in graph.moved:
                continue
            which = f" (operand {operand})" if len(node.ins) > 1 else ""
            name = f"{place(graph, i)}{which}"
            explanation = (
                Explanation("missing term", f"the path of the derivative through {name} is missing")
                if c == 0
                else Explanation("wrong term", f"of the path through {name}, {FACTORS[c]}")
            )
            yield explanation, Change(i, operands=scaled(operand, c))


def place(graph: Graph, i: int) -> str:
    """An operation by its name and its line in the forward."""
    eqn = graph.nodes[i].eqn
    name = eqn.primitive.name
    if name == "custom_jvp_call":
        info = getattr(getattr(eqn.params.get("call_jaxpr"), "jaxpr", None), "debug_info", None)
        name = getattr(info, "func_name", name)
    line = source_line(eqn)
    return f"{name}, {line}" if line else name


def source_line(eqn: Any) -> str:
    """file:line of the person's code that made an operation, or nothing."""
    trace = getattr(eqn.source_info, "traceback", None)
    for frame in getattr(trace, "frames", ()) or ():
        path = frame.file_name
        if not path.startswith(("<", *OURS)):
            return f"{os.path.basename(path)}:{frame.line_num}"
    return ""
