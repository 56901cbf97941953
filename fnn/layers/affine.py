"""Affine: a factor and an offset of its own for every feature.

    y = x s + b

With Σ over all axes but the last,

    ds = Σ x dy      db = Σ dy      dx = dy s

It is what a normalization leaves at test time, and what follows one in training.

Source: Ioffe & Szegedy (2015), arXiv:1502.03167, Algorithm 1, last line.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_last_axis, check_params
from fnn.layer import Layer
from fnn.numerics import wide
from fnn.types import Array


class AffineParams(NamedTuple):
    """Factor and offset of every feature, and their gradients."""

    scale: Array  # [n], s
    b: Array  # [n]


class AffineCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, ..., n]


@dataclass(frozen=True)
class Affine(Layer[AffineParams, AffineCache]):
    """y = x s + b.  x [B, ..., n] → y [B, ..., n]."""

    n: int

    def __post_init__(self):
        """Reject a size that no array can have."""
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"{self}: n must be at least 1.")

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = x s + b."""
        check_last_axis(self, "x", x, self.n)
        check_params(self, params, scale=(self.n,), b=(self.n,))
        x = jnp.asarray(x)
        return x * params.scale + params.b, AffineCache(x)

    def backward(self, params, cache, dy):
        """ds = Σ x dy,  db = Σ dy,  dx = dy s."""
        sums, batch = wide(dy.dtype), tuple(range(dy.ndim - 1))
        ds = (cache.x.astype(sums) * dy.astype(sums)).sum(batch)
        db = dy.sum(batch, dtype=sums)
        grads = AffineParams(ds.astype(params.scale.dtype), db.astype(params.b.dtype))
        return grads, (dy * params.scale).astype(cache.x.dtype)
