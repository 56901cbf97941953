"""The plain nets of someone who knows what jax offers to save time or memory.

    best(net)                       attention by jax.nn.dot_product_attention
    best(net, checkpoint=True)      and jax.checkpoint around every block of a Repeat and
                                    around the cell of an LSTM

The result takes the same params and differs only in what `plain` makes of it.
"""

from dataclasses import dataclass
from typing import Any

import jax

import fnn
from benchmarks.plain.nets import plain
from benchmarks.plain.sequences import heads, lstm_cell, scanned, start


@dataclass(frozen=True)
class Fused(fnn.Attention):
    """Attention whose plain form is jax.nn.dot_product_attention."""


@dataclass(frozen=True)
class FusedCross(fnn.CrossAttention):
    """Cross-attention whose plain form is jax.nn.dot_product_attention."""


@dataclass(frozen=True)
class CheckpointedLSTM(fnn.LSTM):
    """An LSTM whose plain form makes the gates of a step again for its backward."""


@dataclass(frozen=True, init=False)
class CheckpointedRepeat(fnn.Repeat):
    """A Repeat whose plain form keeps the input of a block and nothing within."""


def best(net: fnn.Layer[Any, Any], *, checkpoint: bool = False) -> fnn.Layer[Any, Any]:
    """The same net of the classes above."""
    if isinstance(net, fnn.Attention):
        return Fused(**vars(net))
    if isinstance(net, fnn.CrossAttention):
        return FusedCross(**vars(net))
    if isinstance(net, fnn.LSTM) and checkpoint:
        return CheckpointedLSTM(**vars(net))
    if isinstance(net, fnn.Repeat) and checkpoint:
        return CheckpointedRepeat(net.n, best(net.inner, checkpoint=checkpoint))
    if isinstance(net, fnn.Composite):
        return net.with_children(
            {name: best(c, checkpoint=checkpoint) for name, c in net.children.items()}
        )
    return net


@plain.register
def _(net: Fused, params, x, key):
    """jax.nn.dot_product_attention."""
    q = heads(x, params.wq, net.n_heads)
    k, v = heads(x, params.wk, net.kv_heads), heads(x, params.wv, net.kv_heads)
    near = None if net.window is None else (net.window - 1, 0 if net.causal else net.window - 1)
    o = jax.nn.dot_product_attention(q, k, v, is_causal=net.causal, local_window_size=near)
    return o.reshape(x.shape) @ params.wo


@plain.register
def _(net: FusedCross, params, x, key):
    """jax.nn.dot_product_attention."""
    q, z = heads(x.x, params.wq, net.n_heads), x.memory
    k, v = heads(z, params.wk, net.kv_heads), heads(z, params.wv, net.kv_heads)
    o = jax.nn.dot_product_attention(q, k, v)
    return x.with_fields(x=o.reshape(x.x.shape) @ params.wo)


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
