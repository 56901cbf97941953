"""Flatten: every example as one row.

y[b] = all entries of x[b], in order        dx: dy in the shape of x
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from fnn.errors import check_batch
from fnn.layer import Layer
from fnn.records import Static


class FlattenCache(NamedTuple):
    """The shape to give back."""

    shape: Static  # (...,), of one example


@dataclass(frozen=True)
class Flatten(Layer[tuple[()], FlattenCache]):
    """y[b] = all entries of x[b], in order.  x [B, ...] → y [B, n]."""

    def check_input(self, x):
        """x must be a floating batch."""
        check_batch(self, "x", x)

    def forward(self, params, x, *, key=None):
        """y = x, one row per example."""
        return x.reshape(len(x), math.prod(x.shape[1:])), FlattenCache(Static(x.shape[1:]))

    def backward(self, params, cache, dy):
        """dx = dy, in the shape of x."""
        return (), dy.reshape(len(dy), *cache.shape.value)
