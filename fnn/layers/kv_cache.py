"""The state of attention: the keys and values of the steps before (KV cache).

Of the last C steps, with room for no more,

    state = (k, v, keys)      k, v [B, n_kv_heads, C, d], not rotated; keys [B, C], True where
                              there is a step that counts

A part of T steps attends to k = [k_state, k_part], S = C + T keys, and its step t stands C + t
places behind the first. Its final state is the last C of them: what is older than C steps is
forgotten (Transformer-XL). Zeros hold no step at all. Backward, with dk, dv of all S keys and
the cotangent dk′, dv′ of the final state,

    [dk_state, dk_part] = dk + [0, dk′]      dv likewise

Source: Dai et al. (2019), arXiv:1901.02860, section 3.2, whose gradient stops at the state, as
that of a state handed on as an array does; Shazeer (2019), arXiv:1911.02150, section 2.4,
for decoding one step at a time.
"""

from typing import Any

import jax.numpy as jnp

from fnn.composite import empty
from fnn.errors import check_floating, check_shape
from fnn.numerics import like
from fnn.records import Array, PyTree

KV = tuple[Array, Array, Array | None]


def check_kv(owner: Any, state: PyTree, n_batch: int, n_heads: int, d: int) -> None:
    """Raise unless `state` is empty, or (k, v, keys) of these sizes."""
    if empty(state):
        return
    if type(state) is not tuple or len(state) != 3:
        raise TypeError(f"{owner}: state must be a tuple (k, v, keys), got {state!r:.80}.")
    k, v, keys = state
    for name, a in (("k", k), ("v", v)):
        check_floating(owner, f"state {name}", a)
        capacity = k.shape[2] if k.ndim == 4 else 0
        check_shape(owner, f"state {name}", a, (n_batch, n_heads, capacity, d))
    if str(getattr(keys, "dtype", "")) != "bool":
        raise TypeError(f"{owner}: state keys must be an array of booleans, got {keys!r:.80}.")
    check_shape(owner, "state keys", keys, (n_batch, k.shape[2]))


def zero_kv(n_batch: int, n_heads: int, capacity: int, d: int, dtype: Any) -> KV:
    """The state before the first step."""
    zero = jnp.zeros((n_batch, n_heads, capacity, d), dtype)
    return zero, zero, jnp.zeros((n_batch, capacity), bool)


def behind(state: PyTree, part: KV) -> KV:
    """The keys, values and mask of the state, and of the part behind them."""
    if empty(state):
        return part
    (k0, v0, keys0), (k, v, keys) = state, part
    keys = jnp.ones((len(k), k.shape[2]), bool) if keys is None else keys
    k, v = jnp.concatenate([like(k0, k), k], 2), jnp.concatenate([like(v0, v), v], 2)
    return k, v, jnp.concatenate([keys0, keys], 1)


def final(state: PyTree, whole: KV) -> PyTree:
    """The last C of all keys and values; None where there was no state."""
    if empty(state):
        return None
    k, v, keys = whole
    first = k.shape[2] - state[0].shape[2]
    assert keys is not None  # there was a state
    return like((k[:, :, first:], v[:, :, first:], keys[:, first:]), state)


def gradients(dstate: PyTree, dk: Array, dv: Array, n_state: int) -> tuple[Any, Array, Array]:
    """What dk and dv of all keys are to the state and to the part: (dstate, dk, dv)."""
    if not empty(dstate):
        first = dk.shape[2] - n_state
        dk, dv = (
            d.at[:, :, first:].add(like(e, d)) for d, e in zip((dk, dv), dstate, strict=False)
        )
    ours, rest = (dk[:, :, :n_state], dv[:, :, :n_state]), (dk[:, :, n_state:], dv[:, :, n_state:])
    return (*ours, None), *rest
