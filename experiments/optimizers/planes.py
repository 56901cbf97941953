"""Two functions of two numbers to descend on, and descent at many rates at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

KAPPA = 50.0
RATES = np.logspace(-5, 2, 71)
Make = Callable[[Any], fnn.optim.Optimizer[Any]]  # learning rate → optimizer


class Point(NamedTuple):
    """A place in the plane; or a gradient there."""

    w: jax.Array  # (x, y), [2]

    weights = ("w",)


class Plane(NamedTuple):
    """A function of two numbers, with its gradient by hand."""

    name: str
    f: Callable[[Any], Any]  # (x, y) → number
    gradient: Callable[[Any], Any]  # (x, y) → [2]
    start: tuple[float, float]
    minimum: tuple[float, float]


def rotation(degrees: float) -> np.ndarray:
    """The matrix that turns by this angle, [2, 2]."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def bowl(degrees: float) -> Plane:
    """½ (u² + κ v²) along turned axes; the start turns with them."""
    turn, center = rotation(degrees), np.array([1.0, 1.0])
    curvature = np.array([1, KAPPA])
    start = center + turn @ rotation(-30) @ np.array([-4.0, 0.5])

    def f(p):
        u, v = ((p.T - center) @ turn).T
        return (u**2 + KAPPA * v**2) / 2

    def gradient(p):
        return turn @ (curvature * (turn.T @ (p - center)))

    return Plane("bowl", f, gradient, tuple(start), (1.0, 1.0))


def valley(p: Any) -> Any:
    """(1 − x)² + 100 (y − x²)²."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def valley_gradient(p: Any) -> Any:
    """(−2 (1 − x) − 400 x (y − x²), 200 (y − x²))."""
    up = 200 * (p[1] - p[0] ** 2)
    return jnp.stack([-2 * (1 - p[0]) - 2 * p[0] * up, up])


PLANES = (bowl(30), Plane("valley", valley, valley_gradient, (-1.2, 1.0), (1.0, 1.0)))


class Race(NamedTuple):
    """One optimizer in a plane."""

    rate: float  # the best η
    path: np.ndarray  # [steps + 1, 2]
    f: np.ndarray  # [steps + 1]
    ends: np.ndarray  # the last f with every rate, [rates]


def walk(plane: Plane, make: Make, rate: Any, n: int) -> jax.Array:
    """Where n steps lead, [n + 1, 2]."""
    optimizer, start = make(rate), Point(jnp.array(plane.start))

    def body(carry, _):
        point, state = carry
        updates, state = optimizer.update(Point(plane.gradient(point.w)), state, point)
        point = fnn.optim.apply_updates(point, updates)
        return (point, state), point.w

    _, later = jax.lax.scan(body, (start, optimizer.init(start)), None, length=n)
    return jnp.concatenate([start.w[None], later])


def race(plane: Plane, make: Make, n: int) -> Race:
    """All rates in one vmap, in float64; the best at the end, by f at its largest, is kept."""
    with jax.enable_x64(True):
        walks = jax.jit(jax.vmap(lambda rate: walk(plane, make, rate, n)))
        paths = np.asarray(walks(jnp.array(RATES)))
    with np.errstate(over="ignore", invalid="ignore"):
        f = finite([plane.f(path.T) for path in paths])
    best = int(f[:, -n // 10 :].max(1).argmin())
    return Race(float(RATES[best]), paths[best], f[best], f[:, -1])


def finite(a: Any) -> np.ndarray:
    """a, infinite where it is NaN."""
    return np.where(np.isnan(a), np.inf, a)
