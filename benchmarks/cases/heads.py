"""The last layer of a language model with its loss: logits that are never whole."""

from collections.abc import Callable

import fnn
from benchmarks.case import Case, Pair, Table, clipped, draw, gradient, labels, norms


def singles(of: Callable[..., Pair], n_vocab: int, *, batch: int = 16, steps: int = 64) -> Pair:
    """The same of every example's own gradient, against jax.vmap of jax.grad."""
    net = fnn.Serial(fnn.Affine(256), fnn.Unembed(256, n_vocab))
    x, target = draw(batch, steps, 256), labels(batch, steps, classes=n_vocab)
    return of(net, fnn.LinearSoftmaxCrossEntropy(), x, target)


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
        Case("example_norms, V 8192, 16 × T 64", lambda: singles(norms, 8192)),
        Case("clipped_grad, V 8192, 16 × T 64", lambda: singles(clipped, 8192)),
    ),
    mean=True,
)
