"""Sets on which arguments of functions live: symmetric matrices, positive definite ones, simplices.

An argument that lies on such a set as given may have to: a function of covariances need not
exist elsewhere, nor mean there what it is believed to. Points are tried on the set and off
it, and a gradient that is wrong off it alone is reported as just that; of one that is right
only along the set nobody can tell. A matrix that is diagonal or constant may be on the set
by chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

EXACT = 1e-6  # of the largest entry: float32 data may lie on a set, too


class Kind(NamedTuple):
    """A set: its members, another member like one of them, the part of a gradient along it."""

    name: str
    holds: Callable[[np.ndarray], bool]
    another: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    along: Callable[[np.ndarray], np.ndarray]


class Membership(NamedTuple):
    """An argument that lies on a set."""

    leaf: int
    kind: Kind
    by_chance: bool  # whether it may lie there by chance


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding."""
    return bool((abs(a - b) <= EXACT * abs(a).max(initial=0.0)).all())


def square(a: np.ndarray) -> bool:
    """Whether a is a matrix, or a stack of them, as long as it is wide."""
    return a.ndim > 1 and a.shape[-1] == a.shape[-2] > 1 and a.size > 0


def symmetric(a: np.ndarray) -> bool:
    """A = Aᵀ."""
    return square(a) and close(a, a.swapaxes(-1, -2))


def definite(a: np.ndarray) -> bool:
    """A = Aᵀ, and all its eigenvalues are above 0."""
    return symmetric(a) and bool((np.linalg.eigvalsh(a) > EXACT * abs(a).max()).all())


def simplex(a: np.ndarray) -> bool:
    """a ≥ 0, and every row sums to 1."""
    if not a.ndim or a.shape[-1] < 2 or not a.size:
        return False
    return bool((a >= 0).all()) and close(a.sum(-1), np.ones(a.shape[:-1]))


def another_symmetric(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0.7 A + 0.3 (B + Bᵀ) / 2, B drawn from the range of A."""
    b = rng.uniform(a.min(), a.max(), a.shape) if a.min() < a.max() else rng.normal(a, 1.0)
    return 0.7 * a + 0.15 * (b + b.swapaxes(-1, -2))


def another_definite(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0.7 A + 0.3 B Bᵀ / n times the size of A, B normal."""
    n, b = a.shape[-1], rng.normal(size=a.shape)
    size = np.trace(a, axis1=-2, axis2=-1)[..., None, None] / n
    return 0.7 * a + 0.3 * size * b @ b.swapaxes(-1, -2) / n


def another_distribution(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0.7 a + 0.3 times a uniform draw from the simplex."""
    return 0.7 * a + 0.3 * rng.dirichlet(np.ones(a.shape[-1]), a.shape[:-1])


def symmetrized(g: np.ndarray) -> np.ndarray:
    """(G + Gᵀ) / 2."""
    return (g + g.swapaxes(-1, -2)) / 2


def centered(g: np.ndarray) -> np.ndarray:
    """g without its mean."""
    return g - g.mean(-1, keepdims=True)


KINDS = (  # the narrow ones first
    Kind("positive definite", definite, another_definite, symmetrized),
    Kind("symmetric", symmetric, another_symmetric, symmetrized),
    Kind("on the simplex", simplex, another_distribution, centered),
)


def memberships(leaves: dict[int, np.ndarray]) -> tuple[Membership, ...]:
    """The leaves that lie on a set, with the narrowest."""
    found = []
    for i, a in leaves.items():
        kind = next((kind for kind in KINDS if kind.holds(a)), None)
        if kind is not None:
            chance = square(a) and (a.min() == a.max() or close(a, a * np.eye(a.shape[-1])))
            found.append(Membership(i, kind, bool(chance)))
    return tuple(found)
