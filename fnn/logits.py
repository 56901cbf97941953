"""Logits: the scores of all classes in factored form, z = h w, not multiplied out.

A net that ends in Unembed gives them. A loss with a fused form (LinearSoftmaxCrossEntropy)
works through z a chunk of positions at a time; any other loss, and every metric, takes
z whole. The cotangent has the same form,

    dh = dz wᵀ      dw = Σ hᵀ dz
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from fnn.errors import check_floating, check_shape
from fnn.factors import Outer
from fnn.numerics import like, outer, product, wide
from fnn.records import Array, Data


@dataclass(frozen=True, eq=False)
class Logits(Data):
    """z = h w, as its factors."""

    h: Array  # [B, ..., n]
    w: Any  # [n, V]; of a cotangent dw, in factors where every example's own is wanted

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of z, (B, ..., V)."""
        return (*self.h.shape[:-1], self.w.shape[-1])

    @property
    def ndim(self) -> int:
        """The number of axes of z."""
        return self.h.ndim

    @property
    def dtype(self) -> Any:
        """The dtype of h."""
        return self.h.dtype

    def whole(self) -> Array:
        """z = h w, in at least float32."""
        return jnp.dot(self.h, self.w, preferred_element_type=wide(self.h.dtype))

    def backward(self, dz: Array) -> "Logits":
        """dh = dz wᵀ,  dw = Σ hᵀ dz."""
        check_floating("Logits", "dz", dz)
        check_shape("Logits", "dz", dz, self.shape)
        dz = dz.astype(self.w.dtype)
        return like(Logits(product(dz, self.w.T), outer(self.counting(dz), dz)), self)

    def factors(self, dz: Array) -> "Logits":
        """dh = dz wᵀ,  dw: h, dz."""
        dz = dz.astype(self.w.dtype)
        return Logits(product(dz, self.w.T).astype(self.h.dtype), Outer(self.counting(dz), dz))

    def counting(self, dz: Array) -> Array:
        """h, 0 where dz is: left out, 0 · NaN too."""
        return jnp.where((dz == 0).all(-1, keepdims=True), 0, self.h)


def is_factored(y: Any) -> bool:
    """Whether y is Logits."""
    return isinstance(y, Logits)


def whole(y: Any) -> Any:
    """z of Logits; anything else as it is."""
    return y.whole() if isinstance(y, Logits) else y


def check_factors(owner: Any, y: Logits) -> None:
    """Raise unless y is h [B, ..., n] and w [n, V], floating."""
    check_floating(owner, "h", y.h)
    check_floating(owner, "w", y.w)
    if y.h.ndim < 2 or y.w.ndim != 2 or y.h.shape[-1] != y.w.shape[0]:
        raise ValueError(
            f"{owner}: Logits must hold h [B, ..., n] and w [n, V], "
            f"got {list(y.h.shape)} and {list(y.w.shape)}."
        )
