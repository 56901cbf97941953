"""Transformers as a Serial of blocks, and the one that predicts the next token.

    x_0 = table[tokens] + positions      x_i = block_i(x_{i−1})      logits = norm(x_L) w

The blocks stand in a Repeat: compile time does not grow with their number. Between the two
products of the feed-forward net only what the activation is taken of is kept; its output is
computed again in backward, by Recompute.

Source: Radford et al. (2019), Language models are unsupervised multitask learners, section
2.3.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

from fnn.errors import at
from fnn.initializers import he_normal
from fnn.layer import Layer
from fnn.layers.activations import GELU
from fnn.layers.attention import Attention, Implementation
from fnn.layers.cross_attention import CrossAttention
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import Embedding
from fnn.layers.normalization import LayerNorm
from fnn.layers.positions import Positions, Sinusoids
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.layers.tied import Tied
from fnn.layers.transformer_block import TransformerBlock
from fnn.layers.unembed import Unembed
from fnn.records import flag

Norm = Callable[[int], Layer[Any, Any]]
Where = Literal["learned", "sinusoidal", "rotary"]
BASE = 1e4  # θ of rotary positions


def transformer_block(
    n: int,
    n_heads: int,
    *,
    causal: bool = True,
    n_kv_heads: int | None = None,
    rotary: float | None = None,
    feed_forward: Layer[Any, Any] | None = None,
    norm: Norm = LayerNorm,
    dropout: float = 0.0,
    chunk: int | None = 128,
    implementation: Implementation = "chunked",
    bias: bool = False,
    n_memory: int | None = None,
) -> TransformerBlock:
    """Attention, then a feed-forward net, each behind a norm and beside a skip connection.

    x [B, T, n] → y [B, T, n]; with n_memory x is a Sequence whose memory is [B, S, n_memory].

    Args:
        n: the features of every position; n_heads must divide it.
        n_heads: heads of attention.
        causal: whether no position sees a later one.
        n_kv_heads: key heads that queries share; None: as many as n_heads.
        rotary: the base θ of rotary positions, None for none.
        feed_forward: from n to n; None: Dense(n, 4n), GELU, Dense(4n, n). GLU(n, n_hidden)
            is the gated kind.
        norm: n → a layer; LayerNorm or RMSNorm.
        dropout: the rate of a Dropout behind each of the two; 0 adds no layer.
        chunk: rows of attention's probabilities at a time, see Attention.
        implementation: of attention, "chunked" or "cudnn", see there.
        bias: whether attention has biases.
        n_memory: the features of a memory at which a CrossAttention between the two looks, with
            a norm, a skip connection and heads like those of the first; None adds no layer.

    Raises:
        ValueError: for heads that do not divide, as Attention does.
    """
    if not callable(norm):
        raise TypeError(f"transformer_block: norm must be a function n → layer, got {norm!r:.60}.")
    how: dict[str, Any] = {"bias": bias, "implementation": implementation}
    with at("transformer_block"):
        dropped = Dropout(dropout) if Dropout(dropout).rate else None
        crossed: tuple[Layer[Any, Any] | None, ...] = ()
        if n_memory is not None:
            looks = CrossAttention(n, n_heads, n_memory, n_kv_heads, chunk, **how)
            crossed = norm(n), looks, dropped
        return TransformerBlock(
            norm(n),
            Attention(n, n_heads, causal, n_kv_heads, chunk, rotary, **how),
            norm(n),
            perceptron(n) if feed_forward is None else feed_forward,
            dropped,
            dropped,
            *crossed,
        )


def perceptron(n: int, n_hidden: int | None = None) -> Serial:
    """Dense(n, 4n), GELU, Dense(4n, n), of whose inside one array is kept; or n_hidden for 4n."""
    m = 4 * n if n_hidden is None else n_hidden
    down = Serial(activation=GELU(), dense=Dense(m, n))
    return Serial(up=Dense(n, m, he_normal), down=Recompute(down))


def gpt(
    n_vocab: int,
    n: int,
    n_heads: int,
    n_layers: int,
    n_context: int,
    *,
    positions: Where = "learned",
    rotary: float = BASE,
    n_kv_heads: int | None = None,
    feed_forward: Layer[Any, Any] | None = None,
    norm: Norm = LayerNorm,
    dropout: float = 0.0,
    recompute: bool = False,
    chunk: int | None = 128,
    implementation: Implementation = "chunked",
    bias: bool = False,
    tied: bool = False,
) -> Serial | Tied:
    """Tokens [B, T] → Logits of shape [B, T, n_vocab], for LinearSoftmaxCrossEntropy.

    Its layers are embed, positions (where they have a table or are added), blocks, norm, head:
    params["blocks"]["attention"].wq holds the query weights of all blocks.

    `fnn.inference(net, params)` gives the net whose y are the logits [B, T, n_vocab].
    Sequences may be shorter than n_context: no position sees a later one, so padding on the
    right, left out by weights, changes nothing. Attention has biases only with `bias`, the head has
    the weights of the table only with `tied`; GPT-2 has both.

    Args:
        n_vocab: the number of tokens.
        n: the features of every position.
        n_heads: heads of attention, which divide n.
        n_layers: blocks.
        n_context: the longest sequence that learned positions take; others take any.
        positions: how a token knows its place: a learned table, sines and cosines that are
            added, or rotary.
        rotary: the base θ of rotary positions.
        n_kv_heads: of every block, as in transformer_block.
        feed_forward: of every block.
        norm: of every block, and in front of the head.
        dropout: the rate in every block.
        recompute: keep the input of every block only, and run it again in backward.
        chunk: rows of attention's probabilities at a time.
        implementation: of attention, "chunked" or "cudnn".
        bias: whether attention has biases.
        tied: whether the head has the weights of the table, w = tableᵀ, as in Tied.

    Raises:
        ValueError: for sizes that do not fit, and for positions of another name.
    """
    how = {"n_kv_heads": n_kv_heads, "feed_forward": feed_forward, "norm": norm}
    how |= {"rotary": rotary, "dropout": dropout, "chunk": chunk, "bias": bias}
    how |= {"implementation": implementation}
    sizes = n_vocab, n, n_heads, n_layers, n_context
    shared = flag("gpt: tied", tied)
    inside = tower("gpt", *sizes, positions=positions, recompute=recompute, **how)
    with at("gpt"):
        net = Serial(**inside, head=Unembed(n, n_vocab))
        return Tied(net, head="embed") if shared else net


def tower(
    owner: str, n_vocab: int, n: int, n_heads: int, n_layers: int, n_context: int, *,
    positions: Where, recompute: bool, norm: Norm, rotary: float = BASE, **how: Any,
) -> dict[str, Layer[Any, Any]]:  # fmt: skip
    """The layers from tokens [B, T] to [B, T, n] by name: all of `owner`'s but its head."""
    if not isinstance(positions, str) or positions not in get_args(Where):
        raise ValueError(f"{owner}: positions must be one of {get_args(Where)}, got {positions!r}.")
    again = flag(f"{owner}: recompute", recompute)
    with at(owner):
        base = rotary if positions == "rotary" else None
        inner: Layer[Any, Any] = transformer_block(n, n_heads, rotary=base, norm=norm, **how)
        added: dict[str, Layer[Any, Any]] = {}
        if positions != "rotary":
            added["positions"] = Positions(n_context, n) if positions == "learned" else Sinusoids(n)
        return {
            "embed": Embedding(n_vocab, n),
            **added,
            "blocks": Repeat(n_layers, Recompute(inner) if again else inner),
            "norm": norm(n),
        }
