"""Scale: multiplication by a constant.

    y = c x        dx = c dy

It is what dropout without inverted scaling becomes at test time (c = 1 − rate).

Equations: reg.dropout-standard.
"""

from dataclasses import dataclass

from fnn.errors import check_floating
from fnn.layer import Layer


@dataclass(frozen=True)
class Scale(Layer[tuple[()], tuple[()]]):
    """y = factor · x.  x [B, ...] → y [B, ...]."""

    factor: float

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = c x."""
        check_floating(self, "x", x)
        return self.factor * x, ()

    def backward(self, params, cache, dy):
        """dx = c dy."""
        return (), self.factor * dy
