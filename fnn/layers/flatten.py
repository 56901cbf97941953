"""Flatten: every example as one row, or its positions as one axis.

y[b] = all entries of x[b], in order         dx: dy in the shape of x
y[b, t] = x[b, i, j, ...], t = i W + j ...   the same, with keep_last
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fnn.errors import check_batch
from fnn.layer import Layer
from fnn.records import QUIET, Static


class FlattenCache(NamedTuple):
    """The shape to give back."""

    shape: Static  # (...,), of one example


@dataclass(frozen=True)
class Flatten(Layer[tuple[()], FlattenCache]):
    """y[b] = all entries of x[b], in order.  x [B, ...] → y [B, n].

    With `keep_last`, x [B, ..., C] → y [B, T, C]: an image becomes the sequence of its positions,
    row by row.
    """

    keep_last: bool = field(default=False, kw_only=True, metadata=QUIET)

    def check_input(self, x):
        """x must be a floating batch."""
        check_batch(self, "x", x)

    def forward(self, params, x, *, key=None):
        """y = x, one row per example."""
        *rows, n = x.shape[1:]
        shape = (math.prod(rows), n) if self.keep_last else (math.prod(rows) * n,)
        return x.reshape(len(x), *shape), FlattenCache(Static(x.shape[1:]))

    def backward(self, params, cache, dy):
        """dx = dy, in the shape of x."""
        return (), dy.reshape(len(dy), *cache.shape.value)
