"""LayerNorm, RMSNorm, GroupNorm, BatchNorm: values measured by their own mean and spread.

All make z of x by the statistics of a set of entries, and y = z s + b of z:

    LayerNorm    the features of one position               z = (x − μ) r
    RMSNorm      the same, without the mean, without b      z = x r,  r = 1/√(mean x² + ε)
    GroupNorm    all positions of a group of channels       z = (x − μ) r
    BatchNorm    all examples and positions of a channel    z = (x − μ) r

with μ = mean x, r = 1/√(mean (x − μ)² + ε). μ and r depend on every x of the set, and so

    dz = dy s      dx = r (dz − mean dz − z mean(dz z))      RMSNorm: without mean dz
    ds = Σ dy z    db = Σ dy

The arithmetic is at least float32. BatchNorm mixes examples: `fnn.inference` with a
calibration batch turns it into an Affine layer.

Source: Ba, Kiros & Hinton (2016), arXiv:1607.06450, eq. 4; Zhang & Sennrich (2019),
arXiv:1910.07467, eq. 4; Wu & He (2018), arXiv:1803.08494, eqs. 1, 2 and 7; Ioffe &
Szegedy (2015), arXiv:1502.03167, Algorithm 1 and the gradients below it.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_last_axis, check_params
from fnn.layer import Layer
from fnn.layers.affine import AffineParams
from fnn.numerics import wide
from fnn.types import Array

Axes = tuple[int, ...]


class NormCache(NamedTuple):
    """What backward needs of forward."""

    z: Array  # [B, ..., n], or [B, positions, groups, n / groups]
    r: Array  # [B, ...], its axes of statistics of size 1


class RMSNormParams(NamedTuple):
    """The factor of every feature, and its gradient."""

    scale: Array  # [n], s


@dataclass(frozen=True)
class LayerNorm(Layer[AffineParams, NormCache]):
    """Each position's features, normalized.  x [B, ..., n] → y [B, ..., n]."""

    n: int
    eps: float = 1e-5

    def __post_init__(self):
        """Reject a size that no array can have, and a negative ε."""
        super().__post_init__()
        check_norm(self)

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = (x − μ) r s + b."""
        check_last_axis(self, "x", x, self.n)
        check_params(self, params, scale=(self.n,), b=(self.n,))
        z, r = standardized(jnp.asarray(x), (-1,), self.eps)
        return scaled(params, z, x.dtype), NormCache(z.astype(x.dtype), r)

    def backward(self, params, cache, dy):
        """dx = r (dz − mean dz − z mean(dz z)),  ds = Σ dy z,  db = Σ dy."""
        grads, dz, z = scaled_back(params, cache.z, dy)
        return grads, standardized_back(z, cache.r, dz, (-1,)).astype(cache.z.dtype)


@dataclass(frozen=True)
class RMSNorm(Layer[RMSNormParams, NormCache]):
    """Each position's features over their root mean square.  x [B, ..., n] → the same."""

    n: int
    eps: float = 1e-6

    def __post_init__(self):
        """Reject a size that no array can have, and a negative ε."""
        super().__post_init__()
        check_norm(self)

    def init(self, key):
        """s = 1."""
        return RMSNormParams(jnp.ones(self.n))

    def forward(self, params, x, *, key=None):
        """y = x r s."""
        check_last_axis(self, "x", x, self.n)
        check_params(self, params, scale=(self.n,))
        x = jnp.asarray(x)
        w = x.astype(wide(x.dtype))
        r = jax.lax.rsqrt((w * w).mean(-1, keepdims=True) + self.eps)
        z = w * r
        y = z * params.scale.astype(z.dtype)
        y = y.astype(jnp.promote_types(x.dtype, params.scale.dtype))
        return y, NormCache(z.astype(x.dtype), r)

    def backward(self, params, cache, dy):
        """dx = r (dz − z mean(dz z)),  ds = Σ dy z."""
        sums, batch = wide(dy.dtype), tuple(range(dy.ndim - 1))
        z, dy = cache.z.astype(sums), dy.astype(sums)
        dz = dy * params.scale.astype(sums)
        dx = cache.r * (dz - z * (dz * z).mean(-1, keepdims=True))
        grads = RMSNormParams((dy * z).sum(batch).astype(params.scale.dtype))
        return grads, dx.astype(cache.z.dtype)


@dataclass(frozen=True)
class GroupNorm(Layer[AffineParams, NormCache]):
    """Groups of channels, each over all positions.  x [B, ..., n] → y [B, ..., n]."""

    n: int
    n_groups: int
    eps: float = 1e-5

    def __post_init__(self):
        """Reject sizes that do not divide, and a negative ε."""
        super().__post_init__()
        check_norm(self)
        if self.n_groups < 1 or self.n % self.n_groups:
            raise ValueError(f"{self}: n_groups must divide n, got {self.n} and {self.n_groups}.")

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = (x − μ) r s + b, in groups."""
        check_last_axis(self, "x", x, self.n)
        check_params(self, params, scale=(self.n,), b=(self.n,))
        x = jnp.asarray(x)
        groups = x.reshape(len(x), -1, self.n_groups, self.n // self.n_groups)
        z, r = standardized(groups, (1, 3), self.eps)
        return scaled(params, z.reshape(x.shape), x.dtype), NormCache(z.astype(x.dtype), r)

    def backward(self, params, cache, dy):
        """dx = r (dz − mean dz − z mean(dz z)),  ds = Σ dy z,  db = Σ dy."""
        grads, dz, z = scaled_back(params, cache.z.reshape(dy.shape), dy)
        shape = cache.z.shape
        dx = standardized_back(z.reshape(shape), cache.r, dz.reshape(shape), (1, 3))
        return grads, dx.reshape(dy.shape).astype(cache.z.dtype)


class BatchNormCache(NamedTuple):
    """What backward needs of forward, and what test time needs of a batch."""

    z: Array  # [B, ..., n]
    r: Array  # [n]
    mean: Array  # [n], μ


@dataclass(frozen=True)
class BatchNorm(Layer[AffineParams, BatchNormCache]):
    """Each channel over all examples and positions.  x [B, ..., n] → y [B, ..., n].

    A row of y depends on the other rows: per-example rules refuse it, and evaluation needs
    a calibration batch, `fnn.inference(net, params, x)`.
    """

    mixes_examples: ClassVar[bool] = True

    n: int
    eps: float = 1e-5

    def __post_init__(self):
        """Reject a size that no array can have, and a negative ε."""
        super().__post_init__()
        check_norm(self)

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """y = (x − μ) r s + b, with μ and r of the batch."""
        check_last_axis(self, "x", x, self.n)
        check_params(self, params, scale=(self.n,), b=(self.n,))
        x = jnp.asarray(x)
        axes = tuple(range(x.ndim - 1))
        mean = x.astype(wide(x.dtype)).mean(axes)
        z, r = standardized(x, axes, self.eps)
        cache = BatchNormCache(z.astype(x.dtype), r.reshape(self.n), mean)
        return scaled(params, z, x.dtype), cache

    def backward(self, params, cache, dy):
        """dx = r (dz − mean dz − z mean(dz z)),  ds = Σ dy z,  db = Σ dy."""
        grads, dz, z = scaled_back(params, cache.z, dy)
        axes = tuple(range(dy.ndim - 1))
        return grads, standardized_back(z, cache.r, dz, axes).astype(cache.z.dtype)


def standardized(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """z = (x − μ) r and r, in at least float32."""
    x = x.astype(wide(x.dtype))
    x = x - x.mean(axes, keepdims=True)
    r = jax.lax.rsqrt((x * x).mean(axes, keepdims=True) + eps)
    return x * r, r


def standardized_back(z: Array, r: Array, dz: Array, axes: Axes) -> Array:
    """dx = r (dz − mean dz − z mean(dz z))."""
    mean = dz.mean(axes, keepdims=True)
    return r * (dz - mean - z * (dz * z).mean(axes, keepdims=True))


def scaled(params: AffineParams, z: Array, dtype: jnp.dtype) -> Array:
    """y = z s + b, in the dtype that x and params have in common."""
    s, b = (p.astype(z.dtype) for p in params)
    return (z * s + b).astype(jnp.promote_types(dtype, params.scale.dtype))


def scaled_back(params: AffineParams, z: Array, dy: Array) -> tuple[AffineParams, Array, Array]:
    """ds = Σ dy z and db = Σ dy, dz = dy s, and z, in at least float32."""
    batch, sums = tuple(range(dy.ndim - 1)), wide(dy.dtype)
    z, dy = z.astype(sums), dy.astype(sums)
    ds, db = (dy * z).sum(batch), dy.sum(batch)
    grads = AffineParams(ds.astype(params.scale.dtype), db.astype(params.b.dtype))
    return grads, dy * params.scale.astype(sums), z


def check_norm(layer: LayerNorm | RMSNorm | GroupNorm | BatchNorm) -> None:
    """Raise a ValueError for a size that no array can have, and for a negative ε."""
    if layer.n < 1 or layer.eps < 0:
        raise ValueError(f"{layer}: n must be at least 1 and eps at least 0.")
