"""Recurrent layers against a scan of their cell."""

from typing import Any

import jax

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient
from benchmarks.plain import best

Size = tuple[int, int, int, int]  # T, B, n_in, n_hidden

WIDE, MIDDLE, LONG = (128, 32, 128, 256), (256, 16, 64, 128), (512, 8, 32, 64)


def recurrent(layer: type[Any], size: Size, *, checkpoint: bool = False) -> Pair:
    """x s + b, then the layer, and a squared error at every step."""
    t, batch, n_in, n = size
    net = fnn.Serial(fnn.Affine(n_in), layer(n_in, n))
    written = best(net, checkpoint=True) if checkpoint else net
    x, target = draw(batch, t, n_in), draw(batch, t, n, seed=3)
    return gradient(net, fnn.SquaredError(), x, target, written=written)


def case(layer: type[Any], size: Size, *, checkpoint: bool = False) -> Case:
    """A row, named by its sizes."""
    t, batch, n_in, n = size
    against = ", against jax.checkpoint" if checkpoint else ""
    name = f"{layer.__name__} {n_in} → {n}, T {t}, batch {batch}{against}"
    return Case(name, lambda: recurrent(layer, size, checkpoint=checkpoint))


def stack() -> Pair:
    """Two LSTMs with half of what goes up missing, and a squared error at every step."""
    t, batch, n_in, n = MIDDLE
    net, x, target = fnn.recurrent(n_in, n, 2, dropout=0.5), draw(batch, t, n_in), draw(batch, t, n)
    return gradient(net, fnn.SquaredError(), x, target, key=jax.random.key(5))


RECURRENCE = Table(
    "Recurrence",
    "x s + b → layer, against lax.scan of a cell, for one row of jax.checkpoint of the cell.",
    (
        case(fnn.LSTM, LONG),
        case(fnn.LSTM, MIDDLE),
        case(fnn.LSTM, WIDE),
        case(fnn.LSTM, WIDE, checkpoint=True),
        Case("LSTM, 2 layers with dropout, T 256, batch 16", stack),
        case(fnn.GRU, LONG),
        case(fnn.GRU, WIDE),
        case(fnn.RNN, LONG),
        case(fnn.RNN, WIDE),
    ),
    mean=True,
)
