"""Whole nets, each as a user writes it and as someone who knows jax's functions does."""

from typing import Any

import jax.numpy as jnp

import fnn
from benchmarks.case import Case, Pair, Table, draw, gradient, labels
from benchmarks.plain import best

Net = fnn.Layer[Any, Any]


def cnn(n: int = 32) -> fnn.Serial:
    """Three convolutions for digits of 8 × 8."""
    return fnn.Serial(
        fnn.Conv2d(1, n, 3, padding="same"),
        fnn.ReLU(),
        fnn.Conv2d(n, n, 3, padding="same"),
        fnn.ReLU(),
        fnn.MaxPool2d(2),
        fnn.Conv2d(n, 2 * n, 3, padding="same"),
        fnn.ReLU(),
        fnn.Flatten(),
        fnn.Dense(32 * n, 10),
    )


def classifier(n_in: int = 32, n: int = 128) -> fnn.Serial:
    """An LSTM, the mean of what it says, and a class."""
    return fnn.Serial(fnn.LSTM(n_in, n), fnn.GlobalAvgPool(), fnn.Dense(n, 10))


def recomputing(net: fnn.Composite[Any]) -> fnn.Composite[Any]:
    """Every block of a Repeat in Recompute."""

    def lean(f):
        return fnn.Repeat(f.n, fnn.Recompute(f.inner)) if isinstance(f, fnn.Repeat) else f

    return net.with_children({name: lean(f) for name, f in net.children.items()})


def digits(batch: int = 64) -> Pair:
    """The convolutional net."""
    x, target = draw(batch, 8, 8, 1), labels(batch, classes=10)
    return gradient(cnn(), fnn.SoftmaxCrossEntropy(), x, target)


def images(net: Net, size: int = 32, *, batch: int, pixels: bool = False) -> Pair:
    """A net of images [size, size, 3]: one of ten classes for each, or for every pixel."""
    x = draw(batch, size, size, 3)
    target = labels(*(x.shape[:-1] if pixels else (batch,)), classes=10)
    written = best(net)
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target, written=written)


def residual() -> fnn.Serial:
    """Three stages of two blocks."""
    return fnn.resnet(3, 10, widths=(16, 32, 64), depths=(2, 2, 2))


def patches() -> fnn.Serial:
    """4 blocks of width 128 with 4 heads, over 64 patches."""
    return fnn.vit(3, 10, 128, 4, 4, 64, patch=4, bias=False)


def series(*, checkpoint: bool, t: int = 128, batch: int = 32) -> Pair:
    """The recurrent classifier."""
    net, x, target = classifier(), draw(batch, t, 32), labels(batch, classes=10)
    written = best(net, checkpoint=True) if checkpoint else net
    return gradient(net, fnn.SoftmaxCrossEntropy(), x, target, written=written)


def language(net: Net, written: Net, n_vocab: int, *, batch: int = 8, t: int = 256) -> Pair:
    """The next token of every position; `written` is what autodiff sees."""
    x = labels(batch, t, classes=n_vocab)
    return gradient(net, fnn.LinearSoftmaxCrossEntropy(), x, jnp.roll(x, -1, 1), written=written)


def translation(*, fused: bool, n_vocab: int = 256, batch: int = 8, t: int = 256) -> Pair:
    """The next token of a target, of which the source is known."""
    net = fnn.encoder_decoder(n_vocab, 256, 4, 2, t)
    written, target = best(net) if fused else net, labels(batch, t, classes=n_vocab)
    source = target[:, ::-1]
    return gradient(
        net,
        fnn.LinearSoftmaxCrossEntropy(),
        fnn.Sequence(jnp.roll(target, 1, 1), memory=source),
        target,
        written=written,
    )


def gpt(n_vocab: int, *, tied: bool = False) -> fnn.Composite[Any]:
    """4 blocks of width 256 with 4 heads."""
    return fnn.gpt(n_vocab, 256, 4, 4, 256, tied=tied)


def gpt_cases(n_vocab: int) -> tuple[Case, Case]:
    """Attention by einsum, and by jax.nn."""
    net = gpt(n_vocab)
    return (
        Case(f"GPT, V {n_vocab}", lambda: language(net, net, n_vocab)),
        Case(f"GPT, V {n_vocab}, against jax.nn", lambda: language(net, best(net), n_vocab)),
    )


def tied(n_vocab: int) -> Pair:
    """The head has the weights of the table."""
    net = gpt(n_vocab, tied=True)
    return language(net, net, n_vocab)


def lean(*, recompute: bool, n_vocab: int = 256) -> Pair:
    """Against jax.checkpoint of every block, with or without Recompute here."""
    net = recomputing(gpt(n_vocab)) if recompute else gpt(n_vocab)
    return language(net, best(net, checkpoint=True), n_vocab)


NETS = Table(
    "Whole nets",
    "Loss and gradient. GPT: 4 blocks, width 256, 4 heads, T 256, batch 8; against jax.nn: "
    "with jax.nn.dot_product_attention, with jax.checkpoint: of every block besides. "
    "Encoder-decoder: 2 blocks each, sizes alike.",
    (
        Case("CNN, digits, batch 64", digits),
        Case("ResNet, 3 × 2 blocks, 32 × 32, batch 32", lambda: images(residual(), batch=32)),
        Case(
            "U-Net, 3 levels, 32 × 32, batch 16",
            lambda: images(fnn.unet(3, 10, widths=(16, 32, 64)), batch=16, pixels=True),
        ),
        Case("ViT, 64 patches, batch 32, against jax.nn", lambda: images(patches(), batch=32)),
        Case("LSTM classifier, T 128, batch 32", lambda: series(checkpoint=False)),
        Case("the same, against jax.checkpoint", lambda: series(checkpoint=True)),
        *gpt_cases(256),
        *gpt_cases(8192),
        Case("GPT, tied, V 8192", lambda: tied(8192)),
        Case("encoder-decoder, V 256", lambda: translation(fused=False)),
        Case("encoder-decoder, V 256, against jax.nn", lambda: translation(fused=True)),
        Case("GPT, V 256, against jax.checkpoint", lambda: lean(recompute=False)),
        Case("GPT in Recompute, against jax.checkpoint", lambda: lean(recompute=True)),
    ),
    mean=True,
)
