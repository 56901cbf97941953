"""Scaled dot-product attention by cuDNN's kernels: the functions of chunked.py, without a.

    p = exp(q kᵀ/√d − m)      o = p v
    dv = pᵀ do      da = p (do vᵀ − Σ do o)      dq = da k/√d      dk = daᵀ q/√d

p exists in neither direction. Causal and a window behind are the kernel's own, and what they
exclude is not computed; masks, a window on both sides and keys of a state in front are an array of
T · S numbers. What the kernel keeps for its backward jax hands to its own derivative alone:
fused_back asks for that, so that forward's kernel runs twice in a net of blocks in a loop;
elsewhere XLA merges the two. There is no jvp, and so no product with the Hessian.

The kernel multiplies what is excluded by 0. So that a key or value that is not finite makes NaN of
the rows that may see it and of no other, it is 0 for the kernel, and those rows are marked; a row
that may see nothing has o = 0.

Source: Dao, Fu, Ermon, Rudra & Ré (2022), arXiv:2205.14135, algorithms 1 and 4.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layers.chunked import finite
from fnn.layers.sight import Sight
from fnn.records import Array
from fnn.sharding import DATA, MODEL, apart

DTYPES = "bfloat16", "float16"


def fused(q: Array, k: Array, v: Array, sight: Sight, chunk: int | None) -> tuple[Array, None]:
    """o of q [B, H, G, T, d] over k, v [B, H, S, d]; 0 for a row that sees nothing; no m."""

    def run(arrays, masks):
        q, k, v = arrays
        here = sight._replace(keys=masks[0], pairs=masks[1])
        return marked(kernel(q, finite(k), finite(v), here), k, v, here)

    return apart(run, ((DATA, MODEL), (q, k, v)), ((DATA,), (sight.keys, sight.pairs))), None


def fused_back(q, k, v, o, m, do, sight: Sight, chunk: int | None):
    """dq, dk, dv, and no da."""

    def run(arrays, masks):
        q, k, v, do = arrays
        here = sight._replace(keys=masks[0], pairs=masks[1])
        _, back = jax.vjp(functools.partial(kernel, sight=here), q, finite(k), finite(v))
        return back(marked(do, k, v, here))

    masks = sight.keys, sight.pairs
    dq, dk, dv = apart(run, ((DATA, MODEL), (q, k, v, do)), ((DATA,), masks))
    return dq, dk, dv, None


def kernel(q: Array, k: Array, v: Array, sight: Sight) -> Array:
    """o of finite k and v; anything where a row may see nothing.

    Raises:
        TypeError: for another dtype than the kernel has.
        RuntimeError, NotImplementedError: for a device or a size that it does not have.
    """
    n_batch, n_heads, groups, n_rows, d = q.shape
    if q.dtype.name not in DTYPES:
        raise TypeError(
            f"implementation='cudnn': q must be bfloat16 or float16, got {q.dtype}; "
            "Cast(net, 'bfloat16') keeps the params as they are."
        )
    options, rest = split(sight, n_rows, k.shape[2])
    rows = jnp.moveaxis(q, 3, 1).reshape(n_batch, n_rows, n_heads * groups, d)
    mask = visible(rest, n_rows, k.shape[2])
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    try:
        o = jax.nn.dot_product_attention(
            rows, k, v, mask=mask, implementation="cudnn", **options
        )  # fmt: skip
    except (RuntimeError, NotImplementedError) as error:
        raise type(error)(
            f"implementation='cudnn': {error} It needs an NVIDIA GPU and at most 128 features a "
            "head, a multiple of 8; implementation='chunked' runs everywhere."
        ) from error
    return jnp.moveaxis(o.reshape(n_batch, n_rows, n_heads, groups, d), 1, 3)


def split(sight: Sight, n_rows: int, n_keys: int) -> tuple[dict[str, Any], Sight]:
    """What the kernel knows by itself, and what is left for a mask."""
    if not sight.causal or n_rows != n_keys:
        return {}, sight
    window = None if sight.window is None else (sight.window - 1, 0)
    own = {"is_causal": True, "local_window_size": window}
    return own, sight._replace(causal=False, window=None)


def visible(sight: Sight, n_rows: int, n_keys: int) -> Array | None:
    """Which keys every row may see, [B or 1, 1, T, S]; None: all."""
    masks = sight.keys, sight.pairs
    if masks == (None, None):
        seen = sight.visible(n_rows, n_keys)
        return None if seen is None else seen[None, None]

    def one(keys, pairs):
        seen: Any = sight._replace(keys=keys, pairs=pairs).visible(n_rows, n_keys)
        return jnp.broadcast_to(seen, (1, n_rows, n_keys))

    return jax.vmap(one)(*masks)


def marked(a: Array, k: Array, v: Array, sight: Sight) -> Array:
    """`a` of all rows [B, H, G, T, d], NaN where one sees what is not finite, 0 where nothing."""
    n_rows, n_keys = a.shape[3], k.shape[2]

    def of_head(masks, good):
        here = sight._replace(keys=masks[0], pairs=masks[1])
        sees = here.sees_one_of(jnp.ones(n_keys, bool), n_rows)
        return sees, here.sees_one_of(~good, n_rows)

    good = (jnp.isfinite(k) & jnp.isfinite(v)).all(-1)
    sees, bad = jax.vmap(jax.vmap(of_head, (None, 0)))((sight.keys, sight.pairs), good)
    sees, bad = (m[:, :, None, :, None] for m in (sees, bad))
    return jnp.where(sees, jnp.where(bad, jnp.nan, a), 0)
