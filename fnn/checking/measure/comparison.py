"""When two gradients are the same numbers: entry by entry, at each leaf's own scale.

An entry is right if it differs from the reference by at most

    10⁻⁹ |reference| + 10⁻¹¹ scale          scale = max |reference| over the leaf

whatever the leaf's size: nothing is averaged, so one wrong entry among a million shows.
An entry that is off by more may still be right: a gradient that is 0 in mathematics, such as
that of a bias before a softmax, is nothing but rounding. Then the reference is asked again
with every number moved by its own rounding, and 32 times what that changes is allowed.
Where the function computes in less than float64 inside, rounding decides instead: 16 units
of that dtype at the scale of the leaf. A gradient computed from float32 or bfloat16 numbers
may differ by 100 float32 units or 8 bfloat16 units of the leaf's norm, or by ten times what
autodiff itself loses in that dtype.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.problem import Leaves
from fnn.numerics import is_floating

RELATIVE, ABSOLUTE = 1e-9, 1e-11
EPS = float(np.finfo(np.float64).eps)
NORM = {"float32": 100 * 2.0**-23, "bfloat16": 8 * 2.0**-8}  # of a leaf's norm


class Gap(NamedTuple):
    """How one leaf differs from its reference."""

    wrong: np.ndarray  # booleans, in the leaf's shape
    error: float  # largest difference, relative to the scale


def gap(hand: Any, truth: Any, scale: float, eps: float = EPS, noise: Any = 0.0) -> Gap:
    """The entries of `hand` that are not those of `truth`, beyond 32 times its `noise`."""
    hand, truth = np.asarray(hand, np.float64), np.asarray(truth, np.float64)
    if hand.size == 0:
        return Gap(np.zeros(hand.shape, bool), 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(hand == truth, 0.0, abs(hand - truth))  # ∞ is ∞
        allowed = RELATIVE * abs(truth) + ABSOLUTE * scale
        allowed = np.maximum(allowed, 16 * eps * scale) if eps > EPS else allowed
        allowed = allowed + 32 * noise
        wrong = ~(difference <= allowed) & np.isfinite(truth)
    worst = difference[np.isfinite(truth)]
    error = float(np.nan_to_num(worst, nan=np.inf).max(initial=0.0))
    return Gap(wrong, error / scale if scale > 0 else error)


def scale_of(truths: list[Any]) -> float:
    """The largest finite entry of a leaf over several points."""
    return max(float(np.where(np.isfinite(t), abs(t), 0).max(initial=0.0)) for t in truths)


def norm_gap(hand: Any, truth: Any) -> float:
    """The error of a whole leaf, relative to its norm; ∞ where only `hand` is not finite."""
    hand, truth = np.asarray(hand, np.float64), np.asarray(truth, np.float64)
    known = np.isfinite(truth)
    size = np.linalg.norm(truth[known])
    difference = np.linalg.norm(np.nan_to_num(hand[known] - truth[known], nan=np.inf))
    return float(difference / size) if size > 0 else float(difference)


def cast_all(leaves: Leaves, dtype: Any) -> Leaves:
    """The leaves with floating ones in dtype, except those that have fewer bits already."""
    bits = jnp.finfo(dtype).bits
    return [
        a.astype(dtype) if is_floating(a) and jnp.finfo(a.dtype).bits > bits else a for a in leaves
    ]


def host(leaves: Leaves) -> list[np.ndarray]:
    """The leaves as numpy arrays, floating ones in float64."""
    return [
        np.asarray(a).astype(np.float64) if is_floating(a) else np.asarray(a)
        for a in jax.device_get(leaves)
    ]
