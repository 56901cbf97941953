"""Weights of the Llama family: a net and its params from Hugging Face's tensors, and back.

ROWS says which tensor is which array of params. Every projection is [out, in] there and turned
here; gate, up and down are the weights of a GLU (SwiGLU). The names begin with `model.`, as those
of LlamaForCausalLM, or are bare. Where `lm_head.weight` is missing it is the table: the head is
tied. No number changes, no dtype either.

Both rotate features that are d/2 apart (RoPE); Meta's own files, whose pairs are neighbours, have
the rows of q and k in another order. Query heads share key heads (grouped queries) in the same
order. Not to be had: rotations that are scaled (`rope_scaling`), heads of another size than
n / n_heads, biases.

Source: Touvron et al. (2023), arXiv:2302.13971, section 2.2; Touvron et al. (2023),
arXiv:2307.09288, section 2.2, for grouped queries; LlamaForCausalLM of Hugging Face's
transformers.
"""

import functools
from typing import Any

import numpy as np

from fnn.errors import at
from fnn.layers.attention import Implementation
from fnn.layers.glu import GLU
from fnn.layers.normalization import RMSNorm
from fnn.layers.serial import Serial
from fnn.layers.tied import Tied
from fnn.nets.gpt import gpt
from fnn.nets.loading import (
    HEAD,
    Tensors,
    Weights,
    check_net,
    incoming,
    n_blocks,
    options_of,
    outgoing,
    prefix_of,
    size,
    table,
    tensors_of,
    tied_head,
)
from fnn.records import PyTree, integer

PREFIX, TABLE = "model.", "embed_tokens.weight"
KEYS = "layers.0.self_attn.k_proj.weight"
FREQUENCIES = r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
ROWS = {
    TABLE: "embed.table",
    "layers.{}.input_layernorm.weight": "blocks.attention_norm.scale",
    "layers.{}.self_attn.q_proj.weight": "blocks.attention.wq.T",
    "layers.{}.self_attn.k_proj.weight": "blocks.attention.wk.T",
    "layers.{}.self_attn.v_proj.weight": "blocks.attention.wv.T",
    "layers.{}.self_attn.o_proj.weight": "blocks.attention.wo.T",
    "layers.{}.post_attention_layernorm.weight": "blocks.feed_forward_norm.scale",
    "layers.{}.mlp.gate_proj.weight": "blocks.feed_forward.wg.T",
    "layers.{}.mlp.up_proj.weight": "blocks.feed_forward.wu.T",
    "layers.{}.mlp.down_proj.weight": "blocks.feed_forward.wd.T",
    "norm.weight": "norm.scale",
    HEAD: "head.w.T",
}


def from_llama(
    weights: Weights,
    n_heads: int,
    *,
    rotary: float = 1e4,
    eps: float = 1e-6,
    dropout: float = 0.0,
    recompute: bool = False,
    chunk: int | None = 128,
    implementation: Implementation = "chunked",
) -> tuple[Serial | Tied, PyTree]:
    """The net that these weights are of, `fnn.gpt(positions="rotary", …)`, and its params.

    Args:
        weights: arrays by Hugging Face's names, or the path of a safetensors file; of several
            files, {**fnn.checkpoints.tensors(a), **fnn.checkpoints.tensors(b)}.
        n_heads: heads of attention, which no weight tells; those of keys follow from it.
        rotary: the base θ of rotary positions, `rope_theta` in its config.
        eps: ε of the norms, `rms_norm_eps` in its config.
        dropout: the rate in every block, where the net is trained further.
        recompute: keep the input of every block only, and run it again in backward.
        chunk: rows of attention's probabilities at a time.
        implementation: of attention, "chunked" or "cudnn".

    Raises:
        ValueError: for names that are missing or unexpected, shapes that do not fit, dtypes that
            differ from block to block, by name; for heads that do not divide the features.
        TypeError: for weights that are no floating arrays; for float64 where JAX would narrow it.
    """
    owner, tensors = "from_llama", tensors_of("from_llama", weights, FREQUENCIES)
    prefix = prefix_of(tensors, PREFIX, TABLE)
    (_, n), (n_keys, _) = (size(owner, tensors, prefix + name) for name in (TABLE, KEYS))
    n_heads = integer(f"{owner}: n_heads", n_heads)
    n_kv_heads = n_heads * n_keys // n  # of n / n_heads features each
    tensors, tied = tied_head(tensors, prefix + TABLE)
    options = {"tied": tied, "dropout": dropout, "recompute": recompute, "chunk": chunk}
    options |= {"implementation": implementation}
    options |= {"rotary": rotary, "n_kv_heads": None if n_kv_heads == n_heads else n_kv_heads}
    net = net_of(owner, tensors, prefix, n_heads, eps, **options)
    return net, incoming(owner, table(ROWS, prefix, tied), tensors, net)


def to_llama(net: Serial | Tied, params: PyTree) -> dict[str, np.ndarray]:
    """The weights by Hugging Face's names, as LlamaForCausalLM has them; no number changes.

    Heads, θ and ε are the business of its config.

    Raises:
        TypeError: for a net of another kind.
        ValueError: for one that computes something else than a Llama, by the layer that does; for
            params that do not fit it.
    """
    owner, (attention, options) = "to_llama", options_of("to_llama", net)
    tensors = outgoing(owner, table(ROWS, PREFIX, options["tied"]), net, params)
    options |= {"rotary": attention.rotary or 1e4, "n_kv_heads": attention.n_kv_heads}
    eps = getattr(net["norm"], "eps", 1e-6)
    check_net(owner, net, net_of(owner, tensors, PREFIX, attention.n_heads, eps, **options))
    return tensors


def net_of(
    owner: str, tensors: Tensors, prefix: str, n_heads: int, eps: float, **options: Any
) -> Serial | Tied:
    """A Llama of the sizes that the tensors have; its rotary positions take any length."""
    n_vocab, n = size(owner, tensors, prefix + TABLE)
    n_layers = n_blocks(owner, tensors, f"{prefix}layers.")
    n_hidden, _ = size(owner, tensors, f"{prefix}layers.0.mlp.gate_proj.weight")
    with at(owner):
        return gpt(
            n_vocab, n, n_heads, n_layers, n_context=1, positions="rotary",
            feed_forward=GLU(n, n_hidden), norm=functools.partial(RMSNorm, eps=eps), **options,
        )  # fmt: skip
