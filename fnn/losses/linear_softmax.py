"""LinearSoftmaxCrossEntropy: the cross-entropy of logits that are made chunk by chunk.

With y = Logits(h, w) of Unembed and targets t as in SoftmaxCrossEntropy, at every position

    z = h w      m = max_k z_k      e = exp(z − m)      p = e / Σ_k e_k
    losses = log Σ_k e_k − Σ_k t_k (z_k − m)

    dz = dl (p − t)      dh = dz wᵀ      dw = Σ hᵀ dz

dl is known before the losses are, so one pass over chunks of positions forms z, the losses
and all that dz gives: three products per chunk, as many as with whole logits, and of z and
dz one chunk at a time. `forward` and `backward` alone do the same, the latter with z formed
again. z, the losses and the sums are at least float32. On a mesh every device has rows of its
own. Logits that do exist, as behind `fnn.inference`, are taken too, as SoftmaxCrossEntropy takes
them.

Source: as SoftmaxCrossEntropy; the one pass: Hsu et al. (2024), arXiv:2410.10989, section
3.2; Wijmans et al. (2025), arXiv:2411.09009, section 4.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.by_example import steps
from fnn.columns import Columnwise
from fnn.logits import Logits
from fnn.loops import scan, stacked
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.logit_derivatives import LogitDerivatives
from fnn.numerics import like, outer, owned, product, wide
from fnn.records import Array
from fnn.sharding import over_rows
from fnn.targets import as_classes

ENTRIES = 2**21  # of a chunk of logits where `chunk` does not say
CPU, OTHERS = 128, 1024  # at least so many positions, for a CPU's caches or another's products


class LinearSoftmaxCrossEntropyCache(NamedTuple):
    """The factors of the logits, and the target."""

    y: Logits  # h [B, ..., n], w [n, V]
    target: Array  # [B, ...] or [B, ..., V]


@dataclass(frozen=True)
class LinearSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    """losses = −Σ_k t_k log softmax_k(h w).  y = Logits(h, w), or whole → losses [B, ...].

    target: labels [B, ...] or rows of probabilities [B, ..., V]. `chunk` positions have
    their logits at a time; None: up to 2²¹ logits, or 128 positions where those have more, 1024 on
    devices other than a CPU, where what a chunk adds to dw waits for the memory of dw.
    dh = dz wᵀ, dw = Σ hᵀ dz with dz = dl (softmax(h w) − t).

    Raises:
        ValueError: for a chunk below 1, and as SoftmaxCrossEntropy does.
        TypeError: as SoftmaxCrossEntropy does.
    """

    fused: ClassVar[bool] = True

    chunk: int | None = None

    def __post_init__(self):
        """Reject an empty chunk."""
        super().__post_init__()
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"{self}: chunk must be at least 1, or None.")

    def forward(self, y, target) -> tuple[Array, Any]:
        """log Σ_k e_k − Σ_k t_k (z_k − m), chunk by chunk."""
        if not isinstance(y, Logits):
            return super().forward(y, target)
        self.check(y, target)
        y, target = jax.tree.map(owned, y), as_classes(target)
        whole = SoftmaxCrossEntropy(self.label_smoothing, self.ignore_label)

        def losses_of(fewest, rows, w):
            def of_chunk(chunk):
                h, target = chunk
                return whole.forward(Logits(h, w).whole(), target)[0]

            shape = rows[0].shape[:-1]
            losses = stacked(of_chunk, self.chunks(shape, w.shape[-1], rows, fewest))
            return joined(losses, shape), ()

        losses, _ = over_rows(self.by_platform(losses_of), (y.h, target), y.w)
        return losses, LinearSoftmaxCrossEntropyCache(y, target)

    def backward(self, cache, dl) -> Any:
        """dh = dz wᵀ,  dw = Σ hᵀ dz, of z formed again."""
        if not isinstance(cache, LinearSoftmaxCrossEntropyCache):
            return super().backward(cache, dl)
        return self.value_and_backward(cache.y, cache.target, dl)[1]

    def value_and_backward(self, y, target, dl) -> tuple[Array, Any]:
        """The losses, dh and dw, in one pass over the chunks."""
        if not isinstance(y, Logits):
            return super().value_and_backward(y, target, dl)
        y, target = jax.tree.map(owned, y), as_classes(target)
        counted = self.counted(target)
        dl = dl if counted is None else jnp.where(counted, dl, 0)

        def dz_of(z, dl, target):
            losses, dz = self.one_pass(z.whole(), target, dl)
            return losses, dz.astype(z.w.dtype)

        return self.passed_back(y, dz_of, dl, (target,))

    def value_and_factors(self, y, target, dl) -> tuple[Array, Any]:
        """The losses, dh, and dw in blocks where z would be more than a chunk."""
        rows, target = y.shape[:-1], as_classes(target)
        if self.n_chunks(rows, y.shape[-1]) == 1:
            return super().value_and_factors(y, target, dl)
        y = jax.tree.map(owned, y)

        def back(rows, w):
            wt, shape = w.T, rows[0].shape[:-1]

            def step(chunk):
                h, target, dl = chunk
                z = Logits(h, w).whole()
                losses, dz = self.one_pass(z, target, dl)
                top = losses + self.expected(target, z)  # log Σ_k e^{z_k}, of labels that are valid
                return losses, top, product(dz.astype(w.dtype), wt).astype(h.dtype)

            each = stacked(step, self.chunks(shape, w.shape[-1], rows))
            return jax.tree.map(lambda a: joined(a, shape), each), ()

        (losses, top, dh), _ = over_rows(back, (y.h, target, dl), y.w)
        return losses, Logits(dh, self.blocks(y, target, dl, losses, top))

    def blocks(self, y: Logits, target: Array, dl: Array, losses: Array, top: Array) -> Columnwise:
        """dw of every example; positions that count for nothing are left out of h, too."""
        like: Any = y  # whose shape is asked
        dl = jnp.where(self.ignored(like, target), 0, dl)
        dl, losses, top = (a.reshape(len(a), -1) for a in (dl, losses, top))
        target = target.reshape(*dl.shape, *target.shape[y.ndim - 1 :])
        h = jnp.where(dl[..., None] == 0, 0, steps(y.h))
        how = {"smoothing": self.label_smoothing, "blocks": self.n_chunks(dl.shape, y.shape[-1])}
        return Columnwise(h, LogitDerivatives(h, y.w, target, dl, losses, top, **how))

    def by_chunk(self, y: Logits, f: Callable[..., Array], dl: Array, arrays: Any) -> Logits:
        """dh = dz wᵀ and dw = Σ hᵀ dz of dz = f(*arrays), which have one entry per position.

        f is given a chunk of positions at a time; where dl is 0 a position is left out.
        """
        return self.passed_back(y, lambda z, dl, *arrays: ((), f(*arrays)), dl, arrays)[1]

    def passed_back(self, y: Logits, f: Callable[..., Any], dl: Array, arrays: Any) -> Any:
        """What f makes besides, (found, dz) = f(z, dl, *arrays) of every chunk, and dh and dw."""
        sums = wide(y.dtype)

        def back(fewest, rows, w):
            wt = w.T

            def step(dw, chunk):
                h, dl, arrays = chunk
                found, dz = f(Logits(h, w), dl, *arrays)
                counted = jnp.where(dl[:, None] == 0, 0, h)  # left out: 0 · NaN too
                dw += outer(counted, dz)
                return dw, (found, product(dz, wt).astype(h.dtype))

            shape = rows[0].shape[:-1]
            chunks = self.chunks(shape, w.shape[-1], rows, fewest)
            dw, each = scan(step, jnp.zeros(w.shape, sums), chunks)
            return jax.tree.map(lambda a: joined(a, shape), each), dw

        (found, dh), dw = over_rows(self.by_platform(back), (y.h, dl, arrays), y.w)
        return found, like(Logits(dh, dw), y)

    def by_platform(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """f(fewest, rows, w) with the fewest positions of a chunk that suit the device."""

        def run(rows, w):
            small, large = (functools.partial(f, fewest) for fewest in (CPU, OTHERS))
            sizes = rows[0].shape[:-1], w.shape[-1]
            if self.n_chunks(*sizes) == self.n_chunks(*sizes, OTHERS):
                return small(rows, w)
            return jax.lax.platform_dependent(rows, w, cpu=small, default=large)

        return run

    def chunks(
        self, rows: tuple[int, ...], n_vocab: int, arrays: tuple[Array, ...], fewest: int = CPU
    ) -> Any:
        """Arrays with one entry per position as [chunks, positions, ...], filled with zeros."""
        n, n_chunks = math.prod(rows), self.n_chunks(rows, n_vocab, fewest)
        size = -(-n // n_chunks)

        def chunked(a):
            a = a.reshape(n, *a.shape[len(rows) :])
            a = jnp.pad(a, [(0, n_chunks * size - n)] + [(0, 0)] * (a.ndim - 1))
            return a.reshape(n_chunks, size, *a.shape[1:])

        return jax.tree.map(chunked, arrays)

    def n_chunks(self, rows: tuple[int, ...], n_vocab: int, fewest: int = CPU) -> int:
        """How many chunks of positions there are."""
        most = max(ENTRIES // n_vocab, fewest) if self.chunk is None else self.chunk
        return max(-(-math.prod(rows) // most), 1)


def joined(chunks: Array, rows: tuple[int, ...]) -> Array:
    """[chunks, positions, ...] → [B, ..., ...], without what filled the last chunk."""
    flat = chunks.reshape(-1, *chunks.shape[2:])
    return flat[: math.prod(rows)].reshape(*rows, *chunks.shape[2:])
