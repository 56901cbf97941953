"""Clipping by the norm of the whole gradient.

    g ← g min(1, c / ‖g‖)        ‖g‖² = Σ over all leaves

It is a link for `Chain`, in front of an optimizer. A gradient of 0 stays 0; if any
entry is not finite the whole result is NaN, for a run to notice, not clipped away.

Source: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063, algorithm 1.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import wide
from fnn.optim.optimizer import Optimizer, leafwise
from fnn.records import Array, PyTree


@dataclass(frozen=True)
class ClipByNorm(Optimizer[tuple[()]]):
    """g min(1, max_norm / ‖g‖): passes gradients on, adds no step of its own.

    Raises:
        ValueError: for a known max_norm that is not above 0.
    """

    max_norm: float | Array  # c

    def __post_init__(self):
        """Reject a bound that nothing can meet."""
        check_number("ClipByNorm", "max_norm", self.max_norm, 0, open_low=True)

    def init(self, params):
        """Nothing to remember."""
        return ()

    def update(self, grads, state, params=None, *, value=None):
        """g min(1, c / ‖g‖)."""
        norm = global_norm(grads)

        def leaf(g):
            c, n = self.numbers(g.dtype).max_norm, norm.astype(g.dtype)
            clipped = jnp.where(n > c, over(g, jnp.where(n > c, n, 1)) * c, g)
            return (jnp.where(jnp.isfinite(n), clipped, jnp.nan),)

        (clipped,) = leafwise(self, leaf, grads)
        return clipped, ()


def global_norm(tree: PyTree) -> Array:
    """√Σ g² over all leaves, in at least float32, without overflow on the way."""
    leaves = [g.astype(wide(g.dtype)) for g in jax.tree.leaves(tree) if g.size]
    if not leaves:
        return jnp.zeros(())
    dtype = jnp.result_type(*(g.dtype for g in leaves))
    largest = jnp.stack([abs(g).max().astype(dtype) for g in leaves]).max()
    unit = jnp.where(largest > 0, largest, 1)
    return unit * jnp.sqrt(
        sum((over(g, unit.astype(g.dtype)) ** 2).sum().astype(dtype) for g in leaves)
    )


def over(a: Array, b: Array) -> Array:
    """a / b of one number b, as XLA multiplies by 1 / b, which may be too small for its dtype."""
    c = jnp.where(b > 1, 2.0 ** -(jnp.finfo(a.dtype).maxexp // 2), 1).astype(a.dtype)
    return (a * c) / (b * c)
