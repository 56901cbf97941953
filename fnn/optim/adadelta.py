"""AdaDelta: steps in the units of the parameters, from running moments of g and of Δ.

    s ← √(ρ s² + (1 − ρ) g²)
    Δ = −√(u² + ε) g / √(s² + ε)
    u ← √(ρ u² + (1 − ρ) Δ²)
    update = η Δ

s and u are the roots of the means: they exist where g² is beyond the largest number. η = 1
is the published method. The first step has the length √ε / √((1 − ρ) g² + ε) |g|.

Source: Zeiler (2012), arXiv:1212.5701, algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class AdaDeltaState(NamedTuple):
    """What AdaDelta remembers between steps."""

    s: PyTree  # √mean of g², like params, at least float32
    u: PyTree  # √mean of Δ², like params, at least float32


@dataclass(frozen=True)
class AdaDelta(Optimizer[AdaDeltaState]):
    """update = −η √(u² + ε) g / √(s² + ε).

    ρ is 0.95, as published (torch: 0.9), η is 1 (Keras: 0.001).

    Raises:
        ValueError: for known η or ε that are not above 0, a known ρ outside [0, 1).
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array = 1.0  # η
    rho: float | Array = 0.95  # ρ
    eps: float | Array = 1e-6  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("AdaDelta", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("AdaDelta", "rho", self.rho, 0, 1)
        check_number("AdaDelta", "eps", self.eps, 0, open_low=True)

    def init(self, params):
        """s = 0, u = 0."""
        return AdaDeltaState(s=zeros(params), u=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """One step of algorithm 1."""

        def leaf(g, s, u):
            o = self.numbers(s.dtype)
            old, new, eps = jnp.sqrt(o.rho), jnp.sqrt(1 - o.rho), jnp.sqrt(o.eps)
            s = jnp.hypot(old * s, new * g)
            delta = -jnp.hypot(u, eps) * ratio(g, jnp.hypot(s, eps))
            u = jnp.hypot(old * u, new * delta)
            return o.learning_rate * delta, s, u

        updates, s, u = leafwise(self, leaf, grads, state.s, state.u)
        return updates, AdaDeltaState(s, u)
