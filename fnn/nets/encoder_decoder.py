"""The transformer that reads one sequence and writes another, token by token.

    z_0 = table[source] + positions      z_i = block_i(z_{i−1})        z = norm(z_L)
    x_0 = table′[tokens] + positions     x_i = block′_i(x_{i−1}, z)    logits = norm(x_L) w

Every position of the source sees all others. A position of the target sees itself and those
before it, and by cross-attention all of z: its logits are about the token behind it.

Source: Vaswani et al. (2017), arXiv:1706.03762, section 3; the norms stand in front, as in
Xiong et al. (2020), arXiv:2002.04745, figure 1b.
"""

from typing import Any

from fnn.errors import at
from fnn.layer import Layer
from fnn.layers.attention import Implementation
from fnn.layers.encoder_decoder import EncoderDecoder
from fnn.layers.normalization import LayerNorm
from fnn.layers.serial import Serial
from fnn.layers.unembed import Unembed
from fnn.nets.gpt import Norm, Where, tower


def encoder_decoder(
    n_vocab: int,
    n: int,
    n_heads: int,
    n_layers: int,
    n_context: int,
    *,
    n_source: int | None = None,
    positions: Where = "learned",
    n_kv_heads: int | None = None,
    feed_forward: Layer[Any, Any] | None = None,
    norm: Norm = LayerNorm,
    dropout: float = 0.0,
    recompute: bool = False,
    chunk: int | None = 128,
    implementation: Implementation = "chunked",
    bias: bool = False,
) -> EncoderDecoder:
    """Sequence(tokens [B, T], memory=source [B, S]) → Logits of shape [B, T, n_vocab].

    The tokens are the target shifted right: in front one that begins it, and without the last.
    Both may be padded where a mask leaves positions out, Sequence(tokens, mask, memory=
    Sequence(source, mask)). The loss is LinearSoftmaxCrossEntropy; `fnn.inference(net, params)`
    gives the net whose y are the logits. Source and target have tables of their own:
    params["encoder"]["embed"].table and params["decoder"]["embed"].table.

    Args:
        n_vocab: the number of tokens of the target.
        n: the features of every position.
        n_heads: heads of every attention, which divide n.
        n_layers: blocks of the encoder, and as many of the decoder.
        n_context: the longest source and target that learned positions take; others take any.
        n_source: the number of tokens of the source; None: n_vocab.
        positions: how a token knows its place, as in gpt.
        n_kv_heads: of every block, as in transformer_block.
        feed_forward: of every block.
        norm: of every block, and behind the last ones.
        dropout: the rate in every block.
        recompute: keep the input of every block only, and run it again in backward.
        chunk: rows of attention's probabilities at a time.
        implementation: of attention, "chunked" or "cudnn".
        bias: whether attention has biases.

    Raises:
        ValueError: for sizes that do not fit, and for positions of another name.
    """
    how = {"n_kv_heads": n_kv_heads, "feed_forward": feed_forward, "norm": norm}
    how |= {"dropout": dropout, "chunk": chunk, "bias": bias}
    how |= {"positions": positions, "recompute": recompute, "implementation": implementation}
    owner, sizes = "encoder_decoder", (n, n_heads, n_layers, n_context)
    reads = tower(owner, n_vocab if n_source is None else n_source, *sizes, causal=False, **how)
    writes = tower(owner, n_vocab, *sizes, n_memory=n, **how)
    with at(owner):
        return EncoderDecoder(Serial(**reads), Serial(**writes, head=Unembed(n, n_vocab)))
