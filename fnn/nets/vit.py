"""The Vision transformer: an image as a sequence of patches.

    x_0[t] = patch_t w + b + positions[t]     x_i = block_i(x_{i−1})     y = mean_t norm(x_L) w + b

The patches and their product with w are one convolution whose stride is its kernel. Positions are
learned, every patch sees every other, and the mean over all stands in place of the source's class
token: one route for all positions, and as good where both are tuned (source, appendix D.3).

Source: Dosovitskiy et al. (2021), arXiv:2010.11929, eqs. 1 to 4, and appendix D.3 for the mean.
"""

from collections.abc import Callable
from typing import Any

from fnn.errors import at
from fnn.layer import Layer
from fnn.layers.conv import Conv2d
from fnn.layers.dense import Dense
from fnn.layers.flatten import Flatten
from fnn.layers.normalization import LayerNorm
from fnn.layers.pooling import GlobalAvgPool
from fnn.layers.positions import Positions
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.nets.gpt import transformer_block
from fnn.records import integer


def vit(
    n_in: int,
    n_out: int,
    n: int,
    n_heads: int,
    n_layers: int,
    n_patches: int,
    *,
    patch: int = 16,
    feed_forward: Layer[Any, Any] | None = None,
    norm: Callable[[int], Layer[Any, Any]] = LayerNorm,
    dropout: float = 0.0,
    bias: bool = True,
) -> Serial:
    """Images [B, H, W, n_in] → y [B, n_out].

    Its layers are patches, sequence, positions, blocks, norm, pool and head.

    Args:
        n_in: channels of the images.
        n_out: outputs, such as classes.
        n: the features of every patch.
        n_heads: heads of attention, which divide n.
        n_layers: blocks.
        n_patches: of the largest image, H W / patch².
        patch: the height and the width of a patch, in pixels; what is left over at the right and
            at the bottom is not seen.
        feed_forward: of every block, as in transformer_block.
        norm: of every block, and behind the last.
        dropout: the rate in every block.
        bias: whether attention has biases.

    Raises:
        ValueError: for sizes that do not fit; from forward, for an image of more patches.
    """
    with at("vit"):
        patch = integer("patch", patch)
        block = transformer_block(
            n, n_heads, causal=False, feed_forward=feed_forward, norm=norm, dropout=dropout,
            bias=bias,
        )  # fmt: skip
        return Serial(
            patches=Conv2d(n_in, n, patch, patch),
            sequence=Flatten(keep_last=True),
            positions=Positions(n_patches, n),
            blocks=Repeat(n_layers, block),
            norm=norm(n),
            pool=GlobalAvgPool(),
            head=Dense(n, n_out),
        )
