"""How a trained classifier fares on every part of its data, in numbers and in pictures."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from experiments.common import plots, portraits
from experiments.common.checkpoints import Checkpoint
from experiments.common.data import Dataset


def judge(path: Path | None, checkpoint: Checkpoint, dataset: Dataset) -> dict[str, float]:
    """The accuracy on every part; in `path`, pictures of how the test went."""
    net, params = fnn.inference(checkpoint.net, checkpoint.params)
    parts = dataset.parts()
    x = checkpoint.standardize(np.concatenate([rows.x for rows in parts.values()]))
    y = jax.jit(lambda params, x: net.forward(params, x)[0])(params, x)
    ends = np.cumsum([len(rows.x) for rows in parts.values()])
    said = dict(zip(parts, np.split(np.asarray(y).argmax(-1), ends[:-1]), strict=True))
    if path is not None:
        draw(path, params[0].w, said["test"], dataset)
    return {
        f"{name}_accuracy": float((said[name] == rows.label).mean()) for name, rows in parts.items()
    }


def draw(path: Path, w: Any, said: np.ndarray, dataset: Dataset) -> None:
    """confusion.png and, where an example is an image, mistakes.png and weights.png."""
    x, label = dataset.test
    what = dataset.name
    counts = np.zeros((len(dataset.classes),) * 2, int)
    np.add.at(counts, (label, said), 1)
    plots.save(portraits.confusion(counts, dataset.classes, what), path / "confusion.png")
    if len(dataset.shape) != 2:
        return
    wrong = np.flatnonzero(said != label)
    names = [f"{dataset.classes[label[i]]} → {dataset.classes[said[i]]}" for i in wrong]
    images = x[wrong].reshape(-1, *dataset.shape)
    plots.save(portraits.mistakes(images, names, len(x), 40, what), path / "mistakes.png")
    constant = (dataset.train.x == dataset.train.x[0]).all(0)
    figure = portraits.weights(np.asarray(w), dataset.shape, constant, 60, what)
    plots.save(figure, path / "weights.png")
