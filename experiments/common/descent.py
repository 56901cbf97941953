"""Full-batch descent that keeps every step, and the optimizers with known speed.

With curvatures (eigenvalues of the Hessian) between l and h, κ = h/l,

    gradient descent   η = 2/(h + l)              error × (κ − 1)/(κ + 1) per step
    heavy ball         η = (2/(√h + √l))²         error × (√κ − 1)/(√κ + 1)
                       μ = ((√h − √l)/(√h + √l))²
    Nesterov           η = 1/h, μ = (√κ − 1)/(√κ + 1), for convex costs that are no parabola

Source: Polyak (1964), USSR Comp. Math. 4, eqs. 7 and 9; Nesterov (2004), Introductory Lectures on
Convex Optimization, scheme 2.2.11.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common.data import Rows, split


class Path(NamedTuple):
    """What a descent leaves behind; the first axis of every array is the step."""

    params: Any  # at the start and after every step, [steps + 1, ...]
    loss: Any  # before every step, [steps]


class Descent(NamedTuple):
    """An optimizer, and the factor by which it makes the error smaller per step."""

    optimizer: Any
    factor: float


@functools.partial(jax.jit, static_argnames="steps")
def descend(plan: fnn.Plan, params: Any, data: tuple[Any, Any], steps: int) -> Path:
    """`steps` updates, each from all rows, in one compiled program; vmap-able."""

    def step(state, _):
        new, row = fnn.step(plan, state, data)
        return new, (new.params, row["loss"])

    _, (later, losses) = jax.lax.scan(step, fnn.start(plan, None, params), length=steps)
    join = lambda first, rest: jnp.concatenate([first[None], rest])  # noqa: E731
    return Path(jax.tree.map(join, params, later), losses)


def plain(low: float, high: float) -> Descent:
    """The fastest gradient descent for curvatures between these two."""
    return Descent(fnn.optim.SGD(2 / (high + low)), (high - low) / (high + low))


def heavy_ball(low: float, high: float) -> Descent:
    """The fastest gradient descent with momentum."""
    h, l = high**0.5, low**0.5
    factor = (h - l) / (h + l)
    return Descent(fnn.optim.Momentum((2 / (h + l)) ** 2, factor**2), factor)


def nesterov(low: float, high: float) -> Descent:
    """Momentum that looks ahead, for convex costs; the factor is (1 − √(l/h))^½ at worst."""
    h, l = high**0.5, low**0.5
    optimizer = fnn.optim.Momentum(1 / high, (h - l) / (h + l), nesterov=True)
    return Descent(optimizer, (1 - l / h) ** 0.5)


def standardised(x: Any, *others: Any) -> list[np.ndarray]:
    """x and others in float64, shifted and scaled by the mean and the spread of x."""
    mean, std = np.mean(x, 0, dtype=float), np.std(x, 0, dtype=float)
    return [(np.asarray(a, float) - mean) / std for a in (x, *others)]


class Division(NamedTuple):
    """n random divisions of the same rows, standardised by their training parts."""

    x: np.ndarray  # [n, N, k]
    t: np.ndarray  # [n, N]
    test_x: np.ndarray  # [n, M, k]
    test_t: np.ndarray  # [n, M]


def divided(seed: int, n: int, x: Any, t: Any) -> Division:
    """n divisions in two thirds for training and a third for the test."""
    keys = jax.random.split(jax.random.key(seed), n)
    orders = np.asarray(jax.vmap(lambda key: jax.random.permutation(key, len(x)))(keys))
    test, train = np.split(orders, [len(x) // 3], axis=1)
    rows = [standardised(x[a], x[b]) for a, b in zip(train, test, strict=True)]
    z, held_out = (np.array(part) for part in zip(*rows, strict=True))
    return Division(z, t[train], held_out, t[test])


class Parts(NamedTuple):
    """Rows and classes of every repetition, standardised by its training part."""

    x: np.ndarray  # [n, N, k]
    y: np.ndarray  # [n, N, 1]: 0 or 1


def three_parts(seed: int, n: int, rows: Rows) -> list[Parts]:
    """n divisions: 70 % for training, 15 % for validation, 15 % for the test."""
    parts = [split(rows, (0.70, 0.15, 0.15), seed + i) for i in range(n)]
    x = [standardised(*(part.x for part in each)) for each in parts]
    return [
        Parts(
            np.array([each[i] for each in x]),
            np.array([each[i].label for each in parts], float)[..., None],
        )
        for i in range(3)
    ]


def curvatures(x: Any) -> np.ndarray:
    """The eigenvalues of XᵀX/N, rising, with the column of ones in X, [k + 1]."""
    ones = with_ones(x)
    return np.linalg.eigvalsh(ones.T @ ones / len(x))


def with_ones(x: Any) -> Any:
    """[x 1]: the bias as a weight of a column of ones, [N, n + 1]."""
    return np.column_stack([x, np.ones(len(x))])


def flat(params: Any, axes: int = 0) -> np.ndarray:
    """All leaves side by side, [..., P]; the first `axes` axes stay."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], -1)
