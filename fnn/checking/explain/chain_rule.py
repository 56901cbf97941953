"""What is wrong with the chain rule: every single alteration of the forward's graph, tried.

An explanation is the altered derivative whose gradient is the hand-written one, at two
points: the activation's derivative that is missing, taken twice, of another layer or at the
wrong place; the product that goes back through another matrix; the path that is dropped, or
has a wrong sign or a wrong factor.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fnn.checking.explain.alterations import (
    Unit,
    arrangements,
    derivative,
    replaced,
    same_function,
    scaled,
    through,
    units,
    without_inert,
)
from fnn.checking.explain.diagnosis import EXACT, Diagnosis, Operation, Size, factor_of
from fnn.checking.explain.patterns import FITS, ratio
from fnn.checking.measure.comparison import host
from fnn.checking.measure.jaxprs import (
    Change,
    Graph,
    Values,
    gradient,
    line_of,
    name_of,
    replay,
    trace,
)
from fnn.checking.measure.points import Point
from fnn.checking.measure.problem import Problem
from fnn.numerics import is_floating

STANDARD: dict[str, Callable[[Array], Array]] = {  # what is often written down by mistake
    "sigmoid": lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u),
    "tanh": lambda u: 1 - jnp.tanh(u) ** 2,
    "ReLU": lambda u: (u > 0).astype(u.dtype),
    "softplus": jax.nn.sigmoid,
    "exp": jnp.exp,
}
LIMIT = 300  # operations: a longer program is not searched
FACTORS = {-1.0: "sign", 2.0: "twice", 0.5: "half"}

Hands = dict[int, np.ndarray]  # hand-written gradients by position in wrt
Alterations = Iterator[tuple[Diagnosis, Change]]


def of_chain_rule(
    problem: Problem,
    pair: tuple[Point, Point],
    hands: tuple[Hands, Hands],
    sizes: Sequence[Size],
    fits: float = FITS,
) -> dict[int, Diagnosis]:
    """A diagnosis for those wrong gradients, `hands` at both points, that a mistake explains.

    One that fits up to a constant is taken if no mistake fits as it is.
    """
    graph = trace(problem, pair[0].leaves)
    if len(graph.nodes) > LIMIT:
        return {}
    graph = without_inert(problem, graph, pair[0].leaves, pair[0].dy)
    found: dict[int, Diagnosis] = {}
    nearly: dict[int, Diagnosis] = {}
    again: list[tuple[Diagnosis, Change]] = []
    for k, (diagnosis, change) in enumerate(alterations(problem, graph, pair[0])):
        left = {i: h for i, h in hands[0].items() if i not in found}
        factors = fitting(problem, graph, pair[0], change, left, fits)
        factors = {i: c for i, c in factors.items() if is_one(c) or i not in nearly}
        if factors:
            again = again or list(alterations(problem, graph, pair[1]))
            rest = {i: hands[1][i] for i in factors}
            second = fitting(problem, graph, pair[1], again[k][1], rest, fits)
            for i, c in factors.items():
                if i in second and is_one(second[i] / c):
                    factor = None if is_one(c) else factor_of(c, sizes)
                    chosen = nearly if factor else found
                    chosen[i] = diagnosis._replace(factor=factor)
        if len(found) == len(hands[0]):
            break
    return nearly | found


def is_one(c: float) -> bool:
    """Whether a factor is 1."""
    return abs(c - 1) < EXACT


def fitting(
    problem: Problem, graph: Graph, point: Point, change: Change, hands: Hands, fits: float
) -> dict[int, float]:
    """c for those gradients that are c times the one that this mistake makes."""
    made = host(gradient(problem, graph, point.leaves, point.dy, change))
    ratios = {i: ratio(h, made[i], fits) for i, h in hands.items()}
    return {i: c for i, c in ratios.items() if c is not None and (is_one(c) or hands[i].size > 2)}


def alterations(problem: Problem, graph: Graph, point: Point) -> Alterations:
    """Every single mistake in the chain rule, the likely ones first."""
    values = replay(graph, point.leaves)
    found = units(graph, values)
    yield from of_paths(graph, 0.0)
    yield from of_units(graph, found, values)
    yield from of_products(problem, graph, found, values)
    yield from of_factors(graph, values)
    for c in FACTORS:
        yield from of_paths(graph, c)


def of_units(graph: Graph, found: list[Unit], values: Values) -> Alterations:
    """Activations without their derivative, with it twice, or with a wrong one."""
    ds = [derivative(graph, unit, values, values[unit.u]) for unit in found]
    for unit, d in zip(found, ds, strict=True):
        last = unit.nodes[-1]

        def mistake(kind, form, d, *names, unit=unit, last=last):
            diagnosis = Diagnosis(kind, form, names=names, operation=operation(graph, last))
            return diagnosis, replaced(unit, d)

        yield mistake("missing derivative", "", 1.0 + 0 * d)
        yield mistake("extra derivative", "", d * d)
        for name, other in STANDARD.items():
            yield mistake("other activation", "standard", other(values[unit.u]), name)
        own = derivative(graph, unit, values, values[unit.y])
        yield mistake("other activation", "at its result", own)
        for other, e in zip(found, ds, strict=True):
            if set(unit.nodes) & set(other.nodes) or e.shape != d.shape:
                continue
            if same_function(graph, unit, other):
                e = derivative(graph, unit, values, values[other.u])
                yield mistake("other activation", "at another", e)
            else:
                yield mistake("other activation", "of another", e)


def of_products(problem: Problem, graph: Graph, found: list[Unit], values: Values) -> Alterations:
    """Matrix products that go back through another matrix, or meet another activation."""
    leaves = {graph.inputs[i]: n for i, n in zip(problem.wrt, problem.names, strict=True)}
    partners = {id_: ("leaf", name) for id_, name in leaves.items() if is_floating(values[id_])}
    for unit in found:
        partners |= {unit.u: ("before an activation", ""), unit.y: ("after an activation", "")}
    weights = leaves.keys() - {graph.inputs[i] for i in problem.inputs}
    for i, operand in two_operands(graph, "dot_general"):
        right = graph.nodes[i].ins[1 - operand]
        if not isinstance(right, int):
            continue
        for id_, (form, name) in partners.items():
            kind = "other weight" if id_ in weights else "other activation"
            for partner, arrangement in arrangements(values[id_]):
                if partner.shape != values[right].shape or (not arrangement and id_ == right):
                    continue
                names, where = (name, arrangement), operation(graph, i)
                diagnosis = Diagnosis(kind, form, names=names, operation=where)
                yield diagnosis, through(graph, i, operand, partner)


def of_factors(graph: Graph, values: Values) -> Alterations:
    """Products entry by entry that go back without the other factor."""
    for i, operand in two_operands(graph, "mul"):
        node = graph.nodes[i]
        other = node.ins[1 - operand]
        one = jnp.ones_like(values[other if isinstance(other, int) else node.outs[0]])
        diagnosis = Diagnosis("missing factor", operation=operation(graph, i))
        yield diagnosis, through(graph, i, operand, one)


def of_paths(graph: Graph, c: float) -> Alterations:
    """Paths of the derivative that are dropped (c = 0) or have a wrong factor."""
    kind, form = ("missing term", "path") if c == 0 else ("wrong term", FACTORS[c])
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name == "stop_gradient":
            continue
        for operand, r in enumerate(node.ins):
            if isinstance(r, int) and r in graph.active:
                which = operand if len(node.ins) > 1 else None
                where = operation(graph, i)._replace(operand=which)
                yield Diagnosis(kind, form, operation=where), scaled(i, operand, c)


def two_operands(graph: Graph, primitive: str) -> Iterator[tuple[int, int]]:
    """The operations of this kind, and each of their operands that has a derivative."""
    for i, node in enumerate(graph.nodes):
        if node.eqn.primitive.name == primitive:
            operands = enumerate(node.ins)
            yield from ((i, k) for k, r in operands if isinstance(r, int) and r in graph.active)


def operation(graph: Graph, i: int) -> Operation:
    """An operation by its name and its line in the forward."""
    eqn = graph.nodes[i].eqn
    return Operation(name_of(eqn), line_of(eqn))
