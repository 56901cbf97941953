"""S0: one hidden layer, columns z = W a + b, mean squared error L = (1/N) Σ (y − ŷ)².

The net is 3-4-1 with sigmoids, on 5 samples.
"""

import fnn
from experiments.errata.judging import UNFIT, Erratum, derivative
from experiments.errata.nets import Net, draw

SIGMOIDS = fnn.Sigmoid(), fnn.Sigmoid()


def net(loss: fnn.Loss = fnn.SquaredError()) -> Net:
    """The net of the text."""
    return draw(0, (3, 4, 1), SIGMOIDS, loss, 5)


def delta(t):
    """(ŷ − y) f′(Z₂)."""
    return (t.a[2] - t.y) * t.a[2] * (1 - t.a[2])


def first_weights(t):
    """The gradient of W₁ that this δ₂ leads to."""
    return t.a[0].T @ ((delta(t) @ t.w[2].T) * t.a[1] * (1 - t.a[1]))


ERRATA = (
    Erratum(
        "E-S0-01",
        "§4, §7",
        "factor",
        "δ[L] = (ŷ − y) · f′(Z[L])",
        "δ[L] = (2/N) (ŷ − y) ⊙ f′(Z[L])",
        lambda: (
            derivative(net(), "z", 2, delta, "factor"),
            derivative(net(), "w", 1, first_weights, "factor"),
        ),
    ),
    Erratum(
        "E-S0-02",
        "§5, §7",
        "missing term",
        "∂L/∂b[l] = δ[l]",
        "∂L/∂b[l] = Σᵢ δ[l]⁽ⁱ⁾",
        lambda: (derivative(net(), "b", 1, lambda t: t.dz[1].T, UNFIT, "not summed"),),
    ),
    Erratum(
        "E-S0-03",
        "§7, step 3",
        "wrong quantity",
        "δ[L] = (ŷ − y) · f′(Z[L]) for every loss",
        "δ[L] = ∂L/∂A[L] ⊙ f′(Z[L]); (ŷ − y)/N for cross-entropy",
        lambda: (
            derivative(
                net(fnn.BinaryCrossEntropy()), "z", 2, delta, "extra derivative",
                note="binary cross-entropy, 5 samples",
            ),
        ),
    ),
)  # fmt: skip
