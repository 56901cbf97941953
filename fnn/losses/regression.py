"""Losses of a residual r = y − t, summed over the outputs j.

    SquaredError     c Σ r_j²                                   dy_j = dl 2 c r_j
    AbsoluteError    Σ |r_j|                                    dy_j = dl sign r_j
    Huber            Σ r_j²/2 for |r_j| ≤ δ, δ |r_j| − δ²/2     dy_j = dl clip(r_j, −δ, δ)

c = 1 with dl = 1/N is the mean squared error with its 2/N, c = ½ the convention whose
gradient is y − t. At a tie sign 0 = 0.

Sources: Gauss (1809) and Laplace (1793), as any textbook has them; Huber (1964), Ann.
Math. Stat. 35, p. 75.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.losses.elementwise import Elementwise


@dataclass(frozen=True)
class SquaredError(Elementwise):
    """losses = scale Σ_j (y_j − t_j)².  y, target [B, ..., n] → losses [B, ...].

    dy_j = dl 2 scale (y_j − t_j). Σ_j, not a mean: n times the MSE of torch and Keras.

    Raises:
        ValueError: for a scale that is not above 0; from forward, for another target's shape.
    """

    scale: float = 1.0

    def __post_init__(self):
        """Reject a scale that does not reward a smaller error."""
        super().__post_init__()
        check_number("SquaredError", "scale", self.scale, 0, open_low=True)

    def f(self, y, t):
        """c r²."""
        return self.scale * (y - t) ** 2

    def df(self, y, t):
        """2 c r."""
        return 2 * self.scale * (y - t)


@dataclass(frozen=True)
class AbsoluteError(Elementwise):
    """losses = Σ_j |y_j − t_j|.  y, target [B, ..., n] → losses [B, ...].

    dy_j = dl sign(y_j − t_j). Σ_j, not a mean: n times the MAE of torch and Keras.

    Raises:
        ValueError: from forward, for a target of another shape.
    """

    def f(self, y, t):
        """|r|."""
        return abs(y - t)

    def df(self, y, t):
        """sign r."""
        return jnp.sign(y - t)


@dataclass(frozen=True)
class Huber(Elementwise):
    """losses = Σ_j r²/2, linear beyond delta.  y, target [B, ..., n] → losses [B, ...].

    dy_j = dl clip(r_j, −delta, delta), r = y − t. Σ_j, not a mean: n times torch's and Keras's.

    Raises:
        ValueError: for a delta that is not above 0; from forward, for another target's shape.
    """

    delta: float = 1.0

    def __post_init__(self):
        """Reject a delta that leaves nothing of the square."""
        super().__post_init__()
        check_number("Huber", "delta", self.delta, 0, open_low=True)

    def f(self, y, t):
        """c (r − c/2) with c = clip(r, −δ, δ): r²/2 inside, δ |r| − δ²/2 outside."""
        r, c = y - t, self.df(y, t)
        return c * (r - c / 2)

    def df(self, y, t):
        """clip(r, −δ, δ)."""
        return jnp.clip(y - t, -self.delta, self.delta)
