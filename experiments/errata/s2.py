"""S2: three layers in rows, z = A w + b, with ReLU, ReLU, sigmoid and mean cross-entropy.

The net is 3-5-4-1 on 6 samples, all sizes distinct, and once more with every size that may
be equal equal: 4-4-4-1 on 4 samples. Products that only fit for one sample and one unit per
layer are also judged there, on stacks of such nets.
"""

import fnn
from experiments.errata.judging import UNFIT, Erratum, derivative, forward
from experiments.errata.nets import Net, draw

LAYERS = fnn.ReLU(), fnn.ReLU(), fnn.Sigmoid()
OTHER_LAYERS = fnn.ReLU(), fnn.Tanh(), fnn.Sigmoid()
LOSS = fnn.BinaryCrossEntropy()


def net() -> Net:
    """The net of the text, with distinct sizes."""
    return draw(3, (3, 5, 4, 1), LAYERS, LOSS, 6)


def square() -> Net:
    """The same with equal sizes."""
    return draw(4, (4, 4, 4, 1), LAYERS, LOSS, 4)


def single(layers=LAYERS) -> Net:
    """One sample and one unit per layer, 23 times."""
    return draw(5, (1, 1, 1, 1), layers, LOSS, 1, nets=23, scale=1.5)


def step(z):
    """The derivative of ReLU, the g′₁ of the text."""
    return (z > 0).astype(z.dtype)


def by_output(t):
    """∂L/∂ŷ without the 1/m."""
    return -t.y / t.a[3] + (1 - t.y) / (1 - t.a[3])


def expanded(t):
    """The fourth line of display 13."""
    return t.a[3] + t.y * t.y + t.a[3] - t.y * t.a[3]


def bias(l: int):
    """∂L/∂b of a hidden layer, without the sum over the batch."""
    return derivative(net(), "b", l, lambda t: t.dz[l], UNFIT, "not summed")


def both_sizes(name: str, l: int, printed, *kinds: str):
    """The same product at distinct sizes, where it does not fit, and at equal ones."""
    return (
        derivative(net(), name, l, printed, UNFIT),
        derivative(square(), name, l, printed, *kinds),
    )


def hidden_literal(t):
    """ŷ − y · w₃ · g′₁(z₂), from left to right by precedence."""
    return t.a[3] - (t.y @ t.w[3].T) * step(t.z[2])


def hidden_derivative(t):
    """(ŷ − y) · w₃ · g′₁(z₂)."""
    return ((t.a[3] - t.y) @ t.w[3].T) * step(t.z[2])


OUTPUT = (
    Erratum(
        "E-S2-01",
        "display 7",
        "factor",
        "L = −(1/m) Σᵢ₌₀ᵐ …",
        "L = −(1/m) Σᵢ₌₁ᵐ …",
        lambda: [
            derivative(net(), "z", 3, lambda t: (t.a[3] - t.y) / (t.n - 1), "factor"),
        ],
    ),
    Erratum(
        "E-S2-02",
        "display 8",
        "factor",
        "∂L/∂ŷ = −y/ŷ + (1 − y)/(1 − ŷ)",
        "∂L/∂ŷ = (1/m) [−y/ŷ + (1 − y)/(1 − ŷ)]",
        lambda: [derivative(net(), "a", 3, by_output, "factor")],
    ),
    Erratum(
        "E-S2-03",
        "display 13, line 4",
        "wrong quantity",
        "∂L/∂z₃ = … = ŷ + y y + ŷ − y ŷ",
        "∂L/∂z₃ = … = −y + y ŷ + ŷ − y ŷ",
        lambda: [derivative(single(), "z", 3, expanded)],
    ),
    Erratum(
        "E-S2-04",
        "display 13",
        "factor",
        "∂L/∂z₃ = ŷ − y",
        "∂L/∂z₃ = (ŷ − y)/m",
        lambda: [derivative(net(), "z", 3, lambda t: t.a[3] - t.y, "factor")],
    ),
    Erratum(
        "E-S2-05",
        "display 14",
        "wrong quantity",
        "∂z₃/∂w₃ = ∂(A₃ w₃ + b₃)/∂w₃",
        "∂z₃/∂w₃ = ∂(A₂ w₃ + b₃)/∂w₃",
        lambda: [
            forward(net(), "z", 3, lambda t: t.a[3] @ t.w[3] + t.b[3], UNFIT),
            derivative(single(), "w", 3, lambda t: t.a[3] * t.dz[3], "other activation"),
        ],
    ),
    Erratum(
        "E-S2-06",
        "display 15",
        "wrong quantity",
        "∂L/∂w₃ = ŷ − y · A₃",
        "∂L/∂w₃ = A₂ᵀ (ŷ − y)/m",
        lambda: [
            derivative(net(), "w", 3, lambda t: (t.a[3] - t.y) @ t.a[2], UNFIT),
            derivative(single(), "w", 3, lambda t: t.a[3] - t.y * t.a[3]),
            derivative(
                single(), "w", 3, lambda t: (t.a[3] - t.y) * t.a[3], "other activation",
                note="with parentheses",
            ),
        ],
    ),
    Erratum(
        "E-S2-07",
        "display 16",
        "missing term",
        "∂L/∂b₃ = ŷ − y",
        "∂L/∂b₃ = (1/m) Σᵢ (ŷ⁽ⁱ⁾ − y⁽ⁱ⁾)",
        lambda: [
            derivative(net(), "b", 3, lambda t: t.a[3] - t.y, UNFIT, "not summed"),
            derivative(
                net(), "b", 3, lambda t: (t.a[3] - t.y).sum(0), "factor", note="summed, no 1/m"
            ),
        ],
    ),
)  # fmt: skip

HIDDEN = (
    Erratum(
        "E-S2-08",
        "display 17",
        "order",
        "∂L/∂z₃ = … = ŷ − y · w₃ · g′₁(z₂)",
        "∂L/∂z₂ = (∂L/∂z₃ w₃ᵀ) ⊙ g′₂(z₂)",
        lambda: [
            derivative(net(), "z", 2, lambda t: (t.a[3] - t.y) @ t.w[3], UNFIT),
            derivative(single(), "z", 2, hidden_literal),
            derivative(
                single(OTHER_LAYERS), "z", 2, hidden_derivative, "other activation",
                note="with parentheses, g₂ = tanh",
            ),
        ],
    ),
    Erratum(
        "E-S2-09",
        "display 18",
        "order",
        "∂L/∂w₂ = ∂L/∂z₂ · A₁",
        "∂L/∂w₂ = A₁ᵀ ∂L/∂z₂",
        lambda: both_sizes("w", 2, lambda t: t.dz[2] @ t.a[1]),
    ),
    Erratum(
        "E-S2-10",
        "display 19",
        "missing term",
        "∂L/∂b₂ = ∂L/∂z₂ · 1",
        "∂L/∂b₂ = 1ᵀ ∂L/∂z₂, the sum over the batch",
        lambda: [bias(2)],
    ),
    Erratum(
        "E-S2-11",
        "display 20",
        "order",
        "∂L/∂z₁ = ∂L/∂z₂ · w₂ · g′₁(z₁)",
        "∂L/∂z₁ = (∂L/∂z₂ w₂ᵀ) ⊙ g′₁(z₁)",
        lambda: both_sizes(
            "z", 1, lambda t: (t.dz[2] @ t.w[2]) * step(t.z[1]), "transposed", "other weight"
        ),
    ),
    Erratum(
        "E-S2-12",
        "display 21",
        "order",
        "∂L/∂w₁ = ∂L/∂z₁ · x",
        "∂L/∂w₁ = xᵀ ∂L/∂z₁",
        lambda: both_sizes("w", 1, lambda t: t.dz[1] @ t.a[0]),
    ),
    Erratum(
        "E-S2-13",
        "display 22",
        "missing term",
        "∂L/∂b₁ = ∂L/∂z₁ · 1",
        "∂L/∂b₁ = 1ᵀ ∂L/∂z₁, the sum over the batch",
        lambda: [bias(1)],
    ),
)  # fmt: skip

ERRATA = OUTPUT + HIDDEN
