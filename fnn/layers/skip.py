"""Skip: a layer and its input, side by side on the last axis.

    y = [x, f(x)]        dx = da + db ∂f,   dy = [da, db]

It is the route of a U-Net, whose every level goes around all that is coarser than it:

    level_i = Serial(down_i, Skip(Serial(MaxPool2d(2), level_{i+1}, Upsample(2))), up_i)

The way around that adds up, y = x + f(x), is Residual.

Source: Ronneberger, Fischer & Brox (2015), arXiv:1505.04597, section 2 and figure 1.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.composite import Wrapper
from fnn.errors import check_floating, check_shape
from fnn.numerics import like
from fnn.records import Static
from fnn.sequence import lift, value


class SkipCache(NamedTuple):
    """The cache of the layer, and where dy is cut."""

    inner: Any
    n: Static  # the width of x


@dataclass(frozen=True)
class Skip(Wrapper[SkipCache]):
    """y = [x, inner(x)].  x [B, ..., n] → y [B, ..., n + m]; inner makes [B, ..., m].

    Raises:
        TypeError: for what is not a layer; from forward, for an x that is not floating.
        ValueError: from forward, for an inner that changes another axis than the last.
    """

    hands_on: ClassVar = True

    def forward(self, params, x, *, key=None):
        """y = [x, f(x)]."""
        check_floating("Skip", "x", value(x))
        y, cache = self.inner.forward(params, x, key=key)
        a, b = value(x), value(y)
        hint = "; only the last axis may differ: pad, crop or resize inside"
        check_shape("Skip", "inner(x)", b, (*a.shape[:-1], *b.shape[-1:]), hint=hint)
        y = lift(lambda b: jnp.concatenate([a, b], -1), y)
        return y, SkipCache(cache, Static(a.shape[-1]))

    def backward_with(self, rule, params, cache, dy):
        """dx = da + db ∂f."""
        n = cache.n.value
        out, dx = rule(self.inner, params, cache.inner, lift(lambda d: d[..., n:], dy))
        return out, lift(lambda dx, dy: like(dy[..., :n] + dx, dx), dx, dy)
