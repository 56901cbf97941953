"""Binary cross-entropy on logits.

    p = σ(y)        losses = Σ_j −t log p − (1 − t) log(1 − p) = Σ_j log(1 + e^y) − t y

y [B, n] are logits: independent yes-or-no predictions before the sigmoid. t is the target,
between 0 and 1. There is one loss per example, and dl [B] = ∂L/∂losses arrives from above.
Write dy = ∂L/∂y.

    1. Differentiate log(1 + e^y) − t y. The result is one of the shortest of all.
    2. dl has one number per example; dl[:, None] serves all outputs of it.
"""

import jax.numpy as jnp

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(y, t):
    """y [B, n], t [B, n] → losses [B]."""
    return (jnp.logaddexp(y, 0.0) - t * y).sum(-1)


def backward(y, t, dl):
    """Return dy [B, n]."""
    p = 1 / (1 + jnp.exp(-y))
    return dl[:, None] * (p - t)


def library(y, t, dl):
    """dy by fnn's loss."""
    _, cache = fnn.SigmoidBinaryCrossEntropy().forward(y, t)
    return fnn.SigmoidBinaryCrossEntropy().backward(cache, dl)


TARGET = {"t": (draw(1, t=(5, 3))["t"] > 0).astype(float)}

EXERCISE = Exercise(
    __name__,
    level=4,
    teaches="loss and sigmoid in one are simpler than each",
    asked="dy",
    cases=(draw(y=(5, 3)) | TARGET,),
    derivation="""\
∂/∂y log(1 + e^y) = e^y / (1 + e^y) = σ(y) = p
∂/∂y (−t y)       = −t
dy = dl (p − t)
Through the sigmoid it is the same: [(1 − t)/(1 − p) − t/p] p (1 − p) = p − t.""",
    library=library,
    file="fnn/losses/binary.py",
    mistakes=(
        Mistake(
            "dy",
            "One derivative of the sigmoid too many: p (1 − p) cancels against the logarithms.",
            lambda y, t, dl: backward(y, t, dl) / (1 + jnp.exp(-y)) / (1 + jnp.exp(y)),
        ),
        Mistake(
            "dy",
            "y holds logits, not probabilities: p = σ(y) comes first.",
            lambda y, t, dl: dl[:, None] * (y - t),
        ),
        Mistake(
            "dy",
            "The outputs are summed, not averaged: no 1/n.",
            lambda y, t, dl: backward(y, t, dl) / y.shape[-1],
        ),
        Mistake(
            "dy",
            "The losses go on into L: multiply by dl, one number per example.",
            lambda y, t, dl: backward(y, t, 1 + 0 * dl),
        ),
    ),
)
