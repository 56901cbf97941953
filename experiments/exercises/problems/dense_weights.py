"""The weights of a dense layer.

    y_ij = Σ_k x_ik w_kj        as matrices: y = x w

The rows of x are examples, i = 1 ... B. All of them go through the same w. Write dw = ∂L/∂w
from dy = ∂L/∂y.

    1. Which y_ij contain w_kj, and with what factor? Add up over all of them.
    2. Write the sum as a product of two matrices. Its shape must be that of w.
"""

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, w):
    """x [B, n], w [n, m] → y [B, m]."""
    return x @ w


def backward(x, w, dy):
    """Return dw [n, m]."""
    return x.T @ dy


def library(x, w, dy):
    """dw by fnn's layer."""
    layer, params = fnn.Dense(*w.shape), fnn.DenseParams(w, w[0])
    _, cache = layer.forward(params, x)
    return layer.backward(params, cache, dy)[0].w


EXERCISE = Exercise(
    __name__,
    level=2,
    teaches="a sum over examples is a matrix product",
    asked="dw",
    cases=(draw(x=(5, 3), w=(3, 4)),),
    derivation="""\
∂y_ij/∂w_kj = x_ik                             for every example i
dw_kj = Σ_i dy_ij x_ik                         the chain rule, summed over the examples
dw    = xᵀ dy                                  [n, B] times [B, m]""",
    library=library,
    file="fnn/layers/dense.py",
    mistakes=(
        Mistake(
            "dw",
            "Row k, column j of dw belongs to x_k and y_j: this is dw transposed.",
            lambda x, w, dy: dy.T @ x,
        ),
        Mistake(
            "dw",
            "The examples are added up, not averaged: where L is a mean, dy has its 1/B.",
            lambda x, w, dy: x.T @ dy / len(x),
        ),
        Mistake(
            "dw",
            "dy wᵀ is how L depends on x. Here w is asked for.",
            lambda x, w, dy: dy @ w.T,
        ),
    ),
)
