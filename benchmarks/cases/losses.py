"""Every loss, alone: the mean and its derivative in y."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.blocks import forms, losses
from benchmarks.case import Case, Pair, Table, draw, labels, loss_gradient

SHAPE = (1024, 256)
FRAMES = (16, 128, 64)  # sequences, frames, classes
PAIRS = (512, 2, 128)  # queries and keys


def probabilities() -> jax.Array:
    """Numbers between 0 and 1, away from both."""
    return 0.01 + 0.98 * jax.nn.sigmoid(draw(*SHAPE))


def rows(seed: int = 3) -> jax.Array:
    """Distributions over the classes."""
    return jax.nn.softmax(draw(*SHAPE, seed=seed))


def bits(low: float = 0.0) -> jax.Array:
    """Targets `low` or 1."""
    return jnp.where(draw(*SHAPE, seed=3) > 0, 1.0, low)


def counts() -> jax.Array:
    """Whole numbers from 0."""
    return jnp.floor(draw(*SHAPE, seed=3) ** 2)


def words() -> jax.Array:
    """Up to 24 labels per sequence, −1 behind them; the blank is 0."""
    n = labels(FRAMES[0], classes=17) + 8
    return jnp.where(jnp.arange(24) < n[:, None], 1 + labels(FRAMES[0], 24, classes=63), -1)


def of_class() -> jax.Array:
    """One label per row."""
    return labels(SHAPE[0], classes=SHAPE[1])


def vocabulary() -> Pair:
    """Logits of a language model that exist whole."""
    return loss_gradient(fnn.SoftmaxCrossEntropy(), draw(4096, 8192), labels(4096, classes=8192))


def evidence() -> Pair:
    """A reconstruction of probabilities from a code of 32 numbers."""
    return loss_gradient(fnn.ELBO(), (real(), draw(SHAPE[0], 64, seed=4)), bits())


def real() -> jax.Array:
    """Predictions or logits."""
    return draw(*SHAPE)


def other() -> jax.Array:
    """Targets of a regression."""
    return draw(*SHAPE, seed=3)


def predictions(kind: str) -> jax.Array:
    """y of a kind of benchmarks.blocks."""
    makers = {
        "numbers": real, "chances": probabilities, "rows": lambda: rows(4),
        "moments": lambda: draw(SHAPE[0], 2 * SHAPE[1]), "frames": lambda: draw(*FRAMES),
        "pairs": lambda: draw(*PAIRS),
    }  # fmt: skip
    return makers[kind]()


def targets(kind: str) -> jax.Array:
    """A target of such a kind."""
    makers = {
        "numbers": other, "signs": lambda: bits(-1.0), "chances": bits,
        "bits": bits, "counts": counts, "labels": of_class, "rows": rows, "words": words,
        "examples": lambda: jnp.arange(PAIRS[0]),
    }  # fmt: skip
    return makers[kind]()


def cases(name: str, loss: fnn.Loss[Any]) -> list[Case]:
    """A row for everything that the loss compares."""
    return [
        Case(
            f"{name}, {t}" if t in ("labels", "rows") else name,
            lambda y=y, t=t: loss_gradient(loss, predictions(y), targets(t)),
        )
        for y, t in forms(loss)
    ]


def smoothed() -> Pair:
    """Labels that leave something for the other classes."""
    return loss_gradient(fnn.SoftmaxCrossEntropy(label_smoothing=0.1), real(), of_class())


LOSSES = Table(
    "Losses",
    "y [1024, 256], of CTC [16, 128, 64], of InfoNCE [512, 2, 128], against optax or a textbook.",
    (
        *[case for name, loss in losses().items() for case in cases(name, loss)],
        Case("ELBO", evidence),
        Case("SoftmaxCrossEntropy, smoothed labels", smoothed),
        Case("SoftmaxCrossEntropy, y [4096, 8192]", vocabulary),
    ),
)
