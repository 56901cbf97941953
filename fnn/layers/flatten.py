"""Flatten: every example as one row.

    y[b] = all entries of x[b], in order        dx: dy in the shape of x

Source: none; a change of shape.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_batch
from fnn.layer import Layer
from fnn.types import Static


class FlattenCache(NamedTuple):
    """What backward needs of forward."""

    shape: Static  # (...,), of one example


@dataclass(frozen=True)
class Flatten(Layer[tuple[()], FlattenCache]):
    """x [B, ...] → y [B, n]."""

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = x, one row per example."""
        check_batch(self, "x", x)
        x = jnp.asarray(x)
        return x.reshape(len(x), -1), FlattenCache(Static(x.shape[1:]))

    def backward(self, params, cache, dy):
        """dx = dy, in the shape of x."""
        return (), dy.reshape(len(dy), *cache.shape.value)
