"""Pictures in one plain style, drawn without a display.

A picture is a `Figure`; `save` writes it. Titles say what is seen, lines carry their
names, axes their units.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, FAINT = "#333333", "#bbbbbb"
STYLE: Any = {
    "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.color": INK,
    "figure.titlesize": 12, "image.interpolation": "nearest",
}  # fmt: skip


def picture(
    title: str, n_rows: int = 1, n_columns: int = 1, size: tuple[float, float] = (8, 4)
) -> tuple[Figure, np.ndarray]:
    """A figure with this title, and its axes, [n_rows, n_columns]."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
        return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=120, metadata={"Software": None})


def lines(axes: Axes, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> None:
    """One line per series, with its name at its right end."""
    ends = label_heights(axes, [values[-1] for values in series.values()], series)
    for (name, values), color, end in zip(series.items(), COLORS * 9, ends, strict=False):
        axes.plot(x, values, color=color, linewidth=1.6, marker="." if len(x) < 3 else None)
        axes.annotate(
            name, (1.0, end), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", color=color, va="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(x[0], x[-1] if x[-1] > x[0] else x[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def label_heights(
    axes: Axes, ends: Sequence[float], series: Mapping[str, Sequence[float]]
) -> list[float]:
    """Where the names stand: at the ends of the lines, moved apart where they would touch."""
    log = axes.get_yscale() == "log"
    forth, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    everything = forth(np.concatenate([np.asarray(v, float) for v in series.values()]))
    gap = 0.07 * (everything.max() - everything.min())
    heights = np.array(forth(np.asarray(ends, float)), float)
    order = np.argsort(heights)
    for low, high in itertools.pairwise(order):
        heights[high] = max(heights[high], heights[low] + gap)
    heights -= (heights - forth(np.asarray(ends, float))).mean()
    return list(back(heights))


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


def tiles(
    title: str, images: np.ndarray, names: Sequence[str], n_columns: int, note: str, **how: Any
) -> Figure:
    """Small images [N, H, W] in a grid, a name above each and one note below all."""
    n, height, width = images.shape
    n_columns = min(n_columns, max(n, 1))
    n_rows = -(-max(n, 1) // n_columns)
    head, gap = 3, 1  # pixels above an image, and beside it
    # one mosaic instead of a hundred axes: drawn in a tenth of the time
    mosaic = np.full((n_rows * (height + head), n_columns * (width + gap)), np.nan)
    signed = how.get("vmin", 0) < 0
    wide, high = (0.1 * pixels for pixels in mosaic.shape[::-1])
    figure, ((axes,),) = picture(title, size=(max(wide + 1.2 * signed, 5), high + 0.8))
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        top, left = i // n_columns * (height + head) + head, i % n_columns * (width + gap)
        mosaic[top : top + height, left : left + width] = np.ma.filled(image, np.nan)
        axes.text(left + width / 2 - 0.5, top - 0.8, name, ha="center", fontsize=9)
    drawn = axes.imshow(mosaic, **how)
    axes.set_axis_off()
    axes.set_anchor("NW")
    figure.supxlabel(note, fontsize=10, color=INK, x=0.01, ha="left")
    if signed:
        figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight", aspect=30)
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
