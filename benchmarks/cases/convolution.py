"""Convolution, pooling and resampling, each behind an Affine layer that asks for dx."""

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


LARGE, SIGNALS = (16, 28, 28, 32), (16, 256, 32)

CONVOLUTION = Table(
    "Convolution",
    "x s + b → layer, images of 28 × 28, against lax.conv_general_dilated, lax.reduce_window, "
    "jnp.repeat, jax.image.resize, jnp.pad.",
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
        case("Conv1d 5, 32 → 64, T 256", fnn.Conv1d(32, 64, 5, padding="same"), *SIGNALS),
        case("MaxPool2d 2 × 2", fnn.MaxPool2d(2), *LARGE),
        case("MaxPool2d 3 × 3, stride 2", fnn.MaxPool2d(3, stride=2, padding=1), *LARGE),
        case("AvgPool2d 2 × 2", fnn.AvgPool2d(2), *LARGE),
        case("AvgPool2d 3 × 3, stride 2", fnn.AvgPool2d(3, stride=2, padding=1), *LARGE),
        case("MaxPool1d 2, T 256", fnn.MaxPool1d(2), *SIGNALS),
        case("MaxPool1d 3, stride 2, T 256", fnn.MaxPool1d(3, stride=2, padding=1), *SIGNALS),
        case("AvgPool1d 2, T 256", fnn.AvgPool1d(2), *SIGNALS),
        case("GlobalAvgPool", fnn.GlobalAvgPool(), *LARGE),
        case("Upsample 2, nearest", fnn.Upsample(2), *LARGE),
        case("Upsample 2, linear", fnn.Upsample(2, linear=True), *LARGE),
        case("Upsample 2, linear, T 256", fnn.Upsample(2, linear=True), *SIGNALS),
        case("Pad 1, zeros", fnn.Pad(1), *LARGE),
        case("Pad 1, edge", fnn.Pad(1, "edge"), *LARGE),
        case("Pad 1, reflect", fnn.Pad(1, "reflect"), *LARGE),
    ),
)
