"""Retention of given q, k, v with a decay of every step, a chunk of steps at a time.

Of every head, with d features and a decay a_t in [0, 1], given as its logarithm l_t,

    S_t = a_t S_{t−1} + k_tᵀ v_t        o_t = q_t S_t/√d

A chunk has the steps 1 ... C, and S is the state before them. With D[i,j] = a_{j+1} ⋯ a_i for
j ≤ i, else 0, e_i = a_1 ⋯ a_i, f_j = D[C,j], and 1/√d part of q,

    p = D ⊙ q kᵀ        o = p v + e q S        S′ = e_C S + (f k)ᵀ v

Backward, from the last chunk to the first, with dS′ = ∂L/∂S′,

    dv = pᵀ do + f k dS′      da = D ⊙ do vᵀ
    dq = da k + e do Sᵀ       dk = daᵀ q + f v dS′ᵀ       dS = e_C dS′ + (e q)ᵀ do
    dl_t = Σ_{j<t≤i} p[i,j] do_i·v_j + Σ_{i≥t} e_i q_i·do_i Sᵀ + Σ_{j<t} f_j v_j·k_j dS′
           + e_C Σ S ⊙ dS′

With β, v is what delta_rule.py makes of it. S is not kept: a pass over the chunks makes it
again. Every term of dl_t has the factor a_t, so that nothing cancels, and dl_t is 0 where a_t
is. An exponent in D is the sum of l from j + 1 to i, never above 0: the difference of two sums,
which are kept in two parts, the second what the first has lost. It is right to a few roundings
of itself, next to a decay of 0 too. The arithmetic is at least float32. A value that is not
finite makes NaN of the steps from its own on, and of no other.

Source: Sun et al. (2023), arXiv:2307.08621, eqs. 5 to 7, for one decay of all steps; Dao & Gu
(2024), arXiv:2405.21060, section 6, for one of every step.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layers.chunked import finite
from fnn.layers.delta_rule import correct, correct_back, inverted
from fnn.loops import scan
from fnn.numerics import like, wide, widened
from fnn.records import Array, PyTree

LOWEST = -1000.0  # e to this is 0 in every dtype


class Chunks(NamedTuple):
    """What the steps of every chunk have, [B, chunks, H, C, ...]; in the loop those of one."""

    q: Array  # [..., d]
    k: Array  # [..., d]
    v: Array  # [..., d]
    high: Array  # Σ l from the first step of the chunk to this one, [..., 1]
    low: Array  # what the sum has lost
    b: Array | None  # β, [..., 1]; None without the delta rule


class Terms(NamedTuple):
    """What the equations of one chunk are made of, in at least float32."""

    q: Array  # [B, H, C, d], over √d
    k: Array
    v: Array
    decay: Array  # D, [B, H, C, C]
    e: Array  # [B, H, C, 1]
    f: Array  # [B, H, C, 1]
    b: Array | None  # [B, H, C, 1]


def chunks_of(q: Array, k: Array, v: Array, l: Array, b: Array | None = None) -> Chunks:
    """q, k, v, l and β as they are cut, with the sums of l within every chunk.

    A v or β that is not finite makes its own l NaN.
    """
    l = jnp.maximum(l, LOWEST) + (0 * v).sum(-1, keepdims=True, dtype=l.dtype)
    l = l if b is None else l + 0 * b
    high = l.cumsum(3)
    low = (l - jnp.diff(high, axis=3, prepend=jnp.zeros_like(l[:, :, :, :1]))).cumsum(3)
    return Chunks(q, k, v, high, low, b)


def retain(chunks: Chunks, s: Array) -> tuple[Array, Array]:
    """o [B, chunks, H, C, d], and the last S; `s` [B, H, d, d] is S before the first step."""

    def step(s, i):
        t = terms(at(chunks, i))
        t = written(t, s, rule(t))
        o = jnp.tril(t.decay * (t.q @ t.k.mT)) @ finite(t.v) + t.e * (t.q @ s)
        return following(s, t), o.astype(chunks.q.dtype)

    last, o = over_chunks(step, s, chunks)
    return o, last


def retain_back(chunks: Chunks, s: Array, do: Array, ds: Array) -> tuple[Any, ...]:
    """dq, dk, dv, dl, dβ, and dS before the first step; `ds` is the cotangent of the last S.

    All but dS are cut as do is; dβ is None without β.
    """

    def state(s, i):
        t = terms(at(chunks, i))
        x = rule(t)
        return following(s, written(t, s, x)), (s, x)

    def step(ds, i):
        t, (s, x) = terms(at(chunks, i)), at(before, i)
        (q, k, v, decay, e, f, b), (d,) = written(t, s, x), widened(at(do, i))
        p, dp = jnp.tril(decay * (q @ k.mT)), d @ v.mT
        da, earlier = jnp.tril(decay * dp), sums_before(p)
        dq, dv = e * (d @ s.mT), f * (k @ ds)  # by way of S, of S′
        across, after = jnp.tril(p * dp, -1), (q * dq).sum(-1, keepdims=True)
        dl = (v * dv).sum(-1) @ earlier + e[..., -1, :] * (s * ds).sum((-2, -1))[..., None]
        dq, dk, dv = dq + da @ k, da.mT @ q + f * (v @ ds.mT), dv + p.mT @ d
        ds, db = e[..., -1:, :] * ds + (e * q).mT @ d, None
        if b is not None:
            more = correct_back(k, t.v, decay, e, b, s, x, v, dv)
            dv, db, dk, ds = more.dv, more.db, dk + more.dk, ds + more.ds
            across, after = across + more.across, after + more.after
        dl = dl + jnp.tril(across @ earlier + after).sum(-2)
        found = like((dq / math.sqrt(q.shape[-1]), dk, dv), (do,) * 3)
        return ds, (*found, dl[..., None], db)

    _, before = over_chunks(state, s, chunks)
    first, found = over_chunks(step, ds, chunks, reverse=True)
    return *found, first


def over_chunks(
    step: Callable[[Any, Array], tuple[Any, Any]], carry: Any, chunks: Chunks, *, reverse=False
) -> tuple[Any, Any]:
    """The last carry, and what step(carry, i) makes of every chunk, [B, chunks, ...] each."""
    numbers = jnp.arange(chunks.q.shape[1])
    carry, found = scan(step, carry, numbers, reverse=reverse, like=chunks)
    return carry, jax.tree.map(lambda a: a.swapaxes(0, 1), found)


def at(tree: PyTree, i: Array) -> PyTree:
    """What belongs to the i-th chunk."""
    return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, 1, keepdims=False), tree)


def terms(chunk: Chunks) -> Terms:
    """D, e and f of one chunk, beside its q, k, v and β."""
    q, k, v = (a.astype(wide(a.dtype)) for a in chunk[:3])
    exponent = (chunk.high - chunk.high.mT) + (chunk.low - chunk.low.mT)
    seen = np.tri(exponent.shape[-1], dtype=bool)
    decay = jnp.exp(jnp.where(seen, exponent, -jnp.inf))
    e, f = jnp.exp(chunk.high + chunk.low), decay[..., -1:, :].mT
    return Terms(q / math.sqrt(q.shape[-1]), k, v, decay, e, f, chunk.b)


def rule(t: Terms) -> Array | None:
    """x of the delta rule, where there is a β."""
    return None if t.b is None else inverted(t.k, t.decay, t.b)


def written(t: Terms, s: Array, x: Array | None) -> Terms:
    """`t` with what is written into the state in the place of v."""
    if t.b is None or x is None:
        return t
    return t._replace(v=correct(t.k, t.v, t.e, t.b, s, x))


def following(s: Array, t: Terms) -> Array:
    """S′ = e_C S + (f k)ᵀ v."""
    return t.e[..., -1:, :] * s + (t.f * t.k).mT @ t.v


def cut(a: Array, n_heads: int, chunk: int) -> Array:
    """[B, T, H m] → [B, chunks, H, C, m]; steps that the last chunk lacks are 0.

    C is the least number of steps with which there are as few chunks as there can be.
    """
    batch, length, n = a.shape
    count = max(-(-length // chunk), 1)
    size = max(-(-length // count), 1)
    a = jnp.pad(a, ((0, 0), (0, count * size - length), (0, 0)))
    return a.reshape(batch, count, size, n_heads, n // n_heads).swapaxes(2, 3)


def joined(a: Array, length: int) -> Array:
    """The inverse of cut: [B, chunks, H, C, m] → [B, T, H m]."""
    batch, count, n_heads, size, m = a.shape
    return a.swapaxes(2, 3).reshape(batch, count * size, n_heads * m)[:, :length]


def sums_before(a: Array) -> Array:
    """The matrix j, a square one like a, with which (b @ j)_t = Σ_{s<t} b_s."""
    return jnp.asarray(~np.tri(a.shape[-1], dtype=bool), a.dtype)
