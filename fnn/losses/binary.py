"""Losses of independent yes-or-no predictions, summed over the outputs j.

    BinaryCrossEntropy           −Σ t log y + (1 − t) log(1 − y)
                            dy = dl [(1 − t)/(1 − y) − t/y]
    SigmoidBinaryCrossEntropy    Σ log(1 + e^−|y|) + |y| q        q = 1 − t for y > 0, else t
                            dy = dl [(1 − t) σ(y) − t σ(−y)]
    Hinge                        Σ max(0, 1 − t y)
                            dy = dl [−t for t y < 1, else 0]

The first takes probabilities, the second logits: it is the first after a sigmoid, in a
form that neither overflows nor cancels. Both take targets in [0, 1], Hinge targets −1
and 1. With 0 log 0 = 0, a right and certain probability has loss 0; a wrong and certain
one has loss ∞ and an infinite derivative.

Sources: Hinton (1989), Artificial Intelligence 40, section 6; hinge: Cortes & Vapnik
(1995), Machine Learning 20, section 3.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known
from fnn.losses.elementwise import Elementwise
from fnn.numerics import concrete, times
from fnn.targets import check_between, check_probabilities, check_same_shape


@dataclass(frozen=True)
class BinaryCrossEntropy(Elementwise):
    """losses = −Σ_j t log y + (1 − t) log(1 − y).  y, target [B, ..., n] → losses [B, ...].

    y holds probabilities; outside [0, 1] the loss is an error, NaN under jit. Σ_j, not a mean:
    n times torch's and Keras's, which also cut log off where y is 0 or 1.

    Raises:
        ValueError: from forward, for a target of another shape, known values outside [0, 1].
    """

    def check(self, y, target):
        """y and target must have one shape, and values in [0, 1]."""
        check_same_shape(self, y, target)
        check_between(self, target, 0, 1)
        check_probabilities(self, y, "SigmoidBinaryCrossEntropy")

    def valid(self, y, t):
        """Where both are in [0, 1]."""
        return (y >= 0) & (y <= 1) & (t >= 0) & (t <= 1)

    def f(self, y, t):
        """−t log y − (1 − t) log(1 − y)."""
        return -times(t, jnp.log(y)) - times(1 - t, jnp.log1p(-y))

    def df(self, y, t):
        """−t/y + (1 − t)/(1 − y)."""
        return times(1 - t, 1 / (1 - y)) - times(t, 1 / y)


@dataclass(frozen=True)
class SigmoidBinaryCrossEntropy(Elementwise):
    """BinaryCrossEntropy of σ(y).  y (logits), target [B, ..., n] → losses [B, ...].

    dy_j = dl (σ(y_j) − t_j). Σ_j, not a mean: n times torch's BCEWithLogitsLoss.

    Raises:
        ValueError: from forward, for a target of another shape, known targets outside [0, 1].
    """

    def check(self, y, target):
        """Target must have the shape of y, and values in [0, 1]."""
        check_same_shape(self, y, target)
        check_between(self, target, 0, 1)

    def valid(self, y, t):
        """Where t is in [0, 1]."""
        return (t >= 0) & (t <= 1)

    def f(self, y, t):
        """log(1 + e^−|y|) + |y| q."""
        return jnp.log1p(jnp.exp(-abs(y))) + times(jnp.where(y > 0, 1 - t, t), abs(y))

    def df(self, y, t):
        """σ(y) − t, without the difference of two numbers near 1."""
        return (1 - t) * jax.nn.sigmoid(y) - t * jax.nn.sigmoid(-y)


@dataclass(frozen=True)
class Hinge(Elementwise):
    """losses = Σ_j max(0, 1 − t y).  y, target [B, ..., n] → losses [B, ...], t = ±1.

    dy_j = −dl t_j where t_j y_j < 1, else 0. Σ_j, not a mean: n times Keras's.

    Raises:
        ValueError: from forward, for a target of another shape, known targets but −1 and 1.
    """

    def check(self, y, target):
        """Target must have the shape of y, and be −1 or 1."""
        check_same_shape(self, y, target)
        known = concrete(target)
        if known is not None:
            hint = "; write 2 * target - 1 for targets 0 and 1"
            check_known(self, "target", known, np.abs(known) == 1, "be -1 or 1", hint)

    def valid(self, y, t):
        """Where t is −1 or 1."""
        return abs(t) == 1

    def f(self, y, t):
        """max(0, 1 − t y)."""
        margin = t * y
        return jnp.where(margin >= 1, 0, 1 - margin)

    def df(self, y, t):
        """−t where t y < 1, 0 elsewhere, NaN at NaN."""
        margin = t * y
        return jnp.where(margin < 1, -t, jnp.where(margin >= 1, 0, margin))
