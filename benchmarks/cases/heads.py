"""The last layer of a language model with its loss: logits that are never whole."""

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels


def head(n_vocab: int, *, n_rows: int = 4096, n: int = 256) -> Pair:
    """x s + b, Unembed and its loss, against optax's loss of h w."""
    net = fnn.Serial(fnn.Affine(n), fnn.Unembed(n, n_vocab))
    x, target = draw(n_rows, n), labels(n_rows, classes=n_vocab)
    return gradient(net, fnn.LinearSoftmaxCrossEntropy(), x, target)


HEADS = Table(
    "Heads",
    "x s + b → Unembed, 4096 rows of 256, with LinearSoftmaxCrossEntropy, against "
    "optax.softmax_cross_entropy_with_integer_labels(h @ w).",
    (
        Case("LinearSoftmaxCrossEntropy, V 8192", lambda: head(8192)),
        Case("LinearSoftmaxCrossEntropy, V 32768", lambda: head(32768)),
    ),
    mean=True,
)
