"""Small made-up data sets that show what a model can and cannot follow.

    line, wave              a number from one x: 1.5 x, and sin 3x, with noise
    separable               two classes on two sides of a line, with a gap
    XOR                     four clouds, a class on each diagonal
    moons                   two half circles, one in the other

x of the classes has mean 0 and spread 1, about.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR = np.array([0, 1, 1, 0], np.int32)  # of the corners


def line(key: Any, n: int) -> tuple[Any, Any]:
    """t = 1.5 x + noise: x [n, 1], t [n, 1]."""
    return curve(key, n, lambda x: 1.5 * x)


def wave(key: Any, n: int) -> tuple[Any, Any]:
    """t = sin 3x + noise: x [n, 1], t [n, 1]."""
    return curve(key, n, lambda x: jnp.sin(3 * x))


def curve(key: Any, n: int, f: Any) -> tuple[Any, Any]:
    """t = f(x) + noise of standard deviation 0.2, x between −2 and 2."""
    k_x, k_t = jax.random.split(key)
    x = jax.random.uniform(k_x, (n, 1), minval=-2, maxval=2)
    return x, f(x) + 0.2 * jax.random.normal(k_t, (n, 1))


def separable(key: Any, n: int) -> tuple[Any, Any]:
    """Classes on the two sides of x₂ = x₁/2, at least 0.2 from it: x [n, 2], label [n]."""
    x = jax.random.uniform(key, (n, 2), minval=-1.7, maxval=1.7)
    across = jnp.array([-0.5, 1.0]) / jnp.sqrt(1.25)
    side = jnp.where(x @ across > 0, 1, -1)
    return x + 0.2 * side[:, None] * across, (side + 1) // 2


def xor(key: Any, n: int) -> tuple[Any, Any]:
    """Clouds around (±1, ±1), spread 0.3; the class is 1 where the signs differ."""
    k_corner, k_x = jax.random.split(key)
    corner = jax.random.randint(k_corner, (n,), 0, 4)
    x = 2 * jnp.asarray(CORNERS)[corner] - 1 + 0.3 * jax.random.normal(k_x, (n, 2))
    return x, jnp.asarray(XOR)[corner]


def moons(key: Any, n: int) -> tuple[Any, Any]:
    """Half circles of radius 1 around (0, 0) and (1, 0.5), noise 0.15, then scaled."""
    k_label, k_angle, k_x = jax.random.split(key, 3)
    label = jax.random.randint(k_label, (n,), 0, 2)
    angle = jax.random.uniform(k_angle, (n,), maxval=jnp.pi)
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
    x = jnp.where(label[:, None] == 0, upper, jnp.array([1.0, 0.5]) - upper)
    x += 0.15 * jax.random.normal(k_x, (n, 2))
    return (x - jnp.array([0.5, 0.25])) / jnp.array([0.87, 0.5]), label
