"""The contract every loss keeps.

A loss compares predictions y with targets, one number for every prediction:

    losses, cache = loss.forward(y, target)
    dy            = loss.backward(cache, dl)          dl = ∂L/∂losses

The last axis of y (outputs, classes) is summed, all others stay: y [B, ..., n] →
losses [B, ...]; a y of rank 1 counts as [B, 1]. A loss never averages: the reduction is
the caller's dl. With weights w,

    L = Σ w l / Σ w        dl = w / Σ w               without weights w = 1

is where the 1/N of the source texts lives. A prediction with dl = 0 is left out: its
row of dy is 0 even where its loss is NaN.

Losses are computed and returned in at least float32, dy in y's dtype. Targets that are
no labels are converted to the dtype of the losses, integers and booleans too. In float16
dy has no room for the small numbers of a mean over thousands: bfloat16 has.

Equations: risk.generic-loss, risk.empirical, bp.batch-average.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known
from fnn.numerics import concrete, times
from fnn.types import Array, Record

C = TypeVar("C")  # the loss's cache


@dataclass(frozen=True)
class Loss(Record, abc.ABC, Generic[C]):
    """A function of (y, target) that knows its derivative in y."""

    shared: ClassVar[tuple[int, ...]] = ()  # arrays of a y of several that examples share

    @abc.abstractmethod
    def check(self, y: Array, target: Array) -> None:
        """Raise unless the shapes fit and, where they are known, the values do.

        A ShapeDtypeStruct may stand for y.
        """

    @abc.abstractmethod
    def forward(self, y: Array, target: Array) -> tuple[Array, C]:
        """One loss for every prediction, and the cache that backward needs."""

    @abc.abstractmethod
    def backward(self, cache: C, dl: Array) -> Array:
        """dy = dl ∂losses/∂y."""

    def value_and_backward(self, y: Array, target: Array, dl: Array) -> tuple[Array, Array]:
        """The losses and dy; a loss that can form both in one pass overrides it."""
        losses, cache = self.forward(y, target)
        return losses, self.backward(cache, dl)

    def shape(self, y: Array) -> tuple[int, ...]:
        """The shape of the losses of y."""
        return y.shape if y.ndim == 1 else y.shape[:-1]

    def counted(self, target: Array) -> Array | None:
        """Which predictions count, as booleans; None for all."""
        return None


def check_loss_type(owner: str, loss: Any) -> None:
    """Raise a TypeError unless `loss` is a loss."""
    if not isinstance(loss, Loss):
        remedy = f"; build it: {loss.__name__}(...)" if isinstance(loss, type) else ""
        raise TypeError(f"{owner}: loss must be a Loss, got {loss!r:.60}{remedy}.")


def check_weights(shape: tuple[int, ...], weights: Any) -> None:
    """Raise unless `weights` fit losses of `shape` and, where known, can be averaged with."""
    if tuple(weights.shape) != shape[:1]:
        rows = f" or [{shape[0]}]" if len(shape) > 1 else ""
        if tuple(weights.shape) != shape:
            raise ValueError(
                f"value_and_grad: weights must have shape {list(shape)}{rows}, "
                f"got {list(weights.shape)}."
            )
    known = concrete(weights)
    if known is not None:
        with np.errstate(invalid="ignore"):
            valid = (known >= 0) & (known < np.inf)
        check_known("value_and_grad", "weights", known, valid, "be finite and at least 0")


def merge_weights(
    shape: tuple[int, ...], weights: Array | None, counted: Array | None, dtype: Any
) -> Array:
    """The weights of losses of `shape`, 0 where they are not counted.

    Weights [B] serve all predictions of a row. Where a weight is negative or not a
    number, which jit hides from `check_weights`, the result is NaN.
    """
    if 0 in shape:
        raise ValueError(f"empty batch: losses of shape {list(shape)} have no mean.")
    w = jnp.ones(shape, dtype)
    if weights is not None:
        check_weights(shape, weights)
        w = jnp.asarray(weights).astype(dtype)
        w = jnp.where(w >= 0, w, jnp.nan)
        w = jnp.broadcast_to(w.reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)
    w = w if counted is None else jnp.where(counted, w, 0)
    known = concrete(w)
    if known is not None and known.max() < jnp.finfo(dtype).tiny:
        raise ValueError("value_and_grad: weights must not all be 0, got Σ w = 0.")
    return w


def normalized(w: Array, *, per_example: bool = False) -> Array:
    """dl = w / Σ w, over the batch or within each example; 0 where Σ w = 0."""
    axes = tuple(range(1, w.ndim)) if per_example else None
    largest = w.max(axes, keepdims=True)
    root = 1 / jnp.sqrt(jnp.where(largest == 0, 1, largest))
    w = w * root * root  # at most 1: the sum cannot overflow, nor 1 / largest underflow
    total = w.sum(axes, keepdims=True)
    return jnp.where(total == 0, 0, w / jnp.where(total == 0, 1, total))


def mean(losses: Array, dl: Array) -> Array:
    """L = Σ dl l; where dl is 0, l is left out."""
    return times(dl, losses).sum()


def spread(dl: Array, d: Array) -> Array:
    """dl d, dl [B, ...] serving the last axis of d too; where dl is 0, d is left out."""
    return times(dl if d.ndim == dl.ndim else dl[..., None], d)
