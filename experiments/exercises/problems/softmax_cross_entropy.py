"""Softmax cross-entropy, the loss of a choice among C classes.

    p = softmax(y)        losses_i = −log p_ik = log Σ_j e^{y_ij} − y_ik,  k = target_i

y [B, C] are logits, target [B] the number of the right class of each example. There is one
loss per example, and dl [B] = ∂L/∂losses arrives from above. Write dy = ∂L/∂y.

    1. Differentiate log Σ_j e^{y_j} by y_j. You have seen the result before.
    2. −y_k depends on one logit of the row only.
    3. target[:, None] == jnp.arange(C) is true at the right class of each row.
"""

import jax.numpy as jnp
import numpy as np

import fnn
from experiments.exercises.exercise import Exercise, Mistake, draw


def forward(y, target):
    """y [B, C], target [B] → losses [B]."""
    z = y - y.max(-1, keepdims=True)
    log_sum = jnp.log(jnp.exp(z).sum(-1))
    return log_sum - jnp.take_along_axis(z, target[:, None], -1)[:, 0]


def backward(y, target, dl):
    """Return dy [B, C]."""
    e = jnp.exp(y - y.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    t = target[:, None] == jnp.arange(y.shape[-1])
    return dl[:, None] * (p - t.astype(p.dtype))


def library(y, target, dl):
    """dy by fnn's loss."""
    _, cache = fnn.SoftmaxCrossEntropy().forward(y, target)
    return fnn.SoftmaxCrossEntropy().backward(cache, dl)


def probabilities(y):
    """p = softmax(y)."""
    return jnp.exp(y - jnp.log(jnp.exp(y).sum(-1, keepdims=True)))


EXERCISE = Exercise(
    __name__,
    level=4,
    teaches="probabilities minus targets",
    asked="dy",
    cases=(draw(y=(5, 3)) | {"target": np.array([2, 0, 1, 1, 2])},),
    derivation="""\
∂/∂y_j log Σ_k e^{y_k} = e^{y_j} / Σ_k e^{y_k} = p_j
∂/∂y_j (−y_k)          = −1{j=k} = −t_j, t the row with a 1 at the right class
dy = dl (p − t)""",
    library=library,
    file="fnn/losses/categorical.py",
    mistakes=(
        Mistake(
            "dy",
            "This is the derivative of log Σ e^y alone. What does −y_k add at the right class?",
            lambda y, target, dl: dl[:, None] * probabilities(y),
        ),
        Mistake(
            "dy",
            "y holds logits, not probabilities: p = softmax(y) comes first.",
            lambda y, target, dl: dl[:, None] * (y - jnp.eye(y.shape[-1])[target]),
        ),
        Mistake(
            "dy",
            "There is one loss per example; where their mean is taken, dl has its 1/B already.",
            lambda y, target, dl: backward(y, target, dl) / len(y),
        ),
        Mistake(
            "dy",
            "The losses go on into L: multiply by dl, one number per example.",
            lambda y, target, dl: backward(y, target, 1 + 0 * dl),
        ),
    ),
)
