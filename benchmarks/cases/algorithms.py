"""Where another algorithm, not another spelling, does the work."""

import jax

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels, norms
from benchmarks.plain import plain


def block(width: int) -> fnn.Residual:
    """x + a two-layer perceptron of x: its cache is many times its input."""
    inner = fnn.Serial(fnn.Dense(width, 4 * width), fnn.GELU(), fnn.Dense(4 * width, width))
    return fnn.Residual(inner)


def recompute(*, checkpoint: bool, n: int = 24, width: int = 64, batch: int = 512) -> Pair:
    """Recompute inside Repeat, against a scan with or without jax.checkpoint."""
    inner = block(width)
    net = fnn.Repeat(n, fnn.Recompute(inner))

    def forward(params, x, key):
        def body(x, p):
            return plain(inner, p, x, key), None

        return jax.lax.scan(jax.checkpoint(body) if checkpoint else body, x, params)[0]

    x, target = draw(batch, width), draw(batch, width, seed=3)
    return gradient(net, fnn.SquaredError(), x, target, forward=forward)


def dense_norms(batch: int) -> Pair:
    """Norms of an MLP's gradients: ‖a‖²‖δ‖² instead of one gradient per example."""
    net, x = fnn.mlp([256, 512, 512, 10]), draw(batch, 256)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, classes=10))


def sequence_norms(steps: int = 16, batch: int = 64) -> Pair:
    """The same for an MLP at every position of a sequence: Gram matrices."""
    net, x = fnn.mlp([128, 256, 32]), draw(batch, steps, 128)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, steps, classes=32))


def tied_norms(n_vocab: int = 512, n: int = 64, steps: int = 32, batch: int = 16) -> Pair:
    """A table that is the head, too: its rows and the products between, not a table each."""
    embed, head = fnn.Embedding(n_vocab, n), fnn.Dense(n, n_vocab, bias=False)
    net = fnn.Tied(fnn.Serial(embed=embed, bend=fnn.Tanh(), head=head), head="embed")
    x = labels(batch, steps, classes=n_vocab)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, x[:, ::-1])


ALGORITHMS = Table(
    "Algorithms",
    "Another algorithm than autodiff's, or the same memory saved: geometric means below.",
    (
        Case("example_norms, sequences of 16, batch 64", sequence_norms),
        Case("example_norms, tied table and head, V 512", tied_norms),
        Case("example_norms, 256-512-512-10, batch 128", lambda: dense_norms(128)),
        Case("example_norms, 256-512-512-10, batch 512", lambda: dense_norms(512)),
        Case("Recompute in Repeat, against scan", lambda: recompute(checkpoint=False)),
        Case(
            "Recompute in Repeat, against scan of jax.checkpoint",
            lambda: recompute(checkpoint=True),
        ),
    ),
    mean=True,
)
