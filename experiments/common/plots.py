"""Pictures in one plain style, drawn without a display.

A picture is a `Figure`; `save` writes it. Titles say what is seen, lines carry their
names, axes their units. The rest is matplotlib: `axes.plot`, `axes.scatter`, ...
"""

import io
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
from PIL import Image

from experiments.common import writing

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
    """Write a PNG of few colours: a quarter of the size of one of all."""
    for axes in figure.axes:  # rc_context ends before a panel gets its title
        if title := axes.get_title():
            axes.set_title(title, loc="left", fontsize=10, color=INK)
            axes.set_title("")
    drawn, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(drawn, dpi=120, metadata={"Software": None})
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(96, dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    writing.whole(path, small.getvalue())


def lines(axes: Axes, x: Any, series: Mapping[str, Any], **options: Any) -> None:
    """One line per series, with its name at its right end.

    Scales are set before: `axes.set_yscale("log")`. `options` go to `axes.plot`. Leave room
    for names, or set a wider figure; constrained layout does the rest.
    """
    how: Any = {"linewidth": 1.6, "marker": "." if len(x) < 3 else None} | options
    ends = label_heights(axes, [values[-1] for values in series.values()], series)
    for (name, values), color, end in zip(series.items(), COLORS * 9, ends, strict=False):
        axes.plot(x, values, color=color, **how)
        axes.annotate(
            name, (1.0, end), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", color=color, va="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(x[0], x[-1] if x[-1] > x[0] else x[0] + 1)
    if axes.get_xscale() == "linear" and all(float(v).is_integer() for v in x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        few = high / low > 1e3
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 5)))
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


def slope(axes: Axes, x: Any, y: float, power: float, name: str) -> None:
    """A grey guide line y (x / x₀)^power through (x₀, y), on logarithmic axes."""
    xs = np.array([x[0], x[-1]], float)
    ys = y * (xs / xs[0]) ** power
    axes.plot(xs, ys, color=FAINT, linestyle="--", linewidth=1.2, zorder=0)
    middle = np.sqrt(xs[0] * xs[1]), np.sqrt(ys[0] * ys[1])
    axes.annotate(
        name, middle, xytext=(-5, 5), textcoords="offset points", ha="right",
        color="#888888", fontsize=9,
    )  # fmt: skip


def band(axes: Axes, x: Any, values: Any, color: str, name: str, share: float = 0.8) -> None:
    """The median of `values` [len(x), repetitions] as a line, the middle `share` as a band."""
    values = np.asarray(values, float)
    low, middle, high = np.quantile(values, (0.5 - share / 2, 0.5, 0.5 + share / 2), axis=1)
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, middle, color=color, linewidth=1.6, label=name)


def tiles(
    title: str, images: np.ndarray, names: Sequence[str], n_columns: int, note: str, **how: Any
) -> Figure:
    """Small images [N, H, W] in a grid, a name above each and one note below all."""
    n, height, width = images.shape
    n_columns = min(n_columns, max(n, 1))
    n_rows = -(-max(n, 1) // n_columns)
    larger = max(width / 8, 1)  # an image of more pixels has smaller ones
    head, gap = round(3 * larger), round(larger)  # pixels above an image, and beside it
    # one mosaic instead of a hundred axes: drawn in a tenth of the time
    mosaic = np.full((n_rows * (height + head), n_columns * (width + gap)), np.nan)
    signed = how.get("vmin", 0) < 0
    wide, high = (0.1 * pixels / larger for pixels in mosaic.shape[::-1])
    figure, ((axes,),) = picture(title, size=(max(wide + 1.2 * signed, 5), high + 0.8))
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        top, left = i // n_columns * (height + head) + head, i % n_columns * (width + gap)
        mosaic[top : top + height, left : left + width] = np.ma.filled(image, np.nan)
        axes.text(left + width / 2 - 0.5, top - 0.8 * larger, name, ha="center", fontsize=9)
    drawn = axes.imshow(mosaic, **how)
    axes.set_axis_off()
    axes.set_anchor("NW")
    figure.supxlabel(note, fontsize=10, color=INK, x=0.01, ha="left")
    if signed:
        figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight", aspect=30)
    return figure
