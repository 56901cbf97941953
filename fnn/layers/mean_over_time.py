"""MeanOverTime: a sequence as the mean of its steps.

    y = (1/n) Σ_t x_t over the n steps that count        dx_t = dy / n, 0 where skipped

A sequence of which no step counts has y = 0. It ends the part of a net that is a sequence:
y is an array, whatever x is. The sum is at least float32.

Source: Lin, Chen & Yan (2014), arXiv:1312.4400, section 3.2, over time instead of space.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_steps
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array, Static
from fnn.sequence import Sequence, mask_of, value


class MeanOverTimeCache(NamedTuple):
    """How much every step counts, and the form of x."""

    share: Array  # [B, T], 1/n or 0
    mask: Array | None  # [B, T]
    lifted: Static  # whether x was a Sequence


@dataclass(frozen=True)
class MeanOverTime(Layer[tuple[()], MeanOverTimeCache]):
    """y = mean of the steps of x that count.  x [B, T, n], or a Sequence → y [B, n]."""

    sequences: ClassVar = "own"

    def check_input(self, x):
        """x must be a batch of sequences."""
        check_steps(self, "x", value(x))

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = (1/n) Σ x_t."""
        a, mask = value(x), mask_of(x)
        (z,) = widened(a)
        counts = jnp.ones(a.shape[:2], z.dtype) if mask is None else like(mask, z)
        share = counts / jnp.maximum(counts.sum(1, keepdims=True), 1)
        y = jnp.where(counts[..., None] > 0, z * share[..., None], 0).sum(1)
        return like(y, a), MeanOverTimeCache(share, mask, Static(isinstance(x, Sequence)))

    def backward(self, params, cache, dy):
        """dx_t = dy / n."""
        (d,) = widened(dy)
        dx = like(cache.share[..., None] * d[:, None], dy)
        return (), Sequence(dx, cache.mask) if cache.lifted.value else dx
