"""What a classifier does, in pictures: its curves, its mistakes, its weights, its δ."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.common.plots import INK, lines, picture, tiles


def curves(history: Mapping[str, Sequence[float]], penalized: bool) -> Figure:
    """Loss and accuracy per epoch, of the training and of the validation rows.

    The training rows are those of the steps themselves, with dropout and, where the loss
    is `penalized`, with the penalty.
    """
    epochs = range(1, len(history["loss"]) + 1)
    last = 100 * history["validation_accuracy"][-1]
    title = f"{last:.1f} % of the validation digits read right after {len(epochs)} epochs"
    figure, ((left, right),) = picture(title, 1, 2, (10, 4))
    left.set_yscale("log")
    trained = "training\n+ penalty" if penalized else "training"
    panels = (
        (left, "loss", "loss (log scale)", trained),
        (right, "accuracy", "accuracy", "training"),
    )
    for axes, name, label, training in panels:
        series = {training: history[name], "validation": history[f"validation_{name}"]}
        lines(axes, list(epochs), series)
        axes.set(xlabel="epoch", ylabel=label)
    return figure


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Rows are true classes, columns what the network says."""
    wrong = counts - np.diag(np.diag(counts))
    said = f"{counts.sum()} test digits: {wrong.sum()} read wrong"
    if wrong.max() > 1:
        i, j = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
        said += f", most often {classes[i]} as {classes[j]} ({wrong[i, j]}×)"
    figure, ((axes,),) = picture(said, size=(6.4, 6))
    # right answers in grey, wrong ones in colour: the eye should find these
    right = np.ma.masked_equal(counts - wrong, 0)
    axes.imshow(right, cmap="Greys", vmin=0, vmax=5 * counts.max())
    shade = max(wrong.max(), 3)
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap="Oranges", vmin=-shade / 2, vmax=shade)
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", color=INK)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    borders = np.arange(len(classes) + 1) - 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="read as", ylabel="true digit")
    return figure


def weights(w: np.ndarray, shape: tuple[int, ...], constant: np.ndarray, most: int) -> Figure:
    """The columns of w [n_in, n_out] as images, those with the largest norm first."""
    order = np.argsort(-np.linalg.norm(w[~constant], axis=0))[:most]
    images = np.ma.masked_array(w.T[order], np.broadcast_to(constant, w.T[order].shape))
    top = float(np.quantile(abs(images.compressed()), 0.995))
    title = f"What {len(order)} of {w.shape[1]} first-layer neurons look for"
    note = "blank: pixels that are the same in all training digits. Number: the neuron."
    names = [str(i) for i in order]
    how = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    return tiles(title, images.reshape(-1, *shape), names, 10, note, **how)


def mistakes(images: np.ndarray, names: Sequence[str], total: int, most: int) -> Figure:
    """Images [N, H, W] that the network reads wrong, with what they are."""
    shown = "" if len(images) <= most else f", {most} of them shown"
    title = f"The {len(images)} of {total} test digits read wrong{shown}"
    if not len(images):
        title = f"All {total} test digits are read right"
    note = "true digit → what the network reads"
    return tiles(title, images[:most], names[:most], 8, note, cmap="Greys")


def gradient_flow(epochs: Sequence[int], norms: Mapping[str, Sequence[float]]) -> Figure:
    """The norm of δ of every layer, epoch by epoch."""
    first, last = (sum(v[i] for v in norms.values()) for i in (0, -1))
    change = f"{first / last:.0f}-fold smaller" if last < first else "no smaller"
    title = f"The error signals δ that reach each layer are {change} at the end"
    figure, ((axes,),) = picture(title, size=(8, 4.5))
    axes.set_yscale("log")
    lines(axes, list(epochs), norms)
    axes.set(xlabel="epoch (0: before training)", ylabel="‖δ‖ = ‖∂L/∂z‖ (log scale)")
    return figure
