"""Linear attention against its steps one by one, and against its chunks."""

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient
from benchmarks.plain import best

TO = {"lax.scan": None, "chunks": False, "checkpointed chunks": True}  # best's checkpoint


def linear_attention(batch: int, t: int, to: str, delta: bool) -> Pair:
    """x s + b, then 4 heads of 64, and a squared error at every position."""
    net = fnn.Serial(fnn.Affine(256), fnn.LinearAttention(256, 4, delta=delta))
    checkpoint = TO[to]
    written = net if checkpoint is None else best(net, checkpoint=checkpoint)
    x, target = draw(batch, t, 256), draw(batch, t, 256, seed=3)
    return gradient(net, fnn.SquaredError(), x, target, written=written)


def case(batch: int, t: int, to: str, delta: bool = False) -> Case:
    """A row, named by its sizes and its reference."""
    name = f"T {t}, batch {batch}{', delta rule' if delta else ''}, against {to}"
    return Case(name, lambda: linear_attention(batch, t, to, delta))


LINEAR_ATTENTION = Table(
    "Linear attention",
    "x s + b → linear attention, 4 heads of 64, against lax.scan of its steps; against lax.scan of "
    "its chunks, alone and with jax.checkpoint of a chunk.",
    (
        *(case(batch, t, to) for batch, t in ((2, 1024), (1, 4096)) for to in TO),
        *(case(2, 1024, to, delta=True) for to in TO),
    ),
    mean=True,
)
