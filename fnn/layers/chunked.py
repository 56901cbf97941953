"""Scaled dot-product attention of given q, k, v, tile by tile (flash attention).

    p = exp(q kᵀ/√d + a − m)      o = p v
    dv = pᵀ do      da = p (do vᵀ − Σ do o)      dq = da k/√d      dk = daᵀ q/√d

with a of the distance of a row and a key, where there is such a thing (distances.py).

A tile of p, at least float32, is that of `chunk` rows and `chunk` keys. It exists while loops are
at it, over sequences and key heads, over rows, over keys: memory grows with T, and no program
does. That is for a CPU. Other devices work at all sequences, heads and, without a window, rows at
once, in a loop over keys alone; memory still grows with T. Forward finds of every tile its largest
score c, l = Σ exp(u − c) and o = Σ exp(u − c) v, and adds them to those of the tiles before,

    c″ = max(c, c′)      l″ = exp(c − c″) l + exp(c′ − c″) l′      o″ likewise

so that m = c + log l and o / l of all tiles are those of the rows. Backward has tiles of pᵀ, and kᵀ
beside k: XLA on CPU is slow where a product sums over the first axes of both arrays.

A key or value that is not finite makes NaN of the rows that may see it, and of no other: p = 0 is
no protection, 0 · NaN is NaN, so products with p take 0 in its place. Where one p is nearly 1,
do vᵀ − Σ do o cancels: da is right to a rounding of do vᵀ, and the mean taken off once more would
cost a tenth of the layer's time.

Source: Dao, Fu, Ermon, Rudra & Ré (2022), arXiv:2205.14135, algorithms 1 and 4.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.layers.distances import by_distance, over_diagonals
from fnn.layers.sight import Sight, Tiles
from fnn.loops import stacked
from fnn.numerics import wide
from fnn.records import Array
from fnn.sharding import DATA, MODEL, apart


class Sums(NamedTuple):
    """What rows are after some tiles; nothing yet where total is 0."""

    top: Array  # c, [G, rows]
    total: Array  # l
    o: Array  # [G, rows, d]


def attend(q, k, v, sight: Sight, chunk: int | None) -> tuple[Array, Array]:
    """o and m of q [B, H, G, T, d] over k, v [B, H, S, d]; 0 for a row that sees nothing."""
    n_rows, n_keys = q.shape[3], k.shape[2]
    if not (n_rows and n_keys):
        return jnp.zeros_like(q), jnp.zeros(q.shape[:-1], wide(q.dtype))

    def head(tiles, sight, q, k, v):
        seen, ks, vs = tiles.cut(sight), tiles.of_keys(k), tiles.of_keys(finite(v))

        def rows(_, given):
            i, q = given

            def tile(j):
                return rows_of(q, ks[j], vs[j], tiles.at(seen, i, j))

            none = jnp.zeros(q.shape[:-1], wide(q.dtype))
            found = Sums(none, none, wide_zeros(q))
            top, total, o = tiles.over_keys(tile, lambda a, b, _: added(a, b), found, sight, i)
            total = jnp.where(total == 0, 1, total)
            return None, ((o / total[..., None]).astype(q.dtype), top + jnp.log(total))

        _, (o, m) = tiles.over_rows(rows, None, q)
        bad = sight.sees_one_of(~jnp.isfinite(v).all(-1), n_rows)
        return jnp.where(bad[:, None], jnp.nan, o), m

    return over_heads(head, (q, k, v), sight, chunk)


def attend_back(q, k, v, o, m, do, sight: Sight, chunk: int | None):
    """dq, dk, dv, and da summed over its diagonals, like a for every example."""
    n_rows, n_keys = q.shape[3], k.shape[2]
    if not (n_rows and n_keys):
        da = None if sight.a is None else jnp.zeros((len(q), *sight.a.shape), sight.a.dtype)
        return *jax.tree.map(jnp.zeros_like, (q, k, v)), da

    def head(tiles, sight, q, k, v, o, m, do):
        seen, keys = tiles.cut(sight), [tiles.of_keys(a) for a in (k, finite(k), finite(v))]
        keys[1] = keys[1].mT
        delta = (do.astype(m.dtype) * o.astype(m.dtype)).sum(-1)

        def rows(sums, given):
            i, q, m, do, delta = given

            def tile(j):
                k, kt, v = (a[j] for a in keys)
                return rows_back(q, m, do, delta, k, kt, v, tiles.at(seen, i, j))

            def add(sums, found, j):
                (dq, dk, dv, da), (dq_j, dk_j, dv_j, da_j) = sums, found
                if da is not None:
                    da = da.at[:, tiles.diagonals(seen, i, j)].add(da_j)
                return dq + dq_j, dk.at[j].add(dk_j), dv.at[j].add(dv_j), da

            dq = wide_zeros(jnp.moveaxis(q, -1, 0))
            dq, *sums = tiles.over_keys(tile, add, (dq, *sums), sight, i)
            return tuple(sums), jnp.moveaxis(dq.astype(q.dtype), 0, -1)

        none = jax.tree.map(wide_zeros, (keys[0], keys[0], sight.a))
        (dk, dv, da), dq = tiles.over_rows(rows, none, q, m, do, delta)
        dk, dv = (a.reshape(-1, a.shape[-1])[:n_keys].astype(k.dtype) for a in (dk, dv))
        return dq, dk, dv, da

    return over_heads(head, (q, k, v, o, m, do), sight, chunk)


def wide_zeros(a: Array) -> Array:
    """0 like a, in at least float32."""
    return jnp.zeros(a.shape, wide(a.dtype))


def scores(q, k, seen: Sight, *, turned: bool = False) -> Array:
    """q kᵀ/√d + a, −∞ where a row may not see a key, [G, rows, keys]; turned: [keys, G, rows]."""

    def placed(a):
        return jnp.moveaxis(a, -1, 0) if turned else a

    form = "gtd,sd->sgt" if turned else "gtd,sd->gts"
    u = jnp.einsum(form, q, k, preferred_element_type=wide(q.dtype)) / math.sqrt(q.shape[-1])
    n_rows, n_keys = q.shape[1], len(k)
    if seen.a is not None:
        u = u + placed(by_distance(seen.a, n_rows, n_keys))
    visible = seen.visible(n_rows, n_keys)
    return u if visible is None else jnp.where(placed(visible[None]), u, -jnp.inf)


def rows_of(q, k, v, seen: Sight) -> Sums:
    """What some rows make of a tile."""
    u = scores(q, k, seen)
    top = jax.lax.stop_gradient(u.max(-1))
    top = jnp.where(jnp.isneginf(top), 0, top)
    e = jnp.exp(u - top[..., None])
    o = jnp.einsum("gts,sd->gtd", e.astype(v.dtype), v, preferred_element_type=u.dtype)
    return Sums(top, e.sum(-1), o)


def added(a: Sums, b: Sums) -> Sums:
    """The sums of both, to the larger top of the two."""
    top = jnp.where(b.total == 0, a.top, jnp.where(a.total == 0, b.top, jnp.maximum(a.top, b.top)))
    old, new = (jnp.where(s.total == 0, 0, jnp.exp(s.top - top)) for s in (a, b))
    o = old[..., None] * a.o + new[..., None] * b.o
    return Sums(top, old * a.total + new * b.total, o)


def rows_back(q, m, do, delta, k, kt, v, seen: Sight):
    """What a tile adds to dqᵀ of its rows, to dk and dv, and to da by diagonals; kt is kᵀ."""
    u, sums = scores(q, k, seen, turned=True), m.dtype
    p = jnp.exp(u - m)
    dv = jnp.einsum("sgt,gtd->sd", p.astype(do.dtype), do, preferred_element_type=sums)
    dp = jnp.einsum("sd,gtd->sgt", v, do, preferred_element_type=sums)
    da = p * (dp - delta)
    du = (da / math.sqrt(q.shape[-1])).astype(q.dtype)
    dq = jnp.einsum("ds,sgt->dgt", kt, du, preferred_element_type=sums)
    dk = jnp.einsum("sgt,gtd->sd", du, q, preferred_element_type=sums)
    return dq, dk, dv, None if seen.a is None else over_diagonals(jnp.moveaxis(da, 0, -1))


def finite(a: Array) -> Array:
    """`a` with 0 where it is NaN or infinite."""
    return jnp.where(jnp.isfinite(a), a, 0)


def over_heads(head, arrays, sight: Sight, chunk: int | None):
    """head(tiles, sight, *arrays) of every sequence and key head; arrays [B, H, G, T, ...].

    A CPU takes one after another, whose tile stays in its caches; all other devices all of them at
    once, and all rows, for which they have room to work. On a mesh every device has sequences and
    heads of its own.
    """
    tiles = Tiles.of(arrays[0].shape[3], arrays[1].shape[2], chunk)
    masks = sight.keys, sight.pairs

    def one(tiles, arrays, masks, a):
        return head(tiles, sight._replace(keys=masks[0], pairs=masks[1], a=a), *arrays)

    if chunk is None:
        return at_once(functools.partial(one, tiles), arrays, masks, sight.a)
    wide = tiles if sight.window else tiles._replace(rows=tiles.n_rows)
    run = functools.partial(
        jax.lax.platform_dependent,
        cpu=functools.partial(in_turn, functools.partial(one, tiles)),
        default=functools.partial(at_once, functools.partial(one, wide)),
    )
    return apart(run, ((DATA, MODEL), arrays), ((DATA,), masks), ((MODEL,), sight.a))


def at_once(one, arrays, masks, a):
    """`one` for all sequences and key heads."""
    return jax.vmap(jax.vmap(one, (0, None, 0)), (0, 0, None))(arrays, masks, a)


def in_turn(one, arrays, masks, a):
    """`one` for every sequence and key head, one after another."""
    n_batch, n_heads = arrays[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(n_batch * n_heads, *a.shape[2:]), arrays)

    def numbered(given):
        arrays, i = given
        of_sequence = jax.tree.map(lambda m: m[i // n_heads], masks)
        return one(arrays, of_sequence, None if a is None else a[i % n_heads])

    found = stacked(numbered, (flat, jnp.arange(n_batch * n_heads)))
    return jax.tree.map(lambda a: a.reshape(n_batch, n_heads, *a.shape[1:]), found)
