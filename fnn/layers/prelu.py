"""PReLU: a rectifier whose slope below 0 is learned.

    y = x for x > 0, else a x

With dy = ∂L/∂y, and Σ over all entries that share a slope,

    da = Σ 0 for x > 0, else dy x        dx = dy for x > 0, else a dy

There is one slope for every entry of the last axis, or one for all of them. At 0 dx is the
value from the left, a dy; dx at NaN is NaN. The arithmetic and the sum are at least float32.
A slope is no weight: a penalty would draw it to 0, and PReLU to ReLU.

Source: He, Zhang, Ren & Sun (2015), arXiv:1502.01852, eqs. 1 to 3; section 2.1 for the
slope that begins at 0.25 and is not decayed.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_floating, check_last_axis
from fnn.layer import Layer
from fnn.layers.activations import piecewise
from fnn.numerics import like, narrowed, total, widened
from fnn.records import Array


class PReLUParams(NamedTuple):
    """The slopes below 0, and their gradients."""

    slope: Array  # [n], a

    weights = ()


class PReLUCache(NamedTuple):
    """The input."""

    x: Array  # [B, ..., n], or [B, ...] where n is 1


@dataclass(frozen=True)
class PReLU(Layer[PReLUParams, PReLUCache]):
    """y = x for x > 0, else a x.  x [B, ..., n] → y [B, ..., n]; with n = 1 any x [B, ...].

    PReLU() has one slope for all entries, PReLU(n) one for every entry of the last axis. They
    begin at `slope`.

    Raises:
        ValueError: for n below 1, a slope that is not finite.
    """

    sequences: ClassVar = "positions"
    rectifies: ClassVar[bool] = True  # he_normal before it

    n: int = 1
    slope: float = 0.25

    def __post_init__(self):
        """Reject a size that no array can have."""
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"{self}: n must be at least 1.")

    def shapes(self):
        """That of a."""
        return {"slope": (self.n,)}

    def check_input(self, x):
        """x must have n features, or any number where they share the slope."""
        if self.n == 1:
            check_floating(self, "x", x)
        else:
            check_last_axis(self, "x", x, self.n)

    def init(self, key):
        """a = `slope`."""
        return PReLUParams(jnp.full(self.n, self.slope))

    def forward(self, params, x, *, key=None):
        """y = x for x > 0, else a x."""
        z, a = widened(x, params.slope)
        return narrowed(jnp.where(z > 0, z, a * z), x, params.slope), PReLUCache(x)

    def backward(self, params, cache, dy):
        """da = Σ 0 for x > 0, else dy x;  dx = dy for x > 0, else a dy."""
        x, d, a = widened(cache.x, dy, params.slope)
        grads = PReLUParams(total(self.shared(jnp.where(x > 0, 0, d * x))))
        return like((grads, d * piecewise(x, x > 0, 1.0, x <= 0, a)), (params, cache.x))

    def shared(self, a: Array) -> Array:
        """What belongs to one slope in one column, [..., n]."""
        return a.reshape(-1, 1) if self.n == 1 else a
