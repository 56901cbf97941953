"""A network of two layers.

    h = tanh(x w1 + b1)        y = h w2 + b2

Write the derivatives of all four parameters, dw1, db1, dw2 and db2.

    1. Walk back from y: the second layer gives dw2, db2 and dh.
    2. Through tanh: dz = dh (1 − h²), z what tanh was taken of.
    3. The first layer is the second again, with x for h and dz for dy.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, w1, b1, w2, b2):
    """x [B, n], w1 [n, m], b1 [m], w2 [m, k], b2 [k] → y [B, k]."""
    return jnp.tanh(x @ w1 + b1) @ w2 + b2


def backward(x, w1, b1, w2, b2, dy):
    """Return dw1 [n, m], db1 [m], dw2 [m, k], db2 [k]."""
    h = jnp.tanh(x @ w1 + b1)
    dz = dy @ w2.T * (1 - h**2)
    return x.T @ dz, dz.sum(0), h.T @ dy, dy.sum(0)


def library(x, w1, b1, w2, b2, dy):
    """The same by fnn's network."""
    net = fnn.mlp([x.shape[1], *w2.shape], activation=fnn.Tanh())
    params = fnn.DenseParams(w1, b1), (), fnn.DenseParams(w2, b2)
    _, cache = net.forward(params, x)
    (first, _, second), _ = net.backward(params, cache, dy)
    return first.w, first.b, second.w, second.b


NO_TANH = "dh is not dz yet: tanh lies between them. Multiply by its derivative, 1 − h²."

EXERCISE = Exercise(
    __name__,
    level=5,
    teaches="backpropagation",
    asked="dw1 db1 dw2 db2",
    cases=(draw(x=(6, 3), w1=(3, 4), b1=(4,), w2=(4, 2), b2=(2,)),),
    derivation="""\
second layer:  dw2 = hᵀ dy        db2 = Σ dy        dh = dy w2ᵀ
tanh:          dz  = dh (1 − h²)
first layer:   dw1 = xᵀ dz        db1 = Σ dz""",
    library=library,
    file="fnn/layers/serial.py",
    mistakes=(
        Mistake("dw1", NO_TANH, lambda x, w1, b1, w2, b2, dy: x.T @ (dy @ w2.T)),
        Mistake("db1", NO_TANH, lambda x, w1, b1, w2, b2, dy: (dy @ w2.T).sum(0)),
        Mistake(
            "dw2",
            "The second layer's input is h = tanh z, not z.",
            lambda x, w1, b1, w2, b2, dy: (x @ w1 + b1).T @ dy,
        ),
        Mistake(
            "dw1",
            "1 − z² takes z itself where h = tanh z belongs.",
            lambda x, w1, b1, w2, b2, dy: x.T @ (dy @ w2.T * (1 - (x @ w1 + b1) ** 2)),
        ),
    ),
)
