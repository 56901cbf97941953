"""Unembed: the last layer of a net whose logits are never whole.

    y = (x, w)          the logits x w in factored form; nothing is multiplied

The loss behind it, LinearSoftmaxCrossEntropy, forms the products block by block and sends
back the derivatives of both factors, dy = (dh, dw),

    dw: dw      dx = dh

`fnn.inference` turns it into a Dense layer without bias, whose y are the logits.

Source: none; the product stands in the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_key, check_last_axis, check_params
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.types import Array, Key


class UnembedParams(NamedTuple):
    """The weights of an Unembed layer, and their gradients."""

    w: Array  # [n_in, n_vocab]


class UnembedCache(NamedTuple):
    """Backward needs nothing of forward."""


@dataclass(frozen=True)
class Unembed(Layer[UnembedParams, UnembedCache]):
    """y = (x, w), the factors of the logits.  x [B, ..., n_in] → y (x, w [n_in, n_vocab]).

    It ends a net that is trained with LinearSoftmaxCrossEntropy. `w_init` (key, n_in, n_out)
    → w draws the weights. Rules for single examples refuse it, since all examples share w:
    use Dense and SoftmaxCrossEntropy there.
    """

    mixes_examples: ClassVar[bool] = True  # w, a part of y, is not one example's own

    n_in: int
    n_vocab: int
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_vocab < 2:
            raise ValueError(f"{self}: n_in must be at least 1 and n_vocab at least 2.")

    def init(self, key):
        """w from `w_init`."""
        check_key(self, key)
        return UnembedParams(self.w_init(key, self.n_in, self.n_vocab))

    def forward(self, params, x, *, key=None) -> tuple[Any, UnembedCache]:
        """y = (x, w)."""
        check_last_axis(self, "x", x, self.n_in)
        check_params(self, params, w=(self.n_in, self.n_vocab))
        return (jnp.asarray(x), params.w), UnembedCache()

    def backward(self, params, cache, dy):
        """dw: dw,  dx = dh."""
        dh, dw = dy
        return UnembedParams(dw), dh
