"""What a trained encoder-decoder answers, and where it looks when it does.

    answered    t = 1, 2, ...    token_t = argmax of the logits behind token_0 ... token_{t−1}
    weights     p[t,s] = exp(q_t·k_s/√d − m_t)     of every head that looks at the source

q, k and m are what cross-attention keeps for its backward pass.
"""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from experiments.seq2seq.strings import EDGE


def answered(net: Any, params: Any, source: fnn.Sequence) -> jax.Array:
    """The likeliest token at every place, one by one behind the edge, [B, T] as the source."""
    n, length = source.x.shape
    begun = fnn.Sequence(jnp.full((n, 1), EDGE, source.x.dtype), memory=source)
    return fnn.generate(net, params, begun, length, temperature=0, stop=EDGE)


def right(net: Any, params: Any, x: Any, answer: jax.Array) -> jax.Array:
    """Whether the whole answer is right, its end too, [B]."""
    same = answered(net, params, x.memory) == answer
    return jnp.where(x.mask, same, True).all(1)


def weights(net: Any, params: Any, x: Any) -> jax.Array:
    """How much every place of the answer looks at each of the source, [layers, heads, B, T, S]."""
    z, _ = net["encoder"].forward(params["encoder"], x.memory)
    decoder, parts, found = net["decoder"], params["decoder"], []
    x = x.with_fields(memory=z)
    for name in ("embed", "positions"):
        x, _ = decoder[name].forward(parts[name], x)
    for i in range(decoder["blocks"].n):
        block = jax.tree.map(lambda a, i=i: a[i], parts["blocks"])
        x, cache = decoder["blocks"].inner.forward(block, x)
        kept = cache["cross_attention"].inner
        u = jnp.einsum("bhgtd,bhsd->bhgts", kept.q, kept.k) / kept.q.shape[-1] ** 0.5
        p = jnp.exp(u - kept.m[..., None])[:, :, 0]
        found.append(jnp.where(z.mask[:, None, None], p, 0).swapaxes(0, 1))
    return jnp.stack(found)
