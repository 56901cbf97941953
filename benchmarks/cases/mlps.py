"""Multilayer perceptrons of several sizes."""

import jax

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels


def classifier(*sizes: int, batch: int) -> Pair:
    """ReLU layers and a softmax cross-entropy."""
    net, x = fnn.mlp(sizes), draw(batch, sizes[0])
    target = labels(batch, classes=sizes[-1])
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target)


def deep(n: int, width: int = 128, batch: int = 128) -> Pair:
    """n equal layers, one after another."""
    block = fnn.Serial(fnn.Dense(width, width), fnn.Tanh())
    net = fnn.Serial(*[block] * n)
    return gradient(net, fnn.SquaredError(), draw(batch, width), draw(batch, width, seed=3))


def repeated(n: int, width: int = 128, batch: int = 128) -> Pair:
    """The same as one scan."""
    net = fnn.Repeat(n, fnn.Serial(fnn.Dense(width, width), fnn.Tanh()))
    return gradient(net, fnn.SquaredError(), draw(batch, width), draw(batch, width, seed=3))


def control(batch: int = 128) -> Pair:
    """The plain program against itself: what the measurement makes of no difference."""
    pair = classifier(784, 512, 512, 10, batch=batch)
    return Pair(jax.jit(pair.reference), pair.reference, pair.args)


MLPS = Table(
    "Multilayer perceptrons",
    "XLA does the best known thing with both; the control is one program against itself.",
    (
        Case("64-64-10, batch 32", lambda: classifier(64, 64, 10, batch=32)),
        Case("784-512-512-10, batch 128", lambda: classifier(784, 512, 512, 10, batch=128)),
        Case("784-512-512-10, batch 1024", lambda: classifier(784, 512, 512, 10, batch=1024)),
        Case("1024 × 4, batch 256", lambda: classifier(*[1024] * 5, batch=256)),
        Case("24 layers of 128, batch 128", lambda: deep(24)),
        Case("Repeat of 24 layers of 128, batch 128", lambda: repeated(24)),
        Case("control: 784-512-512-10, batch 128", control),
    ),
)
