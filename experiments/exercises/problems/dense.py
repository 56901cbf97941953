"""A whole dense layer, with any number of leading axes.

    y = x w + b

x [..., n] may be a batch [B, n], a batch of sequences [B, T, n], or have more axes still:
the layer works on the last one, and all others only count. Write dx, dw and db.

    1. Whatever is shared by all positions gets a sum over all positions.
    2. Either flatten the leading axes by reshape(-1, n), or use jnp.tensordot with the list
       of axes to sum over.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(x, w, b):
    """x [..., n], w [n, m], b [m] → y [..., m]."""
    return x @ w + b


def backward(x, w, b, dy):
    """Return dx [..., n], dw [n, m], db [m]."""
    axes = tuple(range(dy.ndim - 1))
    return dy @ w.T, jnp.tensordot(x, dy, axes=(axes, axes)), dy.sum(axes)


def library(x, w, b, dy):
    """dx, dw, db by fnn's layer."""
    layer, params = fnn.Dense(*w.shape), fnn.DenseParams(w, b)
    _, cache = layer.forward(params, x)
    grads, dx = layer.backward(params, cache, dy)
    return dx, grads.w, grads.b


EXERCISE = Exercise(
    __name__,
    level=3,
    teaches="a layer for batches and sequences alike",
    asked="dx dw db",
    cases=(draw(x=(5, 3), w=(3, 4), b=(4,)), draw(x=(2, 5, 3), w=(3, 4), b=(4,))),
    derivation="""\
With Σ over all leading axes,
dw = Σ xᵀ dy        db = Σ dy        dx = dy wᵀ
which is the case of a batch with one row for every position.""",
    library=library,
    file="fnn/layers/dense.py",
    mistakes=(
        Mistake(
            "db",
            "db adds up over every axis of dy but the last, not over the first alone.",
            lambda x, w, b, dy: dy.sum(0),
        ),
        Mistake(
            "dw",
            "dw adds up over every leading axis, not over one of them.",
            lambda x, w, b, dy: x.swapaxes(-1, -2) @ dy,
        ),
    ),
)
