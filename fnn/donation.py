"""Donation: a program writes its results where its arguments stood, which are gone by then.

Arrays are given away whole. One that stands in two places, or in what is kept, is given away in a
copy; a typed key is never.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from fnn.records import PyTree


def donatable(tree: PyTree, kept: PyTree) -> PyTree:
    """`tree` to give away: an array that stands in it twice, or in `kept` too, is copied."""
    known = {b for a in jax.tree.leaves(kept) for b in buffers(a)}

    def leaf(a):
        own = buffers(a)
        if known.intersection(own):
            return jnp.copy(a)
        known.update(own)
        return a

    return jax.tree.map(leaf, tree)


def buffers(a: Any) -> tuple[int, ...]:
    """Where the entries of an array lie, on every device; () of what is no array yet, or empty."""
    if not isinstance(a, jax.Array) or isinstance(a, jax.core.Tracer) or a.size == 0:
        return ()
    if jnp.issubdtype(a.dtype, jax.dtypes.extended):
        return buffers(jax.random.key_data(a))
    return tuple(shard.data.unsafe_buffer_pointer() for shard in a.addressable_shards)


def check_there(owner: str, name: str, tree: PyTree) -> None:
    """Raise a ValueError for arrays that an earlier call was given."""
    for a in jax.tree.leaves(tree):
        if isinstance(a, jax.Array) and not isinstance(a, jax.core.Tracer) and a.is_deleted():
            raise ValueError(
                f"{owner}: {name} was given away, by donate=True in an earlier call; go on with "
                "what that call returned, or copy before: jax.tree.map(jnp.copy, state)."
            )
