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
from fnn.checking.explain import FITS, Explanation
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
LIMIT = 300  # operations: a longer program is not searched
FACTORS = {-1.0: "its sign is turned", 2.0: "it counts twice", 0.5: "it counts half"}


def explain_structure(
    problem: Problem,
    pair: tuple[Point, Point],
    hands: dict[int, tuple[np.ndarray, np.ndarray]],
    fits: float = FITS,
) -> dict[int, Explanation]:
    """An explanation for those wrong gradients, by position in wrt, that a mistake explains.

    `hands` are their hand-written gradients at the two points.
    """
    graph = traced(problem, pair[0].leaves)
    if len(graph.nodes) > LIMIT:
        return {}
    first, second = ({i: h[k] for i, h in hands.items()} for k in (0, 1))
    found: dict[int, Explanation] = {}
    again: list[tuple[Explanation, Change]] = []
    for k, (explanation, change) in enumerate(alterations(problem, graph, pair[0])):
        left = {i: h for i, h in first.items() if i not in found}
        fit = matches(problem, graph, pair[0], change, left, fits)
        if fit:
            again = again or list(alterations(problem, graph, pair[1]))
            sure = matches(problem, graph, pair[1], again[k][1], {i: second[i] for i in fit}, fits)
            found.update(dict.fromkeys(sure, explanation))
        if len(found) == len(hands):
            break
    return found


def matches(
    problem: Problem,
    graph: Graph,
    point: Point,
    change: Change,
    hands: dict[int, np.ndarray],
    fits: float,
) -> list[int]:
    """Which of these gradients are the one that this mistake makes."""
    made = host(gradient(problem, graph, point.leaves, point.dy, change))
    return [
        i
        for i, h in hands.items()
        if np.any(h) and np.linalg.norm(made[i] - h) <= fits * np.linalg.norm(h)
    ]


def alterations(
    problem: Problem, graph: Graph, point: Point
) -> Iterator[tuple[Explanation, Change]]:
    """Every single mistake in the chain rule, the likely ones first."""
    values = replay(graph, point.leaves)
    found = units(graph, values)
    yield from of_paths(graph, 0.0)
    yield from of_units(graph, found, values)
    yield from of_products(problem, graph, found, values)
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
            if other is not unit and e.shape == d.shape:
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
    named = {id_: name for id_, name in weights.items() if is_floating(values[id_])}
    for unit in found:
        named |= {unit.u: "the values before an activation", unit.y: "an activation's result"}
    are_inputs = {graph.inputs[i] for i in inputs}
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name != "dot_general":
            continue
        for operand in (0, 1):
            other = node.ins[1 - operand]
            if not isinstance(other, int) or node.ins[operand] not in graph.moved:
                continue
            for id_, name in named.items():
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
        inside = f"{os.sep}jax{os.sep}" in path or f"{os.sep}checking{os.sep}" in path
        if not inside and not path.startswith("<"):
            return f"{os.path.basename(path)}:{frame.line_num}"
    return ""
