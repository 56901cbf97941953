"""What is wrong with the use of dy: explanations from parts of it.

A gradient is linear in dy. The reference at parts of dy (one example, one output, one entry
of the last axis) tells which parts somebody has forgotten.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.explain import FITS, Explanation
from fnn.checking.facts import Facts, compiled
from fnn.checking.problem import Problem

FEW = 2**20  # entries of all parts' gradients that may be formed to explain one


def of_dy(problem: Problem, facts: Facts, j: int, case: str) -> Explanation | None:
    """The first explanation of gradient j that lies in its use of dy."""
    if problem.compares or problem.one_dy:
        return None
    for find in (nonlinear, outputs, twice, diagonal):
        found = find(problem, facts, j, case)
        if found is not None:
            return found
    return None


def nonlinear(problem: Problem, facts: Facts, j: int, case: str) -> Explanation | None:
    """Twice dy does not make twice the gradient."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    run = facts.programs.at_points
    double = np.asarray(run(point.leaves, [2 * d for d in point.dy])[1][j])
    if not np.any(hand) or _close(double, 2 * hand):
        return None
    if _close(double, hand):
        return Explanation("dy", "it does not depend on dy")
    i = np.unravel_index(int(np.argmax(abs(double - 2 * hand))), hand.shape)
    where = [int(k) for k in i]
    text = f"it is not linear in dy: {hand[i]:.4g} for dy and {double[i]:.4g} for 2 dy at {where}"
    return Explanation("dy", text)


def outputs(problem: Problem, facts: Facts, j: int, case: str) -> Explanation | None:
    """One of several outputs has been forgotten."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    for k in range(len(point.dy) if len(point.dy) > 1 else 0):
        rest = [0 * d if i == k else d for i, d in enumerate(point.dy)]
        without = facts.programs.at_points(point.leaves, rest)[2][j]
        if _close(hand, without):
            return Explanation("missing term", f"what comes back from output {k} is missing")
    return None


def twice(problem: Problem, facts: Facts, j: int, case: str) -> Explanation | None:
    """The whole derivative has been applied to its own result."""
    point, result = facts.points[case], facts.results[case]
    if [d.shape for d in point.dy] != [result.truth[j].shape]:
        return None
    once = [jnp.asarray(result.truth[j]).astype(point.dy[0].dtype)]
    if _close(result.hand[j], facts.programs.at_points(point.leaves, once)[2][j]):
        return Explanation("extra derivative", "the derivative of the whole is in twice")
    return None


def diagonal(problem: Problem, facts: Facts, j: int, case: str) -> Explanation | None:
    """Each entry of dy counts for its own entry of x only, in a function that mixes them."""
    point, hand = facts.points[case], facts.results[case].hand[j]
    dy = point.dy[0]
    if len(point.dy) > 1 or dy.shape != hand.shape or not dy.ndim or hand.size**2 > FEW:
        return None
    n = dy.shape[-1]

    def own(leaves, dy):
        parts = jax.vmap(lambda m: problem.reference(leaves, [dy * m.astype(dy.dtype)])[j])(
            jnp.eye(n)
        )
        return jnp.diagonal(parts, axis1=0, axis2=-1)

    if _close(hand, compiled(problem, own)(point.leaves, dy)):
        return Explanation(
            "missing term",
            "only the diagonal of the Jacobian counts: other entries of dy are left out",
        )
    return None


def by_example(problem: Problem, facts: Facts, j: int, cases: list[str]) -> np.ndarray | None:
    """Gradient j from each row of dy alone, [B, K, ...]."""
    dy = facts.points[cases[0]].dy
    n = dy[0].shape[0] if dy and dy[0].ndim else 0
    size = np.size(facts.results[cases[0]].truth[j])
    same = all(d.ndim and d.shape[0] == n for d in dy)
    if not 2 <= n <= 64 or not same or n * size > FEW:
        return None

    def parts(leaves, dy):
        def part(mask):
            one = [d * mask.reshape((n,) + (1,) * (d.ndim - 1)).astype(d.dtype) for d in dy]
            return problem.reference(leaves, one)[j]

        return jax.vmap(part)(jnp.eye(n))

    run = compiled(problem, parts)
    made = [np.stack(run(facts.points[c].leaves, facts.points[c].dy)) for c in cases]
    return np.stack(made, 1)


def _close(a: object, b: object) -> bool:
    """Whether two gradients are the same, and not 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bool(np.any(a) and np.linalg.norm(a - b) <= FITS * np.linalg.norm(a))
