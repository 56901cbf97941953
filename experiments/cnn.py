"""A convolutional network learns to read handwritten digits by hand-written gradients.

    uv run python -m experiments.cnn

Question: Do weights that are shared over the image read digits better than layers that
connect every pixel with every neuron?

Answer: On these digits they do, with fewer parameters: 12,346 read 268 of 269 test
digits right, 99.6 %, after 20 epochs, where the 17,226 of experiments.digits read 265. The
hand-written gradient of the first batch differs from jax.grad by at most 2.2e-16 in float64
and 1.0e-07 in float32.

The network moves windows of 3 × 3 weights over the image, thrice, and halves it in between:

    y[b,i,j,d] = Σ_u Σ_v Σ_c x[b,i+u,j+v,c] w[u,v,c,d] + b[d]

    image → convolution, ReLU → convolution, norm, ReLU, maximum of 2 × 2
          → convolution, norm, ReLU → dropout → dense → ten logits

The norm is GroupNorm, which takes every image for itself. The digits, their parts and the
folder that a run leaves are those of experiments.digits; pixels are standardised alike, not
each by itself, so that a stroke looks the same wherever it is. maps.png shows the windows of
the first layer and what they find in ten test digits. With seed 1 the network reads 268
digits right too.

Other images train in the same way:

    --data mnist:FOLDER                   four IDX files, plain or .gz

Source: LeCun et al. (1989), Neural Computation 1, pp. 541-551; the digits, Alpaydin & Kaynak
(1998).
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import classifying, cli, names, plots, portraits, sources
from experiments.common.checkpoints import Checkpoint
from experiments.common.classifying import Problem
from experiments.common.cli import Bounds
from experiments.common.data import Dataset, Standardizer
from experiments.common.settings import ClassifierSettings


@dataclass(frozen=True)
class Config(ClassifierSettings):
    """Train a convolutional network on handwritten digits, or on images of yours."""

    data: str = "digits"  # digits or mnist:FOLDER (IDX files)
    optimizer: names.Optimizer = "adamw"  # how gradients become steps
    epochs: Annotated[int, Bounds(1)] = 20  # passes over the training rows
    dropout: Annotated[float, Bounds(0, 1)] = 0.3  # share of the last maps dropped in training
    filters: Annotated[tuple[int, int], Bounds(1)] = (16, 32)  # before the maximum, and after it


def main(config: Config) -> None:
    """Check the gradient, train, evaluate, draw."""
    classifying.run(config, "cnn", sources.images(config.data), prepare, draw)


def prepare(config: Config, dataset: Dataset) -> Problem:
    """The network, and the standardised images."""
    net = network(dataset.shape, config.filters, len(dataset.classes), config.dropout)
    return classifying.posed(config, dataset, net, Standardizer.alike(dataset.train.x))


def network(
    shape: tuple[int, ...], filters: tuple[int, int], n_classes: int, dropout: float
) -> fnn.Serial:
    """Three convolutions and a dense layer, for images [H, W, 1]."""
    few, many = filters
    height, width = (n // 2 for n in shape)
    return fnn.Serial(
        convolution(1, few), fnn.ReLU(),
        convolution(few, few), fnn.GroupNorm(few, groups(few)), fnn.ReLU(), fnn.MaxPool2d(2),
        convolution(few, many), fnn.GroupNorm(many, groups(many)), fnn.ReLU(),
        fnn.Flatten(), fnn.Dropout(dropout), fnn.Dense(height * width * many, n_classes),
    )  # fmt: skip


def convolution(n_in: int, n_out: int) -> fnn.Conv2d:
    """Windows of 3 × 3 that keep the size of the image."""
    return fnn.Conv2d(n_in, n_out, 3, padding="same", w_init=fnn.initializers.he_normal)


def groups(n: int) -> int:
    """Into how many groups n channels are cut: four where that is possible."""
    return 4 if n % 4 == 0 else 1


def draw(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, plots.Figure]:
    """The windows of the first layer, and what they find in a test image of every class."""
    net: Any = checkpoint.net
    (first, bend), params = net.layers[:2], checkpoint.params[0]
    chosen = [np.flatnonzero(dataset.test.label == k)[:1] for k in range(len(dataset.classes))]
    x = dataset.test.x[np.concatenate(chosen)[:10]]
    z, _ = first.forward(params, jnp.asarray(checkpoint.standardize(x)))
    maps, _ = bend.forward((), z)
    w = np.moveaxis(np.asarray(params.w)[:, :, 0], -1, 0)
    images = np.moveaxis(np.asarray(maps), -1, 1)
    return {"maps": portraits.maps(w, x[..., 0], images, dataset.name)}


if __name__ == "__main__":
    sys.exit(cli.run(main, Config))
