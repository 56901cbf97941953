"""S3, displays 17 to 30: the backward pass.

The net is 3-5-4-2 on 6 samples, and once more with every size 4, where products in the
wrong order and layers of the wrong number still fit.
"""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.errata.judging import UNFIT, Erratum, derivative, forward, gradient, vjp
from experiments.errata.nets import PLAIN, Net, cost, draw

LAYERS = fnn.Tanh(), fnn.Sigmoid(), fnn.Tanh()


def net() -> Net:
    """Three layers of distinct sizes."""
    return draw(11, (3, 5, 4, 2), LAYERS, fnn.SquaredError(), 6)


def square() -> Net:
    """Three layers of equal sizes."""
    return draw(12, (4, 4, 4, 4), LAYERS, fnn.SquaredError(), 4)


def outputs(loss: fnn.Loss) -> Net:
    """Six predictions of 3 numbers."""
    return draw(13, (2, 3), (fnn.Identity(),), loss, 6)


def softmax() -> Net:
    """Seven samples, each a net of its own with a softmax over 4 classes."""
    return draw(14, (3, 4), (fnn.Softmax(),), fnn.CrossEntropy(), n=1, nets=7)


def own_output(l: int, k: int):
    """z_l from a_k."""
    return lambda t: t.a[k] @ t.w[l] + t.b[l]


def own_weights(t):
    """δ₂ through W₂ instead of W₃."""
    return (t.dz[3] @ t.w[2].T) * t.a[2] * (1 - t.a[2])


def slope(t):
    """σ′(z₃) of a tanh, on its own."""
    return 1 - jnp.tanh(t.z[3]) ** 2


def jacobian(t):
    """The Jacobian of softmax, one sample."""
    p = t.a[1][0]
    return jnp.diag(p) - jnp.outer(p, p)


def ignored_cotangent():
    """σ′(z) in the place of a whole backward step."""
    z, layer = jnp.asarray(np.random.default_rng(15).normal(size=(6, 4))), fnn.Tanh()
    return vjp(
        "tanh, the backward step", PLAIN[fnn.Tanh], z,
        lambda z, dy: 1 - jnp.tanh(z) ** 2,
        lambda z, dy: layer.backward((), layer.forward((), z)[1], dy)[1],
        "missing term",
    )  # fmt: skip


def softmax_cross_entropy():
    """∂L/∂z of a softmax with cross-entropy, six samples of 4 classes."""
    rng, loss = np.random.default_rng(16), fnn.SoftmaxCrossEntropy()
    z, y = jnp.asarray(rng.normal(size=(6, 4))), np.eye(4)[rng.integers(0, 4, size=6)]

    def ours(z):
        return loss.value_and_backward(z, jnp.asarray(y, z.dtype), jnp.full(6, 1 / 6, z.dtype))[1]

    return gradient(
        "∂L/∂z, 6 samples of 4 classes",
        lambda z: cost(fnn.CrossEntropy(), PLAIN[fnn.Softmax](z), y.astype(z.dtype)), z,
        lambda z: jax.nn.softmax(z) - y.astype(z.dtype), ours, "factor",
    )  # fmt: skip


SIGNALS = (
    Erratum(
        "E-S3-10",
        "step 1",
        "wrong quantity",
        "δ_L = ∂L/∂a_L",
        "δ_L = ∂L/∂z_L",
        lambda: [derivative(net(), "z", 3, lambda t: t.da[3], "missing derivative")],
    ),
    Erratum(
        "E-S3-11",
        "below display 17",
        "wrong quantity",
        "z_L = W_L a_L + b_L",
        "z_L = W_L a_{L−1} + b_L",
        lambda: [
            forward(net(), "z", 3, own_output(3, 3), UNFIT),
            forward(square(), "z", 3, own_output(3, 3), "other activation"),
        ],
    ),
    Erratum(
        "E-S3-12",
        "display 18",
        "wrong quantity",
        "δ_l = (W_lᵀ δ_{l+1}) ⊙ σ′(z_l)",
        "δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ σ′(z_l)",
        lambda: [
            derivative(net(), "z", 2, own_weights, UNFIT),
            derivative(square(), "e", 2, own_weights, "other weight"),
        ],
    ),
    Erratum(
        "E-S3-13",
        "below display 18",
        "wrong quantity",
        "z_l = W_l a_{l+1} + b_l",
        "z_l = W_l a_{l−1} + b_l",
        lambda: [
            forward(net(), "z", 2, own_output(2, 3), UNFIT),
            forward(square(), "z", 2, own_output(2, 3), "other activation"),
        ],
    ),
    Erratum(
        "E-S3-14",
        "display 19",
        "order",
        "∇W_l = a_{l+1} · δ_l",
        "∇W_l = a_{l−1}ᵀ δ_l",
        lambda: [
            derivative(net(), "w", 2, lambda t: t.a[3] @ t.dz[2], UNFIT),
            derivative(square(), "w", 2, lambda t: t.a[3] @ t.dz[2]),
            derivative(
                square(), "w", 2, lambda t: t.a[1] @ t.dz[2], "other activation",
                note="a₁ δ₂, sizes 4",
            ),
            derivative(
                square(), "w", 2, lambda t: t.a[3].T @ t.dz[2], "other activation",
                note="a₃ᵀ δ₂, sizes 4",
            ),
        ],
    ),
    Erratum(
        "E-S3-15",
        "display 21",
        "missing term",
        "∂L/∂σ = σ′(z)",
        "∂L/∂z = ∂L/∂σ ⊙ σ′(z)",
        lambda: [derivative(net(), "a", 3, slope), ignored_cotangent()],
    ),
)  # fmt: skip

LOSSES = (
    Erratum(
        "E-S3-16",
        "display 26",
        "sign",
        "∂L/∂ŷᵢ = (1/n) sign(yᵢ − ŷᵢ)",
        "∂L/∂ŷᵢ = (1/n) sign(ŷᵢ − yᵢ)",
        lambda: [
            derivative(
                outputs(fnn.AbsoluteError()), "a", 1, lambda t: jnp.sign(t.y - t.a[1]) / t.n,
                "sign", note="absolute error",
            ),
        ],
    ),
    Erratum(
        "E-S3-17",
        "display 27",
        "sign",
        "∂L/∂ŷᵢ = −(1/n) 2 (ŷᵢ − yᵢ)",
        "∂L/∂ŷᵢ = (1/n) 2 (ŷᵢ − yᵢ)",
        lambda: [
            derivative(
                outputs(fnn.SquaredError()), "a", 1, lambda t: -2 * (t.a[1] - t.y) / t.n,
                "sign", note="squared error",
            ),
        ],
    ),
    Erratum(
        "E-S3-18",
        "display 30",
        "factor",
        "∂L/∂zᵢ = ŷᵢ − yᵢ",
        "∂L/∂zᵢ = (1/n) (ŷᵢ − yᵢ)",
        lambda: [softmax_cross_entropy()],
    ),
    Erratum(
        "E-S3-19",
        "displays 17, 25",
        "missing term",
        "δ_L = ∂L/∂a_L ⊙ σ′(z_L), σ′ the Jacobian of softmax",
        "δ_L = Jᵀ ∂L/∂a_L",
        lambda: [
            derivative(softmax(), "z", 1, lambda t: t.da[1] * jacobian(t), UNFIT),
            derivative(
                softmax(), "z", 1, lambda t: t.da[1] * jnp.diag(jacobian(t)), "missing term",
                note="the diagonal, 7 times",
            ),
        ],
    ),
    Erratum(
        "E-S3-20",
        "below displays 26–28",
        "factor",
        "(1/n) 2 (ŷᵢ − yᵢ), ŷᵢ the i-th element of a prediction",
        "ŷᵢ the prediction for the i-th sample",
        lambda: [
            derivative(
                outputs(fnn.SquaredError()), "a", 1, lambda t: 2 * (t.a[1] - t.y) / 3,
                "factor", note="6 samples of 3 outputs",
            ),
        ],
    ),
)  # fmt: skip

ERRATA = SIGNALS + LOSSES
