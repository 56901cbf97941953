"""A Gaussian over the weights of a net, fitted to its own PAC-Bayes bound.

    posterior Q    w ~ N(μ, diag e^{2ρ})          prior P    w ~ N(c, e^{2r} I)

    KL(Q ‖ P) = Σ r − ρ + (e^{2ρ} + (μ − c)²) / (2 e^{2r}) − 1/2
    C = (KL + ln(2 sqrt(N)/δ)) / N
    J = (sqrt(L + C/2) + sqrt(C/2))²                bounds R(Q), where L bounds R̂(Q)

L is the cross-entropy in bits of one draw w = μ + e^ρ e; it is at least the 0-1 loss. With
g = ∂L/∂w, the hand-written gradient of the net at that draw, and f = sqrt(J),

    ∂J/∂L = f / sqrt(L + C/2)                       ∂J/∂C = (f/2) (1/sqrt(L + C/2) + 1/sqrt(C/2))
    ∂J/∂μ = ∂J/∂L g       + ∂J/∂C (μ − c) e^{−2r} / N
    ∂J/∂ρ = ∂J/∂L g e e^ρ + ∂J/∂C (e^{2ρ − 2r} − 1) / N
    ∂J/∂r =                 ∂J/∂C Σ [1 − (e^{2ρ} + (μ − c)²) e^{−2r}] / N

Sources: Dziugaite & Roy (2017), UAI, sections 3 and 4, for the idea; Pérez-Ortiz, Rivasplata,
Shawe-Taylor & Szepesvári (2021), JMLR 22 (227), section 4, for J.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn


class Gaussian(NamedTuple):
    """The posterior, and the width of the prior."""

    mean: Any  # μ [n]
    log_std: Any  # ρ [n]
    log_prior: Any  # r []


class Problem(NamedTuple):
    """What J depends on besides the Gaussian."""

    centre: Any  # c [n], of the prior
    rows: Any  # N
    delta: float


def divergence(q: Gaussian, centre: Any) -> Any:
    """KL(Q ‖ P)."""
    spread = jnp.exp(2 * q.log_std) + (q.mean - centre) ** 2
    return (q.log_prior - q.log_std + spread / (2 * jnp.exp(2 * q.log_prior)) - 0.5).sum()


def complexity(q: Gaussian, problem: Problem) -> Any:
    """C = (KL + ln(2 sqrt(N)/δ)) / N."""
    constant = jnp.log(2 * jnp.sqrt(problem.rows) / problem.delta)
    return (divergence(q, problem.centre) + constant) / problem.rows


def objective(loss: Any, c: Any) -> Any:
    """J = (sqrt(L + C/2) + sqrt(C/2))²."""
    return (jnp.sqrt(loss + c / 2) + jnp.sqrt(c / 2)) ** 2


def gradient(q: Gaussian, problem: Problem, loss: Any, g: Any, noise: Any) -> Gaussian:
    """∂J/∂(μ, ρ, r), where g = ∂L/∂w at w = μ + e^ρ noise."""
    c = complexity(q, problem)
    a, b = jnp.sqrt(loss + c / 2), jnp.sqrt(c / 2)
    by_loss, by_kl = (a + b) / a, (a + b) / 2 * (1 / a + 1 / b) / problem.rows
    std, away, precision = jnp.exp(q.log_std), q.mean - problem.centre, jnp.exp(-2 * q.log_prior)
    return Gaussian(
        by_loss * g + by_kl * away * precision,
        by_loss * g * noise * std + by_kl * (std**2 * precision - 1),
        by_kl * (1 - (std**2 + away**2) * precision).sum(),
    )


def draw(key: Any, q: Gaussian) -> tuple[Any, Any]:
    """w = μ + e^ρ e, and e."""
    noise = jax.random.normal(key, q.mean.shape)
    return q.mean + jnp.exp(q.log_std) * noise, noise


def fit(
    loss_and_gradient: Callable[[Any, Any], tuple[Any, Any]],
    problem: Problem,
    start: Gaussian,
    key: Any,
    steps: int,
    rate: float = 0.01,
) -> Gaussian:
    """Adam on J: one draw of the weights and one batch for every step.

    loss_and_gradient: (key, w) → L and ∂L/∂w over a batch of rows that the key chooses.
    """
    optimizer = fnn.optim.Scheduled(fnn.optim.Adam(rate), fnn.optim.CosineDecay(rate, steps))

    def step(carry, key):
        q, state = carry
        k_batch, k_noise = jax.random.split(key)
        w, noise = draw(k_noise, q)
        loss, g = loss_and_gradient(k_batch, w)
        updates, state = optimizer.update(gradient(q, problem, loss, g, noise), state, q)
        return (fnn.optim.apply_updates(q, updates), state), None

    keys = jax.random.split(key, steps)
    (q, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return q
