"""Rotary positions (RoPE): features rotated by an angle that grows with the position.

Of a vector a_t with d features, for every pair (i, i + d/2), at position t,

    φ = t θ^(−2i/d)
    b_i       = a_i cos φ − a_{i+d/2} sin φ
    b_{i+d/2} = a_i sin φ + a_{i+d/2} cos φ             b_t = R_t a_t

Backward the rotation is undone, da_t = R_tᵀ db_t: the same with −φ. Since R_tᵀ R_s =
R_{s−t}, a product of two rotated vectors depends on the distance of their positions only.

Source: Su et al. (2021), arXiv:2104.09864, eqs. 14 to 16 and 34, its pairs (2i, 2i + 1)
put d/2 apart.
"""

import jax.numpy as jnp
import numpy as np

from fnn.numerics import wide
from fnn.records import Array


def rotate(a: Array, base: float, first: int = 0, *, back: bool = False) -> Array:
    """R_t a_t, or R_tᵀ a_t, of a [..., T, d], d even, t from `first` on, in at least float32."""
    length, d = a.shape[-2:]
    t = np.arange(first, first + length)
    angle = t[:, None] * base ** (-np.arange(0, d, 2) / d)  # φ, [T, d/2]
    cos, sin = (jnp.asarray(f(angle), wide(a.dtype)) for f in (np.cos, np.sin))
    left, right = jnp.split(a.astype(cos.dtype), 2, axis=-1)
    sin = -sin if back else sin
    turn = [left * cos - right * sin, left * sin + right * cos]
    return jnp.concatenate(turn, -1).astype(a.dtype)
