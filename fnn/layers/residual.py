"""Residual: a layer and the way around it (skip connection).

    y = x + f(x)        dx = dy + dy ∂f/∂x

Source: He, Zhang, Ren & Sun (2016), arXiv:1603.05027, eqs. 3 and 5.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from fnn.composite import Wrapper
from fnn.errors import check_shape
from fnn.numerics import like
from fnn.sequence import lift, value


@dataclass(frozen=True)
class Residual(Wrapper[Any]):
    """y = x + inner(x).  x [B, ...] → y [B, ...]; inner keeps the shape.

    Raises:
        TypeError: for what is not a layer.
        ValueError: from forward, for an inner that makes another shape.
    """

    hands_on: ClassVar = True

    def forward(self, params, x, *, key=None):
        """y = x + f(x)."""
        y, cache = self.inner.forward(params, x, key=key)
        check_shape("Residual", "inner(x)", value(y), value(x).shape, like="x")
        return lift(jnp.add, y, x), cache

    def backward_with(self, rule, params, cache, dy):
        """dx = dy + dy ∂f/∂x."""
        out, dx = rule(self.inner, params, cache, dy)
        return out, lift(lambda dx, dy: like(dy + dx, dx), dx, dy)
