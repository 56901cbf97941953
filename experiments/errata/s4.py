"""S4: chains of sigmoid neurons, a(l) = σ(a(l−1) w(l) + b(l)), C = (1/n) Σ (a(L) − y)².

Everything is a number there, and one number is always a multiple of another. So thirteen
chains are judged at once, each on 6 samples.
"""

import jax
import jax.numpy as jnp

import fnn
from experiments.errata.judging import (
    UNFIT,
    Erratum,
    derivative,
    forward,
    given,
    over,
    vjp,
)
from experiments.errata.nets import PLAIN, Net, cost, draw, plain, tape

SIGMOID, LOSS = PLAIN[fnn.Sigmoid], fnn.SquaredError()


def neuron() -> Net:
    """One neuron with two inputs, thirteen times."""
    return draw(17, (2, 1), (fnn.Sigmoid(),), LOSS, 6, nets=13)


def chain(depth: int, n: int = 6) -> Net:
    """A chain of neurons, thirteen times."""
    return draw(18, (1,) * (depth + 1), (fnn.Sigmoid(),) * depth, LOSS, n, nets=13, scale=1.5)


def ds(a):
    """σ′ = a (1 − a)."""
    return a * (1 - a)


def one_input(t):
    """The neuron as printed: σ(x w + b), the second input left out."""
    return SIGMOID(t.a[0][:, :1] @ t.w[1][:1] + t.b[1])


def one_input_gradient(t):
    """∂C/∂w of the neuron as printed."""

    def printed(w):
        return cost(LOSS, SIGMOID(t.a[0][:, :1] @ w[:1] + t.b[1]), t.y)

    return jax.grad(printed)(t.w[1])


def local(name: str, printed):
    """A formula for ∂a(1)/∂(w or b), from the tape of a chain of two with one sample."""
    net = chain(2, n=1)
    key, layer = f"{name}1", fnn.Serial(fnn.Dense(1, 1), fnn.Sigmoid())
    v = given(net, key)[key]

    def ours(net, v, dy):
        t = tape(net, {key: v})
        params = fnn.DenseParams(t.w[1], t.b[1]), ()
        grads, _ = layer.backward(params, layer.forward(params, t.a[0])[1], dy)
        return getattr(grads[0], name)

    def literal(net, v, dy):
        return (dy * printed(tape(net, {key: v}))).reshape(v.shape)

    return vjp(
        f"∂a₁/∂{name}₁, {net}", over(net, lambda net, v: plain(net, {key: v}).a[1]), v,
        over(net, literal), over(net, ours),
    )  # fmt: skip


def one_sample_error(t):
    """∂(a(2) − y)²/∂a(1) of every sample: n times its share of ∂C/∂a(1)."""
    return t.n * t.da[1]


def target(t):
    """aᵢ − eᵢ with eᵢ = aᵢ − (aᵢ − ∂C), for one sample."""
    e = t.a[1] - (t.a[1] - t.da[1])
    return t.a[1] - e


def surrogate(t, frozen: bool):
    """The gradient in w(1) of C(1) = (1/n) Σ (aᵢ − eᵢ)², eᵢ = aᵢ − ∂C."""

    def c(w):
        h = SIGMOID(t.a[0] @ w + t.b[1])
        o = SIGMOID(h @ t.w[2] + t.b[2])
        e = h - 2 * (o - t.y) * ds(o) * t.w[2]
        return jnp.mean((h - (jax.lax.stop_gradient(e) if frozen else e)) ** 2)

    return jax.grad(c)(t.w[1])


def doubled(t, l: int):
    """The error that arrives at layer l when every layer adds a factor 2."""
    d = t.a[4] - t.y
    for k in range(4, l, -1):
        d = 2 * d * ds(t.a[k]) * t.w[k]
    return d


def without_derivative(name: str):
    """(1/n) Σ 2 ∂C x, or without the x for the bias."""
    if name == "w":
        return lambda t: (2 * one_sample_error(t) * t.a[0]).mean(0, keepdims=True)
    return lambda t: (2 * one_sample_error(t)).mean(0)


def with_derivative(name: str):
    """The same with σ′, and still with the factor 2."""
    if name == "w":
        return lambda t: (2 * one_sample_error(t) * ds(t.a[1]) * t.a[0]).mean(0, keepdims=True)
    return lambda t: (2 * one_sample_error(t) * ds(t.a[1])).mean(0)


def hidden(name: str):
    """The gradient of the first layer of two, without σ′ and with it."""
    return lambda: [
        derivative(chain(2), name, 1, without_derivative(name), "missing derivative"),
        derivative(chain(2), name, 1, with_derivative(name), "factor", note="σ′ restored"),
    ]


def deep(name: str, *last: str):
    """The gradient of the last and of the first layer of four, without σ′."""
    # in the last layer x stands in the place of a(3) too
    factor = {"w": lambda d, t: (2 * d * t.a[0]).mean(0, keepdims=True),
              "b": lambda d, t: (2 * d).mean(0)}[name]  # fmt: skip
    return lambda: [
        derivative(chain(4), name, l, lambda t, l=l: factor(doubled(t, l), t), *kinds)
        for l, kinds in ((4, last), (1, ("missing derivative",)))
    ]


def average(t):
    """(1/n) Σ 2 (aᵢ(2) − yᵢ) σ′ w(2), the same for every sample."""
    return (2 * (t.a[2] - t.y) * ds(t.a[2]) * t.w[2]).mean(0)


def spread(t):
    """The same, written once for every sample."""
    return jnp.broadcast_to(average(t), t.a[1].shape)


ONE = (
    Erratum(
        "E-S4-01", "(1.2.1)", "missing term",
        "y = σ(x w + b), two inputs", "a = σ(x₁ w₁ + x₂ w₂ + b)",
        lambda: [forward(neuron(), "a", 1, one_input, "missing term")],
    ),
    Erratum(
        "E-S4-02", "(1.3.1)", "missing term",
        "aᵢ = σ(w x + b)", "aᵢ = σ(xᵢ₁ w₁ + xᵢ₂ w₂ + b)",
        lambda: [derivative(neuron(), "w", 1, one_input_gradient, "one slice", "missing term")],
    ),
    Erratum(
        "E-S4-03", "(1.3.2)", "factor",
        "C = (1/n) Σᵢ₌₀ⁿ (aᵢ − zᵢ)²", "C = (1/n) Σᵢ₌₁ⁿ (aᵢ − zᵢ)²",
        lambda: [
            forward(
                neuron(), "cost", 0, lambda t: t.n / (t.n - 1) * ((t.a[1] - t.y) ** 2).mean(),
                "factor", of="w1",
            ),
        ],
    ),
    Erratum(
        "E-S4-04", "(1.3.3)–(1.3.7)", "factor",
        "(1/n) Σᵢ₌₀ⁿ 2 (aᵢ − zᵢ) aᵢ (1 − aᵢ) {xᵢ, yᵢ, 1}", "Σᵢ₌₁ⁿ",
        lambda: [
            derivative(neuron(), name, 1, lambda t, name=name: one_too_few(t, name), "factor")
            for name in ("w", "b")
        ],
    ),
    Erratum("E-S4-05", "(1.3.3)", "typesetting", "∂_w1 C = ∂_w (…)", "∂_w1 C = ∂_w1 (…)"),
)  # fmt: skip


def one_too_few(t, name: str):
    """The gradient of one neuron, its n + 1 samples divided by n."""
    d = 2 * (t.a[1] - t.y) * ds(t.a[1]) / (t.n - 1)
    return t.a[0].T @ d if name == "w" else d.sum(0)


TWO = (
    Erratum(
        "E-S4-06", "(1.4.2)", "wrong quantity",
        "∂a(1)/∂w(1) = 2 (∂C(2)/∂a(1)) x", "∂a(1)/∂w(1) = a(1) (1 − a(1)) x",
        lambda: [local("w", lambda t: 2 * t.da[1] * t.a[0])],
    ),
    Erratum(
        "E-S4-07", "(1.4.3)", "wrong quantity",
        "∂a(1)/∂b(1) = 2 (∂C(2)/∂a(1))", "∂a(1)/∂b(1) = a(1) (1 − a(1))",
        lambda: [local("b", lambda t: 2 * t.da[1])],
    ),
    Erratum(
        "E-S4-08", "(1.5.6)", "wrong quantity",
        "∂C(2)/∂a(1) = (1/n) Σᵢ 2 (aᵢ(2) − yᵢ) … w(2)",
        "∂C(2)/∂aᵢ(1) = (2/n) (aᵢ(2) − yᵢ) … w(2)",
        lambda: [
            derivative(chain(2), "a", 1, average, UNFIT),
            derivative(chain(2), "a", 1, spread, "averaged", note="once per sample"),
        ],
    ),
    Erratum(
        "E-S4-09", "(1.5.7)", "wrong quantity",
        "eᵢ = aᵢ(1) − (aᵢ(1) − ∂C(2))", "eᵢ = aᵢ(1) − ∂C(2)",
        lambda: [derivative(chain(2, n=1), "a", 1, target)],
    ),
    Erratum(
        "E-S4-10", "(1.5.8)", "factor",
        "C(1) = (1/n) Σ (aᵢ(1) − eᵢ)²", "C(1) = (1/2n) Σ (aᵢ(1) − eᵢ)², eᵢ held fast",
        lambda: [
            derivative(chain(2), "w", 1, lambda t: surrogate(t, True), "factor", note="e fixed"),
            derivative(
                chain(2), "w", 1, lambda t: surrogate(t, False),
                note="e not fixed",
            ),
        ],
    ),
    Erratum(
        "E-S4-11", "(1.5.12)", "missing term",
        "∂C/∂w(1) = (1/n) Σ 2 (∂C/∂aᵢ(1)) xᵢ", "∂C/∂w(1) = Σ qᵢ aᵢ(1) (1 − aᵢ(1)) xᵢ",
        hidden("w"),
    ),
    Erratum(
        "E-S4-12", "(1.5.13)", "missing term",
        "∂C/∂b(1) = (1/n) Σ 2 (∂C/∂aᵢ(1))", "∂C/∂b(1) = Σ qᵢ aᵢ(1) (1 − aᵢ(1))",
        hidden("b"),
    ),
)  # fmt: skip

DEEP = (
    Erratum(
        "E-S4-13", "§1.7", "factor",
        "∂C(L+1)/∂aᵢ(L) = aᵢ(L) − yᵢ", "∂C/∂aᵢ(L) = (2/n) (aᵢ(L) − yᵢ)",
        lambda: [derivative(chain(4), "a", 4, lambda t: t.a[4] - t.y, "factor")],
    ),
    Erratum(
        "E-S4-14", "(1.7.1)", "factor",
        "C(l) = (1/n) Σ (aᵢ(l) − eᵢ)² in every layer", "C(l) = (1/2n) Σ (aᵢ(l) − eᵢ)²",
        lambda: [
            derivative(
                chain(4), "w", l,
                lambda t, l=l: (2 * doubled(t, l) * ds(t.a[l]) * t.a[l - 1]).mean(0, keepdims=True),
                "factor",
            )
            for l in (3, 2, 1)
        ],
    ),
    Erratum(
        "E-S4-15", "(1.7.2)", "wrong quantity",
        "∂C/∂w(l) = (1/n) Σ 2 (∂C/∂aᵢ(l)) xᵢ", "∂C/∂w(l) = Σ qᵢ aᵢ(l) (1 − aᵢ(l)) aᵢ(l−1)",
        deep("w"),
    ),
    Erratum(
        "E-S4-16", "(1.7.3)", "missing term",
        "∂C/∂b(l) = (1/n) Σ 2 (∂C/∂aᵢ(l))", "∂C/∂b(l) = Σ qᵢ aᵢ(l) (1 − aᵢ(l))",
        deep("b", "missing derivative"),
    ),
    Erratum(
        "E-S4-17", "(1.7.4)", "wrong quantity",
        "∂C/∂aᵢ(l−1) = (1/n) Σ 2 (aᵢ(l) − yᵢ) … w(l)",
        "∂C/∂aᵢ(l−1) = qᵢ(l) aᵢ(l) (1 − aᵢ(l)) w(l)",
        lambda: [
            derivative(chain(4), "a", 1, average, UNFIT),
            derivative(
                chain(4), "a", 1, lambda t: 2 / t.n * (t.a[2] - t.y) * ds(t.a[2]) * t.w[2],
                note="once per sample",
            ),
        ],
    ),
)  # fmt: skip

ERRATA = ONE + TWO + DEEP
