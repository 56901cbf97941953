"""What is wrong with the chain rule: every single alteration of the forward's graph, tried.

An explanation is the altered derivative whose gradient is the hand-written one, at two
points: the activation's derivative that is missing, taken twice, of another layer or at the
wrong place; the product that goes back through another matrix; the path that is dropped, or
has a wrong sign or a wrong factor.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fnn.checking.explain.alterations import (
    Change,
    Unit,
    altered,
    arrangements,
    derivative,
    replaced,
    same_function,
    through,
    units,
)
from fnn.checking.explain.diagnosis import EXACT, Diagnosis, Operation, Size, factor_of
from fnn.checking.explain.patterns import FITS, ratio
from fnn.checking.measure.comparison import host
from fnn.checking.measure.jaxprs import (
    Graph,
    Values,
    gradient,
    line_of,
    name_of,
    replay,
    trace,
)
from fnn.checking.measure.points import Point
from fnn.checking.measure.problem import Leaves, Problem, compiled
from fnn.numerics import is_floating

STANDARD: dict[str, Callable[[Array], Array]] = {  # what is often written down by mistake
    "sigmoid": lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u),
    "tanh": lambda u: 1 - jnp.tanh(u) ** 2,
    "ReLU": lambda u: (u > 0).astype(u.dtype),
    "softplus": jax.nn.sigmoid,
    "exp": jnp.exp,
}
LIMIT = 300  # operations: a longer program is not searched
GROUP = 100  # changes that share a program
FACTORS = {-1.0: "sign", 2.0: "twice", 0.5: "half"}

Hands = dict[int, np.ndarray]  # hand-written gradients by position in wrt
Changes = Iterator[tuple[Diagnosis, Change]]
Make = Callable[[Point], list[np.ndarray]]  # the gradient of somebody who makes a mistake


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
    found: dict[int, Diagnosis] = {}
    nearly: dict[int, Diagnosis] = {}
    for diagnosis, make in mistakes(problem, graph, pair[0]):
        left = {i: h for i, h in hands[0].items() if i not in found}
        factors = fitting(make(pair[0]), left, fits)
        factors = {i: c for i, c in factors.items() if is_one(c) or i not in nearly}
        rest = {i: hands[1][i] for i in factors}
        second = fitting(make(pair[1]), rest, fits) if rest else {}
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


def fitting(made: list[np.ndarray], hands: Hands, fits: float) -> dict[int, float]:
    """c for those gradients that are c times the one that a mistake makes."""
    ratios = {i: ratio(h, made[i], fits) for i, h in hands.items()}
    return {i: c for i, c in ratios.items() if c is not None and (is_one(c) or hands[i].size > 2)}


def mistakes(problem: Problem, graph: Graph, point: Point) -> Iterator[tuple[Diagnosis, Make]]:
    """Every single mistake in the chain rule, the likely ones first; a few programs make all."""
    shapes = jax.eval_shape(partial(replay, graph), point.leaves)
    changes = [
        *of_units(graph, units(graph, shapes)),
        *of_products(problem, graph, shapes),
        *of_factors(graph, shapes),
    ]
    plain, none = compiled(problem, partial(spoiled, problem, graph, [])), np.zeros(0)
    weights = without_inert(graph, lambda weights: run(plain, weights, none, point))

    def weighted(c):
        for k, diagnosis in of_paths(graph, c):
            yield diagnosis, partial(run, plain, changed(weights, k, c), none)

    yield from weighted(0.0)
    for start in range(0, len(changes), GROUP):
        diagnoses, group = zip(*changes[start : start + GROUP], strict=True)
        program = compiled(problem, partial(spoiled, problem, graph, group))
        for diagnosis, chosen in zip(diagnoses, np.eye(len(group)), strict=True):
            yield diagnosis, partial(run, program, weights, chosen)
    for c in FACTORS:
        yield from weighted(c)


def spoiled(
    problem: Problem,
    graph: Graph,
    changes: Sequence[Change],
    leaves: Leaves,
    dy: Leaves,
    weights: Array,
    chosen: Array,
) -> Leaves:
    """The gradient with weights on the paths, and the chosen one of the changes."""
    alter = altered(changes, chosen, replay(graph, leaves)) if changes else {}
    return gradient(problem, graph, leaves, dy, dict(zip(graph.paths, weights, strict=True)), alter)


def run(
    program: Callable[..., Leaves], weights: np.ndarray, chosen: np.ndarray, point: Point
) -> list[np.ndarray]:
    """What a program makes at a point."""
    return host(program(point.leaves, point.dy, weights, chosen))


def changed(a: np.ndarray, k: int, c: float) -> np.ndarray:
    """A copy of a with c at k."""
    return np.where(np.arange(len(a)) == k, c, a)


def without_inert(graph: Graph, run: Callable[[np.ndarray], list[np.ndarray]]) -> np.ndarray:
    """Weights on the paths: 0 for the derivative of a max that changes nothing, else 1.

    Softmax is the same whatever is subtracted first; that path only hides mistakes in others.
    """
    weights = np.ones(len(graph.paths))
    maxima = [k for k, (i, _) in enumerate(graph.paths) if name_at(graph, i) == "reduce_max"]
    truth = run(weights) if maxima else []
    for k in maxima:
        shorter = changed(weights, k, 0.0)
        if all(np.allclose(a, b, rtol=1e-9) for a, b in zip(run(shorter), truth, strict=True)):
            weights = shorter
    return weights


def of_paths(graph: Graph, c: float) -> Iterator[tuple[int, Diagnosis]]:
    """Paths of the derivative that are dropped (c = 0) or have a wrong factor."""
    kind, form = ("missing term", "path") if c == 0 else ("wrong term", FACTORS[c])
    for k, (i, operand) in enumerate(graph.paths):
        several = len(graph.nodes[i].ins) > 1
        where = operation(graph, i)._replace(operand=operand if several else None)
        yield k, Diagnosis(kind, form, operation=where)


def of_units(graph: Graph, found: list[Unit]) -> Changes:
    """Activations without their derivative, with it twice, or with a wrong one."""

    def slope(f, u):
        return lambda values: derivative(graph, f, values, values[u])

    for unit in found:
        own, where = slope(unit, unit.u), operation(graph, unit.nodes[-1])

        def mistake(kind, form, d, *names, unit=unit, where=where):
            return Diagnosis(kind, form, names=names, operation=where), replaced(unit, d)

        yield mistake("missing derivative", "", lambda values, u=unit.u: jnp.ones_like(values[u]))
        yield mistake("extra derivative", "", lambda values, own=own: own(values) ** 2)
        for name, f in STANDARD.items():
            d = partial(lambda f, u, values: f(values[u]), f, unit.u)
            yield mistake("other activation", "standard", d, name)
        yield mistake("other activation", "at its result", slope(unit, unit.y))
        for other in found:
            if set(unit.nodes) & set(other.nodes) or other.shape != unit.shape:
                continue
            if same_function(graph, unit, other):
                yield mistake("other activation", "at another", slope(unit, other.u))
            else:
                yield mistake("other activation", "of another", slope(other, other.u))


def of_products(problem: Problem, graph: Graph, shapes: Values) -> Changes:
    """Matrix products that go back through another matrix, or meet another activation."""
    leaves = {graph.inputs[i]: n for i, n in zip(problem.wrt, problem.names, strict=True)}
    partners = {id_: ("leaf", name) for id_, name in leaves.items() if is_floating(shapes[id_])}
    for unit in units(graph, shapes):
        partners |= {unit.u: ("before an activation", ""), unit.y: ("after an activation", "")}
    weights = leaves.keys() - {graph.inputs[i] for i in problem.inputs}
    for i, operand in two_operands(graph, "dot_general"):
        right = graph.nodes[i].ins[1 - operand]
        if not isinstance(right, int):
            continue
        for id_, (form, name) in partners.items():
            kind = "other weight" if id_ in weights else "other activation"
            for arrangement, arrange in arrangements(len(shapes[id_].shape)):
                shape = jax.eval_shape(arrange, shapes[id_]).shape
                if shape != shapes[right].shape or (not arrangement and id_ == right):
                    continue
                names, where = (name, arrangement), operation(graph, i)
                partner = partial(lambda arrange, id_, values: arrange(values[id_]), arrange, id_)
                diagnosis = Diagnosis(kind, form, names=names, operation=where)
                yield diagnosis, through(graph, i, operand, partner)


def of_factors(graph: Graph, shapes: Values) -> Changes:
    """Products entry by entry that go back without the other factor."""
    for i, operand in two_operands(graph, "mul"):
        shape = shapes[graph.nodes[i].outs[0]]
        one = partial(lambda shape, values: jnp.ones(shape.shape, shape.dtype), shape)
        diagnosis = Diagnosis("missing factor", operation=operation(graph, i))
        yield diagnosis, through(graph, i, operand, one)


def two_operands(graph: Graph, primitive: str) -> list[tuple[int, int]]:
    """The operations of this kind, and each of their operands that has a derivative."""
    return [(i, operand) for i, operand in graph.paths if name_at(graph, i) == primitive]


def name_at(graph: Graph, i: int) -> str:
    """The name of an operation."""
    return graph.nodes[i].eqn.primitive.name


def operation(graph: Graph, i: int) -> Operation:
    """An operation by its name and its line in the forward."""
    eqn = graph.nodes[i].eqn
    return Operation(name_of(eqn), line_of(eqn))
