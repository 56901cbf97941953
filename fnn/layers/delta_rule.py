"""The delta rule: a state is given the part of a value that it does not hold yet.

With S as in retention.py, and β_t in [0, 1] of every step,

    S_t = a_t (1 − β_t k_tᵀ k_t) S_{t−1} + β_t k_tᵀ v_t = a_t S_{t−1} + k_tᵀ w_t
    w_t = β_t (v_t − k_t a_t S_{t−1})

Of a chunk behind S, with D and e as there and m[i,j] = D[i,j] k_i·k_j for j < i, else 0,

    x = (1 + β m)⁻¹       w = x β (v − e k S)

and retention of q, k and w is that of the rule. Backward, with dw from retention,

    g = xᵀ dw             dv = β g      dβ_i = g_i·(v − e k S − m w)_i
    dm[i,j] = −dv_i·w_j for j < i         dc = D ⊙ dm
    dk = dc k + dcᵀ k − e dv Sᵀ           dS = −(e k)ᵀ dv
    dl_t = Σ_{j<t≤i} m[i,j] dm[i,j] − Σ_{i≥t} e_i k_i·dv_i Sᵀ

besides what retention itself adds to dk, dS and dl. x is put together from the inverses of
smaller blocks, by two products for every power of two: XLA on CPU solves triangles row by row,
and the layer took twenty times as long. Keys have length 1:

    u = k r,  r = 1/√(Σ k² + ε)           dk = r (du − u Σ du u)

Source: Yang, Kautz & Hatamizadeh (2024), arXiv:2412.06464, for the rule with a decay (Gated
DeltaNet); Yang, Wang, Zhang, Shen & Kim (2024), arXiv:2406.06484, for its form in chunks.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.layers.chunked import finite
from fnn.layers.normalization import over_rms
from fnn.numerics import widened
from fnn.records import Array

EPS = 1e-6  # ε/d


class Corrected(NamedTuple):
    """What the rule adds to the backward of a chunk."""

    dv: Array  # [..., C, d]
    db: Array  # [..., C, 1]
    dk: Array  # [..., C, d]
    ds: Array  # [..., d, d]
    across: Array  # m ⊙ dm, [..., C, C]
    after: Array  # −e k·dv Sᵀ, [..., C, 1]


def inverted(k: Array, decay: Array, b: Array) -> Array:
    """x = (1 + β m)⁻¹, of what is finite: the rest is NaN by its decay or its k."""
    return inverse(finite(b * overlap(k, decay)))


def correct(k: Array, v: Array, e: Array, b: Array, s: Array, x: Array) -> Array:
    """w = x β (v − e k S), of what is finite."""
    return x @ finite(b * (v - e * (k @ s)))


def correct_back(k, v, decay, e, b, s, x, w, dw) -> Corrected:
    """g = xᵀ dw, and what follows from it."""
    m, g = overlap(k, decay), x.mT @ dw
    db = (g * (v - e * (k @ s) - m @ w)).sum(-1, keepdims=True)
    dv = b * g
    dm, by_s = -jnp.tril(dv @ w.mT, -1), -e * (dv @ s.mT)
    dc = decay * dm
    after = (k * by_s).sum(-1, keepdims=True)
    return Corrected(dv, db, dc @ k + dc.mT @ k + by_s, -(e * k).mT @ dv, m * dm, after)


def overlap(k: Array, decay: Array) -> Array:
    """m: how much of an earlier key every key finds again."""
    return jnp.tril(decay * (k @ k.mT), -1)


def inverse(m: Array) -> Array:
    """x = (1 + m)⁻¹ of an m that is 0 on the diagonal and above it.

    With the blocks of b steps on the diagonal inverted, x ← x − x n x inverts those of 2 b, where
    n is what of m lies in the lower left quarter of each: (a 0; c d)⁻¹ = (a⁻¹ 0; −d⁻¹ c a⁻¹ d⁻¹).
    """
    size = m.shape[-1]
    row, column = np.arange(size)[:, None], np.arange(size)
    x, b = jnp.eye(size, dtype=m.dtype), 1
    while b < size:
        quarter = (row // b == column // b + 1) & (row // b % 2 == 1)
        n = jnp.where(quarter, m, 0)
        x, b = (x - n if b == 1 else x - x @ n @ x), 2 * b
    return jnp.broadcast_to(x, m.shape)


def unit(a: Array) -> tuple[Array, Array]:
    """u = a r and r = 1/√(Σ a² + ε)."""
    root = math.sqrt(a.shape[-1])
    z, r = over_rms(*widened(a), axes=(-1,), eps=EPS)
    return (z / root).astype(a.dtype), r / root


def unit_back(u: Array, r: Array, du: Array) -> Array:
    """da = r (du − u Σ du u)."""
    z, d = widened(u, du)
    return (r * (d - z * (d * z).sum(-1, keepdims=True))).astype(du.dtype)
