"""How flat sigmoid and tanh are: their derivatives beside two bounds.

σ′(z) ≤ min(¼, e^−|z|)        tanh′(z) ≤ min(1, 4 e^−2|z|)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn

ACTIVATIONS = {"sigmoid": fnn.Sigmoid(), "tanh": fnn.Tanh()}
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}  # the largest derivative
CENTRE = {"sigmoid": 0.5, "tanh": 0.0}


def derivative(name: str, z: Any) -> Any:
    """f′(z), from the backward pass."""
    activation = ACTIVATIONS[name]
    _, cache = activation.forward((), z)
    return activation.backward((), cache, jnp.ones_like(z))[1]


def bound(name: str, z: np.ndarray) -> np.ndarray:
    """e^−|z| for the sigmoid, 4 e^−2|z| for tanh."""
    return np.exp(-abs(z)) if name == "sigmoid" else 4 * np.exp(-abs(z)) ** 2


class Flatness(NamedTuple):
    """How the derivative compares with its bounds."""

    highest: float  # the largest f′
    over: float  # how far f′ is above its exponential bound, at most: rounding
    tight: float  # f′ / bound at |z| = 15
    vanishes: float  # the smallest z > 0 from which on f′ is 0 in float32


def flatness(name: str) -> Flatness:
    """Compare in float64 over all magnitudes; look for 0 in float32."""
    with jax.enable_x64(True):
        half = np.unique(np.concatenate([np.logspace(-8, 308, 20_001), np.linspace(0, 50, 20_001)]))
        z = np.concatenate([-half[::-1], half])
        slope = np.asarray(derivative(name, jnp.asarray(z)))
        over = float((slope - bound(name, z)).max())
        far = np.array([-15.0])
        tight = float(np.asarray(derivative(name, jnp.asarray(far)))[0] / bound(name, far)[0])
    single = np.linspace(0, 30, 30_001, dtype=np.float32)
    flat = np.asarray(derivative(name, jnp.asarray(single))) > 0
    return Flatness(float(slope.max()), over, tight, float(single[np.flatnonzero(flat)[-1] + 1]))
