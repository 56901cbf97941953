"""U-Net: an image through ever coarser copies of itself, and back to its size.

    level_i(x) = up_i([a, transposed(level_{i+1}(pool(a)))])        a = down_i(x)

down_i and up_i are two convolutions of 3 × 3 with ReLU, pool is the maximum of 2 × 2, transposed
a transposed convolution of 2 × 2 with stride 2; the last level is down_i alone. [a, …] goes around
all that is coarser: a Skip. Other than in the source convolutions keep the size of the image, so
that nothing has to be cropped.

Source: Ronneberger, Fischer & Brox (2015), arXiv:1505.04597, section 2 and figure 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fnn.errors import at
from fnn.initializers import he_normal
from fnn.layer import Layer
from fnn.layers.activations import ReLU
from fnn.layers.conv import Conv2d
from fnn.layers.conv_transpose import ConvTranspose2d
from fnn.layers.pooling import MaxPool2d
from fnn.layers.serial import Serial
from fnn.layers.skip import Skip

Norm = Callable[[int], Layer[Any, Any]]


def unet(
    n_in: int,
    n_out: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    norm: Norm | None = None,
) -> Serial:
    """Images [B, H, W, n_in] → y [B, H, W, n_out], one prediction for every pixel.

    H and W must be multiples of 2 ** (len(widths) − 1); Pad makes them so. Its layers are body
    and head; params["body"]["around"] holds what is coarser.

    Args:
        n_in: channels of the images.
        n_out: outputs per pixel, such as classes.
        widths: channels of every level, from the finest to the coarsest.
        norm: n → a layer between every convolution and its ReLU; None: none, as in the source.

    Raises:
        ValueError: for sizes below 1, no widths; from forward, for an image that cannot be halved.
        TypeError: for sizes that are not integers, a norm that is no function.
    """
    if norm is not None and not callable(norm):
        raise TypeError(f"unet: norm must be a function n → layer, or None, got {norm!r:.60}.")
    if not isinstance(widths, Sequence) or not widths:
        raise ValueError(f"unet: widths must have one number per level, got {widths!r:.60}.")
    with at("unet"):
        return Serial(body=level(n_in, tuple(widths), norm), head=Conv2d(widths[0], n_out, 1))


def level(n_in: int, widths: tuple[int, ...], norm: Norm | None) -> Serial:
    """From n_in channels to those of the first width, and all coarser levels inside."""
    n, *coarser = widths
    if not coarser:
        return twice(n_in, n, norm)
    inside = Serial(
        pool=MaxPool2d(2),
        level=level(n, tuple(coarser), norm),
        up=ConvTranspose2d(coarser[0], n, 2, 2),
    )
    return Serial(down=twice(n_in, n, norm), around=Skip(inside), up=twice(2 * n, n, norm))


def twice(n_in: int, n: int, norm: Norm | None) -> Serial:
    """Two convolutions that keep the size, each with norm and ReLU."""
    layers: dict[str, Layer[Any, Any]] = {}
    for i, m in enumerate((n_in, n), 1):
        conv = Conv2d(m, n, 3, padding="same", w_init=he_normal, bias=norm is None)
        normed = {} if norm is None else {f"norm{i}": norm(n)}
        layers |= {f"conv{i}": conv, **normed, f"activation{i}": ReLU()}
    return Serial(**layers)
