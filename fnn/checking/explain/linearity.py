"""What is wrong with the use of dy: explanations from parts of it.

A gradient is linear in dy. The reference at parts of dy (one example, one output, one entry
of the last axis) tells which of them somebody has forgotten.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.explain.diagnosis import Diagnosis
from fnn.checking.explain.patterns import FITS, small
from fnn.checking.measure.facts import Facts
from fnn.checking.measure.problem import compiled

FEW = 2**20  # entries of all gradients that may be formed to explain one


def of_dy(facts: Facts, j: int, case: str) -> Diagnosis | None:
    """The first explanation of gradient j that lies in its use of dy."""
    if facts.problem.compares or facts.problem.one_dy:
        return None
    for find in (nonlinear, outputs, twice, diagonal):
        found = find(facts, j, case)
        if found is not None:
            return found
    return None


def nonlinear(facts: Facts, j: int, case: str) -> Diagnosis | None:
    """Twice dy does not make twice the gradient."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    dy = [2 * d for d in point.dy]
    double = np.asarray(facts.programs.gradients(point.leaves, dy)[1][j])
    if not np.any(hand) or close(double, 2 * hand):
        return None
    if close(double, hand):
        return Diagnosis("dy", "independent")
    i = np.unravel_index(int(np.argmax(abs(double - 2 * hand))), hand.shape)
    index = tuple(int(k) for k in i)
    return Diagnosis("dy", "not linear", where=index, got=float(hand[i]), want=float(double[i]))


def outputs(facts: Facts, j: int, case: str) -> Diagnosis | None:
    """One of several outputs has been forgotten."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    for k in range(len(point.dy) if len(point.dy) > 1 else 0):
        rest = [0 * d if i == k else d for i, d in enumerate(point.dy)]
        if close(hand, facts.programs.gradients(point.leaves, rest)[2][j]):
            return Diagnosis("missing term", "output", number=k)
    return None


def twice(facts: Facts, j: int, case: str) -> Diagnosis | None:
    """The whole derivative has been applied to its own result."""
    point, result = facts.points[case], facts.results[case]
    if [d.shape for d in point.dy] != [result.truth[j].shape]:
        return None
    once = [jnp.asarray(result.truth[j]).astype(point.dy[0].dtype)]
    if close(result.hand[j], facts.programs.gradients(point.leaves, once)[2][j]):
        return Diagnosis("extra derivative", "whole")
    return None


def diagonal(facts: Facts, j: int, case: str) -> Diagnosis | None:
    """Each entry of dy counts for its own entry of x only, in a function that mixes them."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    dy = point.dy[0]
    if len(point.dy) > 1 or dy.shape != hand.shape or not dy.ndim or hand.size**2 > FEW:
        return None

    def own(leaves, dy):
        def of(mask):
            return facts.problem.reference(leaves, [dy * mask.astype(dy.dtype)])[j]

        return jnp.diagonal(jax.vmap(of)(jnp.eye(dy.shape[-1])), axis1=0, axis2=-1)

    same = close(hand, compiled(facts.problem, own)(point.leaves, dy))
    return Diagnosis("missing term", "diagonal") if same else None


def by_example(facts: Facts, j: int, cases: list[str]) -> np.ndarray | None:
    """Gradient j from each row of dy alone, [B, K, ...]."""
    dy = facts.points[cases[0]].dy
    n = dy[0].shape[0] if dy and dy[0].ndim else 0
    size = np.size(facts.results[cases[0]].truth[j])
    same = all(d.ndim and d.shape[0] == n for d in dy)
    if not 2 <= n <= 64 or not same or n * size > FEW:
        return None

    def each(leaves, dy):
        def of(mask):
            one = [d * mask.reshape((n,) + (1,) * (d.ndim - 1)).astype(d.dtype) for d in dy]
            return facts.problem.reference(leaves, one)[j]

        return jax.vmap(of)(jnp.eye(n))

    run = compiled(facts.problem, each)
    made = [np.stack(run(facts.points[c].leaves, facts.points[c].dy)) for c in cases]
    return np.stack(made, 1)


def close(a: object, b: object) -> bool:
    """Whether two gradients are the same, and not 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bool(np.any(a)) and small(a - b, a, FITS)
