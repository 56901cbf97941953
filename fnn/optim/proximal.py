"""Proximal: a step of any optimizer, then the proximal map of a penalty.

    w ← prox_{η λ}(w + update)        for L1: sign w max(|w| − η λ, 0)

Weights become exactly 0, which the subgradient λ sign w only does nearly. η is the
optimizer's learning rate at that step. With adaptive optimizers the map does not know
their scaling, so λ weighs more than in the penalised loss where gradients are small.

Source: Parikh & Boyd (2014), Foundations and Trends in Optimization 1, section 4.2.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.errors import check_like
from fnn.numerics import wide
from fnn.optim.foreign import as_optimizer
from fnn.optim.optimizer import Optimizer
from fnn.penalties import Penalty


@dataclass(frozen=True)
class Proximal(Optimizer[Any]):
    """update = prox(w + u) − w, u the inner update.  Proximal(SGD(0.1), L1(1e-3)).

    Put nothing behind it in a chain: a scaled update no longer reaches 0.

    Raises:
        TypeError: for what is not an optimizer or not a penalty; from update, for an optimizer
            without a learning rate, such as optax's.
        ValueError: from update without params, and for grads that are not like params.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    optimizer: Optimizer[Any]
    penalty: Penalty

    def __post_init__(self):
        """Reject what is not an optimizer, or has no proximal map."""
        object.__setattr__(self, "optimizer", as_optimizer("Proximal", self.optimizer))
        if not isinstance(self.penalty, Penalty):
            raise TypeError(f"Proximal: penalty must be L1 or L2, got {self.penalty!r:.60}.")

    def init(self, params):
        """The optimizer's state."""
        return self.optimizer.init(params)

    @property
    def asks(self):
        """Whether the optimizer does."""
        return self.optimizer.asks

    def rule(self, state):
        """The optimizer's."""
        return self.optimizer.rule(state)

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """prox(w + u) − w."""
        if params is None:
            raise ValueError("Proximal: update needs params, update(grads, state, params).")
        check_like("Proximal", "grads", grads, "params", params)
        rate = self.optimizer.rate(state)
        more = {"value": value, "factors": factors}
        updates, state = self.optimizer.update(grads, state, params, **more)

        def moved(p, u):
            return p.astype(wide(p.dtype)) + u.astype(wide(p.dtype))

        reached = self.penalty.proximal(jax.tree.map(moved, params, updates), rate)
        difference = jax.tree.map(lambda r, p: r - p.astype(r.dtype), reached, params)
        return jax.tree.map(lambda d, u: jnp.astype(d, u.dtype), difference, updates), state

    def rate(self, state):
        """The optimizer's learning rate."""
        return self.optimizer.rate(state)
