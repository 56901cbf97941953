"""Clipping by the norm of the whole gradient.

    g ← g min(1, c / ‖g‖)        ‖g‖² = Σ over all leaves

It is a link for `Chain`, in front of an optimizer. A gradient of 0 stays 0; if any
entry is not finite the whole result is NaN, for a run to notice, not clipped away.

Source: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063, algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import global_norm, over
from fnn.optim.optimizer import Optimizer, leafwise
from fnn.records import Array, PyTree


@dataclass(frozen=True)
class ClipByNorm(Optimizer[tuple[()]]):
    """g min(1, max_norm / ‖g‖): passes gradients on, adds no step of its own.

    Raises:
        ValueError: for a known max_norm that is not above 0.
    """

    keeps_nan: ClassVar = True

    max_norm: float | Array  # c

    def __post_init__(self):
        """Reject a bound that nothing can meet."""
        check_number("ClipByNorm", "max_norm", self.max_norm, 0, open_low=True)

    def init(self, params):
        """Nothing to remember."""
        return ()

    def update(self, grads, state, params=None, *, value=None):
        """g min(1, c / ‖g‖)."""
        return self.clipped(grads, global_norm(grads)), ()

    def clipped(self, grads: PyTree, norm: Array) -> PyTree:
        """g min(1, c / ‖g‖), of some of the leaves, where ‖g‖ is that of all."""

        def leaf(g):
            c, n = self.numbers(g.dtype).max_norm, norm.astype(g.dtype)
            clipped = jnp.where(n > c, over(g, jnp.where(n > c, n, 1)) * c, g)
            return (jnp.where(jnp.isfinite(n), clipped, jnp.nan),)

        (clipped,) = leafwise(self, leaf, grads)
        return clipped
