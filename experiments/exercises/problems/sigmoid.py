"""Sigmoid squashes every number into (0, 1).

    y = 1 / (1 + e⁻ˣ)

A number L is computed from y, and dy = ∂L/∂y is known, entry by entry. Write dx = ∂L/∂x.

    1. Each y depends on its own x alone, so dx = dy · ∂y/∂x, entry by entry.
    2. Differentiate 1 / (1 + e⁻ˣ), then write the result with y alone.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x):
    """x [B, n] → y [B, n]."""
    return 1 / (1 + jnp.exp(-x))


def backward(x, dy):
    """Return dx [B, n]."""
    y = forward(x)
    return dy * y * (1 - y)


def library(x, dy):
    """dx by fnn's layer."""
    _, cache = fnn.Sigmoid().forward((), x)
    return fnn.Sigmoid().backward((), cache, dy)[1]


EXERCISE = Exercise(
    __name__,
    level=1,
    teaches="the chain rule, entry by entry",
    asked="dx",
    cases=(draw(x=(5, 3)),),
    derivation="""\
∂y/∂x = e⁻ˣ / (1 + e⁻ˣ)²                      the derivative of 1/u is −u′/u²
      = 1 / (1 + e⁻ˣ) · e⁻ˣ / (1 + e⁻ˣ)
      = y (1 − y)                              since e⁻ˣ / (1 + e⁻ˣ) = 1 − y
dx    = dy y (1 − y)                           the chain rule""",
    library=library,
    file="fnn/layers/activations.py",
    mistakes=(
        Mistake(
            "dx",
            "y (1 − y) is ∂y/∂x. The chain rule multiplies it by what comes from above, dy.",
            lambda x, dy: forward(x) * (1 - forward(x)),
        ),
        Mistake(
            "dx",
            "y (1 − y) takes y = σ(x), not x.",
            lambda x, dy: dy * x * (1 - x),
        ),
    ),
)
