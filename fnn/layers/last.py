"""Last: what a sequence ends with.

    y = x_τ,  τ the last step that counts        dx_t = dy for t = τ, else 0

A sequence of which no step counts has y = 0. It ends the part of a net that is a sequence:
y is an array, whatever x is.

Source: Sutskever, Vinyals & Le (2014), arXiv:1409.3215, section 2, where the last hidden
state stands for the sentence.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_steps
from fnn.layer import Layer
from fnn.records import Array, Static
from fnn.sequence import Sequence, mask_of, value


class LastCache(NamedTuple):
    """Which step was taken, and the form of x."""

    taken: Array  # [B, T] booleans, one of each row at most
    mask: Array | None  # [B, T]
    lifted: Static  # whether x was a Sequence


@dataclass(frozen=True)
class Last(Layer[tuple[()], LastCache]):
    """y = the last step of x that counts.  x [B, T, n], or a Sequence → y [B, n]."""

    sequences: ClassVar = "own"

    def check_input(self, x):
        """x must be a batch of sequences."""
        check_steps(self, "x", value(x))

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = x_τ."""
        a, mask = value(x), mask_of(x)
        t = jnp.arange(a.shape[1])
        counts = jnp.ones(a.shape[:2], bool) if mask is None else mask
        taken = t == jnp.where(counts, t, -1).max(1, keepdims=True, initial=-1)
        y = jnp.where(taken[..., None], a, 0).sum(1)
        return y, LastCache(taken, mask, Static(isinstance(x, Sequence)))

    def backward(self, params, cache, dy):
        """dx_τ = dy."""
        dx = jnp.where(cache.taken[..., None], dy[:, None], 0)
        return (), Sequence(dx, cache.mask) if cache.lifted.value else dx
