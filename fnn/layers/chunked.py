"""Scaled dot-product attention of given q, k, v, a chunk of rows at a time (flash attention).

    p = exp(q kᵀ/√d + a − m)      o = p v
    dv = pᵀ do      da = p (do vᵀ − Σ do o)      dq = da k/√d      dk = daᵀ q/√d

with a of the distance of a row and a key, where there is such a thing (distances.py).

One sequence and one key head is worked on at a time, so that all that need exist of p is one
chunk of it (XLA on CPU keeps several); a causal chunk of rows ends at its own last key, and with
a window it begins at the first that is near enough. A chunk is at least float32. A key or value
that is not finite makes NaN of the rows that may see it, and of no other: p = 0 is no
protection, 0 · NaN is NaN, so products with p take 0 in its place. Where one p is nearly 1,
do vᵀ − Σ do o cancels: da is right to a rounding of do vᵀ, and the mean taken off once more
would cost a tenth of the layer's time.

Source: Dao, Fu, Ermon, Rudra & Ré (2022), arXiv:2205.14135, algorithms 1 and 4.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layers.distances import by_distance, diagonals, over_diagonals
from fnn.numerics import wide
from fnn.records import Array
from fnn.sharding import DATA, MODEL, apart


class Sight(NamedTuple):
    """What a position t may see of the positions s: all that is nowhere excluded."""

    causal: bool = False  # s ≤ t
    window: int | None = None  # |t − s| < window
    keys: Array | None = None  # [B, S]
    pairs: Array | None = None  # [B, T, S]
    a: Array | None = None  # added to scores by distance 1 − n ... n − 1, [H, G, 2 n − 1], n ≥ T, S
    ahead: int = 0  # t − s of the first position and the first key


class Span(NamedTuple):
    """A chunk of rows, and the keys that it looks at."""

    rows: slice
    keys: slice


def attend(q, k, v, sight: Sight, chunk: int | None) -> tuple[Array, Array]:
    """o and m of q [B, H, G, T, d] over k, v [B, H, S, d]."""
    spans = spans_of(q.shape[3], k.shape[2], chunk, sight)
    if not spans or not k.shape[2]:
        return jnp.zeros_like(q), jnp.zeros(q.shape[:-1], wide(q.dtype))

    def head(q, k, v, sight):
        done = [rows_of(q[:, at], k[to], v[to], part(sight, at, to)) for at, to in spans]
        o, m = zip(*done, strict=True)
        return jnp.concatenate(o, 1), jnp.concatenate(m, 1)

    return over_heads(head, (q, k, v), sight, chunk)


def attend_back(q, k, v, o, m, do, sight: Sight, chunk: int | None):
    """dq, dk, dv, and da summed over its diagonals, like a for every example."""
    spans = spans_of(q.shape[3], k.shape[2], chunk, sight)
    if not spans or not k.shape[2]:
        da = None if sight.a is None else jnp.zeros((len(q), *sight.a.shape), sight.a.dtype)
        return *jax.tree.map(jnp.zeros_like, (q, k, v)), da

    def head(q, k, v, o, m, do, sight):
        dq, (dk, dv, sums) = [], jax.tree.map(wide_zeros, (k, v, sight.a))
        for at, to in spans:
            given = q[:, at], k[to], v[to], o[:, at], m[:, at], do[:, at]
            dq_i, dk_i, dv_i, da_i = rows_back(*given, part(sight, at, to))
            dq.append(dq_i)
            dk, dv = dk.at[to].add(dk_i), dv.at[to].add(dv_i)
            if sums is not None:
                sums = sums.at[:, where(at, to, sight)].add(over_diagonals(da_i))
        return jnp.concatenate(dq, 1), dk.astype(k.dtype), dv.astype(v.dtype), sums

    return over_heads(head, (q, k, v, o, m, do), sight, chunk)


def wide_zeros(a: Array) -> Array:
    """0 like a, in at least float32."""
    return jnp.zeros(a.shape, wide(a.dtype))


def spans_of(n_rows: int, n_keys: int, chunk: int | None, sight: Sight) -> list[Span]:
    """The rows of every chunk, and the keys that one of them may be near enough to see."""
    found, reach = [], sight.window or sight.ahead + max(n_rows, n_keys, 1)
    chunk = chunk or max(n_rows, 1)
    for i in range(0, n_rows, chunk):
        j = min(i + chunk, n_rows)
        first, end = sight.ahead + i - reach + 1, sight.ahead + j
        end = end if sight.causal else end + reach - 1
        keys = slice(min(max(first, 0), n_keys), min(end, n_keys))
        found.append(Span(slice(i, j), keys))
    return found


def over_heads(head, arrays, sight: Sight, chunk: int | None):
    """`head` for every sequence and key head: one after another, or at once.

    On a mesh every device has sequences and heads of its own.
    """
    masks = sight.keys, sight.pairs

    def one(arrays, masks, a):
        return head(*arrays, sight._replace(keys=masks[0], pairs=masks[1], a=a))

    if chunk is None:
        return jax.vmap(jax.vmap(one, (0, None, 0)), (0, 0, None))(arrays, masks, sight.a)
    run = functools.partial(in_turn, one)
    return apart(run, ((DATA, MODEL), arrays), ((DATA,), masks), ((MODEL,), sight.a))


def in_turn(one, arrays, masks, a):
    """`one` for every sequence and key head, one after another."""
    n_batch, n_heads = arrays[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(n_batch * n_heads, *a.shape[2:]), arrays)

    def numbered(given):
        arrays, i = given
        of_sequence = jax.tree.map(lambda m: m[i // n_heads], masks)
        return one(arrays, of_sequence, None if a is None else a[i % n_heads])

    found = jax.lax.map(numbered, (flat, jnp.arange(n_batch * n_heads)))
    return jax.tree.map(lambda a: a.reshape(n_batch, n_heads, *a.shape[1:]), found)


class Part(NamedTuple):
    """What the rows of one span may see: t − s of its corner, and the rest of Sight, cut."""

    ahead: int
    causal: bool
    window: int | None
    keys: Array | None  # [keys]
    pairs: Array | None  # [rows, keys]
    a: Array | None  # of its diagonals, [G, rows + keys]


def part(sight: Sight, at: slice, to: slice) -> Part:
    """Sight of one sequence, cut to a span."""
    keys = None if sight.keys is None else sight.keys[to]
    pairs = None if sight.pairs is None else sight.pairs[at, to]
    a = None if sight.a is None else sight.a[:, where(at, to, sight)]
    return Part(sight.ahead + at.start - to.start, sight.causal, sight.window, keys, pairs, a)


def where(at: slice, to: slice, sight: Any) -> np.ndarray:
    """The places of a span's diagonals in a."""
    n_rows, n_keys = at.stop - at.start, to.stop - to.start
    ahead = sight.ahead + at.start - to.start
    return diagonals(ahead, n_rows, n_keys, (sight.a.shape[-1] + 1) // 2)


def scores(q: Array, k: Array, seen: Part) -> Array:
    """q kᵀ/√d + a, −∞ where a row may not see a key, [G, rows, keys]."""
    u = jnp.einsum("gtd,sd->gts", q, k, preferred_element_type=wide(q.dtype))
    u = u / math.sqrt(q.shape[-1])
    if seen.a is not None:
        u = u + by_distance(seen.a, *u.shape[1:])
    visible = visible_to(seen, *u.shape[1:])
    return u if visible is None else jnp.where(visible, u, -jnp.inf)


def visible_to(seen: Part, n_rows: int, n_keys: int) -> Array | None:
    """Which keys the rows may see, [rows, keys] or [keys]; None: all."""
    allowed = [a for a in (seen.keys, seen.pairs) if a is not None]
    behind = seen.ahead + jnp.arange(n_rows)[:, None] - jnp.arange(n_keys)  # t − s
    if seen.causal:
        allowed.append(behind >= 0)
    if seen.window is not None:
        allowed.append((behind if seen.causal else abs(behind)) < seen.window)
    return functools.reduce(jnp.logical_and, allowed) if allowed else None


def rows_of(q, k, v, seen: Part) -> tuple[Array, Array]:
    """o and m of some rows; a row that sees nothing has o = 0 and m = 0."""
    u = scores(q, k, seen)
    top = u.max(-1, keepdims=True, initial=-jnp.inf)
    top = jnp.where(jnp.isneginf(top), 0, top)
    e = jnp.exp(u - top)
    total = e.sum(-1, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    o = jnp.einsum("gts,sd->gtd", (e / total).astype(v.dtype), finite(v))
    bad = seen_by(~jnp.isfinite(v).all(-1), seen, q.shape[1])
    return jnp.where(bad[:, None], jnp.nan, o), (top + jnp.log(total))[..., 0]


def rows_back(q, k, v, o, m, do, seen: Part):
    """dq of some rows, what they add to dk and dv, and da."""
    u, sums = scores(q, k, seen), wide(q.dtype)
    p = jnp.exp(u - m[..., None])
    dv = jnp.einsum("gts,gtd->sd", p.astype(do.dtype), do, preferred_element_type=sums)
    dp = jnp.einsum("gtd,sd->gts", do, finite(v), preferred_element_type=sums)
    delta = (do.astype(sums) * o.astype(sums)).sum(-1, keepdims=True)
    da = p * (dp - delta)
    du = (da / math.sqrt(q.shape[-1])).astype(q.dtype)
    dq = jnp.einsum("gts,sd->gtd", du, finite(k))
    dk = jnp.einsum("gts,gtd->sd", du, q, preferred_element_type=sums)
    return dq, dk, dv, da


def finite(a: Array) -> Array:
    """`a` with 0 where it is NaN or infinite."""
    return jnp.where(jnp.isfinite(a), a, 0)


def seen_by(bad: Array, seen: Part, n_rows: int) -> Array:
    """Which rows may see one of the bad keys, [rows]."""
    bad = bad if seen.keys is None else bad & seen.keys
    whole = seen.window is None and seen.pairs is None
    if whole and not seen.causal:
        return jnp.broadcast_to(bad.any(), n_rows)
    if whole and len(bad) >= seen.ahead + n_rows:
        return jnp.cumsum(bad)[seen.ahead : seen.ahead + n_rows] > 0
    visible: Any = visible_to(seen, n_rows, len(bad))
    return jnp.logical_and(visible, bad).any(-1)
