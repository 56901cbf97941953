"""Last and MeanOverTime: a sequence as one row, the last of its steps or their mean.

    y = Σ_t s_t x_t        dx_t = s_t dy

    Last          s_τ = 1 for the last step τ that counts
    MeanOverTime  s_t = 1 / n for each of the n steps that count

All other s_t are 0, and what they skip is left out whatever it holds; where no step of a
sequence counts, y = 0. These layers end the part of a net that is a sequence: y is an array,
whatever x is. The sum is at least float32.

Sources: Sutskever, Vinyals & Le (2014), arXiv:1409.3215, section 2, where the last hidden
state stands for the sentence; Lin, Chen & Yan (2014), arXiv:1312.4400, section 3.2, a mean
over space instead of time.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_steps
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array, Static
from fnn.sequence import Sequence, mask_of, value


class OverTimeCache(NamedTuple):
    """How much every step counts, and the form of x."""

    s: Array  # [B, T]
    mask: Array | None  # [B, T]
    lifted: Static  # whether x was a Sequence


@dataclass(frozen=True)
class OverTime(Layer[tuple[()], OverTimeCache]):
    """y = Σ_t s_t x_t.  x [B, T, n], or a Sequence → y [B, n]."""

    sequences: ClassVar = "own"

    @abstractmethod
    def shares(self, counts: Array) -> Array:
        """s [B, T], of counts [B, T], 1 where a step counts and 0 where not."""

    def check_input(self, x):
        """x must be a batch of sequences."""
        check_steps(self, "x", value(x))

    def init(self, key):
        """No parameters."""
        return ()

    def zero_state(self, params, n, capacity=None):
        """No state."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = Σ_t s_t x_t."""
        a, mask = value(x), mask_of(x)
        (z,) = widened(a)
        counts = jnp.ones(a.shape[:2], z.dtype) if mask is None else like(mask, z)
        s = like(self.shares(counts), z)
        y = jnp.where(s[..., None] > 0, s[..., None] * z, 0).sum(1)
        return like(y, a), OverTimeCache(s, mask, Static(isinstance(x, Sequence)))

    def backward(self, params, cache, dy):
        """dx_t = s_t dy."""
        (d,) = widened(dy)
        s = cache.s[..., None]
        dx = like(jnp.where(s > 0, s * d[:, None], 0), dy)
        return (), Sequence(dx, cache.mask) if cache.lifted.value else dx


@dataclass(frozen=True)
class Last(OverTime):
    """y = the last step of x that counts.  x [B, T, n], or a Sequence → y [B, n]."""

    def shares(self, counts):
        """s_τ = 1."""
        t = jnp.arange(counts.shape[1])
        return t == jnp.where(counts > 0, t, -1).max(1, keepdims=True, initial=-1)


@dataclass(frozen=True)
class MeanOverTime(OverTime):
    """y = mean of the steps of x that count.  x [B, T, n], or a Sequence → y [B, n]."""

    def shares(self, counts):
        """s_t = 1 / n."""
        return counts / jnp.maximum(counts.sum(1, keepdims=True), 1)
