"""The contract of losses that compare y and target entry by entry.

    losses = Σ_j ℓ(y_j, t_j)        dy_j = dl ℓ′(y_j, t_j)

with ℓ′ the derivative in y. Sums run over the last axis, in at least float32.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.loss import Loss
from fnn.mean import spread
from fnn.numerics import owned, wide
from fnn.records import Array
from fnn.targets import check_same_shape


class ElementwiseCache(NamedTuple):
    """Predictions and targets."""

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

    def valid(self, y: Array, t: Array) -> Array | None:
        """Where a loss is defined; None for everywhere."""
        return None

    def entries(self, f: Callable[[Array, Array], Array], y: Array, target: Array) -> Array:
        """f(y, t) in the dtype of the losses, NaN where no loss is defined."""
        dtype = wide(y.dtype)
        y, t = y.astype(dtype), target.astype(dtype)
        each, valid = f(y, t), self.valid(y, t)
        return each if valid is None else jnp.where(valid, each, jnp.nan)

    def forward(self, y, target):
        """Σ_j ℓ(y_j, t_j)."""
        self.check(y, target)
        y, target = owned(y), owned(target)
        each = self.entries(self.f, y, target)
        losses = each if each.ndim == 1 else each.sum(-1)
        return losses, ElementwiseCache(y, target)

    def backward(self, cache, dl):
        """dl ℓ′(y_j, t_j)."""
        return spread(dl, self.entries(self.df, *cache)).astype(cache.y.dtype)
