"""The plain nets of someone who knows what jax offers to save time or memory.

    best(net)                       attention by jax.nn.dot_product_attention, linear attention
                                    in chunks, a Repeat of convolutions, slow in loops on CPU,
                                    without a loop
    best(net, checkpoint=True)      and jax.checkpoint around every block of a Repeat, around
                                    the cell of an LSTM and around such a chunk

The result takes the same params and differs only in what `plain` makes of it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.peers.steps.plain_jax import fastest
from benchmarks.plain.nets import plain
from benchmarks.plain.sequences import (
    heads,
    linear_heads,
    linear_output,
    lstm_cell,
    scanned,
    start,
)
from fnn.layers.delta_rule import inverse


@dataclass(frozen=True)
class Fused(fnn.Attention):
    """Attention whose plain form is jax.nn.dot_product_attention."""


@dataclass(frozen=True)
class FusedCross(fnn.CrossAttention):
    """Cross-attention whose plain form is jax.nn.dot_product_attention."""


@dataclass(frozen=True)
class Chunked(fnn.LinearAttention):
    """A linear attention whose plain form works in chunks."""

    checkpoint: bool = False


@dataclass(frozen=True)
class CheckpointedLSTM(fnn.LSTM):
    """An LSTM whose plain form makes the gates of a step again for its backward."""


@dataclass(frozen=True, init=False)
class CheckpointedRepeat(fnn.Repeat):
    """A Repeat whose plain form keeps the input of a block and nothing within."""


@dataclass(frozen=True, init=False)
class UnrolledRepeat(fnn.Repeat):
    """A Repeat whose plain form is one block after another."""


def best(net: fnn.Layer[Any, Any], *, checkpoint: bool = False) -> fnn.Layer[Any, Any]:
    """The same net of the classes above."""
    if isinstance(net, fnn.Attention):
        return Fused(**vars(net))
    if isinstance(net, fnn.CrossAttention):
        return FusedCross(**vars(net))
    if isinstance(net, fnn.LinearAttention):
        return Chunked(**vars(net), checkpoint=checkpoint)
    if isinstance(net, fnn.LSTM) and checkpoint:
        return CheckpointedLSTM(**vars(net))
    if isinstance(net, fnn.Repeat) and checkpoint:
        return CheckpointedRepeat(net.n, best(net.inner, checkpoint=checkpoint))
    if isinstance(net, fnn.Repeat) and convolves(net):
        return UnrolledRepeat(net.n, best(net.inner))
    if isinstance(net, fnn.Composite):
        return net.with_children(
            {name: best(c, checkpoint=checkpoint) for name, c in net.children.items()}
        )
    return net


def convolves(net: fnn.Layer[Any, Any]) -> bool:
    """Whether there is a convolution in it."""
    inside = net.children.values() if isinstance(net, fnn.Composite) else ()
    return isinstance(net, fnn.Conv1d | fnn.Conv2d) or any(map(convolves, inside))


@plain.register
def _(net: UnrolledRepeat, params, x, key):
    """A loop of Python."""
    keys = [None] * net.n if key is None else jax.random.split(key, net.n)
    for i in range(net.n):
        x = plain(net.inner, jax.tree.map(lambda p, i=i: p[i], params), x, keys[i])
    return x


@plain.register
def _(net: Fused, params, x, key):
    """jax.nn.dot_product_attention."""
    q = heads(x, params.wq, net.n_heads)
    k, v = heads(x, params.wk, net.kv_heads), heads(x, params.wv, net.kv_heads)
    near = None if net.window is None else (net.window - 1, 0 if net.causal else net.window - 1)
    kinds = {"is_causal": net.causal, "local_window_size": near}
    o = jax.nn.dot_product_attention(q, k, v, **kinds, implementation=fastest(q))
    return o.reshape(x.shape) @ params.wo


@plain.register
def _(net: FusedCross, params, x, key):
    """jax.nn.dot_product_attention."""
    q, z = heads(x.x, params.wq, net.n_heads), x.memory
    k, v = heads(z, params.wk, net.kv_heads), heads(z, params.wv, net.kv_heads)
    o = jax.nn.dot_product_attention(q, k, v, implementation=fastest(q))
    return x.with_fields(x=o.reshape(x.x.shape) @ params.wo)


@plain.register
def _(net: Chunked, params, x, key):
    """lax.scan of chunks, within which every step looks at the earlier ones."""
    length = x.shape[1]
    n_chunks = -(-length // net.chunk)
    after = np.tri(net.chunk, dtype=bool)

    def chunk(s, inputs):
        q, k, v, l, *b = inputs
        g = l[..., 0].cumsum(-1)[..., None]
        decay = jnp.exp(jnp.where(after, g - g.mT, -jnp.inf))
        if b:
            m, v = jnp.tril(decay * (k @ k.mT), -1), v - jnp.exp(g) * (k @ s)
            v = inverse(b[0] * m) @ (b[0] * v)
        o = (decay * (q @ k.mT)) @ v + jnp.exp(g) * (q @ s)
        end = g[..., -1:, :]
        return jnp.exp(end) * s + (jnp.exp(end - g) * k).mT @ v, o

    def cut(a):
        a = jnp.pad(a, ((0, 0), (0, n_chunks * net.chunk - length), *((0, 0),) * (a.ndim - 2)))
        a = a.reshape(len(a), n_chunks, net.chunk, net.n_heads, -1)
        return a.transpose(1, 0, 3, 2, 4)

    step = jax.checkpoint(chunk) if net.checkpoint else chunk
    start = jnp.zeros((len(x), *net.state_shape), x.dtype)
    _, o = jax.lax.scan(step, start, [cut(a) for a in linear_heads(net, params, x)])
    o = o.transpose(1, 0, 3, 2, 4).reshape(len(x), -1, net.n_heads, o.shape[-1])
    return linear_output(net, params, o[:, :length])


@plain.register
def _(net: CheckpointedLSTM, params, x, key):
    """lax.scan of jax.checkpoint of the cell."""
    return scanned(jax.checkpoint(lstm_cell(params)), (start(net, x),) * 2, x)


@plain.register
def _(net: CheckpointedRepeat, params, x, key):
    """lax.scan of jax.checkpoint of the block."""
    keys = None if key is None else jax.random.split(key, net.n)

    def body(x, inputs):
        p, k = inputs
        return plain(net.inner, p, x, k), None

    return jax.lax.scan(jax.checkpoint(body), x, (params, keys))[0]
