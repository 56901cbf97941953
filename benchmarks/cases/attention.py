"""Attention against einsum and softmax, and against jax.nn.dot_product_attention."""

from typing import Any

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient
from benchmarks.plain import best


def attention(batch: int, t: int, *, fused: bool, **kinds: Any) -> Pair:
    """x s + b, then 4 heads of 64, and a squared error at every position."""
    net = fnn.Serial(fnn.Affine(256), fnn.Attention(256, 4, **kinds))
    written = best(net) if fused else net
    x, target = draw(batch, t, 256), draw(batch, t, 256, seed=3)
    return gradient(net, fnn.SquaredError(), x, target, written=written)


def cases(name: str, batch: int, t: int, **kinds: Any) -> list[Case]:
    """Two rows, one per reference."""
    return [
        Case(f"{name}, against {to}", lambda f=fused: attention(batch, t, fused=f, **kinds))
        for to, fused in (("einsum", False), ("jax.nn", True))
    ]


ATTENTION = Table(
    "Attention",
    "x s + b → attention, 4 heads of 64, against einsum, where, softmax, einsum; against "
    "jax.nn.dot_product_attention.",
    (
        *cases("T 256, batch 8", 8, 256),
        *cases("T 1024, batch 2", 2, 1024),
        *cases("T 2048, batch 1", 1, 2048),
        *cases("T 1024, batch 2, not causal", 2, 1024, causal=False),
        *cases("T 1024, batch 2, one key head", 2, 1024, n_kv_heads=1),
        *cases("T 2048, batch 1, a window of 256", 1, 2048, window=256),
        *cases("T 1024, batch 2, ALiBi", 2, 1024, alibi=True)[:1],
    ),
    mean=True,
)
