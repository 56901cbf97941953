"""Pad: entries around x, zeros or copies of its own.

Along an axis of n entries, low in front and high behind,

    y[j] = x[p(j − low)],   j = 0 ... low + n + high − 1,   0 outside x for zeros

    zeros      p(i) = i, where 0 ≤ i < n
    edge       p(i) = 0 for i < 0, n − 1 for i ≥ n
    reflect    p(i) = −i for i < 0, 2 (n − 1) − i for i ≥ n: the ends stand once

Backward every copy returns its dy to the entry that it shows,

    dx[i] = Σ_j 1{p(j − low) = i} dy[j]

which is the middle of dy, and besides, for edge the sum of either rim at either end, for
reflect the rims, folded back. The axes are padded one after another. Sums are at least float32.

Source: Dumoulin & Visin (2016), arXiv:1603.07285, section 2.2, for zeros; Johnson, Alahi &
Fei-Fei (2016), arXiv:1603.08155, supplementary material, for reflection.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.errors import check_floating
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array

Widths = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pad(Layer[tuple[()], tuple[()]]):
    """y = x with entries around it.  x [B, ..., C] → y [B, ..., C].

    `padding` is how many on every side of every axis between batch and channels, or a pair
    (low, high) per axis. `mode` is 'zeros', 'edge', copies of the ends, or 'reflect', copies
    of what lies inside the ends.

    Raises:
        ValueError: for a padding of another form, another mode; from forward, for pairs of other
            axes than x has, for 'reflect' of more entries than lie inside the ends.
    """

    modes: ClassVar = {"zeros": "constant", "edge": "edge", "reflect": "reflect"}  # in numpy

    padding: Any  # a number, or (low, high) per axis
    mode: str = "zeros"

    def __post_init__(self):
        """Refuse a padding of another form, and another mode."""
        super().__post_init__()
        pairs = self.padding if isinstance(self.padding, tuple) else ((self.padding,) * 2,)
        flat = [v for p in pairs if isinstance(p, tuple) and len(p) == 2 for v in p]
        numbers = all(type(v) is int and v >= 0 for v in flat)
        if not (pairs and numbers and len(flat) == 2 * len(pairs)):
            raise ValueError(
                "Pad: padding must be a number of at least 0 or pairs of such (low, high), "
                f"got {self.padding!r:.60}."
            )
        if self.mode not in self.modes:
            raise ValueError(f"Pad: mode must be one of {[*self.modes]}, got {self.mode!r:.60}.")

    def check_input(self, x):
        """x must have the axes that are padded, and enough along each to copy."""
        check_floating(self, "x", x)
        n_axes = x.ndim - 2
        if n_axes < 1 or (isinstance(self.padding, tuple) and len(self.padding) != n_axes):
            axes = f"{len(self.padding)} axes" if isinstance(self.padding, tuple) else "..."
            raise ValueError(f"{self}: x must have shape [B, {axes}, C], got {list(x.shape)}.")
        for axis, sides in enumerate(self.widths(x), 1):
            n, most = x.shape[axis], max(sides)
            needed = {"zeros": 0, "edge": min(most, 1), "reflect": most + (most > 0)}[self.mode]
            if n < needed:
                raise ValueError(
                    f"{self}: axis {axis} of x has {n} entries, fewer than the {needed} of which "
                    f"{self.mode!r} makes {most} more; use less padding or mode='zeros'."
                )

    def widths(self, x: Array) -> Widths:
        """(low, high) of every axis between batch and channels."""
        if isinstance(self.padding, tuple):
            return self.padding
        return ((self.padding, self.padding),) * (x.ndim - 2)

    def forward(self, params, x, *, key=None):
        """y[j] = x[p(j − low)]."""
        return jnp.pad(x, ((0, 0), *self.widths(x), (0, 0)), self.modes[self.mode]), ()

    def backward(self, params, cache, dy):
        """dx[i] = Σ_j 1{p(j − low) = i} dy[j]."""
        (dx,) = widened(dy)
        for axis, (low, high) in enumerate(self.widths(dy), 1):
            n = dx.shape[axis] - low - high
            first, dx, last = jnp.split(dx, (low, low + n), axis)
            if self.mode == "edge":
                dx = within(dx, axis, 0, first.sum(axis, keepdims=True))
                dx = within(dx, axis, n - 1, last.sum(axis, keepdims=True))
            elif self.mode == "reflect":
                dx = within(dx, axis, 1, jnp.flip(first, axis))
                dx = within(dx, axis, n - 1 - high, jnp.flip(last, axis))
        return (), like(dx, dy)


def within(x: Array, axis: int, start: int, a: Array) -> Array:
    """x + a, the first entry of a at `start` along the axis."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (start, x.shape[axis] - start - a.shape[axis], 0)
    return x + jax.lax.pad(a, jnp.zeros((), a.dtype), config)
