"""What is mutated: every layer, loss and penalty of the library, from 4 to 2^18 parameters.

A block without parameters is counted by the entries of x. Inputs keep away from kinks,
where finite differences, which the peers take, have no derivative to compare with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.blocks import activations, forms, losses
from benchmarks.mutations.shaped import Coded, Headed, Looking, bent, bent_params
from fnn.losses.categorical import Categorical

LEVELS = ("4", "50-100", "1 000", "16 000", "2¹⁸")  # sizes, about
SHAPES = ((2, 2), (3, 2, 4, 4), (32, 32), (64, 256), (256, 1024))  # of x or y without parameters
DENSE = ((1, 2), (5, 4), (32, 32), (129, 127), (511, 512))  # n_in, n_out
ROWS = ((3,), (7, 3), (8,), (16,), (16,))  # the axes of x in front of n_in
MARGIN = 0.02  # how far inputs stay from a kink


class Subject(NamedTuple):
    """One block at every size."""

    name: str
    family: str  # activation, layer, net, loss, penalty
    build: Callable[[int], Any]  # level → block
    draw: Callable[[int, np.random.Generator], tuple[Any, Any]]  # → x, target
    levels: tuple[int, ...] = (0, 1, 2, 3, 4)
    key: bool = False  # whether forward needs one


class Point(NamedTuple):
    """A block with what it is applied to."""

    block: Any
    params: Any
    x: Any
    target: Any
    key: Any


def point(subject: Subject, level: int, dtype: str = "float64", seed: int = 0) -> Point:
    """The block at this size with parameters and inputs in `dtype`."""
    rng, block = np.random.default_rng([seed, level]), subject.build(level)
    x, target = subject.draw(level, rng)
    params = plus(block.init(jax.random.key(seed)), rng) if isinstance(block, fnn.Layer) else None
    if subject.family == "penalty":
        params = fnn.DenseParams(x, jnp.asarray(noise(rng, 3)))
    params, x, target = jax.tree.map(lambda a: as_dtype(a, dtype), (params, x, target))
    return Point(block, params, x, target, jax.random.key(seed) if subject.key else None)


def as_dtype(a: Any, dtype: str) -> Any:
    """Floating-point arrays in `dtype`, labels as they are."""
    a = jnp.asarray(a)
    return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers."""
    return rng.standard_normal(shape)


def plus(params: Any, rng: np.random.Generator) -> Any:
    """The parameters and some noise, so that no bias is 0, at a scale that nets can bear."""

    def leaf(p):
        fan_in = p.shape[-2] if p.ndim > 1 else 1
        return p + 0.3 / fan_in**0.5 * noise(rng, *p.shape)

    return jax.tree.map(leaf, params)


def away(a: np.ndarray, *kinks: float) -> np.ndarray:
    """The numbers, those near a kink moved to its margin."""
    for kink in kinks:
        close = abs(a - kink) < MARGIN
        a = np.where(close, kink + np.where(a < kink, -MARGIN, MARGIN), a)
    return a


def values(*kinks: float) -> Callable[[int, np.random.Generator], tuple[Any, Any]]:
    """Inputs of an activation."""
    return lambda level, rng: (away(1.3 * noise(rng, *SHAPES[level]), *kinks), None)


def dense_inputs(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Inputs of a Dense layer."""
    return noise(rng, *ROWS[level], DENSE[level][0]), None


def layer(name: str, block: Any, *kinks: float, key: bool = False) -> Subject:
    """A layer without parameters."""
    family = "layer" if key or isinstance(block, fnn.Scale) else "activation"
    return Subject(name, family, lambda level: block, values(*kinks), key=key)


LAYERS = (
    *[layer(name, block, -1, 0, 1) for name, block in activations().items()],
    layer("Scale", fnn.Scale(0.3)),
    layer("Dropout", fnn.Dropout(0.4), key=True),
    layer("DropPath", fnn.DropPath(0.4), key=True),
    layer("Dropout, standard", fnn.Dropout(0.4, inverted=False), key=True),
    Subject("Dense, without b", "layer",
            lambda level: fnn.Dense(*DENSE[level], bias=False), dense_inputs),
    Subject("Dense", "layer", lambda level: fnn.Dense(*DENSE[level]), dense_inputs),
)  # fmt: skip


def small(name: str, block: Any, *shape: int, n_vocab: int = 0, family: str = "layer") -> Subject:
    """A block of one size; its inputs are numbers below `n_vocab` where it has a table."""

    def draw(level, rng):
        return (rng.integers(0, n_vocab, shape) if n_vocab else noise(rng, *shape)), None

    return Subject(name, family, lambda level: block, draw, levels=(1,))


BLOCKS = (
    Subject("PReLU", "layer", lambda level: fnn.PReLU(), values(0), levels=(1,)),
    Subject("PReLU, one slope per feature", "layer",
            lambda level: fnn.PReLU(SHAPES[level][-1]), values(0), levels=(1,)),
    Subject("Gaussian", "layer", lambda level: fnn.Gaussian(),
            lambda level, rng: (noise(rng, 7, 6), None), levels=(1,), key=True),
    small("GaussianMean", fnn.GaussianMean(), 7, 6),
    small("Affine", fnn.Affine(24), 7, 24),
    small("Centered", fnn.Centered(24), 7, 24),
    small("LayerNorm", fnn.LayerNorm(24), 7, 24),
    small("RMSNorm", fnn.RMSNorm(48), 7, 48),
    small("GroupNorm", fnn.GroupNorm(24, 3), 5, 4, 24),
    small("InstanceNorm", fnn.InstanceNorm(6), 3, 4, 2, 6),
    small("BatchNorm", fnn.BatchNorm(24), 7, 24),
    small("Flatten", fnn.Flatten(), 3, 4, 5),
    small("Conv1d", fnn.Conv1d(3, 4, 3, stride=2, padding=1), 2, 7, 3),
    small("Conv2d", fnn.Conv2d(2, 4, 3, dilation=2, groups=2), 2, 6, 7, 2),
    small("ConvTranspose1d", fnn.ConvTranspose1d(3, 4, 3, stride=2, padding=1), 2, 5, 3),
    small("ConvTranspose2d", fnn.ConvTranspose2d(4, 2, 3, dilation=2, groups=2), 2, 3, 5, 4),
    small("MaxPool2d", fnn.MaxPool2d(2), 2, 4, 6, 3),
    small("AvgPool2d", fnn.AvgPool2d(2, 1), 2, 4, 6, 3),
    small("MaxPool1d", fnn.MaxPool1d(3, 2), 2, 7, 3),
    small("AvgPool1d", fnn.AvgPool1d(3, 2, 1), 2, 7, 3),
    small("Upsample, nearest", fnn.Upsample(2), 2, 3, 4, 3),
    small("Upsample, linear", fnn.Upsample(3, linear=True), 2, 4, 3),
    small("Pad", fnn.Pad(((1, 0), (2, 1))), 2, 4, 3, 3),
    small("Pad, edge", fnn.Pad(2, "edge"), 2, 5, 3),
    small("Pad, reflect", fnn.Pad(2, "reflect"), 2, 5, 3),
    small("GlobalAvgPool", fnn.GlobalAvgPool(), 2, 4, 6, 3),
    small("Embedding", fnn.Embedding(12, 6), 3, 4, n_vocab=12),
    small("Positions", fnn.Positions(8, 7), 3, 5, 7),
    small("Sinusoids", fnn.Sinusoids(6), 3, 5, 6),
    small("WeightNorm", fnn.WeightNorm(fnn.Dense(4, 6)), 7, 4),
    small("SpectralNorm", fnn.SpectralNorm(fnn.Dense(4, 6), 3), 7, 4),
    small("GLU", fnn.GLU(4, 6), 7, 4),
    small("RNN", fnn.RNN(3, 6), 2, 5, 3),
    small("LSTM", fnn.LSTM(3, 3), 2, 5, 3),
    small("GRU", fnn.GRU(3, 4), 2, 5, 3),
    small("Bidirectional", fnn.Bidirectional.of(fnn.RNN(2, 4)), 2, 5, 2),
    small("Last", fnn.Last(), 3, 5, 4),
    small("MeanOverTime", fnn.MeanOverTime(), 3, 5, 4),
    small("Attention", fnn.Attention(4, 2, chunk=2), 2, 5, 4),
    small("Attention, rotary", fnn.Attention(8, 2, n_kv_heads=1, rotary=30.0), 2, 5, 8),
    small("Attention, window, pairs of distances",
          fnn.Attention(6, 2, chunk=2, window=3, distances=2, bias=True), 2, 5, 6),
    small("CrossAttention", Looking(fnn.CrossAttention(4, 2, chunk=2), 3), 2, 8, 4),
    small("LinearAttention", fnn.LinearAttention(6, 3, 2, bias=True), 2, 5, 6),
    small("LinearAttention, delta rule", fnn.LinearAttention(6, 3, 2, delta=True), 2, 5, 6),
    small("EncoderDecoder", Looking(fnn.EncoderDecoder(
        fnn.RNN(4, 3), fnn.Serial(fnn.CrossAttention(4, 2, 3), fnn.Tanh())), 3), 2, 8, 4),
    small("Unembed, LinearSoftmaxCrossEntropy",
          Headed(fnn.Unembed(6, 5), fnn.LinearSoftmaxCrossEntropy(chunk=3)), 7, 6),
)  # fmt: skip

# Nets of n_in → n → n → n_out; blocks of n → n.
WIDTHS = {"net": (1, 4, 20, 90, 360), "block": (1, 4, 22, 90, 361), "repeat": (1, 4, 18, 73, 295)}


def serial(level: int) -> Any:
    """Activations of the same shapes, weights of the same shapes."""
    n = WIDTHS["net"][level]
    if level == 0:
        return fnn.Serial(fnn.Dense(1, 1), fnn.Tanh(), fnn.Dense(1, 1))
    return fnn.Serial(
        fnn.Dense(3, n), fnn.Tanh(), fnn.Dense(n, n), fnn.Sigmoid(),
        fnn.Dense(n, n), fnn.Sigmoid(), fnn.Dense(n, 2),
    )  # fmt: skip


def mlp(activation: Any) -> Callable[[int], Any]:
    """fnn.mlp."""

    def build(level):
        n = WIDTHS["net"][level]
        return fnn.mlp([3, n, n, n, 2] if level else [1, 1, 1], activation)

    return build


def block(level: int) -> Any:
    """A block that keeps the width."""
    n = WIDTHS["block"][level]
    return fnn.Serial(fnn.Dense(n, n), fnn.Tanh(), fnn.Dense(n, n))


def inputs(width: str) -> Callable[[int, np.random.Generator], tuple[Any, Any]]:
    """Inputs of a net."""

    def draw(level, rng):
        n = WIDTHS[width][level] if width != "net" else (3 if level else 1)
        return noise(rng, 6, n), None

    return draw


def repeat(level: int) -> Any:
    """Copies of Dense and Tanh."""
    n = WIDTHS["repeat"][level]
    return fnn.Repeat(3 if level else 2, fnn.Serial(fnn.Dense(n, n), fnn.Tanh()))


NETS = (
    Subject("Serial", "net", serial, inputs("net")),
    Subject("mlp, GELU", "net", mlp(fnn.GELU()), inputs("net")),
    Subject("mlp, ELU", "net", mlp(fnn.ELU()), inputs("net")),
    Subject("Repeat", "net", repeat, inputs("repeat")),
    Subject("Residual", "net", lambda n: fnn.Residual(block(n)), inputs("block")),
    Subject("Skip", "net", lambda n: fnn.Skip(block(n)), inputs("block")),
    Subject("Parallel", "net", lambda n: fnn.Parallel(block(n), fnn.Tanh()), inputs("block")),
    small("Parallel, sum", fnn.Parallel(a=block(1), b=fnn.Tanh(), join="sum"), 6, 4, family="net"),
    small("Tied, transposed", fnn.Tied(
        fnn.Serial(fnn.Dense(4, 6), fnn.Tanh(), fnn.Dense(6, 4, bias=False)), fnn.Tie(2, 0)),
        7, 4, family="net"),
    small("Tied, table and head", fnn.Tied(
        fnn.Serial(embed=fnn.Embedding(9, 4), head=fnn.Dense(4, 9, bias=False)), head="embed"),
        3, 5, n_vocab=9, family="net"),
    small("Autodiff", fnn.Autodiff(bent, bent_params), 7, 4, family="net"),
    Subject("Recompute", "net", lambda n: fnn.Recompute(block(n)), inputs("block")),
    Subject("Cast", "net", lambda n: fnn.Cast(block(n), "float32"), inputs("block")),
    small("Frozen", fnn.Frozen(fnn.Serial(fnn.Dense(4, 6), fnn.Tanh())), 7, 4, family="net"),
    small("transformer_block", fnn.transformer_block(4, 2, chunk=2), 2, 5, 4, family="net"),
    small("transformer_block, of a decoder",
          Looking(fnn.transformer_block(4, 2, n_memory=4), 3), 2, 8, 4, family="net"),
)  # fmt: skip


def softmaxed(a: np.ndarray) -> np.ndarray:
    """Rows of probabilities."""
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def residuals(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """y and t whose differences keep away from 0 and ±1."""
    t = noise(rng, *SHAPES[level])
    y = t + away(noise(rng, *SHAPES[level]), 0, -1, 1)
    return away(y, 0), t


def margins(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Targets ±1, and t y away from 1."""
    t = np.sign(noise(rng, *SHAPES[level]))
    return t * away(1.2 * noise(rng, *SHAPES[level]), 1), t


def chances(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Probabilities away from 0 and 1, and targets in [0, 1]."""
    return rng.uniform(0.05, 0.95, SHAPES[level]), rng.uniform(0.1, 0.9, SHAPES[level])


def logits(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Logits and targets in [0, 1]."""
    return away(noise(rng, *SHAPES[level]), 0), rng.uniform(0.1, 0.9, SHAPES[level])


def classes(y_kind: str, kind: str) -> Any:
    """y and labels, rows of probabilities, or labels some of which are −1."""

    def draw(level, rng):
        shape = SHAPES[level]
        y, labels = noise(rng, *shape), rng.integers(0, shape[-1], shape[:-1])
        y = softmaxed(y) if y_kind == "rows" else y
        if kind == "rows":
            return y, softmaxed(noise(rng, *shape))
        return y, np.where(np.arange(shape[-2]) == 0, -1, labels) if kind == "ignored" else labels

    return draw


def bits(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Logits and targets 0 or 1."""
    return away(noise(rng, *SHAPES[level]), 0), rng.integers(0, 2, SHAPES[level]) * 1.0


def counts(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Logarithms of rates and counts."""
    return away(noise(rng, *SHAPES[level]), 0), rng.poisson(2.0, SHAPES[level]) * 1.0


def moments(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Means with logarithms of variances, and numbers."""
    *rows, n = SHAPES[level]
    return noise(rng, *rows, 2 * n), noise(rng, *rows, n)


def frames(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Logits of frames, of one size, and labels."""
    return noise(rng, 2, 5, 4), np.array([[1, 2, 2], [3, -1, -1]])


def pairs(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Queries and keys, and ids."""
    b, *_, n = SHAPES[level]
    return noise(rng, b + 1, 2, n), np.arange(b + 1)


DRAWS = {  # by the kinds of y and target
    ("numbers", "numbers"): residuals,
    ("numbers", "signs"): margins,
    ("numbers", "counts"): counts,
    ("chances", "chances"): chances,
    ("numbers", "chances"): logits,
    ("numbers", "bits"): bits,
    ("numbers", "rows"): classes("numbers", "rows"),
    ("moments", "numbers"): moments,
    ("frames", "words"): frames,
    ("pairs", "examples"): pairs,
}


def loss(name: str, block: Any, draw: Any) -> Subject:
    """A loss."""
    levels = (1,) if draw is frames else (0, 1, 2, 3, 4)
    return Subject(name, "loss", lambda level: block, draw, levels)


def of_loss(name: str, block: Any) -> list[Subject]:
    """A loss with what it compares; one of classes smoothed and with labels to ignore, too."""
    if not isinstance(block, Categorical):
        return [loss(name, block, DRAWS[form]) for form in forms(block)]
    smoothed, ignored = type(block)(label_smoothing=0.1), type(block)(ignore_label=-1)
    ((y, _), _) = forms(block)
    return [
        *[loss(f"{name}, {kind}", block, classes(y, kind)) for kind in ("labels", "rows")],
        loss(f"{name}, smoothed", smoothed, classes(y, "labels")),
        loss(f"{name}, ignored", ignored, classes(y, "ignored")),
    ]


LOSSES = (
    *[subject for name, block in losses().items() for subject in of_loss(name, block)],
    loss("SquaredError, ½", fnn.SquaredError(0.5), residuals),
    Subject(
        "ELBO",
        "loss",
        lambda level: Coded(fnn.ELBO(beta=2.0), 6),
        lambda level, rng: (noise(rng, 7, 10), rng.uniform(0.1, 0.9, (7, 6))),
        levels=(1,),
    ),
)


def weights(level: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Weights away from 0."""
    return away(noise(rng, *SHAPES[level]), 0), None


PENALTIES = (
    Subject("L1", "penalty", lambda level: fnn.L1(0.3), weights),
    Subject("L2", "penalty", lambda level: fnn.L2(0.3), weights),
)

SUBJECTS = {s.name: s for s in (*LAYERS, *BLOCKS, *NETS, *LOSSES, *PENALTIES)}
