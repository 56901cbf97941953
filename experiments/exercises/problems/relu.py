"""ReLU, a switch.

    y = max(x, 0)

Write dx = ∂L/∂x from x and dy = ∂L/∂y.

    1. Where x > 0, y is x. Where x < 0, y is 0. What is ∂y/∂x in each case?
    2. jnp.where(condition, a, b) chooses entry by entry.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x):
    """x [B, n] → y [B, n]."""
    return jnp.maximum(x, 0)


def backward(x, dy):
    """Return dx [B, n]."""
    return jnp.where(x > 0, dy, 0)


def library(x, dy):
    """dx by fnn's layer."""
    _, cache = fnn.ReLU().forward((), x)
    return fnn.ReLU().backward((), cache, dy)[1]


EXERCISE = Exercise(
    __name__,
    level=1,
    teaches="a derivative in pieces",
    asked="dx",
    cases=(draw(x=(5, 3)),),
    derivation="""\
x > 0:  y = x, ∂y/∂x = 1
x < 0:  y = 0, ∂y/∂x = 0
dx = dy where x > 0, else 0
At x = 0 there is a kink and no derivative; 0 is the usual choice.""",
    library=library,
    file="fnn/layers/activations.py",
    mistakes=(
        Mistake(
            "dx",
            "The switch hangs on the sign of x, not on that of dy.",
            lambda x, dy: jnp.maximum(dy, 0),
        ),
        Mistake(
            "dx",
            "Where the switch is open, ∂y/∂x is 1, not x: dy passes unchanged.",
            lambda x, dy: dy * jnp.maximum(x, 0),
        ),
        Mistake(
            "dx",
            "1 and 0 are ∂y/∂x. The chain rule multiplies them by dy.",
            lambda x, dy: jnp.where(x > 0, 1.0, 0.0) + 0 * x,
        ),
    ),
)
