"""Gaussian: a number drawn from the distribution that x describes, and the mean of it.

x = (m, s) holds means and behind them the logarithms of variances, as GaussianNLL takes them.
With ε ~ N(0, 1), drawn anew at every call for every entry,

    Gaussian        z = m + r,   r = ε e^s/2        dm = dz        ds = dz r/2
    GaussianMean    z = m                           dm = dz        ds = 0

The draw is a function of ε, m and s that has a derivative (reparametrization): dm and ds are
unbiased estimates of the gradient of the mean of L over all ε. `inference` turns the first into
the second. The arithmetic is at least float32.

Source: Kingma & Welling (2014), arXiv:1312.6114, section 2.4 and eq. 10.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_moments
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array


class GaussianCache(NamedTuple):
    """How far the draw is from the mean."""

    r: Array  # [B, ..., n]


@dataclass(frozen=True)
class GaussianMean(Layer[tuple[()], tuple[()]]):
    """z = m.  x = (m, s) [B, ..., 2 n] → z [B, ..., n].

    Raises:
        ValueError: from forward, for a last axis that is not even.
    """

    sequences: ClassVar = "positions"

    def check_input(self, x):
        """x must have as many logarithms of variances as means."""
        check_moments(self, "x", x)

    def forward(self, params, x, *, key=None):
        """z = m."""
        return x[..., : x.shape[-1] // 2], ()

    def backward(self, params, cache, dy):
        """dm = dz,  ds = 0."""
        return (), jnp.concatenate([dy, jnp.zeros_like(dy)], -1)


@dataclass(frozen=True)
class Gaussian(Layer[tuple[()], GaussianCache]):
    """z = m + ε e^s/2.  x = (m, s) [B, ..., 2 n] → z [B, ..., n]; needs a key.

    Dense(n_in, 2 n) in front of it makes means and logarithms of variances.

    Raises:
        ValueError: from forward, for a last axis that is not even, and without a key.
    """

    sequences: ClassVar = "positions"
    draws: ClassVar = True

    def check_input(self, x):
        """x must have as many logarithms of variances as means."""
        check_moments(self, "x", x)

    def forward(self, params, x, *, key=None):
        """z = m + r,  r = ε e^s/2."""
        assert key is not None  # `draws` says so
        (z,) = widened(x)
        m, s = jnp.split(z, 2, -1)
        r = jnp.exp(s / 2) * like(jax.random.normal(key, m.shape), m)
        return like(m + r, x), GaussianCache(like(r, x))

    def backward(self, params, cache, dy):
        """dm = dz,  ds = dz r/2."""
        d, r = widened(dy, cache.r)
        return (), like(jnp.concatenate([d, d * (r / 2)], -1), dy)
