"""Dense: an affine map of the last axis.

    y = x w + b

With dy = ∂L/∂y, and Σ over all leading axes of x (batch, time, ...),

    dw = Σ xᵀ dy      db = Σ dy      dx = dy wᵀ

The sums run in at least float32, whatever the dtypes are.

Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 1, 6 and 7.
Equations: nt.*, fwd.neuron, fwd.neuron-two-inputs, fwd.dense, bp.delta-hidden,
bp.local-affine, bp.grad-w, bp.grad-b, chain.*, model.linear-regression,
model.logistic-regression, model.softmax-classifier.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_key, check_last_axis, check_params
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.numerics import wide
from fnn.types import Array, Key


class DenseParams(NamedTuple):
    """The weights of a Dense layer, and their gradients."""

    w: Array  # [n_in, n_out]
    b: Array  # [n_out]


class DenseCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, ..., n_in]


@dataclass(frozen=True)
class Dense(Layer[DenseParams, DenseCache]):
    """y = x w + b.  x [B, ..., n_in] → y [B, ..., n_out].

    `w_init` (key, n_in, n_out) → w draws the weights; the biases start at 0.
    """

    n_in: int
    n_out: int
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"{self}: n_in and n_out must be at least 1.")

    def init(self, key):
        """w from `w_init`, b = 0."""
        check_key(self, key)
        return DenseParams(
            w=self.w_init(key, self.n_in, self.n_out),
            b=jnp.zeros(self.n_out),
        )

    def forward(self, params, x, *, key=None):
        """y = x w + b."""
        check_last_axis(self, "x", x, self.n_in)
        check_params(self, params, w=(self.n_in, self.n_out), b=(self.n_out,))
        x = jnp.asarray(x)
        return x @ params.w + params.b, DenseCache(x)

    def backward(self, params, cache, dy):
        """dw = Σ xᵀ dy,  db = Σ dy,  dx = dy wᵀ."""
        batch = tuple(range(dy.ndim - 1))
        sums = wide(dy.dtype)
        dw = jnp.tensordot(cache.x, dy, axes=(batch, batch), preferred_element_type=sums)
        db = dy.sum(batch, dtype=sums)
        dx = dy @ params.w.T
        return (
            DenseParams(w=dw.astype(params.w.dtype), b=db.astype(params.b.dtype)),
            dx.astype(cache.x.dtype),
        )
