"""The contract of losses that compare y and target entry by entry.

    losses = Σ_j ℓ(y_j, t_j)        dy_j = dl ℓ′(y_j, t_j)

with ℓ′ the derivative in y. Sums run over the last axis, in at least float32.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.loss import Loss, spread
from fnn.numerics import wide
from fnn.targets import check_same_shape
from fnn.types import Array


class ElementwiseCache(NamedTuple):
    """What backward needs of forward."""

    y: Array  # [B, ..., n]
    target: Array  # [B, ..., n]


@dataclass(frozen=True)
class Elementwise(Loss[ElementwiseCache], abc.ABC):
    """losses = Σ_j ℓ(y_j, t_j).  y, target [B, ..., n] → losses [B, ...]."""

    @abc.abstractmethod
    def f(self, y: Array, t: Array) -> Array:
        """ℓ(y, t)."""

    @abc.abstractmethod
    def df(self, y: Array, t: Array) -> Array:
        """∂ℓ/∂y."""

    def check(self, y, target):
        """Target must have the shape of y."""
        check_same_shape(self, y, target)

    def known(self, y: Array, t: Array) -> tuple[Array, Array]:
        """y and t, NaN where no loss is defined."""
        return y, t

    def wide(self, y: Array, target: Array) -> tuple[Array, Array]:
        """y and target in the dtype of the losses."""
        dtype = wide(y.dtype)
        return self.known(jnp.asarray(y, dtype), jnp.asarray(target).astype(dtype))

    def forward(self, y, target):
        """Σ_j ℓ(y_j, t_j)."""
        self.check(y, target)
        each = self.f(*self.wide(y, target))
        losses = each if each.ndim == 1 else each.sum(-1)
        return losses, ElementwiseCache(y, target)

    def backward(self, cache, dl):
        """dl ℓ′(y_j, t_j)."""
        return spread(dl, self.df(*self.wide(*cache))).astype(cache.y.dtype)
