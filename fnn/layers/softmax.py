"""Softmax and LogSoftmax of the last axis.

    y_k = exp(x_k − m) / Σ_j exp(x_j − m)        m = max_j x_j

Every y_k depends on every x_j, ∂y_k/∂x_j = y_k (1{j=k} − y_j), so that

    dx = y (dy − Σ_k dy_k y_k)

and for the logarithm, y_k = x_k − m − log Σ_j exp(x_j − m), ∂y_k/∂x_j = 1{j=k} − exp y_j,

    dx = dy − exp(y) Σ_k dy_k

The arithmetic is at least float32.

Source: Bridle (1990), Neurocomputing, NATO ASI F68, pp. 227-236.
Equations: nt.layer-output, act.softmax, act.softmax-jacobian, act.softmax-vjp,
bp.delta-output-rowwise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_batch
from fnn.layer import Layer
from fnn.numerics import wide
from fnn.types import Array


class SoftmaxCache(NamedTuple):
    """What backward needs of forward."""

    y: Array  # [B, ..., C]


@dataclass(frozen=True)
class Softmax(Layer[tuple[()], SoftmaxCache]):
    """y = eˣ / Σ eˣ.  x [B, ..., C] → y [B, ..., C], rows that sum to 1."""

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = exp(x − m) / Σ exp(x − m)."""
        check_batch(self, "x", x)
        x = jnp.asarray(x)
        e = jnp.exp(shifted(x))
        y = (e / e.sum(-1, keepdims=True)).astype(x.dtype)
        return y, SoftmaxCache(y)

    def backward(self, params, cache, dy):
        """dx = y (dy − Σ dy y)."""
        y, dz = cache.y.astype(wide(dy.dtype)), dy.astype(wide(dy.dtype))
        dx = y * (dz - (dz * y).sum(-1, keepdims=True))
        return (), dx.astype(dy.dtype)


@dataclass(frozen=True)
class LogSoftmax(Layer[tuple[()], SoftmaxCache]):
    """y = x − log Σ eˣ.  x [B, ..., C] → y [B, ..., C], logarithms of probabilities."""

    def init(self, key):
        """No parameters."""
        return ()

    def forward(self, params, x, *, key=None):
        """y = x − m − log Σ exp(x − m)."""
        check_batch(self, "x", x)
        x = jnp.asarray(x)
        s = shifted(x)
        y = (s - jnp.log(jnp.exp(s).sum(-1, keepdims=True))).astype(x.dtype)
        return y, SoftmaxCache(y)

    def backward(self, params, cache, dy):
        """dx = dy − exp(y) Σ dy."""
        y, dz = cache.y.astype(wide(dy.dtype)), dy.astype(wide(dy.dtype))
        dx = dz - jnp.exp(y) * dz.sum(-1, keepdims=True)
        return (), dx.astype(dy.dtype)


def shifted(x: Array) -> Array:
    """x − max x of each row, in at least float32: exp of it cannot overflow."""
    x = x.astype(wide(x.dtype))
    return x - x.max(-1, keepdims=True)
