"""Unembed: the last layer of a net whose logits need never all exist at once.

    y = Logits(x, w)          the logits x w in factored form; nothing is multiplied

The loss behind it, LinearSoftmaxCrossEntropy, forms the products chunk by chunk and sends
back the derivatives of both factors, dy = Logits(dh, dw),

    dw: dw      dx = dh

Any other loss multiplies them out. `fnn.inference` turns the layer into a Dense layer with the
bias 0, whose y are the logits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from fnn.errors import check_key, check_last_axis
from fnn.factors import Factor
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.logits import Logits
from fnn.numerics import like
from fnn.records import Array, Key


class UnembedParams(NamedTuple):
    """The weights of an Unembed layer, and their gradients."""

    w: Array  # [n_in, n_vocab]

    weights = ("w",)


@dataclass(frozen=True)
class Unembed(Layer[UnembedParams, tuple[()]]):
    """y = Logits(x, w).  x [B, ..., n_in] → y, whose shape is [B, ..., n_vocab].

    It ends a net that is trained with LinearSoftmaxCrossEntropy. `w_init` (key, n_in, n_out)
    → w draws the weights. For rules of single examples dz is formed whole.

    Raises:
        ValueError: for n_in below 1 or n_vocab below 2.
    """

    sequences: ClassVar = "positions"

    n_in: int
    n_vocab: int
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_in < 1 or self.n_vocab < 2:
            raise ValueError(f"{self}: n_in must be at least 1 and n_vocab at least 2.")

    def shapes(self):
        """That of w."""
        return {"w": (self.n_in, self.n_vocab)}

    def check_input(self, x):
        """x must have n_in features."""
        check_last_axis(self, "x", x, self.n_in)

    def init(self, key):
        """w from `w_init`."""
        check_key(self, key)
        return UnembedParams(self.w_init(key, self.n_in, self.n_vocab))

    def forward(self, params, x, *, key=None) -> tuple[Any, tuple[()]]:
        """y = Logits(x, w)."""
        return Logits(x, params.w), ()

    def backward(self, params, cache, dy):
        """dw: dw,  dx = dh."""
        dw = dy.w.gradient() if isinstance(dy.w, Factor) else dy.w
        return like(UnembedParams(dw), params), dy.h

    def factors(self, params, cache, dy):
        """dw: h, dz, where dy has them."""
        return ({"w": dy.w}, dy.h) if isinstance(dy.w, Factor) else None
