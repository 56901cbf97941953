"""Normalization, each behind an Affine layer that asks for dx; tables of rows."""

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels
from benchmarks.cases.convolution import case


def embedding(n_vocab: int, n: int = 256) -> Pair:
    """A table's rows, 8 sequences of 256."""
    x, target = labels(8, 256, classes=n_vocab), draw(8, 256, n, seed=3)
    return gradient(fnn.Embedding(n_vocab, n), fnn.SquaredError(), x, target)


TOKENS, IMAGES = (8, 256, 256), (16, 28, 28, 64)

NORMALIZATION = Table(
    "Normalization and embedding",
    "x s + b → layer, x [8, 256, 256] or [16, 28, 28, 64], against mean, var and sqrt.",
    (
        case("LayerNorm", fnn.LayerNorm(256), *TOKENS),
        case("RMSNorm", fnn.RMSNorm(256), *TOKENS),
        case("GroupNorm, 8 groups", fnn.GroupNorm(64, 8), *IMAGES),
        case("InstanceNorm", fnn.InstanceNorm(64), *IMAGES),
        case("BatchNorm", fnn.BatchNorm(64), *IMAGES),
        case("Centered", fnn.Centered(64), *IMAGES),
        case("Positions", fnn.Positions(512, 256), *TOKENS),
        Case("Embedding of 256", lambda: embedding(256)),
        Case("Embedding of 32768", lambda: embedding(32768)),
    ),
)
