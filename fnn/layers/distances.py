"""Scores that depend on the distance of two positions, δ = t − s: ALiBi, relative positions.

Added to the scores of head h is a[h, δ], one number per distance:

    ALiBi       a[h, δ] = −c_h |δ|          c_h = 2^(−8 (h + 1) / H) where H is a power of 2
    relative    a[h, δ] = r[h, δ], r learned for |δ| < n; what is further counts as n − 1

Backward, of the cotangents du [rows, keys] of the scores, all of one distance are summed,

    da[h, δ] = Σ_{t − s = δ} du[t, s]       dr[h, δ] = da[h, δ], beyond n − 1 summed up

A matrix of distances is the vector of its diagonals, written again and again, one number
fewer to a row: `by_distance`. The sum over its diagonals reads it the same way.

Source: Press, Smith & Lewis (2022), arXiv:2108.12409, section 3; Shaw, Uszkoreit & Vaswani
(2018), arXiv:1803.02155, section 3.2 for the clipped distance; Raffel et al. (2020),
arXiv:1910.10683, section 2.1, for one number a distance.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.records import Array


def alibi(n_heads: int) -> np.ndarray:
    """c of every head; where H is no power of 2, the odd ones of twice as many heads follow."""
    n = 2 ** int(np.log2(n_heads))
    own = 2.0 ** (-8 * np.arange(1, n + 1) / n)
    return np.concatenate([own, 2.0 ** (-4 * np.arange(1, 2 * n, 2) / n)])[:n_heads]


def by_head(line: bool, r: Array | None, n_heads: int, length: int, dtype: Any) -> Array | None:
    """a [H, 2 length − 1] of every head and distance; None if nothing is added."""
    added = []
    if line:
        added.append(jnp.asarray(-abs(distances(length)) * alibi(n_heads)[:, None], dtype))
    if r is not None:
        added.append(r[:, places((r.shape[1] + 1) // 2, length)].astype(dtype))
    return sum(added[1:], added[0]) if added else None


def gathered(da: Any, n: int, n_heads: int) -> Array:
    """dr [B, H, 2 n − 1] of da [B, H, G, 2 length − 1]."""
    da = da.reshape(len(da), n_heads, da.shape[-1])
    at = places(n, (da.shape[-1] + 1) // 2)
    return jnp.zeros((len(da), n_heads, 2 * n - 1), da.dtype).at[..., at].add(da)


def distances(length: int) -> np.ndarray:
    """δ = 1 − length ... length − 1."""
    return np.arange(1 - length, length)


def places(n: int, length: int) -> np.ndarray:
    """Where r [H, 2 n − 1] has the number of each of these distances."""
    return np.clip(distances(length), 1 - n, n - 1) + n - 1


def diagonals(ahead: Any, n_rows: int, n_keys: int, length: int) -> Array:
    """Where a [2 length − 1] has the diagonals s − t = 0, 1, ..., then −n_rows ... −1 of a part.

    `ahead` is δ of the part's corner. −n_rows is on none, and stands there for the sake of one
    number fewer to a row.
    """
    step = np.arange(n_rows + n_keys)
    step[n_keys:] -= n_rows + n_keys
    return jnp.clip(ahead - step + length - 1, 0, 2 * length - 2)


def by_distance(a: Array, n_rows: int, n_keys: int) -> Array:
    """The matrix of these diagonals: [..., n_rows + n_keys] → [..., n_rows, n_keys]."""
    width = n_rows + n_keys - 1
    flat = jnp.tile(a, n_rows)[..., : n_rows * width]
    return flat.reshape(*a.shape[:-1], n_rows, width)[..., :n_keys]


def over_diagonals(du: Array) -> Array:
    """The sums over the diagonals: [..., n_rows, n_keys] → [..., n_rows + n_keys]."""
    *rest, n_rows, n_keys = du.shape
    around = [(0, 0)] * len(rest)
    flat = jnp.pad(du, [*around, (0, 0), (0, n_rows - 1)]).reshape(*rest, -1)
    flat = jnp.pad(flat, [*around, (0, n_rows)])
    return flat.reshape(*rest, n_rows, n_rows + n_keys).sum(-2)
