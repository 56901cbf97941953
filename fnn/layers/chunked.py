"""Scaled dot-product attention of given q, k, v, a chunk of rows at a time (flash attention).

    p = exp(q kᵀ/√d − m)      o = p v
    dv = pᵀ do      du = p (do vᵀ − Σ do o) / √d      dq = du k      dk = duᵀ q

One sequence and one key head is worked on at a time, so that all that need exist of p is one
chunk of it (XLA on CPU keeps several); a causal chunk of rows ends at its own last key. A
chunk is at least float32. A key or value that is not finite makes NaN of the rows that may see
it, and of no other: p = 0 is no protection, 0 · NaN is NaN, so products with p take 0 in its place.
Where one p is nearly 1, do vᵀ − Σ do o cancels: du is right to a rounding of do vᵀ, and the mean
taken off once more would cost a tenth of the layer's time.

Source: Dao, Fu, Ermon, Rudra & Ré (2022), arXiv:2205.14135, algorithms 1 and 4.
"""

import math

import jax
import jax.numpy as jnp

from fnn.numerics import wide
from fnn.records import Array


def attend(q, k, v, mask, causal: bool, chunk: int | None) -> tuple[Array, Array]:
    """o and m of q [B, H, G, T, d] over k, v [B, H, T, d], mask [B, T] or None."""
    rows = spans(k.shape[2], chunk, causal)
    if not rows:
        return jnp.zeros_like(q), jnp.zeros(q.shape[:-1], wide(q.dtype))

    def head(q, k, v, mask):
        done = [
            rows_of(q[:, i:j], k[:end], v[:end], part(mask, end), i, causal) for i, j, end in rows
        ]
        o, m = zip(*done, strict=True)
        return jnp.concatenate(o, 1), jnp.concatenate(m, 1)

    return over_heads(head, (q, k, v), mask, chunk)


def attend_back(q, k, v, o, m, do, mask, causal: bool, chunk: int | None):
    """dq, dk, dv."""
    rows = spans(k.shape[2], chunk, causal)
    if not rows:
        return jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v)

    def head(q, k, v, o, m, do, mask):
        dq, dk, dv = [], jnp.zeros(k.shape, wide(k.dtype)), jnp.zeros(v.shape, wide(v.dtype))
        for i, j, end in rows:
            at = slice(i, j)
            given = q[:, at], k[:end], v[:end], o[:, at], m[:, at], do[:, at]
            dq_i, dk_i, dv_i = rows_back(*given, part(mask, end), i, causal)
            dq.append(dq_i)
            dk, dv = dk.at[:end].add(dk_i), dv.at[:end].add(dv_i)
        return jnp.concatenate(dq, 1), dk.astype(k.dtype), dv.astype(v.dtype)

    return over_heads(head, (q, k, v, o, m, do), mask, chunk)


def spans(length: int, chunk: int | None, causal: bool) -> list[tuple[int, int, int]]:
    """The rows of every chunk, and how many keys it looks at."""
    chunk = chunk or max(length, 1)
    starts = range(0, length, chunk)
    return [
        (i, min(i + chunk, length), min(i + chunk, length) if causal else length) for i in starts
    ]


def over_heads(head, arrays, mask, chunk: int | None):
    """`head` for every sequence and key head: one after another, or at once."""
    if chunk is None:
        inner = jax.vmap(head, (*(0,) * len(arrays), None))
        return jax.vmap(inner, (*(0,) * len(arrays), None if mask is None else 0))(*arrays, mask)
    n_batch, n_heads = arrays[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(n_batch * n_heads, *a.shape[2:]), arrays)
    masks = None if mask is None else jnp.repeat(mask, n_heads, 0)
    found = jax.lax.map(lambda a: head(*a[0], a[1]), (flat, masks))
    return jax.tree.map(lambda a: a.reshape(n_batch, n_heads, *a.shape[1:]), found)


def part(mask: Array | None, end: int) -> Array | None:
    """The mask of the first keys."""
    return None if mask is None else mask[:end]


def scores(q: Array, k: Array, mask: Array | None, first: int, causal: bool) -> Array:
    """q kᵀ/√d, −∞ where row t = first + i may not see key s, [G, rows, keys]."""
    u = jnp.einsum("gtd,sd->gts", q, k, preferred_element_type=wide(q.dtype))
    u = u / math.sqrt(q.shape[-1])
    if causal:
        t = first + jnp.arange(q.shape[1])[:, None]
        u = jnp.where(jnp.arange(len(k)) <= t, u, -jnp.inf)
    return u if mask is None else jnp.where(mask, u, -jnp.inf)


def rows_of(q, k, v, mask, first: int, causal: bool) -> tuple[Array, Array]:
    """o and m of some rows; a row that sees nothing has o = 0 and m = 0."""
    u = scores(q, k, mask, first, causal)
    top = u.max(-1, keepdims=True)
    top = jnp.where(jnp.isneginf(top), 0, top)
    e = jnp.exp(u - top)
    total = e.sum(-1, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    o = jnp.einsum("gts,sd->gtd", (e / total).astype(v.dtype), finite(v))
    seen = seen_by(~jnp.isfinite(v).all(-1), mask, first, q.shape[1], causal)
    return jnp.where(seen[:, None], jnp.nan, o), (top + jnp.log(total))[..., 0]


def rows_back(q, k, v, o, m, do, mask, first: int, causal: bool):
    """dq of some rows, and what they add to dk and dv."""
    u, sums = scores(q, k, mask, first, causal), wide(q.dtype)
    p = jnp.exp(u - m[..., None])
    dv = jnp.einsum("gts,gtd->sd", p.astype(do.dtype), do, preferred_element_type=sums)
    dp = jnp.einsum("gtd,sd->gts", do, finite(v), preferred_element_type=sums)
    delta = (do.astype(sums) * o.astype(sums)).sum(-1, keepdims=True)
    du = (p * (dp - delta) / math.sqrt(q.shape[-1])).astype(q.dtype)
    dq = jnp.einsum("gts,sd->gtd", du, finite(k))
    dk = jnp.einsum("gts,gtd->sd", du, q, preferred_element_type=sums)
    return dq, dk, dv


def finite(a: Array) -> Array:
    """`a` with 0 where it is NaN or infinite."""
    return jnp.where(jnp.isfinite(a), a, 0)


def seen_by(bad: Array, mask: Array | None, first: int, n: int, causal: bool) -> Array:
    """Which of the n rows from `first` on may see one of the bad keys."""
    bad = bad if mask is None else bad & mask
    if not causal:
        return jnp.broadcast_to(bad.any(), n)
    return jnp.cumsum(bad)[first : first + n] > 0
