"""Half-spaces of R^d: which labellings of some points they make.

    h(x) = sign(w·x + b)

A labelling y of the points is made by one where y (w·x + b) ≥ 1 has a solution, which a
linear program decides. Radon: any d + 2 points fall into two parts whose convex hulls meet;
no half-space holds the one and not the other.

Source: Radon (1921), Mathematische Annalen 83.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

import fnn


def labellings(m: int) -> np.ndarray:
    """All labels −1 and 1 of m points, [2^m, m]."""
    return np.array(list(itertools.product((-1, 1), repeat=m)))


def simplex(d: int) -> np.ndarray:
    """0 and the unit vectors, [d + 1, d]."""
    return np.concatenate([np.zeros((1, d)), np.eye(d)])


def separable(points: np.ndarray, labels: np.ndarray) -> bool:
    """Whether some half-space makes these labels of points [m, d]."""
    rows = -labels[:, None] * np.concatenate([points, np.ones((len(points), 1))], axis=1)
    cost, limit = np.zeros(rows.shape[1]), -np.ones(len(rows))
    solved = linprog(cost, A_ub=rows, b_ub=limit, bounds=(None, None), method="highs")
    return solved.status == 0


def count(points: np.ndarray) -> int:
    """How many labellings of the points half-spaces make; a labelling and its opposite agree."""
    half = labellings(len(points))[: 2 ** (len(points) - 1)]
    return 2 * sum(separable(points, labels) for labels in half)


class Radon(NamedTuple):
    """A partition of d + 2 points, and a point in the convex hulls of both parts."""

    labels: np.ndarray  # [d + 2]
    meeting: np.ndarray  # from the first part, [d]
    again: np.ndarray  # from the second, [d]


def radon(points: np.ndarray) -> Radon:
    """From λ with Σ λ = 0 and Σ λ x = 0."""
    rows = np.concatenate([points.T, np.ones((1, len(points)))])
    weights = np.linalg.svd(rows)[2][-1]
    above = weights > 0
    means = [weights[part] @ points[part] / weights[part].sum() for part in (above, ~above)]
    return Radon(np.where(above, 1, -1), *means)


def learned(key: Any, points: np.ndarray, steps: int = 500) -> np.ndarray:
    """Which of all labellings fnn's hinge loss learns without an error, [2^m]."""
    net, x = fnn.Dense(points.shape[1], 1), jnp.asarray(points, jnp.float32)
    labels = jnp.asarray(labellings(len(points)), jnp.float32)
    plan = fnn.Plan(net, fnn.Hinge(), fnn.optim.SGD(0.5))

    def errors(target):
        start, data = fnn.start(plan, None, net.init(key)), (x, target[:, None])
        state, _ = fnn.fit(plan, start, data, epochs=steps, batch_size=len(points))
        y, _ = net.forward(state.params, x)
        return (y[:, 0] * target <= 0).sum()

    return np.asarray(jax.jit(jax.vmap(errors))(labels)) == 0


class Shattering(NamedTuple):
    """Which labellings of points the half-spaces of R^d make."""

    counts: list[int]  # labellings of m = 1, 2, ... random points
    simplex: bool  # whether all labellings of d + 1 points are made
    sets: int  # of d + 2 points of which all labellings are made
    radon: bool  # whether Radon's labels are impossible for all of them, and hulls meet


def shattering(key: Any, d: int, most: int, n_sets: int) -> Shattering:
    """Count labellings, by linear programming."""
    k_points, k_sets = jax.random.split(key)
    points = np.asarray(jax.random.normal(k_points, (most, d)), float)
    sets = np.asarray(jax.random.normal(k_sets, (n_sets, d + 2, d)), float)
    corners, partitions = simplex(d), [radon(s) for s in sets]
    return Shattering(
        counts=[count(points[:m]) for m in range(1, most + 1)],
        simplex=count(corners) == 2 ** (d + 1),
        sets=sum(count(s) == 2 ** (d + 2) for s in sets),
        radon=all(
            np.allclose(p.meeting, p.again) and not separable(s, p.labels)
            for s, p in zip(sets, partitions, strict=True)
        ),
    )
