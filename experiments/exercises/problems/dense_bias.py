"""The bias and the input of a dense layer.

    y_ij = Σ_k x_ik w_kj + b_j        as matrices: y = x w + b

Write dx = ∂L/∂x, which the layer below will receive as its dy, and db = ∂L/∂b.

    1. x_ik goes into y_ij for every j. Which index is summed, and what multiplies dy_ij?
    2. b_j is added in every example.
"""

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, w, b):
    """x [B, n], w [n, m], b [m] → y [B, m]."""
    return x @ w + b


def backward(x, w, b, dy):
    """Return dx [B, n], db [m]."""
    return dy @ w.T, dy.sum(0)


def library(x, w, b, dy):
    """dx, db by fnn's layer."""
    layer, params = fnn.Dense(*w.shape), fnn.DenseParams(w, b)
    _, cache = layer.forward(params, x)
    grads, dx = layer.backward(params, cache, dy)
    return dx, grads.b


EXERCISE = Exercise(
    __name__,
    level=2,
    teaches="what is shared is summed",
    asked="dx db",
    cases=(draw(x=(5, 3), w=(3, 4), b=(4,)),),
    derivation="""\
∂y_ij/∂x_ik = w_kj        dx_ik = Σ_j dy_ij w_kj        dx = dy wᵀ
∂y_ij/∂b_j  = 1           db_j  = Σ_i dy_ij             db = Σ dy over the examples""",
    library=library,
    file="fnn/layers/dense.py",
    mistakes=(
        Mistake(
            "db",
            "Every example has the same b: add up dy over the examples.",
            lambda x, w, b, dy: dy,
        ),
        Mistake(
            "db",
            "Add up over the examples, do not average: a mean has its 1/B in dy already.",
            lambda x, w, b, dy: dy.mean(0),
        ),
        Mistake(
            "db",
            "The sum runs over the examples, which are the first axis.",
            lambda x, w, b, dy: dy.sum(-1),
        ),
        Mistake(
            "dx",
            "xᵀ dy is dw. For dx, ask with which factor x_ik enters y_ij.",
            lambda x, w, b, dy: x.T @ dy,
        ),
    ),
)
