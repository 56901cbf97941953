"""Dense: an affine map of the last axis.

    y = x w + b        bias=False: y = x w

With dy = ∂L/∂y, and Σ over all leading axes of x (batch, time, ...),

    dw = Σ xᵀ dy      db = Σ dy      dx = dy wᵀ

Without a bias b and db are None, which is a tree without leaves. The sums run in at least
float32, whatever the dtypes are.

Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 1, 6 and 7.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_key, check_last_axis
from fnn.factors import Outer, Sum
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.numerics import like, outer, plus, plus_gradient, product
from fnn.records import QUIET, Array, Key


class DenseParams(NamedTuple):
    """The weights of a Dense layer, and their gradients."""

    w: Array  # [n_in, n_out]
    b: Array | None  # [n_out]; None with bias=False

    weights = ("w",)


class DenseCache(NamedTuple):
    """The input."""

    x: Array  # [B, ..., n_in]


@dataclass(frozen=True)
class Dense(Layer[DenseParams, DenseCache]):
    """y = x w + b.  x [B, ..., n_in] → y [B, ..., n_out].

    `w_init` (key, n_in, n_out) → w draws the weights; the biases start at 0. With bias=False
    there are none, y = x w and params.b is None.

    Raises:
        ValueError: for n_in or n_out below 1.
    """

    sequences: ClassVar = "positions"

    n_in: int
    n_out: int
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)
    bias: bool = field(default=True, kw_only=True, metadata=QUIET)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"{self}: n_in and n_out must be at least 1.")

    def shapes(self):
        """Those of w and b."""
        return {"w": (self.n_in, self.n_out), "b": (self.n_out,) if self.bias else None}

    def check_input(self, x):
        """x must have n_in features."""
        check_last_axis(self, "x", x, self.n_in)

    def init(self, key):
        """w from `w_init`, b = 0."""
        check_key(self, key)
        return DenseParams(
            w=self.w_init(key, self.n_in, self.n_out),
            b=jnp.zeros(self.n_out) if self.bias else None,
        )

    def forward(self, params, x, *, key=None):
        """y = x w + b."""
        return plus(product(x, params.w), params.b), DenseCache(x)

    def backward(self, params, cache, dy):
        """dw = Σ xᵀ dy,  db = Σ dy,  dx = dy wᵀ."""
        grads = DenseParams(w=outer(cache.x, dy), b=plus_gradient(params.b, dy))
        return like((grads, product(dy, params.w.T)), (params, cache.x))

    def factors(self, params, cache, dy):
        """dw: x, dy;  db: dy."""
        found = {"w": Outer(cache.x, dy)} | ({"b": Sum(dy)} if self.bias else {})
        return found, like(product(dy, params.w.T), cache.x)
