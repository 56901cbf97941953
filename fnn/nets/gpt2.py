"""GPT-2's weights: a net and its params from Hugging Face's tensors, and back.

ROWS says which tensor is which array of params. Both have [in, out], so that nothing but the head
is turned; c_attn has queries, keys and values side by side. The names begin with `transformer.`,
as those of GPT2LMHeadModel, or are bare. Where `lm_head.weight` is missing it is wte: the head
is tied. The masks that older files have, `attn.bias` and `attn.masked_bias`, are left out. No
number changes, no dtype either.

Source: Radford et al. (2019), Language models are unsupervised multitask learners, section
2.3; GPT2LMHeadModel of Hugging Face's transformers.
"""

import functools
from typing import Any

import numpy as np

from fnn.errors import at
from fnn.layers.attention import Implementation
from fnn.layers.normalization import LayerNorm
from fnn.layers.serial import Serial
from fnn.layers.tied import Tied
from fnn.nets.gpt import gpt, perceptron
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
from fnn.records import PyTree

PREFIX, TABLE = "transformer.", "wte.weight"
MASKS = r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias"
ROWS = {
    TABLE: "embed.table",
    "wpe.weight": "positions.table",
    "h.{}.ln_1.weight": "blocks.attention_norm.scale",
    "h.{}.ln_1.bias": "blocks.attention_norm.b",
    "h.{}.attn.c_attn.weight": "blocks.attention.wq blocks.attention.wk blocks.attention.wv",
    "h.{}.attn.c_attn.bias": "blocks.attention.bq blocks.attention.bk blocks.attention.bv",
    "h.{}.attn.c_proj.weight": "blocks.attention.wo",
    "h.{}.attn.c_proj.bias": "blocks.attention.bo",
    "h.{}.ln_2.weight": "blocks.feed_forward_norm.scale",
    "h.{}.ln_2.bias": "blocks.feed_forward_norm.b",
    "h.{}.mlp.c_fc.weight": "blocks.feed_forward.up.w",
    "h.{}.mlp.c_fc.bias": "blocks.feed_forward.up.b",
    "h.{}.mlp.c_proj.weight": "blocks.feed_forward.down.dense.w",
    "h.{}.mlp.c_proj.bias": "blocks.feed_forward.down.dense.b",
    "ln_f.weight": "norm.scale",
    "ln_f.bias": "norm.b",
    HEAD: "head.w.T",
}


def from_gpt2(
    weights: Weights,
    n_heads: int,
    *,
    eps: float = 1e-5,
    dropout: float = 0.0,
    recompute: bool = False,
    chunk: int | None = 128,
    implementation: Implementation = "chunked",
) -> tuple[Serial | Tied, PyTree]:
    """The net that these weights are of, `fnn.gpt(…, bias=True, tied=True)`, and its params.

    A head of its own, which GPT-2 has not, stays one: tied=False.

    Args:
        weights: arrays by Hugging Face's names, or the path of a safetensors file.
        n_heads: heads of attention, which no weight tells.
        eps: ε of the norms.
        dropout: the rate in every block, where the net is trained further.
        recompute: keep the input of every block only, and run it again in backward.
        chunk: rows of attention's probabilities at a time.
        implementation: of attention, "chunked" or "cudnn".

    Raises:
        ValueError: for names that are missing or unexpected, shapes that do not fit, dtypes that
            differ from block to block, by name; for heads that do not divide the features.
        TypeError: for weights that are no floating arrays; for float64 where JAX would narrow it.
    """
    owner, tensors = "from_gpt2", tensors_of("from_gpt2", weights, MASKS)
    prefix = prefix_of(tensors, PREFIX, TABLE)
    tensors, tied = tied_head(tensors, prefix + TABLE)
    options = {"tied": tied, "dropout": dropout, "recompute": recompute, "chunk": chunk}
    options |= {"implementation": implementation}
    net = net_of(owner, tensors, prefix, n_heads, eps, **options)
    return net, incoming(owner, table(ROWS, prefix, tied), tensors, net)


def to_gpt2(net: Serial | Tied, params: PyTree) -> dict[str, np.ndarray]:
    """The weights by Hugging Face's names, as GPT2LMHeadModel has them; no number changes.

    n_heads, an ε other than 1e-5 and an n_hidden other than 4n are the business of its config.

    Raises:
        TypeError: for a net of another kind.
        ValueError: for one that computes something else than GPT-2, by the layer that does; for
            params that do not fit it.
    """
    owner, (attention, options) = "to_gpt2", options_of("to_gpt2", net)
    tensors = outgoing(owner, table(ROWS, PREFIX, options["tied"]), net, params)
    eps = getattr(net["norm"], "eps", 1e-5)
    check_net(owner, net, net_of(owner, tensors, PREFIX, attention.n_heads, eps, **options))
    return tensors


def net_of(
    owner: str, tensors: Tensors, prefix: str, n_heads: int, eps: float, **options: Any
) -> Serial | Tied:
    """GPT-2 of the sizes that the tensors have."""
    n_vocab, n = size(owner, tensors, prefix + TABLE)
    n_context, _ = size(owner, tensors, f"{prefix}wpe.weight")
    n_layers = n_blocks(owner, tensors, f"{prefix}h.")
    _, n_hidden = size(owner, tensors, f"{prefix}h.0.mlp.c_fc.weight")
    with at(owner):
        return gpt(
            n_vocab, n, n_heads, n_layers, n_context, bias=True,
            feed_forward=perceptron(n, n_hidden), norm=functools.partial(LayerNorm, eps=eps),
            **options,
        )  # fmt: skip
