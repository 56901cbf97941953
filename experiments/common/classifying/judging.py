"""How a trained classifier fares on every part of its data, in numbers and in pictures."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import fnn
from experiments.common import plots, portraits
from experiments.common.checkpoints import Checkpoint
from experiments.common.data import Dataset
from experiments.common.runs import check_finite

CHUNK = 4096  # rows at a time: a convolution's maps are many times its images

Draw = Callable[[Checkpoint, Dataset], dict[str, plots.Figure]]  # by name, without .png


def said(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, np.ndarray]:
    """The classes that the network says, by the names of the parts.

    Raises:
        UserError: where a score is not finite, whose class would be an accident.
    """
    net, params = fnn.inference(checkpoint.net, checkpoint.params)
    forward = jax.jit(lambda params, x: net.forward(params, x)[0])
    parts = dataset.parts()
    x = checkpoint.standardize(np.concatenate([rows.x for rows in parts.values()]))
    chunks = [x[i : i + CHUNK] for i in range(0, len(x), CHUNK)]
    scores = [np.asarray(forward(params, chunk)) for chunk in chunks]
    for score in scores:
        check_finite("after training", {}, {"the scores of the classes": score})
    label = np.concatenate([score.argmax(-1) for score in scores])
    ends = np.cumsum([len(rows.x) for rows in parts.values()])
    return dict(zip(parts, np.split(label, ends[:-1]), strict=True))


def accuracies(said: dict[str, np.ndarray], dataset: Dataset) -> dict[str, float]:
    """How many of every part are named rightly."""
    parts = dataset.parts().items()
    return {f"{name}_accuracy": float((said[name] == rows.label).mean()) for name, rows in parts}


def pictures(
    path: Path, said: dict[str, np.ndarray], checkpoint: Checkpoint, dataset: Dataset, draw: Draw
) -> None:
    """Pictures of the test and those of `draw`, in `path`."""
    for name, figure in (tested(said["test"], dataset) | draw(checkpoint, dataset)).items():
        plots.save(figure, path / f"{name}.png")


def tested(said: np.ndarray, dataset: Dataset) -> dict[str, plots.Figure]:
    """The confusion of classes and, where an example is an image, the mistakes."""
    x, label = dataset.test
    what = dataset.name
    counts = np.zeros((len(dataset.classes),) * 2, int)
    np.add.at(counts, (label, said), 1)
    figures = {"confusion": portraits.confusion(counts, dataset.classes, what)}
    if len(dataset.shape) == 2:
        wrong = np.flatnonzero(said != label)
        names = [f"{dataset.classes[label[i]]} → {dataset.classes[said[i]]}" for i in wrong]
        images = x[wrong].reshape(-1, *dataset.shape)
        figures["mistakes"] = portraits.mistakes(images, names, len(x), 40, what)
    return figures
