"""Recompute: a layer that keeps its input only and runs forward again in backward.

    forward     y = f(x)              cache: x
    backward    the cache of f again from x, then dx = dy ∂f/∂x

This is gradient checkpointing: one more forward pass for the memory of f's cache. Backward
passes its inputs through an optimization barrier, or XLA would merge the two forward
passes and keep the cache after all. On CPU XLA drops the barrier, so there it saves memory
inside `Repeat` only, whose backward is a loop of its own.

Source: Chen, Xu, Zhang & Guestrin (2016), arXiv:1604.06174, section 4.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from fnn.composite import Wrapper, plain
from fnn.records import Key


class RecomputeCache(NamedTuple):
    """The arguments of forward."""

    x: Any  # [B, ...]
    key: Key | None


@dataclass(frozen=True)
class Recompute(Wrapper[RecomputeCache]):
    """y = inner(x).  The shapes are those of inner.

    It keeps x alone; on CPU that saves memory inside `Repeat` only.

    Raises:
        TypeError: for what is not a layer.
    """

    def forward(self, params, x, *, key=None):
        """y = f(x)."""
        y, _ = self.inner.forward(params, x, key=key)
        return y, RecomputeCache(x, key)

    def backward_with(self, rule, params, cache, dy):
        """f again for its cache, then backward through it."""
        p, x, dy = jax.lax.optimization_barrier((plain(params), cache.x, dy))
        _, again = self.inner.forward(p, x, key=cache.key)
        return rule(self.inner, params, again, dy)
