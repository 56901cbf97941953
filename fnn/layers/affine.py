"""Affine: a factor and an offset of its own for every feature.

    y = x s + b

With Σ over all axes but the last,

    ds = Σ x dy      db = Σ dy      dx = dy s

It is what a normalization leaves at test time, and what follows one in training.

Source: Ioffe & Szegedy (2015), arXiv:1502.03167, Algorithm 1, last line.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_last_axis
from fnn.layer import Layer
from fnn.numerics import like, total, widened
from fnn.records import Array


class AffineParams(NamedTuple):
    """Factor and offset of every feature, and their gradients."""

    scale: Array  # [n], s
    b: Array  # [n]

    weights = ()


class AffineCache(NamedTuple):
    """The input."""

    x: Array  # [B, ..., n]


@dataclass(frozen=True)
class Affine(Layer[AffineParams, AffineCache]):
    """y = x s + b.  x [B, ..., n] → y [B, ..., n]."""

    sequences: ClassVar = "positions"

    n: int

    def __post_init__(self):
        """Reject a size that no array can have."""
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"{self}: n must be at least 1.")

    def shapes(self):
        """Those of s and b."""
        return {"scale": (self.n,), "b": (self.n,)}

    def check_input(self, x):
        """x must have n features."""
        check_last_axis(self, "x", x, self.n)

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = x s + b."""
        return x * params.scale + params.b, AffineCache(x)

    def backward(self, params, cache, dy):
        """ds = Σ x dy,  db = Σ dy,  dx = dy s."""
        x, d = widened(cache.x, dy)
        grads = AffineParams(total(x * d), total(dy))
        return like((grads, dy * params.scale), (params, cache.x))
