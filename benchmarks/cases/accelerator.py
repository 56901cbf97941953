"""Half precision: at a CPU's sizes, and what people run on an accelerator at its own.

Both sides compute in bfloat16, by Cast and by casting the params of the best plain JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

import fnn
from benchmarks.case import Case, Net, Pair, Table, clipped, draw, gradient, labels, norms
from benchmarks.cases import nets
from benchmarks.plain import best

HALF, ALIKE = "bfloat16", 0.25  # of the largest entry: both round to 8 bits at every layer


class Sizes(NamedTuple):
    """How large everything is."""

    width: int = 4096  # of 4 dense layers
    batch: int = 8192
    widths: tuple[int, ...] = (64, 128, 256)  # of a ResNet
    images: int = 256  # of 32 × 32
    hidden: int = 512  # of an LSTM
    series: tuple[int, int] = (64, 512)  # sequences × steps
    heads: int = 16  # of 64
    lengths: tuple[int, ...] = (1024, 4096, 16384)  # of sequences, as many as the longest has
    vocabularies: tuple[int, ...] = (32768, 131072)
    rows: int = 8192  # of 1024
    gpt: tuple[int, ...] = (50257, 768, 12, 12, 1024)  # GPT-2 124M: V, n, heads, blocks, T
    texts: int = 8
    small: tuple[int, ...] = (256, 512, 8, 4, 256)  # a GPT whose examples are asked
    examples: int = 32


def half(net: Net, loss: Any, x: Any, target: Any) -> Pair:
    """Loss and gradient in bfloat16, of float32 masters; attention is jax.nn's where JAX's is."""
    net = fnn.Cast(net, HALF)
    return gradient(net, loss, x, target, written=best(net))


def perceptron(s: Sizes) -> Pair:
    """4 layers of one width."""
    x = draw(s.batch, s.width)
    return half(fnn.mlp([s.width] * 5), fnn.SquaredError(), x, draw(s.batch, s.width, seed=3))


def images(s: Sizes) -> Pair:
    """A ResNet of three stages of two blocks."""
    net = fnn.resnet(3, 10, widths=s.widths, depths=(2, 2, 2))
    return nets.images(fnn.Cast(net, HALF), batch=s.images)


def series(s: Sizes) -> Pair:
    """An LSTM and a class at every step."""
    net = fnn.Serial(fnn.LSTM(s.hidden, s.hidden), fnn.Dense(s.hidden, 10))
    x, target = draw(*s.series, s.hidden), labels(*s.series, classes=10)
    return half(net, fnn.SoftmaxCrossEntropy(), x, target)


def attention(s: Sizes, t: int) -> Pair:
    """x s + b, then causal heads of 64."""
    n, batch = 64 * s.heads, max(s.lengths) // t
    net = fnn.Serial(fnn.Affine(n), fnn.Attention(n, s.heads))
    return half(net, fnn.SquaredError(), draw(batch, t, n), draw(batch, t, n, seed=3))


def head(s: Sizes, n_vocab: int, n: int = 1024) -> Pair:
    """x s + b, Unembed and its loss."""
    net = fnn.Serial(fnn.Affine(n), fnn.Unembed(n, n_vocab))
    x, target = draw(s.rows, n), labels(s.rows, classes=n_vocab)
    return half(net, fnn.LinearSoftmaxCrossEntropy(), x, target)


def language(s: Sizes) -> Pair:
    """The next token of every position."""
    net = fnn.Cast(fnn.gpt(*s.gpt), HALF)
    return nets.language(net, best(net), s.gpt[0], batch=s.texts, t=s.gpt[-1])


def singles(s: Sizes, of: Callable[..., Pair]) -> Pair:
    """What is asked of the examples of a small GPT, in float32, against jax.vmap of jax.grad."""
    x = labels(s.examples, s.small[-1], classes=s.small[0])
    pair = of(fnn.gpt(*s.small), fnn.LinearSoftmaxCrossEntropy(), x, jnp.roll(x, -1, 1))
    return pair._replace(counted=pair.reference)


def halves(s: Sizes) -> tuple[Case, ...]:
    """Loss and gradient of every net, at these sizes."""
    (n, t), (_, m, _, blocks, context) = s.series, s.gpt
    made: dict[str, Callable[[], Pair]] = {
        f"MLP, 4 × {s.width}, batch {s.batch}": lambda: perceptron(s),
        f"ResNet, 3 × 2 blocks, 32 × 32, batch {s.images}": lambda: images(s),
        f"LSTM {s.hidden} → {s.hidden}, {n} × T {t}": lambda: series(s),
    }
    for length in s.lengths:
        name = f"attention, {s.heads} heads, {max(s.lengths) // length} × T {length}"
        made[name] = lambda t=length: attention(s, t)
    for v in s.vocabularies:
        made[f"head, V {v}, {s.rows} rows of 1024"] = lambda v=v: head(s, v)
    text = f"GPT, {blocks} blocks of {m}, V {s.gpt[0]}, {s.texts} × T {context}"
    made[text] = lambda: language(s)
    return tuple(Case(f"{name}, bfloat16", build, ALIKE) for name, build in made.items())


def rows(s: Sizes) -> tuple[Case, ...]:
    """Every row of an accelerator."""
    single = f"GPT, {s.small[3]} blocks of {s.small[1]}, {s.examples} × T {s.small[-1]}"
    return (
        *halves(s),
        Case(f"example_norms, {single}", lambda: singles(s, norms), 1e-3),
        Case(f"clipped_grad, {single}", lambda: singles(s, clipped), 1e-3),
    )


TINY = Sizes(
    width=16, batch=8, widths=(4, 8, 8), images=2, hidden=8, series=(2, 16), heads=2,
    lengths=(8, 16), vocabularies=(64,), rows=8, gpt=(32, 16, 2, 2, 16), texts=2,
    small=(16, 8, 2, 2, 8), examples=3,
)  # fmt: skip
CPU = Sizes(
    width=512, batch=256, widths=(16, 32, 64), images=32, hidden=128, series=(32, 128), heads=4,
    lengths=(256, 1024), vocabularies=(8192,), rows=1024, gpt=(256, 256, 4, 4, 256),
)  # fmt: skip
HALVES = Table(
    "Half precision",
    "Loss and gradient in bfloat16 by Cast, of float32 masters, against jax.grad of the plain net "
    "in bfloat16 with jax.nn.dot_product_attention.",
    halves(CPU),
    mean=True,
)
ACCELERATOR = Table(
    "Accelerator",
    "Loss and gradient in bfloat16 by Cast, of float32 masters, against jax.grad of the plain net "
    "in bfloat16 with jax.nn.dot_product_attention (cuDNN's on a GPU); norms and clipped sums in "
    "float32 against jax.vmap of jax.grad.",
    rows(Sizes()),
    mean=True,
    quick=rows(TINY)[:1],
    compiles=1,
)
