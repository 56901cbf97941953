"""Upsample: every position of x becomes several, equal ones or on the line to the next.

Along an axis of n entries, with a factor s, i = 0 ... n − 1 and r = 0 ... s − 1,

    nearest    y[i s + r] = x[i]                                 dx[i] = Σ_r dy[i s + r]
    linear     y[i s + r] = (1 − |f_r|) x[i] + |f_r| x[i ± 1]    f_r = (r + ½) / s − ½

+ for f_r > 0 and − for f_r < 0. y stands as x does, the middle of i among its s entries; beyond
the ends x goes on as it ends: x[−1] = x[0], x[n] = x[n − 1]. Backward, entry i gets what it
gave, to its own s entries and to those of its neighbours,

    dx[i] = Σ_r (1 − |f_r|) dy[i s + r] + Σ_{r: f_r < 0} |f_r| dy[(i + 1) s + r]
                                        + Σ_{r: f_r > 0} |f_r| dy[(i − 1) s + r]

and at the ends what x[−1] and x[n] gave. The axes are stretched one after another. The
arithmetic is at least float32.

Source: Odena, Dumoulin & Olah (2016), Distill, doi:10.23915/distill.00003, for nearest before
a convolution; Long, Shelhamer & Darrell (2015), arXiv:1411.4038, section 3.3, for linear.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fnn.errors import check_floating
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array


@dataclass(frozen=True)
class Upsample(Layer[tuple[()], tuple[()]]):
    """y = x, `factor` times as long along every axis.  x [B, ..., C] → y [B, ..., C].

    [B, T, C] becomes [B, T s, C], [B, H, W, C] becomes [B, H s, W s, C]: nearest, or `linear`
    between positions, in the convention of torch without align_corners and of jax.image.resize.

    Raises:
        ValueError: for a factor below 1.
    """

    factor: int
    linear: bool = False

    def __post_init__(self):
        """Reject a factor of which nothing would be left."""
        super().__post_init__()
        if self.factor < 1:
            raise ValueError(f"{self}: factor must be at least 1.")

    def check_input(self, x):
        """x must have positions between batch and channels."""
        check_floating(self, "x", x)
        if x.ndim < 3 or 0 in x.shape[1:-1]:
            raise ValueError(f"{self}: x must have shape [B, ..., C], got {list(x.shape)}.")

    def forward(self, params, x, *, key=None):
        """y[i s + r] = x[i], or (1 − |f_r|) x[i] + |f_r| x[i ± 1]."""
        (y,) = widened(x) if self.linear else (x,)
        for axis in range(1, x.ndim - 1):
            y = stretched(y, axis, self.factor) if self.linear else repeated(y, axis, self.factor)
        return like(y, x), ()

    def backward(self, params, cache, dy):
        """dx[i] = Σ_r dy[i s + r], or what x[i] gave."""
        (dx,) = widened(dy)
        for axis in reversed(range(1, dy.ndim - 1)):
            dx = (gathered if self.linear else summed)(dx, axis, self.factor)
        return (), like(dx, dy)


def repeated(x: Array, axis: int, s: int) -> Array:
    """y[i s + r] = x[i]."""
    x = jnp.expand_dims(x, axis + 1)
    shape = [*x.shape]
    shape[axis + 1] = s
    return merged(jnp.broadcast_to(x, shape), axis)


def summed(dy: Array, axis: int, s: int) -> Array:
    """dx[i] = Σ_r dy[i s + r], the transpose of `repeated`."""
    return parted(dy, axis, s).sum(axis + 1)


def stretched(x: Array, axis: int, s: int) -> Array:
    """y[i s + r] = (1 − |f_r|) x[i] + |f_r| x[i ± 1]."""
    n = x.shape[axis]
    first, last = cut(x, axis, 0, 1), cut(x, axis, n - 1, n)
    before = jnp.concatenate([first, cut(x, axis, 0, n - 1)], axis)
    after = jnp.concatenate([cut(x, axis, 1, n), last], axis)
    parts = [(1 - abs(f)) * x + abs(f) * (before if f < 0 else after) for f in places(s)]
    return merged(jnp.stack(parts, axis + 1), axis)


def gathered(dy: Array, axis: int, s: int) -> Array:
    """dx[i] = what x[i] gave to its own entries and its neighbours', `stretched` transposed."""
    dy, n = parted(dy, axis, s), dy.shape[axis] // s
    own = before = after = jnp.zeros_like(jax.lax.index_in_dim(dy, 0, axis + 1, keepdims=False))
    for r, f in enumerate(places(s)):
        d = jax.lax.index_in_dim(dy, r, axis + 1, keepdims=False)
        own = own + (1 - abs(f)) * d
        before = before - f * d if f < 0 else before  # x[i − 1] gave it
        after = after + f * d if f > 0 else after
    first, last = cut(before, axis, 0, 1), cut(after, axis, n - 1, n)
    from_next = jnp.concatenate([cut(before, axis, 1, n), last], axis)
    from_last = jnp.concatenate([first, cut(after, axis, 0, n - 1)], axis)
    return own + from_next + from_last


def places(s: int) -> list[float]:
    """f_r: how far the s entries lie from the middle of theirs."""
    return [(r + 0.5) / s - 0.5 for r in range(s)]


def merged(y: Array, axis: int) -> Array:
    """y with its axes of i and r as one, that of i s + r."""
    n, s = y.shape[axis : axis + 2]
    return y.reshape(*y.shape[:axis], n * s, *y.shape[axis + 2 :])


def parted(y: Array, axis: int, s: int) -> Array:
    """y with r on an axis of its own, behind that of i: `merged` backward."""
    return y.reshape(*y.shape[:axis], y.shape[axis] // s, s, *y.shape[axis + 1 :])


def cut(x: Array, axis: int, start: int, end: int) -> Array:
    """x[start : end] along an axis."""
    return jax.lax.slice_in_dim(x, start, end, axis=axis)
