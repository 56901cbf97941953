"""LinearSoftmaxCrossEntropy: the cross-entropy of logits that are never whole.

With y = (h, w) of Unembed and targets t as in SoftmaxCrossEntropy, at every position

    z = h w      m = max_k z_k      e = exp(z − m)      p = e / Σ_k e_k
    losses = log Σ_k e_k − Σ_k t_k (z_k − m)

    dz = dl (p − t)      dh = dz wᵀ      dw = Σ hᵀ dz

dl is known before the losses are, so one pass over blocks of positions forms z, the losses
and all that dz gives: three products per block, as many as with whole logits, and of z and
dz one block at a time. `forward` and `backward` alone do the same, the latter with z formed
again. z, the losses and the sums are at least float32. Logits that do exist, as behind
`fnn.inference`, are taken too, as SoftmaxCrossEntropy takes them.

Source: as SoftmaxCrossEntropy; the one pass: Hsu et al. (2024), arXiv:2410.10989, section
3.2; Wijmans et al. (2025), arXiv:2411.09009, section 4.
Equations: loss.softmax-cce-grad, loss.cce-stable.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_floating
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.numerics import wide
from fnn.targets import as_classes
from fnn.types import Array

ENTRIES = 2**21  # of a block of logits where `block` does not say


class LinearSoftmaxCrossEntropyCache(NamedTuple):
    """What backward needs of forward."""

    h: Array  # [B, ..., n]
    w: Array  # [n, V]
    target: Array  # [B, ...] or [B, ..., V]


@dataclass(frozen=True)
class LinearSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    """losses = −Σ_k t_k log softmax_k(h w).  y = (h [B, ..., n], w [n, V]) → losses [B, ...].

    target: labels [B, ...] or rows of probabilities [B, ..., V]. `block` positions have
    their logits at a time; None: about 2²¹ logits, at least 128 positions.
    """

    shared: ClassVar[tuple[int, ...]] = (1,)  # w

    block: int | None = None

    def __post_init__(self):
        """Reject an empty block."""
        super().__post_init__()
        if self.block is not None and self.block < 1:
            raise ValueError(f"{self}: block must be at least 1, or None.")

    def shape(self, y):
        """The shape of the losses of y."""
        return super().shape(y[0] if isinstance(y, tuple) else y)

    def check(self, y: Any, target):
        """y must be (h, w), target hold labels [B, ...] or probabilities [B, ..., V]."""
        if isinstance(y, tuple):
            check_factors(self, y)
            h, w = y
            y = jax.ShapeDtypeStruct((*h.shape[:-1], w.shape[1]), h.dtype)
        super().check(y, target)

    def forward(self, y, target) -> tuple[Array, Any]:
        """log Σ_k e_k − Σ_k t_k (z_k − m), block by block."""
        if not isinstance(y, tuple):
            return super().forward(y, target)
        self.check(y, target)
        (h, w), target = jax.tree.map(jnp.asarray, y), as_classes(target)

        def losses_of(block):
            h, target = block
            return super(LinearSoftmaxCrossEntropy, self).forward(logits(h, w), target)[0]

        losses = jax.lax.map(losses_of, self.cut(h.shape[:-1], w.shape[1], (h, target)))
        return joined(losses, h.shape[:-1]), LinearSoftmaxCrossEntropyCache(h, w, target)

    def backward(self, cache, dl) -> Any:
        """dh = dz wᵀ,  dw = Σ hᵀ dz, of z formed again."""
        if not isinstance(cache, LinearSoftmaxCrossEntropyCache):
            return super().backward(cache, dl)
        return self.value_and_backward((cache.h, cache.w), cache.target, dl)[1]

    def value_and_backward(self, y, target, dl) -> tuple[Array, Any]:
        """The losses, dh and dw, in one pass over the blocks."""
        if not isinstance(y, tuple):
            return super().value_and_backward(y, target, dl)
        self.check(y, target)
        (h, w), target = jax.tree.map(jnp.asarray, y), as_classes(target)
        rows, wt, sums = h.shape[:-1], w.T, wide(h.dtype)
        counted = self.counted(target)
        dl = dl if counted is None else jnp.where(counted, dl, 0)

        def step(dwt, block):
            h, target, dl = block
            losses, dz = self.one_pass(logits(h, w), target, dl)
            dz = dz.astype(w.dtype)
            counted = jnp.where(dl[:, None] == 0, 0, h)  # left out: 0 · NaN too
            dwt += jnp.dot(dz.T, counted, preferred_element_type=sums)
            return dwt, (losses, (dz @ wt).astype(h.dtype))

        blocks = self.cut(rows, w.shape[1], (h, target, dl))
        dwt, (losses, dh) = jax.lax.scan(step, jnp.zeros(wt.shape, sums), blocks)
        return joined(losses, rows), (joined(dh, rows), dwt.T.astype(w.dtype))

    def cut(self, rows: tuple[int, ...], n_vocab: int, arrays: tuple[Array, ...]) -> Any:
        """Arrays with one entry per position as [blocks, positions, ...], filled with zeros."""
        n = math.prod(rows)
        most = max(ENTRIES // n_vocab, 128) if self.block is None else self.block
        n_blocks = max(-(-n // most), 1)
        size = -(-n // n_blocks)

        def blocks(a):
            a = a.reshape(n, *a.shape[len(rows) :])
            a = jnp.pad(a, [(0, n_blocks * size - n)] + [(0, 0)] * (a.ndim - 1))
            return a.reshape(n_blocks, size, *a.shape[1:])

        return jax.tree.map(blocks, arrays)


def logits(h: Array, w: Array) -> Array:
    """z = h w, in at least float32."""
    return jnp.dot(h, w, preferred_element_type=wide(h.dtype))


def joined(blocks: Array, rows: tuple[int, ...]) -> Array:
    """[blocks, positions, ...] → [B, ..., ...], without what filled the last block."""
    flat = blocks.reshape(-1, *blocks.shape[2:])
    return flat[: math.prod(rows)].reshape(*rows, *blocks.shape[2:])


def check_factors(owner: Any, y: Any) -> None:
    """Raise unless y is (h [B, ..., n], w [n, V]), as Unembed makes it."""
    if len(y) != 2:
        raise TypeError(f"{owner}: y must be (h, w), as Unembed gives it, got {len(y)} arrays.")
    h, w = y
    check_floating(owner, "h", h)
    check_floating(owner, "w", w)
    if h.ndim < 2 or w.ndim != 2 or h.shape[-1] != w.shape[0]:
        raise ValueError(
            f"{owner}: y must be h [B, ..., n] and w [n, V], "
            f"got {list(h.shape)} and {list(w.shape)}."
        )
