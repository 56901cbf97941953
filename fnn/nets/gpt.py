"""The transformer that predicts the next token, as a Serial of blocks.

    x_0 = table[tokens] + positions
    a_i = x_i + attention(norm x_i)        x_{i+1} = a_i + feed_forward(norm a_i)
    logits = norm(x_L) w

Source: Radford et al. (2019), Language models are unsupervised multitask learners, section
2.3; the order of norm and sum: Xiong et al. (2020), arXiv:2002.04745, figure 1b.
"""

from typing import Any

from fnn.layer import Layer
from fnn.layers.activations import GELU
from fnn.layers.attention import Attention
from fnn.layers.dense import Dense
from fnn.layers.embedding import Embedding, Positions
from fnn.layers.normalization import LayerNorm
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.layers.unembed import Unembed


def transformer_block(n: int, n_heads: int, *, causal: bool = True) -> Serial:
    """x + attention(norm x), then the same with a feed-forward net.  x [B, T, n] → [B, T, n]."""
    return Serial(
        Residual(Serial(LayerNorm(n), Attention(n, n_heads, causal))),
        Residual(Serial(LayerNorm(n), Dense(n, 4 * n), GELU(), Dense(4 * n, n))),
    )


def gpt(n_vocab: int, n: int, n_heads: int, n_layers: int, n_context: int) -> Serial:
    """Tokens [B, T] → (h, w), the logits in factored form, for LinearSoftmaxCrossEntropy."""
    block: Layer[Any, Any] = transformer_block(n, n_heads)
    return Serial(
        Embedding(n_vocab, n),
        Positions(n_context, n),
        Repeat(n_layers, block),
        LayerNorm(n),
        Unembed(n, n_vocab),
    )
