"""S3, displays 1 to 16: the forward pass and the losses.

The net is 3-5-4-2 with tanh and a sigmoid at the end, on 6 samples. Losses are judged on
eight batches at once: one number could be off by a factor whatever the mistake is.
"""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.errata.judging import UNFIT, Erratum, derivative, forward, same
from experiments.errata.nets import PLAIN, Net, Tape, cost, draw

SIGMOID, SOFTMAX = PLAIN[fnn.Sigmoid], PLAIN[fnn.Softmax]
RATE = 0.2  # of dropout
K = 4  # classes


def net() -> Net:
    """A net of three layers."""
    return draw(6, (3, 5, 4, 2), (fnn.Tanh(), fnn.Tanh(), fnn.Sigmoid()), fnn.SquaredError(), 6)


def affine(t: Tape, w):
    """The printed net with `w` as its first weights: no activation but the last."""
    a = t.a[0] @ w + t.b[1]
    for l in (2, 3):
        a = a @ t.w[l] + t.b[l]
    return SIGMOID(a)


def affine_gradient(t: Tape):
    """∂L/∂W₁ of the printed net."""
    return jax.grad(lambda w: cost(fnn.SquaredError(), affine(t, w), t.y))(t.w[1])


def without_parentheses(t: Tape):
    """The printed net, b₂ · W₃ a product."""
    return SIGMOID((t.a[0] @ t.w[1] + t.b[1]) @ t.w[2] + t.b[2] @ t.w[3] + t.b[3])


def dense(n_in: int, n_out: int, printed, *kinds: str):
    """A dense layer of one sample, by the printed form and by fnn."""
    rng = np.random.default_rng(7)
    w, b, x = (jnp.asarray(rng.normal(size=size)) for size in ((n_in, n_out), n_out, n_in))

    def definition(w, b, x):
        return jnp.stack([sum(w[i, j] * x[i] for i in range(n_in)) + b[j] for j in range(n_out)])

    def ours(w, b, x):
        return fnn.Dense(n_in, n_out).forward(fnn.DenseParams(w, b), x[None])[0][0]

    what = f"z, {n_in} inputs, {n_out} neurons"
    return same(what, definition, (w, b, x), printed, ours, *kinds)


def dropout():
    """The mean output of dropout, over both values of the mask."""
    layer = fnn.Dropout(RATE)

    def printed(x):
        kept, dropped = x * 1 / (1 - RATE), x * 0
        return RATE * kept + (1 - RATE) * dropped  # the mask is 1 with probability p

    def ours(x):
        kept, dropped = (layer.masked(jnp.full(x.shape, m), x) for m in (True, False))
        return (1 - RATE) * kept + RATE * dropped

    x = jnp.asarray([1.0, -2.0, 0.5])
    return same(f"E[z], p = {RATE}", lambda x: x, (x,), printed, ours, "factor")


def softmax(what: str, printed, *kinds: str):
    """The probabilities of 3 classes, by columns: z[i, j] is class i of sample j."""
    z = jnp.asarray(np.random.default_rng(8).normal(size=(3, 3)))

    def ours(z):
        return fnn.Softmax().forward((), z.T)[0].T

    return same(what, lambda z: SOFTMAX(z.T).T, (z,), printed, ours, *kinds)


def binary(what: str, printed, *kinds: str):
    """Binary cross-entropy of eight batches of 6 predictions."""
    rng = np.random.default_rng(9)
    p, y = rng.uniform(0.1, 0.9, size=(8, 6)), rng.integers(0, 2, size=(8, 6)).astype(float)

    def entries(p):
        t = y.astype(p.dtype)
        return -(t * jnp.log(p) + (1 - t) * jnp.log(1 - p))

    def ours(p):
        t = jnp.asarray(y, p.dtype)
        return jax.vmap(lambda p, t: fnn.BinaryCrossEntropy().forward(p, t)[0].mean())(p, t)

    def definition(p):
        return entries(p).sum(1) / 6

    def printed_of(p):
        return printed(entries, p)

    return same(what, definition, (jnp.asarray(p),), printed_of, ours, *kinds)


def categorical(what: str, printed, *kinds: str):
    """Cross-entropy of eight batches of 6 rows of probabilities, those of a softmax."""
    rng = np.random.default_rng(10)
    z, labels = jnp.asarray(rng.normal(size=(8, 6, K))), rng.integers(0, K, size=(8, 6))

    def each(z):  # −log of the probability of the right class, [8, 6]
        return -jnp.log(jnp.take_along_axis(SOFTMAX(z), labels[..., None], -1)[..., 0])

    def ours(z):
        def one(z, k):
            return fnn.CrossEntropy().forward(fnn.Softmax().forward((), z)[0], k)[0].mean()

        return jax.vmap(one)(z, labels)

    def definition(z):
        return each(z).sum(1) / 6

    def printed_of(z):
        return printed(SOFTMAX(z), labels, each(z))

    return same(what, definition, (z,), printed_of, ours, *kinds)


def entrywise(p, labels, each):
    """y · log ŷ, entry by entry, without a sum over the classes."""
    return -(np.eye(K, dtype=p.dtype)[labels] * jnp.log(p)).sum(1) / 6


LAYERS = (
    Erratum(
        "E-S3-01",
        "display 1",
        "missing term",
        "ŷ = f_L((X W₁ + b₁) W₂ + b₂ · … · W_L + b_L)",
        "ŷ = f_L(… σ(σ(X W₁ + b₁) W₂ + b₂) … W_L + b_L)",
        lambda: [
            forward(net(), "a", 3, without_parentheses, UNFIT),
            forward(net(), "a", 3, lambda t: affine(t, t.w[1]), "missing term"),
            derivative(net(), "w", 1, affine_gradient, "missing derivative"),
        ],
    ),
    Erratum(
        "E-S3-02",
        "display 2",
        "order",
        "z = W · x + b, W of dimension n × m",
        "z = x W + b",
        lambda: [dense(n, m, lambda w, b, x: w @ x + b, kind)
                 for n, m, kind in ((3, 5, UNFIT), (4, 4, "transposed"))],
    ),
    Erratum(
        "E-S3-03",
        "below display 3",
        "missing term",
        "zⱼ = Σᵢ₌₁ⁿ wᵢⱼ xᵢ + bⱼ, n the number of neurons",
        "n the number of inputs",
        lambda: [dense(5, 3, lambda w, b, x: x[:3] @ w[:3] + b, "missing term")],
    ),
    Erratum(
        "E-S3-04",
        "display 7",
        "factor",
        "z = x · B(1, p) / (1 − p)",
        "z = x ⊙ B(1, 1 − p) / (1 − p), p the rate of dropping",
        lambda: [dropout()],
    ),
    Erratum(
        "E-S3-05",
        "display 11",
        "wrong quantity",
        "σᵢ(z) = exp zᵢ / Σⱼ exp zᵢⱼ",
        "σᵢ(z) = exp zᵢ / Σⱼ exp zⱼ",
        lambda: [
            softmax("3 classes of 3 samples, Σ over samples",
                    lambda z: jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True)),
            softmax("3 classes of 3 samples, zᵢⱼ = zᵢ",
                    lambda z: jnp.exp(z) / (3 * jnp.exp(z))),
        ],
    ),
)  # fmt: skip

LOSSES = (
    Erratum(
        "E-S3-06",
        "below display 14",
        "factor",
        "L = −(1/N) Σᵢ …, N the number of classes",
        "N the number of samples",
        lambda: [binary("L, 6 samples of 2 classes", lambda f, p: f(p).sum(1) / 2, "factor")],
    ),
    Erratum(
        "E-S3-07",
        "below displays 14, 15",
        "wrong quantity",
        "ŷᵢ: predicted value (0 or 1)",
        "ŷᵢ in (0, 1)",
        lambda: [binary("L, ŷ rounded", lambda f, p: f(jnp.round(p)).sum(1) / 6, "nan", UNFIT)],
    ),
    Erratum(
        "E-S3-08",
        "display 15",
        "missing term",
        "L = −(1/N) Σᵢ yᵢ log ŷᵢ",
        "L = −(1/N) Σᵢ Σₖ yᵢₖ log ŷᵢₖ",
        lambda: [
            categorical("L, 6 one-hot rows", entrywise, UNFIT),
            categorical("L, y the number of the class",
                        lambda p, k, f: (k.astype(p.dtype) * f).sum(1) / 6),
        ],
    ),
    Erratum(
        "E-S3-09",
        "display 16",
        "missing term",
        "L = −(1/N) log ŷᵢₖ",
        "L = −(1/N) Σᵢ log ŷᵢₖ",
        lambda: [
            categorical("L, 6 samples", lambda p, k, f: f[:, 0] / 6, "not summed", "missing term")
        ],
    ),
)  # fmt: skip

ERRATA = LAYERS + LOSSES
