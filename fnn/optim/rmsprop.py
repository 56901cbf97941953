"""RMSProp: steps scaled by the root of a running mean of squared gradients.

    s ← √(ρ s² + (1 − ρ) g²)        update = −η g / (s + ε)

s is the root of the mean: it exists where g² is beyond the largest number.

Source: Tieleman & Hinton (2012), COURSERA: Neural Networks for Machine Learning, lecture 6.5.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class RMSPropState(NamedTuple):
    """What RMSProp remembers between steps."""

    s: PyTree  # √mean of g², like params, at least float32


@dataclass(frozen=True)
class RMSProp(Optimizer[RMSPropState]):
    """update = −η g / (s + ε), s ← √(ρ s² + (1 − ρ) g²).

    ρ is 0.9, as published (torch: 0.99), and ε stands outside the root (Keras, optax: inside).

    Raises:
        ValueError: for a known η that is not above 0, ρ outside [0, 1), ε below 0.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array = 1e-3  # η
    rho: float | Array = 0.9  # ρ
    eps: float | Array = 1e-8  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("RMSProp", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("RMSProp", "rho", self.rho, 0, 1)
        check_number("RMSProp", "eps", self.eps, 0)

    def init(self, params):
        """s = 0."""
        return RMSPropState(s=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """s ← √(ρ s² + (1 − ρ) g²), then −η g / (s + ε)."""

        def leaf(g, s):
            o = self.numbers(s.dtype)
            s = jnp.hypot(jnp.sqrt(o.rho) * s, jnp.sqrt(1 - o.rho) * g)
            return -o.learning_rate * ratio(g, s + o.eps), s

        updates, s = leafwise(self, leaf, grads, state.s)
        return updates, RMSPropState(s)
