"""AdaGrad: steps scaled by the root of all squared gradients so far.

    s ← √(s² + g²)        update = −η g / (s + ε)

s is the root of the sum: it exists where g² is beyond the largest number.

Source: Duchi, Hazan & Singer (2011), JMLR 12, section 1, the diagonal form.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class AdaGradState(NamedTuple):
    """What AdaGrad remembers between steps."""

    s: PyTree  # √Σ g², like params, at least float32


@dataclass(frozen=True)
class AdaGrad(Optimizer[AdaGradState]):
    """update = −η g / (s + ε), s ← √(s² + g²).

    ε is 1e-8 (torch: 1e-10), and s starts at 0 (Keras and optax: at √0.1).

    Raises:
        ValueError: for a known η that is not above 0, a known ε below 0.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array = 1e-2  # η
    eps: float | Array = 1e-8  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("AdaGrad", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("AdaGrad", "eps", self.eps, 0)

    def init(self, params):
        """s = 0."""
        return AdaGradState(s=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """s ← √(s² + g²), then −η g / (s + ε)."""

        def leaf(g, s):
            o = self.numbers(s.dtype)
            s = jnp.hypot(s, g)
            return -o.learning_rate * ratio(g, s + o.eps), s

        updates, s = leafwise(self, leaf, grads, state.s)
        return updates, AdaGradState(s)
