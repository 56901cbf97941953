"""How cost grows: time and memory against a size, compile time against depth.

Both programs of a point are compiled and run in pairs as in `measure`, and a point holds
their medians. Where a program needs more than half of the machine's memory it is not run;
what it would need is known from compiling it.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.case import Pair, draw, gradient, labels
from benchmarks.measure import Effort, compile_seconds, temporary_bytes, times

MIB = 2**20
Two = tuple[float | None, float | None]  # hand-written, autodiff


class Point(NamedTuple):
    """What one size costs; None where it was not run."""

    size: int
    milliseconds: Two
    mebibytes: Two  # of temporary buffers


class Line(NamedTuple):
    """A size that grows, and the pair for each."""

    title: str
    letter: str
    build: Callable[[int], Pair]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]


class Curve(NamedTuple):
    """The points of a line."""

    title: str
    letter: str
    points: list[Point]


class Depth(NamedTuple):
    """Seconds to trace and compile a Repeat of so many blocks."""

    blocks: int
    seconds: tuple[float, float]  # hand-written, autodiff


def attention(t: int) -> Pair:
    """x s + b, then 4 causal heads of 64, one sequence."""
    net = fnn.Serial(fnn.Affine(256), fnn.Attention(256, 4))
    return gradient(net, fnn.SquaredError(), draw(1, t, 256), draw(1, t, 256, seed=3))


def head(n_vocab: int) -> Pair:
    """x s + b, Unembed and its loss, 1024 rows of 256."""
    net = fnn.Serial(fnn.Affine(256), fnn.Unembed(256, n_vocab))
    x, target = draw(1024, 256), labels(1024, classes=n_vocab)
    return gradient(net, fnn.LinearSoftmaxCrossEntropy(), x, target)


def lstm(t: int) -> Pair:
    """x s + b, then an LSTM, 64 → 128, 16 sequences."""
    net = fnn.Serial(fnn.Affine(64), fnn.LSTM(64, 128))
    return gradient(net, fnn.SquaredError(), draw(16, t, 64), draw(16, t, 128, seed=3))


def deep(n: int) -> Pair:
    """A GPT of n blocks, width 64."""
    x = labels(2, 64, classes=128)
    net = fnn.gpt(128, 64, 4, n, 64)
    return gradient(net, fnn.LinearSoftmaxCrossEntropy(), x, jnp.roll(x, -1, 1))


LINES = (
    Line(
        "Causal attention, 4 heads of 64",
        "T",
        attention,
        (256, 512, 1024, 2048, 4096),
        (32, 64),
    ),
    Line(
        "Linear + softmax cross-entropy, 1024 rows of 256",
        "V",
        head,
        (1024, 4096, 16384, 65536, 131072),
        (128, 256),
    ),
    Line("LSTM 64 → 128, batch 16", "T", lstm, (64, 128, 256, 512, 1024), (4, 8)),
)
DEPTHS, QUICK_DEPTHS = (4, 12, 24, 48), (1, 2)


def curves(effort: Effort, *, quick: bool = False) -> list[Curve]:
    """Every line, point by point."""
    return [
        Curve(
            line.title,
            line.letter,
            [point(n, line.build(n), effort) for n in (line.quick if quick else line.sizes)],
        )
        for line in LINES
    ]


def point(size: int, pair: Pair, effort: Effort, limit: float | None = None) -> Point:
    """Time and memory of both; one that needs more than `limit` bytes is not run."""
    limit = half_of_memory() if limit is None else limit
    programs = [jax.jit(f).lower(*pair.args).compile() for f in pair[:2]]
    memory = [temporary_bytes(program) for program in programs]
    small = [i for i in (0, 1) if memory[i] <= limit]
    milliseconds: list[float | None] = [None, None]
    if small:
        found = np.median(times([programs[i] for i in small], pair.args, effort), axis=0)
        for i, seconds in zip(small, found, strict=True):
            milliseconds[i] = 1e3 * float(seconds)
    return Point(size, (milliseconds[0], milliseconds[1]), (memory[0] / MIB, memory[1] / MIB))


def half_of_memory() -> float:
    """Bytes: half of what the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def depths(*, quick: bool = False, rounds: int = 5) -> list[Depth]:
    """Compile times of all depths, taken in turn; the medians over the rounds."""
    sizes = QUICK_DEPTHS if quick else DEPTHS
    pairs = {n: deep(n) for n in sizes}
    seconds: dict[tuple[int, int], list[float]] = {(n, i): [] for n in sizes for i in (0, 1)}
    for k in range(rounds):
        for n in sizes if k % 2 == 0 else reversed(sizes):
            for i in (0, 1) if k % 2 == 0 else (1, 0):
                seconds[n, i].append(compile_seconds(pairs[n][:2][i], pairs[n].args))
    middle: Callable[[Any], float] = statistics.median
    return [Depth(n, (middle(seconds[n, 0]), middle(seconds[n, 1]))) for n in sizes]
