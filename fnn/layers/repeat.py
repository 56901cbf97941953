"""Repeat: n copies of one block, one after another.

    y = f(p_n, ... f(p_2, f(p_1, x)))        dx = dy ∂f(p_n) ... ∂f(p_1)

The n parameters, caches, gradients and results of rules are stacked on a new leading
axis; the block is traced once forward and once backward, whatever n is, as one
`lax.scan` and one reversed `lax.scan`.
"""

from dataclasses import dataclass
from typing import Any

import jax

from fnn.errors import check_key
from fnn.layer import Layer, Wrapper, child


@dataclass(frozen=True, init=False)
class Repeat(Wrapper[Any]):
    """y = inner applied n times.  x [B, ...] → y [B, ...]; inner keeps shape and dtype.

    Repeat(12, block).
    """

    n: int

    def __init__(self, n: int, inner: Layer[Any, Any]):
        """n copies of inner."""
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "inner", inner)
        self.__post_init__()
        if self.n < 1:
            raise ValueError(f"Repeat: n must be at least 1, got {self.n}.")

    def init(self, key):
        """n independent draws, stacked."""
        check_key("Repeat", key)
        return (jax.vmap(self.inner.init)(jax.random.split(key, self.n)),)

    def forward(self, params, x, *, key=None):
        """x → f → ... → f → y."""
        (stacked,) = self.parts(params)
        for leaf in jax.tree.leaves(stacked):
            if leaf.shape[:1] != (self.n,):
                raise ValueError(
                    f"Repeat: every array of params must have shape [{self.n}, ...], "
                    f"got {list(leaf.shape)}."
                )

        def step(x, inputs):
            p, k = inputs
            with child(0):
                y, cache = self.inner.forward(p, x, key=k)
            if (y.shape, y.dtype) != (x.shape, x.dtype):
                raise ValueError(
                    "Repeat: inner must keep shape and dtype, it made "
                    f"{y.dtype}{list(y.shape)} of {x.dtype}{list(x.shape)}."
                )
            return y, cache

        keys = None if key is None else jax.random.split(key, self.n)
        return jax.lax.scan(step, x, (stacked, keys), length=self.n)

    def backward_with(self, rule, params, cache, dy):
        """dx ← f ← ... ← f ← dy."""

        def step(dy, inputs):
            p, c = inputs
            with child(0):
                out, dx = rule(self.inner, p, c, dy)
            return dx, out

        dx, out = jax.lax.scan(step, dy, (params[0], cache), length=self.n, reverse=True)
        return (out,), dx
