"""Affine and Centered: a factor and an offset of its own for every feature.

    Affine      y = x s + b          ds = Σ x dy                           db = Σ dy
    Centered    y = (x − c) s + b    ds = Σ (x − c) dy    dc = −Σ dy s     db = Σ dy

with Σ over all axes but the last, and dx = dy s. Affine is what follows a normalization in
training. Centered is what BatchNorm leaves at test time: c is its mean, rounded so that
bfloat16 holds it, and b has the rest. x s and b alone would cancel where the mean is many times
the spread, and in bfloat16 nothing would be left. The arithmetic of Centered is at least float32.

Source: Ioffe & Szegedy (2015), arXiv:1502.03167, Algorithm 1, last line.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_last_axis
from fnn.layer import Layer, P
from fnn.numerics import like, narrowed, total, widened
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
class PerFeature(Layer[P, AffineCache]):
    """What both have in common: n features, and the input as their cache."""

    sequences: ClassVar = "positions"

    n: int

    def __post_init__(self):
        """Reject a size that no array can have."""
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"{self}: n must be at least 1.")

    def check_input(self, x):
        """x must have n features."""
        check_last_axis(self, "x", x, self.n)


@dataclass(frozen=True)
class Affine(PerFeature[AffineParams]):
    """y = x s + b.  x [B, ..., n] → y [B, ..., n].

    Raises:
        ValueError: for n below 1.
    """

    def shapes(self):
        """Those of s and b."""
        return {"scale": (self.n,), "b": (self.n,)}

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


class CenteredParams(NamedTuple):
    """Center, factor and offset of every feature, and their gradients."""

    center: Array  # [n], c
    scale: Array  # [n], s
    b: Array  # [n]

    weights = ()


@dataclass(frozen=True)
class Centered(PerFeature[CenteredParams]):
    """y = (x − c) s + b.  x [B, ..., n] → y [B, ..., n].

    Raises:
        ValueError: for n below 1.
    """

    def shapes(self):
        """Those of c, s and b."""
        return {"center": (self.n,), "scale": (self.n,), "b": (self.n,)}

    def init(self, key):
        """c = 0, s = 1, b = 0."""
        return CenteredParams(jnp.zeros(self.n), jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = (x − c) s + b."""
        a, c, s, b = widened(x, *params)
        return narrowed((a - c) * s + b, x, params.scale), AffineCache(x)

    def backward(self, params, cache, dy):
        """dc = −Σ dy s,  ds = Σ (x − c) dy,  db = Σ dy,  dx = dy s."""
        x, d, c, s, _ = widened(cache.x, dy, *params)
        grads = CenteredParams(-total(d) * s, total((x - c) * d), total(d))
        return like((grads, d * s), (params, cache.x))
