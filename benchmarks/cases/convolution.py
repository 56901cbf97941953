"""Convolution and pooling, each behind an Affine layer that asks for dx."""

from typing import Any

import jax

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient


def alone(net: fnn.Layer[Any, Any], *shape: int) -> Pair:
    """The layer by itself: its parameters' gradient, for data need no dx."""
    x = draw(*shape)
    y = jax.eval_shape(lambda x: net.forward(net.init(jax.random.key(0)), x)[0], x)
    return gradient(net, fnn.SquaredError(), x, draw(*y.shape, seed=3))


def behind(layer: fnn.Layer[Any, Any], *shape: int) -> Pair:
    """x s + b, then the layer: its dx is needed."""
    return alone(fnn.Serial(fnn.Affine(shape[-1]), layer), *shape)


def case(name: str, layer: fnn.Layer[Any, Any], *shape: int) -> Case:
    """A row with the layer inside a net."""
    return Case(name, lambda: behind(layer, *shape))


LARGE = (16, 28, 28, 32)

CONVOLUTION = Table(
    "Convolution",
    "x s + b → layer, images of 28 × 28, against lax.conv_general_dilated, lax.reduce_window.",
    (
        case("Conv2d 3 × 3, 32 → 64", fnn.Conv2d(32, 64, 3, padding="same"), *LARGE),
        Case(
            "Conv2d 3 × 3, 1 → 32, of data",
            lambda: alone(fnn.Conv2d(1, 32, 3, padding="same"), 32, 28, 28, 1),
        ),
        case(
            "Conv2d 3 × 3, 32 → 64, stride 2",
            fnn.Conv2d(32, 64, 3, stride=2, padding="same"),
            *LARGE,
        ),
        case(
            "Conv2d 3 × 3, 32 → 64, 4 groups",
            fnn.Conv2d(32, 64, 3, padding="same", groups=4),
            *LARGE,
        ),
        case(
            "Conv2d 3 × 3, 32 → 64, dilation 2",
            fnn.Conv2d(32, 64, 3, padding="same", dilation=2),
            *LARGE,
        ),
        case(
            "Conv2d 3 × 3, 32 → 64, without b",
            fnn.Conv2d(32, 64, 3, padding="same", bias=False),
            *LARGE,
        ),
        case("Conv1d 5, 32 → 64, T 256", fnn.Conv1d(32, 64, 5, padding="same"), 16, 256, 32),
        case("MaxPool2d 2 × 2", fnn.MaxPool2d(2), *LARGE),
        case("MaxPool2d 3 × 3, stride 2", fnn.MaxPool2d(3, stride=2, padding=1), *LARGE),
        case("AvgPool2d 2 × 2", fnn.AvgPool2d(2), *LARGE),
        case("AvgPool2d 3 × 3, stride 2", fnn.AvgPool2d(3, stride=2, padding=1), *LARGE),
        case("GlobalAvgPool", fnn.GlobalAvgPool(), *LARGE),
    ),
)
