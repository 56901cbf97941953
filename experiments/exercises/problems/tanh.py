"""Tanh, from what forward left behind.

    y = tanh x

Forward may keep what backward needs, and y is at hand anyway: here backward is given y, and
never sees x. Write dx = ∂L/∂x from y and dy = ∂L/∂y.

    1. tanh x = sinh x / cosh x; find its derivative by the quotient rule.
    2. cosh² x − sinh² x = 1. Divide by cosh² x to get rid of x.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x):
    """x [B, n] → y [B, n]."""
    return jnp.tanh(x)


def backward(y, dy):
    """Return dx [B, n]; y is forward's result, not x."""
    return dy * (1 - y**2)


def library(y, dy):
    """dx by fnn's layer, whose cache is y too."""
    _, cache = fnn.Tanh().forward((), jnp.arctanh(y))
    return fnn.Tanh().backward((), cache, dy)[1]


EXERCISE = Exercise(
    __name__,
    level=1,
    teaches="what to keep for backward",
    asked="dx",
    cases=(draw(x=(5, 3)),),
    saved=lambda x: (forward(x),),
    derivation="""\
∂y/∂x = (cosh² x − sinh² x) / cosh² x          the quotient rule
      = 1 − tanh² x
      = 1 − y²                                 no x is left
dx    = dy (1 − y²)""",
    library=library,
    file="fnn/layers/activations.py",
    mistakes=(
        Mistake(
            "dx",
            "backward is given y, which is tanh x already: another tanh is one too many.",
            lambda y, dy: dy * (1 - jnp.tanh(y) ** 2),
        ),
        Mistake(
            "dx",
            "y (1 − y) belongs to the sigmoid. What is the derivative of tanh?",
            lambda y, dy: dy * y * (1 - y),
        ),
        Mistake(
            "dx",
            "1 − y² is ∂y/∂x. The chain rule multiplies it by dy.",
            lambda y, dy: 1 - y**2,
        ),
    ),
)
