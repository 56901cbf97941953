"""What a target must look like: like y, or class labels, or rows of probabilities.

Wrong shapes and dtypes raise always. Wrong values raise where they are known; under jit
`valid_classes` tells which rows to poison with NaN.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating, check_known, check_shape
from fnn.numerics import concrete, is_floating, owned, wide
from fnn.records import Array


def settled(target: Any, weights: Any, mask: Any) -> Any:
    """The target, where weights or mask leave a prediction out that of the first which counts.

    So nothing that is left out is ever looked at, whether by a formula or by a check.
    """
    chosen = [c for c in (None if weights is None else weights.astype(bool), mask) if c is not None]
    if not chosen or any(c.shape != target.shape[: c.ndim] for c in chosen):
        return target
    n = max(c.ndim for c in chosen)
    counts = jnp.ones(target.shape[:n], bool)
    for c in chosen:
        counts &= c.reshape(*c.shape, *(1,) * (n - c.ndim))
    rows = target.reshape(-1, *target.shape[n:])
    first = rows[counts.reshape(-1).argmax()]
    return jnp.where(counts.reshape(*counts.shape, *(1,) * first.ndim), target, first)


def check_prediction(owner: Any, y: Any, target: Any) -> None:
    """Raise unless y is a floating array, and target an array of real numbers."""
    check_floating(owner, "y", y)
    if y.ndim == 0:
        raise ValueError(f"{owner}: y must have shape [B, ...], got [].")
    check_numbers(owner, "target", target)


def check_numbers(owner: Any, name: str, a: Any) -> None:
    """Raise a TypeError unless `a` is an array of real numbers."""
    if not hasattr(a, "dtype"):
        raise TypeError(f"{owner}: {name} must be an array, got {type(a).__name__}.")
    if jnp.issubdtype(a.dtype, jnp.complexfloating) or a.dtype.kind in "OUS":
        raise TypeError(f"{owner}: {name} must hold real numbers, got {a.dtype}.")


def check_same_shape(owner: Any, y: Any, target: Any) -> None:
    """Raise unless target has exactly the shape of y: nothing is broadcast."""
    check_prediction(owner, y, target)
    hint = ""
    if tuple(y.shape) == (*target.shape, 1):
        hint = "; write target[:, None] or y[:, 0]" if target.ndim == 1 else ""
    elif tuple(target.shape) == (*y.shape, 1):
        hint = "; write target[..., 0]"
    check_shape(owner, "target", target, y.shape, like="y", hint=hint)


def check_between(owner: Any, a: Any, low: float, high: float) -> None:
    """Raise unless every known entry of the target a is in [low, high]."""
    known = concrete(a)
    if known is not None:
        known = np.asarray(known, np.float64)
        with np.errstate(invalid="ignore"):
            valid = (known >= low) & (known <= high)
        check_known(owner, "target", known, valid, f"be in [{low:g}, {high:g}]")


def check_probabilities(owner: Any, y: Any, instead: str) -> None:
    """Raise for a known prediction outside [0, 1]; NaN goes on as NaN."""
    known = concrete(y)
    if known is not None:
        known = np.asarray(known, np.float64)
        with np.errstate(invalid="ignore"):
            valid = ~((known < 0) | (known > 1))
        check_known(owner, "y", known, valid, "be in [0, 1]", f"; use {instead} for logits")


def are_labels(y: Any, target: Any) -> bool:
    """Whether target holds class labels rather than rows of probabilities."""
    return target.ndim == y.ndim - 1


def check_classes(
    owner: Any,
    y: Any,
    target: Any,
    ignore_label: int | None = None,
    *,
    values: bool = True,
    one_logit: str = "use SigmoidBinaryCrossEntropy",
) -> None:
    """Raise unless target holds labels [B, ...] or probabilities [B, ..., C] for y."""
    check_prediction(owner, y, target)
    if y.ndim < 2 or y.shape[-1] < 2:
        hint = f"; for one logit {one_logit}" if y.shape[-1:] == (1,) else ""
        raise ValueError(
            f"{owner}: y must have at least 2 classes in its last axis, shape [B, ..., C], "
            f"got {list(y.shape)}{hint}."
        )
    if tuple(target.shape) not in (tuple(y.shape[:-1]), tuple(y.shape)):
        raise ValueError(
            f"{owner}: target must have shape {list(y.shape[:-1])} (labels) or "
            f"{list(y.shape)} (probabilities), got {list(target.shape)}."
        )
    labels = are_labels(y, target)
    if labels:
        check_integers(owner, target)
    if not labels and not is_floating(target):
        raise TypeError(
            f"{owner}: a target of y's shape must hold floating probabilities, got "
            f"{target.dtype}; write target.astype('float32'), or give labels "
            "(target.argmax(-1))."
        )
    if values and labels:
        _check_labels(owner, target, y.shape[-1], ignore_label)
    elif values:
        _check_rows(owner, target)


def check_integers(owner: Any, target: Any) -> None:
    """Raise a TypeError unless the labels are integers."""
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise TypeError(
            f"{owner}: labels must be integers, got {target.dtype}; "
            "write target.astype(int), or give rows of probabilities in y's shape."
        )


def _check_labels(owner: Any, target: Any, n: int, ignore_label: int | None) -> None:
    """Raise unless every known label is from 0 to n − 1, or ignore_label."""
    known = concrete(target)
    if known is not None:
        valid = (known >= 0) & (known < n)
        hint = "; labels start at 0"
        if ignore_label is not None:
            valid |= known == ignore_label
        if ((known < 0) & ~valid).any():
            hint = f"; ignore_label={known[(known < 0) & ~valid][0]} leaves such rows out"
        check_known(owner, "target", known, valid, f"hold labels in [0, {n})", hint)


def _check_rows(owner: Any, target: Any) -> None:
    """Raise unless every known row of target is a distribution."""
    known = concrete(target)
    if known is not None:
        check_between(owner, known, 0, 1)
        sums = np.asarray(known, np.float64).sum(-1)
        valid = abs(sums - 1) <= tolerance(target.dtype)
        check_known(owner, "the sum of a target row", sums, valid, "be 1")


def tolerance(dtype: Any) -> float:
    """How far from 1 a row of probabilities of this dtype may sum."""
    return max(1e-6, float(jnp.finfo(dtype).eps))


def as_classes(target: Any) -> Array:
    """Target as an array; labels as integers that can be negative and count beyond 255."""
    target = owned(target)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        return target
    dtype = jnp.int64 if target.dtype.itemsize == 8 else jnp.int32
    if jnp.issubdtype(target.dtype, jnp.unsignedinteger):  # 2³² − 1 is not −1
        most = min(jnp.iinfo(dtype).max, jnp.iinfo(target.dtype).max)
        target = jnp.minimum(target, jnp.asarray(most, target.dtype))
    return target.astype(dtype)


def valid_classes(y: Array, target: Array) -> Array:
    """Where target is a label or a row of probabilities, [B, ...]."""
    if are_labels(y, target):
        return (target >= 0) & (target < y.shape[-1])
    sums = target.astype(wide(target.dtype)).sum(-1)
    return are_probabilities(target) & (abs(sums - 1) <= tolerance(target.dtype))


def are_probabilities(a: Array) -> Array:
    """Where a row of a is in [0, 1] throughout, [B, ...]; NaN is not."""
    return (a.min(-1) >= 0) & (a.max(-1) <= 1)
