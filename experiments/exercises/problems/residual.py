"""A residual block: a layer and the way around it.

    y = x + tanh(x w + b)

Write dx, dw and db.

    1. x goes two ways into y. The derivatives of both ways add up.
    2. w is square here: shapes will not tell you whether to transpose. Indices will.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, w, b):
    """x [B, n], w [n, n], b [n] → y [B, n]."""
    return x + jnp.tanh(x @ w + b)


def backward(x, w, b, dy):
    """Return dx [B, n], dw [n, n], db [n]."""
    h = jnp.tanh(x @ w + b)
    dz = dy * (1 - h**2)
    return dy + dz @ w.T, x.T @ dz, dz.sum(0)


def library(x, w, b, dy):
    """The same by fnn's layers."""
    block = fnn.Residual(fnn.Serial(fnn.Dense(*w.shape), fnn.Tanh()))
    params = (fnn.DenseParams(w, b), ())
    _, cache = block.forward(params, x)
    (grads, _), dx = block.backward(params, cache, dy)
    return dx, grads.w, grads.b


def dz(x, w, b, dy):
    """The derivative by z = x w + b."""
    return dy * (1 - jnp.tanh(x @ w + b) ** 2)


EXERCISE = Exercise(
    __name__,
    level=5,
    teaches="paths that meet add up",
    asked="dx dw db",
    cases=(draw(x=(5, 3), w=(3, 3), b=(3,)),),
    derivation="""\
through the layer:  dz = dy (1 − h²), h = tanh(x w + b), and dz wᵀ arrives at x
around the layer:   dy arrives at x unchanged
dx = dy + dz wᵀ        dw = xᵀ dz        db = Σ dz
Where the layer's own derivative is small, dy still arrives: this is what the block is for.""",
    library=library,
    file="fnn/layers/residual.py",
    mistakes=(
        Mistake(
            "dx",
            "The way around the layer is missing: y contains x itself, too.",
            lambda *a: dz(*a) @ a[1].T,
        ),
        Mistake(
            "dx",
            "w goes forward, its transpose goes back: dx_ik = ... + Σ_j dz_ij w_kj.",
            lambda *a: a[3] + dz(*a) @ a[1],
        ),
        Mistake(
            "dx",
            "The two ways add up. dy is added to what comes through the layer, once.",
            lambda *a: dz(*a) + dz(*a) @ a[1].T,
        ),
        Mistake(
            "dw",
            "Row k, column j of dw belongs to x_k and z_j: this is dw transposed.",
            lambda *a: dz(*a).T @ a[0],
        ),
        Mistake(
            "db",
            "The derivative of tanh is 1 − h², with the square.",
            lambda *a: (a[3] * (1 - jnp.tanh(a[0] @ a[1] + a[2]))).sum(0),
        ),
        Mistake(
            "dw",
            "tanh lies between w and y: multiply dy by its derivative first.",
            lambda *a: a[0].T @ a[3],
        ),
    ),
)
