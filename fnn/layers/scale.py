"""Scale: multiplication by a constant.

    y = c x        dx = c dy

It is what dropout without inverted scaling becomes at test time (c = 1 − rate).
"""

from dataclasses import dataclass
from typing import ClassVar

from fnn.errors import check_floating
from fnn.layer import Layer


@dataclass(frozen=True)
class Scale(Layer[tuple[()], tuple[()]]):
    """y = factor · x, dx = factor · dy.  x [B, ...] → y [B, ...]."""

    sequences: ClassVar = "positions"

    factor: float

    def check_input(self, x):
        """x must be floating."""
        check_floating(self, "x", x)

    def forward(self, params, x, *, key=None):
        """y = c x."""
        return self.factor * x, ()

    def backward(self, params, cache, dy):
        """dx = c dy."""
        return (), self.factor * dy
