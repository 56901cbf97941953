"""Where another algorithm, not another spelling, does the work."""

from collections.abc import Callable

import jax

import fnn
from benchmarks.case import Case, Net, Pair, Table, clipped, draw, gradient, labels, noise, norms
from benchmarks.plain import best

Task = tuple[Net, jax.Array, jax.Array]  # net, x, target


def block(width: int) -> fnn.Residual:
    """x + a two-layer perceptron of x: its cache is many times its input."""
    inner = fnn.Serial(fnn.Dense(width, 4 * width), fnn.GELU(), fnn.Dense(4 * width, width))
    return fnn.Residual(inner)


def recompute(*, checkpoint: bool, n: int = 24, width: int = 64, batch: int = 512) -> Pair:
    """Recompute inside Repeat, against a scan with or without jax.checkpoint."""
    inner = block(width)
    net = fnn.Repeat(n, fnn.Recompute(inner))
    written = best(fnn.Repeat(n, inner), checkpoint=checkpoint)
    x, target = draw(batch, width), draw(batch, width, seed=3)
    return gradient(net, fnn.SquaredError(), x, target, written=written)


def dense_norms(batch: int) -> Pair:
    """Norms of an MLP's gradients: ‖a‖²‖δ‖² instead of one gradient per example."""
    net, x = fnn.mlp([256, 512, 512, 10]), draw(batch, 256)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, classes=10))


def dense_clipped(batch: int) -> Pair:
    """The sum of an MLP's clipped gradients."""
    net, x = fnn.mlp([256, 512, 512, 10]), draw(batch, 256)
    return clipped(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, classes=10))


def dense_noise(batch: int) -> Pair:
    """The gradient of an MLP and its noise scale."""
    net, x = fnn.mlp([256, 512, 512, 10]), draw(batch, 256)
    return noise(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, classes=10))


def sequence_norms(steps: int = 16, batch: int = 64) -> Pair:
    """The same for an MLP at every position of a sequence: Gram matrices."""
    net, x = fnn.mlp([128, 256, 32]), draw(batch, steps, 128)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, labels(batch, steps, classes=32))


def tied_norms(n_vocab: int = 2048, n: int = 128, steps: int = 16, batch: int = 32) -> Pair:
    """A table that is the head, too: its rows and the products between, not a table each."""
    embed, head = fnn.Embedding(n_vocab, n), fnn.Dense(n, n_vocab, bias=False)
    net = fnn.Tied(fnn.Serial(embed=embed, bend=fnn.Tanh(), head=head), head="embed")
    x = labels(batch, steps, classes=n_vocab)
    return norms(net, fnn.SoftmaxCrossEntropy(), x, x[:, ::-1])


def reader() -> Task:
    """An LSTM that says a class at every step."""
    net = fnn.Serial(fnn.LSTM(64, 128), fnn.Dense(128, 10))
    return net, draw(32, 64, 64), labels(32, 64, classes=10)


def images() -> Task:
    """Two convolutions and two dense layers."""
    net = fnn.Serial(
        fnn.Conv2d(1, 32, 3, padding="same"), fnn.ReLU(),
        fnn.Conv2d(32, 64, 3, padding="same"), fnn.ReLU(),
        fnn.MaxPool2d(2), fnn.Flatten(), fnn.Dense(1024, 128), fnn.ReLU(), fnn.Dense(128, 10),
    )  # fmt: skip
    return net, draw(64, 8, 8, 1), labels(64, classes=10)


def language() -> Task:
    """A small GPT."""
    tokens = labels(8, 129, classes=256)
    return fnn.gpt(256, 128, 4, 2, 128), tokens[:, :-1], tokens[:, 1:]


def rows(name: str, task: Callable[[], Task]) -> list[Case]:
    """Norms of single gradients, and the sum of clipped ones."""

    def pair(of: Callable[..., Pair]) -> Pair:
        net, x, target = task()
        return of(net, fnn.SoftmaxCrossEntropy(), x, target)

    return [
        Case(f"example_norms, {name}", lambda: pair(norms)),
        Case(f"clipped_grad, {name}", lambda: pair(clipped)),
    ]


ALGORITHMS = Table(
    "Algorithms",
    "Another algorithm than autodiff's, or the same memory saved: geometric means below.",
    (
        Case("example_norms, sequences of 16, batch 64", sequence_norms),
        Case("example_norms, tied table and head, V 2048", tied_norms),
        Case("example_norms, 256-512-512-10, batch 128", lambda: dense_norms(128)),
        Case("example_norms, 256-512-512-10, batch 512", lambda: dense_norms(512)),
        Case("clipped_grad, 256-512-512-10, batch 512", lambda: dense_clipped(512)),
        Case("gradient and noise_scale, 256-512-512-10, batch 512", lambda: dense_noise(512)),
        *rows("LSTM 64 → 128, 32 × T 64", reader),
        *rows("CNN, digits, batch 64", images),
        *rows("GPT, 2 blocks of 128, 8 × T 128", language),
        Case("Recompute in Repeat, against scan", lambda: recompute(checkpoint=False)),
        Case(
            "Recompute in Repeat, against scan of jax.checkpoint",
            lambda: recompute(checkpoint=True),
        ),
    ),
    mean=True,
)
