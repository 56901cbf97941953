"""AdaGrad: steps scaled by the root of all squared gradients so far.

    v ← v + g²        update = −η g / (√v + ε)

Source: Duchi, Hazan & Singer (2011), JMLR 12, section 1, the diagonal form.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class AdaGradState(NamedTuple):
    """What AdaGrad remembers between steps."""

    v: PyTree  # Σ g², like params, at least float32


@dataclass(frozen=True)
class AdaGrad(Optimizer[AdaGradState]):
    """update = −η g / (√v + ε), v ← v + g²."""

    learning_rate: float | Array = 1e-2  # η
    eps: float | Array = 1e-8  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("AdaGrad", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("AdaGrad", "eps", self.eps, 0)

    def init(self, params):
        """v = 0."""
        return AdaGradState(v=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """v ← v + g², then −η g / (√v + ε)."""

        def leaf(g, v):
            o = self.numbers(v.dtype)
            v = v + g**2
            return -o.learning_rate * ratio(g, jnp.sqrt(v) + o.eps), v

        updates, v = leafwise(self, leaf, grads, state.v)
        return updates, AdaGradState(v)
