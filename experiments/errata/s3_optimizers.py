"""S3, displays 33 to 40: update rules, as the way that a few steps of them take.

All descend f(θ) = ½ Σ hᵢ θᵢ² with h = (1, 4, ¼). The reference is the published algorithm
in closed form: the moments as sums over all gradients so far, not as recursions.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import fnn
from experiments.errata.judging import UNFIT, Case, Erratum, same

START = (1.0, -2.0, 3.0)
RHO, EPS = 0.95, 1e-6  # of AdaDelta
B1, B2 = 0.9, 0.999  # of Adam
Rule = Callable[[Any, list[Any], list[Any]], Any]  # (g, earlier gradients, updates) → update


def gradient_at(theta):
    """h θ."""
    return theta * jnp.asarray([1, 4, 0.25], theta.dtype)


def way(rule: Rule, steps: int):
    """θ₀ ↦ where `steps` steps of a rule lead, minus θ₀."""

    def displacement(theta):
        start, gradients, updates = theta, [], []
        for _ in range(steps):
            g = gradient_at(theta)
            gradients.append(g)
            updates.append(rule(g, gradients, updates))
            theta = theta + updates[-1]
        return theta - start

    return displacement


def ours(optimizer: fnn.optim.Optimizer[Any], steps: int):
    """The same with an optimizer of fnn."""

    def displacement(theta):
        start, state = theta, optimizer.init(theta)
        for _ in range(steps):
            update, state = optimizer.update(gradient_at(theta), state)
            theta = theta + update
        return theta - start

    return displacement


def average(values: list[Any], rate: float):
    """The exponential average (1 − ρ) Σ ρᵏ vₙ₋ₖ, 0 of nothing."""
    return sum((1 - rate) * rate**k * v for k, v in enumerate(reversed(values)))


def squares(values: list[Any]) -> list[Any]:
    """Every value squared."""
    return [v**2 for v in values]


def adagrad(eps: float) -> Rule:
    """−η g / (√Σ g² + ε)."""
    return lambda g, gs, _: -0.1 * g / (jnp.sqrt(sum(squares(gs))) + eps)


def adadelta(g, gs, updates):
    """−√(E[Δ²] + ε) / √(E[g²] + ε) g."""
    u, v = average(squares(updates), RHO), average(squares(gs), RHO)
    return -jnp.sqrt(u + EPS) / jnp.sqrt(v + EPS) * g


def adadelta_outside(g, gs, updates):
    """−(√E[Δ²] + ε) / (√E[g²] + ε) g."""
    u, v = average(squares(updates), RHO), average(squares(gs), RHO)
    return -(jnp.sqrt(u * jnp.ones_like(g)) + EPS) / (jnp.sqrt(v) + EPS) * g


def adadelta_literal(g, gs, updates):
    """−(√Δ + ε) / (√E[g²] + ε) g, with the last update as Δ."""
    last = updates[-1] if updates else 0 * g
    return -(jnp.sqrt(last) + EPS) / (jnp.sqrt(average(squares(gs), RHO)) + EPS) * g


def adam(exponent: Callable[[int], int]) -> Rule:
    """−η m̂ / (√v̂ + ε), corrected for `exponent` of the number of gradients."""

    def rule(g, gs, _):
        t = exponent(len(gs))
        m = average(gs, B1) / jnp.asarray(1 - B1**t, g.dtype)
        v = average(squares(gs), B2) / jnp.asarray(1 - B2**t, g.dtype)
        return -0.01 * m / (jnp.sqrt(v) + 1e-8)

    return rule


def judged(
    what: str, optimizer: fnn.optim.Optimizer[Any], right: Rule, printed: Rule, steps, *kinds
):
    """A rule against the published one; the correction is fnn's optimizer."""
    name = type(optimizer).__name__
    return same(
        f"{name}, {steps} step{'s' * (steps > 1)}{what}",
        way(right, steps), (jnp.asarray(START),), way(printed, steps),
        ours(optimizer, steps), *kinds,
    )  # fmt: skip


def first_moment() -> Case:
    """m̂ after two gradients."""
    two = jnp.asarray([START, (0.3, 0.7, -1.1)])

    def moment(gs):
        return (1 - B1) * (B1 * gs[0] + gs[1])

    return same(
        "m̂ after two gradients",
        lambda gs: (B1 * gs[0] + gs[1]) / (B1 + 1),
        (two,),
        lambda gs: moment(gs) / (1 - B1),
        lambda gs: moment(gs) / (1 - B1**2),
        "factor",
    )


ERRATA = (
    Erratum(
        "E-S3-21",
        "below display 33",
        "factor",
        "ε usually on the order of 10⁸",
        "ε ≈ 10⁻⁸",
        lambda: [
            judged(", ε = 10⁸", fnn.optim.AdaGrad(0.1), adagrad(1e-8), adagrad(1e8), 8),
        ],
    ),
    Erratum(
        "E-S3-22",
        "display 34, line 2",
        "wrong quantity",
        "Δθ ← −(√Δθ + ε) / (√v + ε) ∇L",
        "Δθ ← −√(u + ε) / √(v + ε) ∇L, u the mean of Δθ²",
        lambda: [judged("", fnn.optim.AdaDelta(), adadelta, adadelta_literal, 3, "nan", UNFIT)],
    ),
    Erratum(
        "E-S3-23",
        "display 34, line 2",
        "factor",
        "√· + ε in both roots",
        "√(· + ε) in both roots",
        lambda: [
            judged("", fnn.optim.AdaDelta(), adadelta, adadelta_outside, 1),
            judged("", fnn.optim.AdaDelta(), adadelta, adadelta_outside, 12),
        ],
    ),
    Erratum(
        "E-S3-24",
        "displays 39, 40",
        "factor",
        "m̂ = m / (1 − β₁ᵗ), t = 0 at the first update",
        "m̂ = m / (1 − β₁ᵗ⁺¹)",
        lambda: [
            judged(", t from 0", fnn.optim.Adam(0.01), adam(lambda n: n), adam(lambda n: n - 1), 1,
                   "nan", UNFIT),
            judged(", exponent behind by one", fnn.optim.Adam(0.01), adam(lambda n: n),
                   adam(lambda n: max(n - 1, 1)), 5),
            first_moment(),
        ],
    ),
)  # fmt: skip
