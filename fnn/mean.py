"""The mean that every loss is reduced by, where the 1/N of the source texts lives.

    L = Σ w l / Σ w        dl = w / Σ w               without weights w = 1

What has weight 0 is left out by selection, even where its loss is NaN.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known
from fnn.numerics import concrete, owned, times
from fnn.records import Array


def check_weights(owner: str, shape: tuple[int, ...], weights: Any) -> None:
    """Raise unless `weights` fit losses of `shape` and, where known, can be averaged with."""
    if tuple(weights.shape) != shape[:1]:
        rows = f" or [{shape[0]}]" if len(shape) > 1 else ""
        if tuple(weights.shape) != shape:
            raise ValueError(
                f"{owner}: weights must have shape {list(shape)}{rows}, got {list(weights.shape)}."
            )
    known = concrete(weights)
    if known is not None:
        with np.errstate(invalid="ignore"):
            valid = (known >= 0) & (known < np.inf)
        check_known(owner, "weights", known, valid, "be finite and at least 0")


def merge_weights(
    owner: str,
    shape: tuple[int, ...],
    weights: Array | None,
    counted: tuple[Array | None, ...],
    dtype: Any,
) -> Array:
    """The weights of losses of `shape`, 0 where one of `counted` (a mask, labels) says no.

    Weights [B] serve all predictions of a row. Where a weight is negative or not a
    number, which jit hides from `check_weights`, the result is NaN.
    """
    if 0 in shape:
        raise ValueError(f"{owner}: empty batch, losses of shape {list(shape)} have no mean.")
    w = jnp.ones(shape, dtype)
    if weights is not None:
        check_weights(owner, shape, weights)
        w = owned(weights).astype(dtype)
        w = jnp.where(w >= 0, w, jnp.nan)
        w = jnp.broadcast_to(w.reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)
    for chosen in counted:
        if chosen is not None:  # a mask [B, T] serves all predictions of a step
            w = jnp.where(chosen.reshape(*chosen.shape, *(1,) * (w.ndim - chosen.ndim)), w, 0)
    known = concrete(w)
    if known is not None and known.max() < jnp.finfo(dtype).tiny:
        what = (
            "weights must not all be 0, got Σ w = 0"
            if weights is not None
            else ("nothing counts: the mask or the target leaves every prediction out")
        )
        raise ValueError(f"{owner}: {what}.")
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
