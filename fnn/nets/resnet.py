"""Residual networks: stages of convolutions with skip connections, each of half the size before.

    y = relu(f(x) + x)       f: convolution, norm, ReLU, convolution, norm
    y = relu(f(x) + g(x))    where size or width changes: g is a convolution of 1 × 1 and a norm

With `bottleneck` f is 1 × 1, 3 × 3 and 1 × 1, four times as wide at its end; its 3 × 3 has the
stride, as in torchvision, where in the source the first 1 × 1 has it. Blocks of one stage that
are alike stand in a Repeat: compile time does not grow with their number.

Source: He, Zhang, Ren & Sun (2016), arXiv:1512.03385, eqs. 1 and 2 (shortcuts B), figure 5 for
the two kinds of f, table 1 and section 4.2 for the stages.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fnn.errors import at
from fnn.initializers import he_normal
from fnn.layer import Layer
from fnn.layers.activations import ReLU
from fnn.layers.conv import Conv2d
from fnn.layers.dense import Dense
from fnn.layers.normalization import BatchNorm
from fnn.layers.parallel import Parallel
from fnn.layers.pooling import GlobalAvgPool
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.records import flag, integer

Norm = Callable[[int], Layer[Any, Any]]


def resnet(
    n_in: int,
    n_out: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False,
    norm: Norm = BatchNorm,
    stem: Layer[Any, Any] | None = None,
) -> Serial:
    """Images [B, H, W, n_in] → y [B, n_out], the mean over all positions through a Dense.

    Its layers are stem, stage1, stage2, ..., pool and head; params["stage2"]["first"] holds what
    halves the image. The defaults are ResNet-18's but for the stem; depths=(3, 4, 6, 3) is
    ResNet-34, with bottleneck=True ResNet-50; widths=(16, 32, 64) with depths=(n, n, n) those
    for small images.

    Args:
        n_in: channels of the images.
        n_out: outputs, such as classes.
        widths: channels of every stage; of a bottleneck, where it is narrow.
        depths: blocks of every stage.
        bottleneck: whether blocks are of three convolutions, four times as wide at their end.
        norm: n → a layer, behind every convolution. BatchNorm needs running averages or a
            calibration for evaluation; `lambda n: fnn.GroupNorm(n, 8)` neither.
        stem: from the image to widths[0] channels; None: a convolution of 3 × 3, norm, ReLU. For
            large images, Serial(Conv2d(n_in, 64, 7, 2, 3), BatchNorm(64), ReLU(),
            MaxPool2d(3, 2, 1)).

    Raises:
        ValueError: for sizes below 1, and widths and depths of different number.
        TypeError: for sizes that are not integers, a norm that is no function.
    """
    if not callable(norm):
        raise TypeError(f"resnet: norm must be a function n → layer, got {norm!r:.60}.")
    lists = isinstance(widths, Sequence) and isinstance(depths, Sequence)
    if not lists or len(widths) != len(depths) or not widths:
        raise ValueError(
            f"resnet: widths and depths must have one number per stage, got {widths!r:.60} and "
            f"{depths!r:.60}."
        )
    depths = [integer("resnet: depths", depth) for depth in depths]
    if min(depths) < 1:
        raise ValueError(f"resnet: depths must be at least 1, got {depths}.")
    factor = 4 if flag("resnet: bottleneck", bottleneck) else 1
    stages: dict[str, Layer[Any, Any]] = {}
    with at("resnet"):
        n, begin = widths[0], stem
        if begin is None:
            begin = Serial(conv=convolution(n_in, n, 3), norm=norm(n), activation=ReLU())
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            wide, stride = factor * width, 1 if i == 0 else 2
            stage: dict[str, Layer[Any, Any]] = {}
            stage["first"] = residual_block(n, width, wide, stride, norm)
            if depth > 1:
                stage["rest"] = Repeat(depth - 1, residual_block(wide, width, wide, 1, norm))
            stages[f"stage{i + 1}"] = Serial(**stage)
            n = wide
        return Serial(stem=begin, **stages, pool=GlobalAvgPool(), head=Dense(n, n_out))


def residual_block(n_in: int, n: int, n_out: int, stride: int, norm: Norm) -> Serial:
    """relu(f(x) + x), or + g(x) where the shape changes; f has a bottleneck where n < n_out."""
    convolutions = [convolution(n_in, n, 3, stride), convolution(n, n, 3)]
    if n < n_out:
        convolutions = [
            convolution(n_in, n, 1),
            convolution(n, n, 3, stride),
            convolution(n, n_out, 1),
        ]
    body: dict[str, Layer[Any, Any]] = {}
    for i, conv in enumerate(convolutions, 1):
        if i > 1:
            body[f"activation{i - 1}"] = ReLU()
        body |= {f"conv{i}": conv, f"norm{i}": norm(conv.n_out)}
    if stride == 1 and n_in == n_out:
        return Serial(sum=Residual(Serial(**body)), activation=ReLU())
    around = Serial(conv=convolution(n_in, n_out, 1, stride), norm=norm(n_out))
    total = Parallel(body=Serial(**body), around=around, join="sum")
    return Serial(sum=total, activation=ReLU())


def convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> Conv2d:
    """Without a bias, which the norm behind it would take off again."""
    return Conv2d(n_in, n_out, kernel, stride, kernel // 2, w_init=he_normal, bias=False)
