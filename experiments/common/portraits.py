"""What a classifier does, in pictures: its curves, its mistakes, its weights, its δ."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiments.common.plots import INK, lines, picture, tiles


def done(what: str) -> str:
    """What the network does to examples of this name."""
    return "read" if what == "digits" else "classified"


def curves(history: Mapping[str, Sequence[float]], penalized: bool, what: str = "digits") -> Figure:
    """Loss and accuracy per epoch, of the training and of the validation rows.

    The training rows are those of the steps themselves, with dropout and, where the loss
    is `penalized`, with the penalty.
    """
    epochs = range(1, len(history["loss"]) + 1)
    last = 100 * history["validation_accuracy"][-1]
    plural = "s" * (len(epochs) > 1)
    title = f"{last:.1f} % of the validation {what} {done(what)} right after {len(epochs)} epoch"
    figure, ((left, right),) = picture(title + plural, 1, 2, (10, 4))
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


def confusion(counts: np.ndarray, classes: Sequence[str], what: str = "digits") -> Figure:
    """Rows are true classes, columns what the network says."""
    wrong = counts - np.diag(np.diag(counts))
    names = [short(name) for name in classes]
    said = f"{counts.sum()} test {what}: {wrong.sum()} {done(what)} wrong"
    if wrong.max() > 1:
        i, j = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
        said += f", most often {names[i]} as {names[j]} ({wrong[i, j]}×)"
    extent = max(6, 0.5 * len(classes))
    figure, ((axes,),) = picture(said, size=(extent + 0.4, extent))
    # right answers in grey, wrong ones in colour: the eye should find these
    right = np.ma.masked_equal(counts - wrong, 0)
    axes.imshow(right, cmap="Greys", vmin=0, vmax=5 * counts.max())
    shade = max(wrong.max(), 3)
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap="Oranges", vmin=-shade / 2, vmax=shade)
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", color=INK)
    upright = sum(map(len, names)) > 60
    axes.set_xticks(range(len(classes)), names, rotation=90 * upright)
    axes.set_yticks(range(len(classes)), names)
    borders = np.arange(len(classes) + 1) - 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)
    true = "digit" if what == "digits" else "class"
    axes.set(xlabel=f"{done(what)} as", ylabel=f"true {true}")
    return figure


def short(name: str, most: int = 16) -> str:
    """A name with its end left out where it is long; $ is a letter here, not mathematics."""
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def weights(
    w: np.ndarray, shape: tuple[int, ...], constant: np.ndarray, most: int, what: str = "digits"
) -> Figure:
    """The columns of w [n_in, n_out] as images, those with the largest norm first."""
    order = np.argsort(-np.linalg.norm(w[~constant], axis=0))[:most]
    images = np.ma.masked_array(w.T[order], np.broadcast_to(constant, w.T[order].shape))
    top = float(np.quantile(abs(images.compressed()), 0.995))
    title = f"What {len(order)} of {w.shape[1]} first-layer neurons look for"
    note = f"blank: pixels that are the same in all training {what}. Number: the neuron."
    names = [str(i) for i in order]
    how = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    return tiles(title, images.reshape(-1, *shape), names, 10, note, **how)


def mistakes(
    images: np.ndarray, names: Sequence[str], total: int, most: int, what: str = "digits"
) -> Figure:
    """Images [N, H, W] that the network reads wrong, with their classes."""
    shown = "" if len(images) <= most else f", {most} of them shown"
    title = f"The {len(images)} of {total} test {what} {done(what)} wrong{shown}"
    if not len(images):
        title = f"All {total} test {what} are {done(what)} right"
    note = "true digit → what the network reads"
    if what != "digits":
        note = "true class → what the network says"
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


def maps(w: np.ndarray, images: np.ndarray, found: np.ndarray, what: str = "digits") -> Figure:
    """Windows w [n, K, K] above what they find, [N, n, H, W], in images [N, H, W] at the left.

    At most 16 windows are shown.
    """
    w, found = w[:16], found[:, :16]
    n, size = len(w), images.shape[-1]
    tops = found.max((0, 2, 3), keepdims=True)
    shown = np.concatenate([images[:, None] / images.max(), found / np.maximum(tops, 1e-9)], 1)
    title = f"What {n} windows of the first layer look for, and what they find in {len(images)} "
    figure, ((axes,),) = picture(title + what, size=(0.6 * n + 2, 0.6 * len(images) + 1.6))
    side, high = size + 1, (images.shape[1] + 1) * len(images)
    rows = cells(shown, 1, 1)
    greys = colormaps["Greys"].resampled(16)  # few, so that a PNG has colours left
    axes.imshow(rows, cmap=greys, extent=(0, side * (n + 1), high, 0), vmin=0, vmax=1)
    top, scale = float(abs(w).max()), max(size // w.shape[-1], 1)
    windows = cells(np.kron(w, np.ones((1, scale, scale)))[None], 1, side - scale * w.shape[-1])
    drawn = axes.imshow(
        windows, cmap="RdBu_r", vmin=-top, vmax=top,
        extent=(side, side * (n + 1), -1, -1 - len(windows)),
    )  # fmt: skip
    axes.set(xlim=(-1, side * (n + 1)), ylim=(high, -2 - len(windows)))
    axes.set_axis_off()
    for j in range(n):
        middle = side * (j + 1) + scale * w.shape[-1] / 2
        axes.text(middle, -2 - len(windows), str(j), ha="center", va="bottom", fontsize=9)
    figure.colorbar(drawn, ax=axes, shrink=0.5, label="weight", aspect=30)
    note = "left: the image. Every map is darkest where its window finds most, and white at 0."
    figure.supxlabel(note, fontsize=10, color=INK, x=0.01, ha="left")
    return figure


def cells(images: np.ndarray, below: int, beside: int) -> np.ndarray:
    """Images [rows, columns, H, W] as one, with this many blank pixels below and beside each."""
    n_rows, n_columns, height, width = images.shape
    wide = ((0, 0), (0, 0), (0, below), (0, beside))
    padded = np.pad(images, wide, constant_values=np.nan).swapaxes(1, 2)
    return padded.reshape(n_rows * (height + below), n_columns * (width + beside))
