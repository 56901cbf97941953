"""LayerNorm, RMSNorm, GroupNorm, InstanceNorm, BatchNorm: values by their own mean and spread.

All make z of x by the statistics of a set of entries, and y = z s + b of z. They are one
class, `Norm`, and differ in the entries that share their statistics:

    LayerNorm    the features of one position               z = (x − μ) r
    RMSNorm      the same, without the mean, without b      z = x r,  r = 1/√(mean x² + ε)
    GroupNorm    all positions of a group of channels       z = (x − μ) r
    InstanceNorm all positions of a channel                 z = (x − μ) r
    BatchNorm    all examples and positions of a channel    z = (x − μ) r

with μ = mean x, r = 1/√(mean (x − μ)² + ε). μ and r depend on every x of the set, and so

    dz = dy s      dx = r (dz − mean dz − z mean(dz z))      RMSNorm: without mean dz
    ds = Σ dy z    db = Σ dy

The arithmetic is at least float32. μ is rounded to its own size, which may be many times the
spread: the mean is taken off a second time. Squares of more than the largest number are taken
of x scaled down. So z is exact to a few roundings whatever the size and the mean of x, as long
as x itself tells its entries apart and their sum is a number. One entry alone has no spread,
and is refused but by RMSNorm. BatchNorm mixes examples: `fnn.inference` turns it into a Centered
layer, by a calibration batch or by running averages.

Source: Ba, Kiros & Hinton (2016), arXiv:1607.06450, eq. 4; Zhang & Sennrich (2019),
arXiv:1910.07467, eq. 4; Wu & He (2018), arXiv:1803.08494, eqs. 1, 2 and 7; Ulyanov, Vedaldi &
Lempitsky (2016), arXiv:1607.08022, eq. 3; Ioffe & Szegedy (2015), arXiv:1502.03167,
Algorithm 1 and the gradients below it.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_last_axis
from fnn.layer import Layer
from fnn.layers.affine import AffineParams
from fnn.numerics import like, narrowed, total, widened
from fnn.records import Array


class NormCache(NamedTuple):
    """The normalized input, and what it was multiplied by."""

    z: Array  # [B, ..., n], or [B, positions, groups, n / groups]
    r: Array  # [B, ...], its axes of statistics of size 1


@dataclass(frozen=True)
class Norm(Layer[AffineParams, Any]):
    """y = (x − μ) r s + b, μ and r over the entries that a subclass names."""

    n: int
    eps: float = field(default=1e-5, kw_only=True)

    def __post_init__(self):
        """Reject a size that no array can have, and a negative ε."""
        super().__post_init__()
        check_norm(self)

    def axes(self, x: Array) -> tuple[int, ...]:
        """The axes of the viewed x whose entries share μ and r."""
        return (-1,)

    def view(self, x: Array) -> Array:
        """x with axes of their own for the entries that share statistics."""
        return x

    def entries(self, x: Array) -> int:
        """How many share μ and r."""
        return self.n

    def cached(self, z: Array, r: Array, mu: Array) -> Any:
        """What backward needs of z, r and μ."""
        return NormCache(z, r)

    def shapes(self):
        """Those of s and b."""
        return {"scale": (self.n,), "b": (self.n,)}

    def check_input(self, x):
        """x must have n features, and more than one entry to a mean."""
        check_last_axis(self, "x", x, self.n)
        if self.entries(x) == 1:
            raise ValueError(
                f"{self}: every mean must be of at least 2 entries, got x {list(x.shape)}, where "
                "each is alone: y would be b whatever x is."
            )

    def init(self, key):
        """s = 1, b = 0."""
        return AffineParams(jnp.ones(self.n), jnp.zeros(self.n))

    def forward(self, params, x, *, key=None):
        """z = (x − μ) r,  y = z s + b."""
        a, s, b = widened(self.view(x), *params)
        a, mu = centered(a, self.axes(a))
        z, r = over_rms(a, self.axes(a), self.eps)
        y = z.reshape(x.shape) * s + b
        return narrowed(y, x, params.scale), self.cached(like(z, x), r, mu)

    def backward(self, params, cache, dy):
        """ds = Σ dy z,  db = Σ dy,  dz = dy s,  dx = r (dz − mean dz − z mean(dz z))."""
        z, d, s = widened(cache.z, dy, params.scale)
        grads = AffineParams(total(d * z.reshape(d.shape)), total(d))
        dz, axes = (d * s).reshape(z.shape), self.axes(z)
        dx = cache.r * (dz - mean(dz, axes) - z * mean(dz * z, axes))
        return like((grads, dx.reshape(dy.shape)), (params, cache.z))


@dataclass(frozen=True)
class LayerNorm(Norm):
    """Each position's features, normalized.  x [B, ..., n] → y [B, ..., n].

    Raises:
        ValueError: for n below 1, a negative eps; from forward, for n = 1.
    """

    sequences: ClassVar = "positions"


@dataclass(frozen=True)
class GroupNorm(Norm):
    """Groups of channels, each over all positions.  x [B, ..., n] → y [B, ..., n].

    GroupNorm(n, n_groups): torch has the two the other way round.

    Raises:
        ValueError: for n below 1, a negative eps, an n_groups that does not divide n; from
            forward, for groups of one entry.
    """

    n_groups: int

    def __post_init__(self):
        """Reject sizes that do not divide, and a negative ε."""
        super().__post_init__()
        if self.n_groups < 1 or self.n % self.n_groups:
            raise ValueError(f"{self}: n_groups must divide n, got {self.n} and {self.n_groups}.")

    def axes(self, x):
        """Positions, and the channels of a group."""
        return (1, 3)

    def entries(self, x):
        """The positions of an example times the channels of a group."""
        return math.prod(x.shape[1:]) // self.n_groups

    def view(self, x):
        """[B, positions, groups, n / groups]."""
        positions = math.prod(x.shape[1:-1])
        return x.reshape(len(x), positions, self.n_groups, self.n // self.n_groups)


@dataclass(frozen=True)
class InstanceNorm(Norm):
    """Each channel of an example over all its positions.  x [B, ..., n] → y [B, ..., n].

    It is GroupNorm with one channel to a group. It has s and b, which torch leaves out unless
    told.

    Raises:
        ValueError: for n below 1, a negative eps; from forward, for one position.
    """

    def axes(self, x):
        """Positions."""
        return tuple(range(1, x.ndim - 1))

    def entries(self, x):
        """The positions of an example."""
        return math.prod(x.shape[1:-1])


class BatchNormCache(NamedTuple):
    """What backward needs, and what test time needs of a batch."""

    z: Array  # [B, ..., n]
    r: Array  # [n]
    mean: Array  # [n], μ


class BatchNormAverages(NamedTuple):
    """Statistics of many batches, as rules/running.py gathers them."""

    mean: Array  # [n], of μ
    std: Array  # [n], the root of the average of the unbiased variance, without ε
    weight: Array  # [], of all that came in: 0 before the first batch
    momentum: Array  # [], the weight of what was


@dataclass(frozen=True)
class BatchNorm(Norm):
    """Each channel over all examples and positions.  x [B, ..., n] → y [B, ..., n].

    A row of y depends on the other rows: per-example rules refuse it, and evaluation needs the
    mean and the variance of other batches: running averages, which `fnn.rules.running_averages`
    gathers in training, or a calibration batch, `fnn.inference(net, params, x)`. The statistics
    count every row and step, those of weight 0 or outside a mask as zeros; rows that fill up
    the last batch of an epoch count as they are.

    Raises:
        ValueError: for n below 1, a negative eps; from forward, for one entry per channel.
    """

    sequences: ClassVar = "positions"
    mixes_examples: ClassVar[bool] = True

    def axes(self, x):
        """All but the channels."""
        return tuple(range(x.ndim - 1))

    def entries(self, x):
        """All examples and positions."""
        return math.prod(x.shape[:-1])

    def cached(self, z, r, mu):
        """μ besides, for test time."""
        return BatchNormCache(z, r.reshape(self.n), mu.reshape(self.n))


class RMSNormParams(NamedTuple):
    """The factor of every feature, and its gradient."""

    scale: Array  # [n], s

    weights = ()


@dataclass(frozen=True)
class RMSNorm(Layer[RMSNormParams, NormCache]):
    """Each position's features over their root mean square.  x [B, ..., n] → the same.

    ε is 1e-6 unless told, where torch has the resolution of the dtype, 1.2e-7 in float32.

    Raises:
        ValueError: for n below 1, a negative eps.
    """

    sequences: ClassVar = "positions"

    n: int
    eps: float = field(default=1e-6, kw_only=True)

    def __post_init__(self):
        """Reject a size that no array can have, and a negative ε."""
        super().__post_init__()
        check_norm(self)

    def shapes(self):
        """That of s."""
        return {"scale": (self.n,)}

    def check_input(self, x):
        """x must have n features."""
        check_last_axis(self, "x", x, self.n)

    def init(self, key):
        """s = 1."""
        return RMSNormParams(jnp.ones(self.n))

    def forward(self, params, x, *, key=None):
        """z = x r,  y = z s."""
        a, s = widened(x, *params)
        z, r = over_rms(a, (-1,), self.eps)
        return narrowed(z * s, x, params.scale), NormCache(like(z, x), r)

    def backward(self, params, cache, dy):
        """ds = Σ dy z,  dz = dy s,  dx = r (dz − z mean(dz z))."""
        z, d, s = widened(cache.z, dy, params.scale)
        dz = d * s
        dx = cache.r * (dz - z * mean(dz * z, (-1,)))
        return like((RMSNormParams(total(d * z)), dx), (params, cache.z))


def unbiased_std(layer: BatchNorm, cache: BatchNormCache) -> Array:
    """√(N/(N − 1) (1/r² − ε)) of every channel, N entries each, where 1/r² is too large, too."""
    n = layer.entries(cache.z)
    return jnp.sqrt(n / (n - 1) * jnp.maximum(1 - layer.eps * cache.r**2, 0)) / cache.r


def mean(a: Array, axes: tuple[int, ...]) -> Array:
    """The mean over these axes, kept with size 1."""
    return a.mean(axes, keepdims=True)


def centered(a: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """a − μ and μ; what the rounding of μ leaves in the mean is taken off again."""
    mu = mean(a, axes)
    a = a - mu
    rest = mean(a, axes)
    return a - rest, mu + rest


def over_rms(a: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """a r and r = 1 / √(mean a² + ε), both of c a where a² is beyond the largest number."""
    c = 2.0 ** -(jnp.finfo(a.dtype).maxexp * 5 // 8)
    square, small = mean(a * a, axes), mean((a * c) ** 2, axes)
    fits = jnp.isfinite(square)
    root = jax.lax.rsqrt(jnp.where(fits, square + eps, small))
    c = jnp.where(fits, 1, c)
    return a * c * root, c * root


def check_norm(layer: Norm | RMSNorm) -> None:
    """Raise a ValueError for a size that no array can have, and for a negative ε."""
    if layer.n < 1 or layer.eps < 0:
        raise ValueError(f"{layer}: n must be at least 1 and eps at least 0.")
