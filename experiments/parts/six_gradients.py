"""The ReLU–ReLU–sigmoid classifier by its own equations: six gradients, line by line.

    z₁ = X w₁ + b₁      A₁ = max(z₁, 0)      L = −(1/N) Σ y log ŷ + (1 − y) log(1 − ŷ)
    z₂ = A₁ w₂ + b₂     A₂ = max(z₂, 0)
    z₃ = A₂ w₃ + b₃     ŷ  = σ(z₃)

    D₃ = (ŷ − y)/N                       ∂w₃ = A₂ᵀ D₃      ∂b₃ = Σ D₃
    D₂ = D₃ w₃ᵀ ⊙ [z₂ > 0]               ∂w₂ = A₁ᵀ D₂      ∂b₂ = Σ D₂
    D₁ = D₂ w₂ᵀ ⊙ [z₁ > 0]               ∂w₁ = Xᵀ D₁       ∂b₁ = Σ D₁

L is differentiated through the sigmoid by hand, which cancels ŷ (1 − ŷ).

Source: S2, displays 1 to 28 as corrected.
Equations: fwd.relu-relu-sigmoid, bp.delta-hidden, bp.grad-w, bp.grad-b, loss.bce-logit-grad.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Six(NamedTuple):
    """The parameters, in the letters of the equations."""

    w1: Any
    b1: Any
    w2: Any
    b2: Any
    w3: Any
    b3: Any


def gradients(p: Six, x: Any, y: Any) -> Six:
    """The six, line by line as above."""
    z1 = x @ p.w1 + p.b1
    a1 = jnp.maximum(z1, 0)
    z2 = a1 @ p.w2 + p.b2
    a2 = jnp.maximum(z2, 0)
    z3 = a2 @ p.w3 + p.b3
    d3 = (1 / (1 + jnp.exp(-z3)) - y) / len(x)
    d2 = jnp.where(z2 > 0, d3 @ p.w3.T, 0)
    d1 = jnp.where(z1 > 0, d2 @ p.w2.T, 0)
    return Six(x.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d3, d3.sum(0))


def by_hand(p: Six, x: Any, y: Any, rate: float, steps: int) -> Six:
    """θ ← θ − α ∂θ: the start and every step, [steps + 1, ...]."""

    def step(p, _):
        new = Six(*(a - rate * g for a, g in zip(p, gradients(p, x, y), strict=True)))
        return new, new

    _, later = jax.lax.scan(step, p, length=steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), p, later)


def six(params: Any) -> Six:
    """fnn's params of this net, or their paths, by the names of the equations."""
    return Six(*(leaf for layer in params for leaf in layer))
