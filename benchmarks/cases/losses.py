"""Every loss, alone: the mean and its derivative in y."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.case import Case, Pair, Table, draw, labels, loss_gradient

SHAPE = (1024, 256)


def probabilities() -> jax.Array:
    """Numbers between 0 and 1, away from both."""
    return 0.01 + 0.98 * jax.nn.sigmoid(draw(*SHAPE))


def rows(seed: int = 3) -> jax.Array:
    """Distributions over the classes."""
    return jax.nn.softmax(draw(*SHAPE, seed=seed))


def bits(low: float = 0.0) -> jax.Array:
    """Targets `low` or 1."""
    return jnp.where(draw(*SHAPE, seed=3) > 0, 1.0, low)


def of_class() -> jax.Array:
    """One label per row."""
    return labels(SHAPE[0], classes=SHAPE[1])


def case(
    name: str, loss: fnn.Loss[Any], y: Callable[[], jax.Array], t: Callable[[], jax.Array]
) -> Case:
    """A row of this table."""
    return Case(name, lambda: loss_gradient(loss, y(), t()))


def vocabulary() -> Pair:
    """Logits of a language model that exist whole."""
    return loss_gradient(fnn.SoftmaxCrossEntropy(), draw(4096, 8192), labels(4096, classes=8192))


def real() -> jax.Array:
    """Predictions or logits."""
    return draw(*SHAPE)


def other() -> jax.Array:
    """Targets of a regression."""
    return draw(*SHAPE, seed=3)


LOSSES = Table(
    "Losses",
    "y [1024, 256], against optax or the textbook formula.",
    (
        case("SquaredError", fnn.SquaredError(), real, other),
        case("AbsoluteError", fnn.AbsoluteError(), real, other),
        case("Huber", fnn.Huber(), real, other),
        case("Hinge", fnn.Hinge(), real, lambda: bits(-1.0)),
        case("BinaryCrossEntropy", fnn.BinaryCrossEntropy(), probabilities, bits),
        case("SigmoidBinaryCrossEntropy", fnn.SigmoidBinaryCrossEntropy(), real, bits),
        case("CrossEntropy, labels", fnn.CrossEntropy(), lambda: rows(4), of_class),
        case("CrossEntropy, rows", fnn.CrossEntropy(), lambda: rows(4), rows),
        case("SoftmaxCrossEntropy, labels", fnn.SoftmaxCrossEntropy(), real, of_class),
        case("SoftmaxCrossEntropy, rows", fnn.SoftmaxCrossEntropy(), real, rows),
        case(
            "SoftmaxCrossEntropy, smoothed labels",
            fnn.SoftmaxCrossEntropy(label_smoothing=0.1),
            real,
            of_class,
        ),
        Case("SoftmaxCrossEntropy, y [4096, 8192]", vocabulary),
    ),
)
