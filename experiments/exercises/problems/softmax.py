"""Softmax turns scores into probabilities.

    y_k = e^{x_k} / Σ_j e^{x_j}        in every row of x

The maximum of each row is subtracted first, which changes nothing but the overflow. Write
dx = ∂L/∂x from dy = ∂L/∂y.

    1. Every y_k of a row depends on every x_j of it: dx_j = Σ_k dy_k ∂y_k/∂x_j.
    2. Find ∂y_k/∂x_j for k = j and for k ≠ j, and write both with y.
    3. No matrix is needed: what is left of the sum is one number per row.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x):
    """x [B, C] → y [B, C], rows that sum to 1."""
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def backward(x, dy):
    """Return dx [B, C]."""
    y = forward(x)
    return y * (dy - (dy * y).sum(-1, keepdims=True))


def library(x, dy):
    """dx by fnn's layer."""
    _, cache = fnn.Softmax().forward((), x)
    return fnn.Softmax().backward((), cache, dy)[1]


EXERCISE = Exercise(
    __name__,
    level=3,
    teaches="every output depends on every input",
    asked="dx",
    cases=(draw(x=(5, 3)),),
    derivation="""\
∂y_k/∂x_j = y_k (1{j=k} − y_j)                 the quotient rule, both cases in one
dx_j = Σ_k dy_k y_k 1{j=k} − Σ_k dy_k y_k y_j
     = dy_j y_j − y_j Σ_k dy_k y_k
dx   = y (dy − Σ_k dy_k y_k)                   one sum per row""",
    library=library,
    file="fnn/layers/softmax.py",
    mistakes=(
        Mistake(
            "dx",
            "y (1 − y) is ∂y_k/∂x_j for k = j alone. A score also lowers the others' y.",
            lambda x, dy: dy * forward(x) * (1 - forward(x)),
        ),
        Mistake(
            "dx",
            "The denominator contains x too: the term with −y_k y_j is missing.",
            lambda x, dy: dy * forward(x),
        ),
        Mistake(
            "dx",
            "The sum runs within each row, not over the batch: sum(-1, keepdims=True).",
            lambda x, dy: forward(x) * (dy - (dy * forward(x)).sum()),
        ),
        Mistake(
            "dx",
            "The sum over k weighs every dy_k by its y_k.",
            lambda x, dy: forward(x) * (dy - dy.sum(-1, keepdims=True)),
        ),
    ),
)
