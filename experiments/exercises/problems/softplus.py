"""Softplus, a smooth hinge.

    y = log(1 + eˣ)

Write dx = ∂L/∂x from x and dy = ∂L/∂y. It should hold at x = 1000 too, where eˣ is more than
a float can be.

    1. The derivative of log u is u′ / u.
    2. You know the quotient that comes out. Which of its forms never overflows?
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x):
    """x [B, n] → y [B, n]."""
    return jnp.logaddexp(x, 0.0)  # log(e^x + e^0), without overflow


def backward(x, dy):
    """Return dx [B, n]."""
    return dy / (1 + jnp.exp(-x))


def library(x, dy):
    """dx by fnn's layer."""
    _, cache = fnn.Softplus().forward((), x)
    return fnn.Softplus().backward((), cache, dy)[1]


EXERCISE = Exercise(
    __name__,
    level=1,
    teaches="a derivative that does not overflow",
    asked="dx",
    cases=(draw(x=(5, 3)), {"x": draw(x=(5, 3))["x"] * 1000}),
    derivation="""\
∂y/∂x = eˣ / (1 + eˣ)                          the derivative of log u is u′/u
      = 1 / (1 + e⁻ˣ)                          divide by eˣ: this is σ(x)
dx    = dy / (1 + e⁻ˣ)
At x = 1000 the first form is ∞/∞, the second 1/(1 + 0). At x = −1000 it is 1/∞ = 0, as it
should be.""",
    library=library,
    file="fnn/layers/activations.py",
    mistakes=(
        Mistake(
            "dx",
            "1 / (1 + eˣ) is the derivative of log u without u′.",
            lambda x, dy: dy / (1 + jnp.exp(x)),
        ),
        Mistake(
            "dx",
            "eˣ / (1 + eˣ) is right on paper, but ∞/∞ for large x. Divide both by eˣ.",
            lambda x, dy: dy * jnp.exp(x) / (1 + jnp.exp(x)),
        ),
    ),
)
