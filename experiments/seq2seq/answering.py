"""What a trained encoder-decoder answers, and where it looks when it does.

answered    t = 1, 2, ...    token_t = argmax of the logits behind token_0 ... token_{t−1}
weights     p[t,s] = exp(q_t·k_s/√d − m_t)     of every head that looks at the source
"""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from experiments.seq2seq.strings import EDGE


def answered(net: Any, params: Any, source: fnn.Sequence) -> jax.Array:
    """The likeliest token at every place, one by one behind the edge, [B, T] as the source.

    The whole net runs for every token, over a window of one size.
    """
    net, params = fnn.inference(net, params)
    n, length = source.x.shape

    def step(t, tokens):
        y, _ = net.forward(params, fnn.Sequence(tokens[:, :-1], memory=source))
        return tokens.at[:, t + 1].set(y.x[:, t].argmax(-1).astype(tokens.dtype))

    tokens = jnp.full((n, length + 1), EDGE, source.x.dtype)
    return jax.lax.fori_loop(0, length, step, tokens)[:, 1:]


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
