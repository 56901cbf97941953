"""Softmax and LogSoftmax of the last axis.

    y_k = exp(x_k − m) / Σ_j exp(x_j − m)        m = max_j x_j

Every y_k depends on every x_j, ∂y_k/∂x_j = y_k (1{j=k} − y_j), so that

    dx = y (dy − Σ_k dy_k y_k)

A constant added to dy changes nothing, as Σ_k y_k = 1. So the mean Σ_k dy_k y_k is taken away
twice: what the first time leaves by rounding, the second removes, and dx is right where one
y_k is nearly 1, too.

and for the logarithm, y_k = x_k − m − log Σ_j exp(x_j − m), ∂y_k/∂x_j = 1{j=k} − exp y_j,

    dx = dy − exp(y) Σ_k dy_k

Where exp y_k is nearly 1, y_k and dx_k of the logarithm are right to 2⁻²⁴ (in float32), not
relative to their size; more would cost twice the time. SoftmaxCrossEntropy is right there, too.

The arithmetic is at least float32.

Source: Bridle (1990), Neurocomputing, NATO ASI F68, pp. 227-236.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_batch
from fnn.layer import Layer
from fnn.numerics import like, widened
from fnn.records import Array


class SoftmaxCache(NamedTuple):
    """The output."""

    y: Array  # [B, ..., C]


@dataclass(frozen=True)
class OfRows(Layer[tuple[()], SoftmaxCache]):
    """What Softmax and LogSoftmax have in common."""

    sequences: ClassVar = "positions"

    def check_input(self, x):
        """x must be a floating batch."""
        check_batch(self, "x", x)


@dataclass(frozen=True)
class Softmax(OfRows):
    """y = eˣ / Σ eˣ.  x [B, ..., C] → y [B, ..., C], rows that sum to 1."""

    def forward(self, params, x, *, key=None):
        """y = exp(x − m) / Σ exp(x − m)."""
        e = jnp.exp(shifted(x))
        y = like(e / e.sum(-1, keepdims=True), x)
        return y, SoftmaxCache(y)

    def backward(self, params, cache, dy):
        """dx = y (dy − Σ dy y)."""
        y, d = widened(cache.y, dy)
        for _ in range(2):
            d = d - (d * y).sum(-1, keepdims=True)
        return (), like(y * d, dy)


@dataclass(frozen=True)
class LogSoftmax(OfRows):
    """y = x − log Σ eˣ.  x [B, ..., C] → y [B, ..., C], logarithms of probabilities.

    The logarithm of the sum is the field's logsumexp.
    """

    def forward(self, params, x, *, key=None):
        """y = x − m − log Σ exp(x − m)."""
        s = shifted(x)
        y = like(s - jnp.log(jnp.exp(s).sum(-1, keepdims=True)), x)
        return y, SoftmaxCache(y)

    def backward(self, params, cache, dy):
        """dx = dy − exp(y) Σ dy."""
        y, d = widened(cache.y, dy)
        return (), like(d - jnp.exp(y) * d.sum(-1, keepdims=True), dy)


def shifted(x: Array) -> Array:
    """x − max x of each row, in at least float32: exp of it cannot overflow."""
    (x,) = widened(x)
    return x - x.max(-1, keepdims=True)
