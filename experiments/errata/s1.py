"""S1: layers z = W a + b of any depth, and the models they contain.

Its gradients are those of one sample, so the nets here are stacks of one-sample nets.
"""

import jax
import jax.numpy as jnp

import fnn
from experiments.errata.judging import Erratum, derivative
from experiments.errata.nets import PLAIN, Net, draw

SIGMOID = PLAIN[fnn.Sigmoid]


def softmax(loss: fnn.Loss) -> Net:
    """Seven samples, each a net of its own with a softmax over 4 classes."""
    return draw(1, (3, 4), (fnn.Softmax(),), loss, n=1, nets=7)


def logistic() -> Net:
    """Logistic regression on 6 samples with 3 features."""
    return draw(2, (3, 1), (fnn.Sigmoid(),), fnn.BinaryCrossEntropy(), 6)


def diagonal(t):
    """∇_a L ⊙ σ′(z), with the diagonal of the Jacobian as σ′."""
    return t.da[1] * t.a[1] * (1 - t.a[1])


def without_parentheses(t):
    """The gradient of −(1/N) Σ y log p + (1 − y) log(1 − p), read from left to right."""

    def objective(w):
        p = SIGMOID(t.a[0] @ w + t.b[1])
        return -jnp.sum(t.y * jnp.log(p)) / t.n + jnp.sum((1 - t.y) * jnp.log(1 - p)) / t.n

    return jax.grad(objective)(t.w[1])


CASES = {"cross-entropy": fnn.CrossEntropy(), "squared error": fnn.SquaredError(0.5)}

ERRATA = (
    Erratum("E-S1-01", "§1, norms", "typesetting", "‖x2", "‖x‖₂ = √(Σ xᵢ²)"),
    Erratum(
        "E-S1-02",
        "§5.2",
        "missing term",
        "δᴸ = ∇ₐL ⊙ σ′(z) for every activation",
        "δᴸ = Jᵀ ∇ₐL; J is diagonal for elementwise activations only",
        lambda: [
            derivative(
                softmax(loss), "z", 1, diagonal, "missing term", note=f"softmax and {name}, 7 times"
            )
            for name, loss in CASES.items()
        ],
    ),
    Erratum(
        "E-S1-03",
        "§8, logistic",
        "sign",
        "−(1/N) Σ y log p + (1 − y) log(1 − p)",
        "−(1/N) Σ [y log p + (1 − y) log(1 − p)]",
        lambda: [derivative(logistic(), "w", 1, without_parentheses, "wrong term")],
    ),
)
