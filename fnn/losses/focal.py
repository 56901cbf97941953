"""Focal loss: yes-or-no predictions of which the many easy ones count little.

With a = y where t = 1 and −y where t = 0, p = σ(a) the probability of what is so,

    SigmoidFocal    Σ w (1 − p)^γ h            h = −log p = log(1 + e^−a)
                    (1 − p)^γ = e^−γ g         g = −log(1 − p) = log(1 + e^a)
    dy = ∓dl w (1 − p)^γ [(1 − p) + γ p h]     − where t = 1, + where t = 0

w is α where t = 1 and 1 − α where t = 0; without α it is 1. With γ = 0 the loss is
SigmoidBinaryCrossEntropy. Nothing in it cancels.

Source: Lin, Goyal, Girshick, He & Dollár (2017), arXiv:1708.02002, eqs. 4 and 5, appendix B.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known, check_number
from fnn.losses.elementwise import Elementwise
from fnn.numerics import concrete, times
from fnn.records import Array
from fnn.targets import check_same_shape


@dataclass(frozen=True)
class SigmoidFocal(Elementwise):
    """losses = −Σ_j w (1 − p_j)^gamma log p_j.  y (logits), target [B, ..., n] → losses [B, ...].

    p is σ(y) where the target is 1, and 1 − σ(y) where it is 0; w is alpha and 1 − alpha there,
    1 with alpha = None. The source recommends 2 and 0.25. Σ_j, not a mean.

    Raises:
        ValueError: for a gamma below 0, an alpha outside [0, 1]; from forward, for a target of
            another shape, known targets but 0 and 1.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def __post_init__(self):
        """Reject a focus on the easy ones, and weights below 0."""
        super().__post_init__()
        check_number("SigmoidFocal", "gamma", self.gamma, 0)
        if self.alpha is not None:
            check_number("SigmoidFocal", "alpha", self.alpha, 0, 1, closed_high=True)

    def check(self, y, target):
        """Target must have the shape of y, and be 0 or 1."""
        check_same_shape(self, y, target)
        known = concrete(target)
        if known is not None:
            hint = "; SigmoidBinaryCrossEntropy takes what is between"
            valid = (known == 0) | (known == 1)
            check_known(self, "target", np.asarray(known, np.float64), valid, "be 0 or 1", hint)

    def valid(self, y, t):
        """Where t is 0 or 1."""
        return (t == 0) | (t == 1)

    def parts(self, y: Array, t: Array) -> tuple[Array, Array, Array]:
        """a, h and w (1 − p)^γ."""
        a = jnp.where(t == 1, y, -y)
        small = jnp.log1p(jnp.exp(-abs(a)))
        h, g = small + jnp.maximum(-a, 0), small + jnp.maximum(a, 0)
        power = jnp.exp(-times(jnp.asarray(self.gamma, y.dtype), g))
        if self.alpha is not None:
            power *= jnp.where(t == 1, self.alpha, 1 - self.alpha)
        return a, h, power

    def f(self, y, t):
        """w (1 − p)^γ h."""
        _, h, power = self.parts(y, t)
        return times(power, h)

    def df(self, y, t):
        """∓w (1 − p)^γ [(1 − p) + γ p h]."""
        a, h, power = self.parts(y, t)
        d = power * (jax.nn.sigmoid(-a) + self.gamma * times(jax.nn.sigmoid(a), h))
        return jnp.where(t == 1, -d, d)
