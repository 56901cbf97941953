"""Residual: a layer and the way around it.

    y = x + f(x)        dx = dy + dy ∂f/∂x

Source: He, Zhang, Ren & Sun (2016), arXiv:1603.05027, eqs. 3 and 5.
"""

from dataclasses import dataclass
from typing import Any

from fnn.errors import check_shape
from fnn.layer import Wrapper, child


@dataclass(frozen=True)
class Residual(Wrapper[Any]):
    """y = x + inner(x).  x [B, ...] → y [B, ...]; inner keeps the shape."""

    def forward(self, params, x, *, key=None):
        """y = x + f(x)."""
        (p,) = self.parts(params)
        with child(0):
            y, cache = self.inner.forward(p, x, key=key)
        check_shape("Residual", "inner(x)", y, x.shape, like="x")
        return x + y, cache

    def backward_with(self, rule, params, cache, dy):
        """dx = dy + dy ∂f/∂x."""
        with child(0):
            out, dx = rule(self.inner, params[0], cache, dy)
        return (out,), (dy + dx).astype(dx.dtype)
