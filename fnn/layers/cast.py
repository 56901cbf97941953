"""Cast: a layer that computes in another precision.

    y = f(c(p), c(x))        dp, dx = c(dy) ∂f, in the dtypes of p and x

where c rounds floating-point arrays to `dtype`. Around a net with float32 parameters,
Cast(net, "bfloat16") is the usual mixed precision: float32 masters, bfloat16 compute;
sums over the batch and losses stay at least float32.

float16 has no room for the small gradients of a mean over thousands of examples, and
nothing here scales the loss for it: take bfloat16.

Source: Micikevicius et al. (2018), arXiv:1710.03740, section 3.1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Wrapper, child
from fnn.numerics import cast, is_floating
from fnn.types import Static


class CastCache(NamedTuple):
    """What backward needs of forward."""

    inner: Any  # the cache of the inner layer
    dtypes: Static  # of the floating-point arrays of x


@dataclass(frozen=True)
class Cast(Wrapper[CastCache]):
    """y = inner(x) computed in `dtype`.  y has that dtype, dx the dtype of x.

    The gradients have the dtypes of params; what another rule computes stays in `dtype`.
    """

    dtype: Any

    def __post_init__(self):
        """Hold the dtype by its name; refuse what is no floating-point dtype."""
        super().__post_init__()
        try:
            dtype = None if self.dtype is None else jnp.dtype(self.dtype)
        except TypeError:
            dtype = None
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"Cast: dtype must be a floating dtype, got {self.dtype!r}.")
        object.__setattr__(self, "dtype", dtype.name)

    def forward(self, params, x, *, key=None):
        """y = f(c(p), c(x))."""
        (p,) = self.parts(params)
        with child(0):
            y, cache = self.inner.forward(cast(p, self.dtype), cast(x, self.dtype), key=key)
        dtypes = tuple(a.dtype.name for a in jax.tree.leaves(x) if is_floating(a))
        return y, CastCache(cache, Static(dtypes))

    def backward(self, params, cache, dy):
        """The gradients of f, in the dtypes of params."""
        grads, dx = super().backward(params, cache, dy)
        return jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params), dx

    def backward_with(self, rule, params, cache, dy):
        """dx = c(dy) ∂f/∂x, in the dtype of x."""
        with child(0):
            p, dy = cast((params[0], dy), self.dtype)
            out, dx = rule(self.inner, p, cache.inner, dy)
        leaves, tree = jax.tree.flatten(dx)
        pairs = zip(leaves, cache.dtypes.value, strict=True)
        return (out,), tree.unflatten(d.astype(dtype) for d, dtype in pairs)
