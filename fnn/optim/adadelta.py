"""AdaDelta: steps in the units of the parameters, from running moments of g and of Δ.

    v ← ρ v + (1 − ρ) g²
    Δ = −√(u + ε) / √(v + ε) g
    u ← ρ u + (1 − ρ) Δ²
    update = η Δ

η = 1 is the published method. The first step has the length √ε / √((1 − ρ) g² + ε) |g|.

Source: Zeiler (2012), arXiv:1212.5701, algorithm 1.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class AdaDeltaState(NamedTuple):
    """What AdaDelta remembers between steps."""

    v: PyTree  # mean of g², like params, at least float32
    u: PyTree  # mean of Δ², like params, at least float32


@dataclass(frozen=True)
class AdaDelta(Optimizer[AdaDeltaState]):
    """update = −η √(u + ε) / √(v + ε) g."""

    learning_rate: float | Array = 1.0  # η
    rho: float | Array = 0.95  # ρ
    eps: float | Array = 1e-6  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("AdaDelta", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("AdaDelta", "rho", self.rho, 0, 1)
        check_number("AdaDelta", "eps", self.eps, 0, open_low=True)

    def init(self, params):
        """v = 0, u = 0."""
        return AdaDeltaState(v=zeros(params), u=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """One step of algorithm 1."""

        def leaf(g, v, u):
            o = self.numbers(v.dtype)
            v = o.rho * v + (1 - o.rho) * g**2
            delta = -ratio(jnp.sqrt(u + o.eps), jnp.sqrt(v + o.eps)) * g
            u = o.rho * u + (1 - o.rho) * delta**2
            return o.learning_rate * delta, v, u

        updates, v, u = leafwise(self, leaf, grads, state.v, state.u)
        return updates, AdaDeltaState(v, u)
