"""Arrays with a row for every example, [B, ...]: what factors of gradients are made with.

combined(c, g)    Σ_b c_b g_b
scaled(c, d)      c_b d_b, and 0 where c_b is 0
selected(c, a)    a_b, and 0 where c_b is 0
square_sum(g)     ‖g_b‖²
steps(a)          all positions of an example in a row
lengths(a)        ‖a_t‖ of every step
"""

import jax.numpy as jnp

from fnn.loops import scan
from fnn.numerics import times, wide, widened
from fnn.records import Array


def combined(c: Array, g: Array) -> Array:
    """Σ_b c_b g_b, in at least float32; a product, which XLA on CPU is faster at than at sums."""
    return jnp.tensordot(c.astype(wide(g.dtype)), widened(g)[0], 1)


def in_turn(c: Array, g: Array) -> Array:
    """The same, and nothing of g_b where c_b is 0; no copy of g is made."""

    def more(total, row):
        return total + times(*row), None

    c, g = c.astype(wide(g.dtype)), widened(g)[0]
    return scan(more, jnp.zeros(g.shape[1:], g.dtype), (c, g))[0]


def steps(a: Array) -> Array:
    """All positions of an example in a row, [B, ..., n] → [B, T, n]."""
    return a.reshape(len(a), -1, a.shape[-1])


def lengths(a: Array) -> Array:
    """‖a_t‖ of every step, [B, T], in at least float32."""
    (a,) = widened(steps(a))
    return jnp.sqrt((a**2).sum(-1))


def square_sum(g: Array) -> Array:
    """‖g_b‖² of every example: [B, ...] → [B], summed in at least float32."""
    (g,) = widened(g)
    return (g**2).sum(tuple(range(1, g.ndim)))


def by_row(c: Array, a: Array) -> Array:
    """c [B] with an axis for every one of a's, [B, 1, ...]."""
    return c.reshape(-1, *(1,) * (a.ndim - 1))


def scaled(c: Array, d: Array) -> Array:
    """c_b d_b, and 0 where c_b is 0."""
    return times(by_row(c, d).astype(d.dtype), d)


def selected(c: Array, a: Array) -> Array:
    """a_b, and 0 where c_b is 0."""
    return jnp.where(by_row(c, a) == 0, jnp.zeros((), a.dtype), a)
