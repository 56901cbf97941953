"""Recompute: a layer that remembers its input only and runs forward again in backward.

    forward     y = f(x)              cache: x
    backward    the cache of f again from x, then dx = dy ∂f/∂x

It trades one more forward pass for the memory of f's cache. Backward passes its inputs
through an optimization barrier, or XLA would merge the two forward passes and keep the
cache after all. On CPU XLA drops the barrier, so there it saves memory inside `Repeat`
only, whose backward is a loop of its own.

Source: Chen, Xu, Zhang & Guestrin (2016), arXiv:1604.06174, section 4.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax

from fnn.layer import Wrapper, child
from fnn.types import Array, Key


class RecomputeCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, ...]
    key: Key | None


@dataclass(frozen=True)
class Recompute(Wrapper[RecomputeCache]):
    """y = inner(x).  The shapes are those of inner."""

    def forward(self, params, x, *, key=None):
        """y = f(x)."""
        (p,) = self.parts(params)
        with child(0):
            y, _ = self.inner.forward(p, x, key=key)
        return y, RecomputeCache(x, key)

    def backward_with(self, rule, params, cache, dy):
        """f again for its cache, then backward through it."""
        p, x, dy = jax.lax.optimization_barrier((params[0], cache.x, dy))
        with child(0):
            _, again = self.inner.forward(p, x, key=cache.key)
            out, dx = rule(self.inner, p, again, dy)
        return (out,), dx
