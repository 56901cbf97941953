"""A network learns to read handwritten digits by hand-written gradients.

    uv run python -m experiments.digits

Question: Can backpropagation written out by hand be right to rounding, and does it train a
network that reads digits which it never saw?

Answer: Yes, both. On the first batch it differs from jax.grad by at most 1.1e-16 in float64
and 3.0e-08 in float32, where the entries of the gradient go up to 0.35. After 40 epochs the
network reads 265 of 269 test digits right, 98.5 %.

The digits are 8 × 8 pixels, ten classes. 70 % of them train, 15 % are watched during
training and choose nothing, 15 % are the test. The difference is the largest over all
weights and biases; the two gradients are compiled apart. With seeds 1, 2 and 3 the network
reads 265 digits right too. A folder receives the settings, the metrics of every epoch, the
results, the trained parameters (params.safetensors, which --load evaluates) and six
pictures. Ctrl-C saves a run, and the same command with its folder as --out goes on.

Your own data are used in the same way:

    --data mnist:FOLDER                   four IDX files, plain or .gz
    --data csv:FILE --target COLUMN       a table of numbers and one column of classes

A file of more than 500 MB, unpacked, is read where the variable FNN_MAX_BYTES allows it.

Source: Rumelhart, Hinton & Williams (1986), Nature 323; the digits, Alpaydin & Kaynak (1998).
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np

import fnn
from experiments.common import choices, classifying, cli, names, plots, portraits, sources
from experiments.common.checkpoints import Checkpoint
from experiments.common.classifying import Problem
from experiments.common.cli import Bounds
from experiments.common.data import Dataset, Standardizer
from experiments.common.settings import ClassifierSettings


@dataclass(frozen=True)
class Config(ClassifierSettings):
    """Train a network on handwritten digits, or on data of yours, by hand-written gradients."""

    data: str = "digits"  # digits, mnist:FOLDER (IDX files) or csv:FILE
    target: str | None = None  # of csv:FILE: the column that holds the classes
    missing: names.Missing = (
        "error"  # of csv:FILE, for empty cells: stop, drop the row, take the mean
    )
    hidden: Annotated[tuple[int, ...], Bounds(1), cli.OR_NONE] = (
        128,
        64,
    )  # sizes of the hidden layers
    activation: names.Activation = "relu"  # after every hidden layer
    loss: names.Loss = "softmax-cross-entropy"  # what training makes small
    l2: Annotated[float, Bounds(0)] = 0.01  # strength of the penalty (λ/2) Σ w²


def main(config: Config) -> None:
    """Check the gradient, train, evaluate, draw."""
    read = sources.chosen(config.data, config.target, config.missing)
    classifying.run(config, "digits", read, prepare, draw)


def prepare(config: Config, dataset: Dataset) -> Problem:
    """The network, its loss, and the standardised rows."""
    objective = choices.LOSSES[config.loss]
    sizes = [dataset.train.x.shape[1], *config.hidden, len(dataset.classes)]
    activation = choices.ACTIVATIONS[config.activation]
    net = fnn.mlp(sizes, activation, objective.output, config.dropout)
    return classifying.posed(config, dataset, net, Standardizer.of(dataset.train.x), objective)


def draw(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, plots.Figure]:
    """What the first layer looks for, where an example is an image."""
    if len(dataset.shape) != 2:
        return {}
    x, w = dataset.train.x, np.asarray(checkpoint.params[0].w)
    constant = (x == x[0]).all(0)
    return {"weights": portraits.weights(w, dataset.shape, constant, 60, dataset.name)}


if __name__ == "__main__":
    sys.exit(cli.run(main, Config))
