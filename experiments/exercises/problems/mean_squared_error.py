"""Mean squared error, with its 2 and its 1/N.

    L = (1/N) Σ_i (y_i − target_i)²

Here L itself may go on into something else, so its own derivative dl arrives from above, one
number (1 where L is all there is). Write dy = dl ∂L/∂y. The target is given, nothing is
asked about it.

    1. Each y_i is in one term of the sum.
    2. Both constants, the 2 of the square and the 1/N of the mean, belong in dy.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(y, target):
    """y [N], target [N] → L, one number."""
    return ((y - target) ** 2).mean()


def backward(y, target, dl):
    """Return dy [N]."""
    return dl * 2 / y.size * (y - target)


def library(y, target, dl):
    """dy by fnn's loss, which leaves the mean to its caller: each of the N gets dl / N."""
    _, cache = fnn.SquaredError().forward(y, target)
    return fnn.SquaredError().backward(cache, jnp.full_like(y, dl / y.size))


EXERCISE = Exercise(
    __name__,
    level=2,
    teaches="where 2/N comes from",
    asked="dy",
    cases=(draw(y=(7,), target=(7,)),),
    derivation="""\
∂L/∂y_i = (1/N) · 2 (y_i − target_i)           the other terms do not contain y_i
dy      = dl (2/N) (y − target)
Whoever writes ½ before the square loses the 2, whoever writes a sum loses the 1/N: neither
is right or wrong before L is written down.""",
    library=library,
    file="fnn/losses/regression.py",
    mistakes=(
        Mistake(
            "dy",
            "This is the derivative of ½ Σ (y − target)²: the 2 and the 1/N are missing.",
            lambda y, target, dl: dl * (y - target),
        ),
        Mistake(
            "dy",
            "2 (y − target) belongs to the sum of squares. L is their mean.",
            lambda y, target, dl: dl * 2 * (y - target),
        ),
        Mistake(
            "dy",
            "The 2 of the square is missing: the derivative of r² is 2 r.",
            lambda y, target, dl: dl * (y - target) / y.size,
        ),
        Mistake(
            "dy",
            "L is the end here, but need not be: multiply by dl.",
            lambda y, target, dl: 2 / y.size * (y - target),
        ),
    ),
)
