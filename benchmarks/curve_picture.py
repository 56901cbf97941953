"""The picture of the curves: hand-written and autodiff, time above memory, and compiling."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.curves import Curve, Depth
from benchmarks.picture import GOOD, GREY
from benchmarks.report import GROWTH

NAMES, COLOURS = ("hand-written", "autodiff"), (GOOD, GREY)


def draw_curves(path: Path, curves: Sequence[Curve], depths: Sequence[Depth]) -> None:
    """Write the picture: a column per curve, one for the depths."""
    n = len(curves) + 1
    figure = Figure(figsize=(4.1 * n, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, n)
    for j, curve in enumerate(curves):
        sizes = [p.size for p in curve.points]
        for i, (field, unit) in enumerate((("milliseconds", "ms"), ("mebibytes", "MiB"))):
            values = [getattr(p, field) for p in curve.points]
            what = "time" if i == 0 else "temporary memory"
            lines(panels[i, j], sizes, values, f"{what}, {unit}")
            panels[i, j].set_xlabel(curve.letter)
        panels[0, j].set_title(curve.title, fontsize=10, loc="left")
    blocks = [d.blocks for d in depths]
    lines(panels[0, -1], blocks, [d.seconds for d in depths], "trace and compile, s", log=False)
    panels[0, -1].set_title("GPT, blocks of 64 in Repeat", fontsize=10, loc="left")
    first = depths[0].seconds
    growth = [(d.seconds[0] / first[0], d.seconds[1] / first[1]) for d in depths]
    lines(panels[1, -1], blocks, growth, f"the same, over that of {blocks[0]} blocks", log=False)
    panels[1, -1].set_ylim(top=max(1.5, *(1.1 * max(g) for g in growth)))
    panels[1, -1].axhline(GROWTH, color="0.6", lw=1, ls=":")
    panels[1, -1].text(blocks[0], GROWTH, "target", fontsize=8, color="0.4", va="bottom")
    for axes in panels[:, -1]:
        axes.set_xlabel("blocks")
    figure.savefig(path, dpi=130)


def lines(
    axes: Any, sizes: Sequence[int], values: Sequence[Any], label: str, *, log: bool = True
) -> None:
    """Two lines with their names behind the end, the upper one's a little higher."""
    ends = []
    for i in (0, 1):
        xy = [(n, v[i]) for n, v in zip(sizes, values, strict=True) if v[i]]
        if xy:
            axes.plot(*zip(*xy, strict=True), "o-", color=COLOURS[i], ms=4, lw=1.8)
            ends.append((xy[-1][1], xy[-1][0], i))
    for (y, x, i), up in zip(sorted(ends), (-4, 4), strict=False):
        at = {"xytext": (7, up), "textcoords": "offset points", "va": "center"}
        axes.annotate(NAMES[i], (x, y), color=COLOURS[i], fontsize=9, **at)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes)
    axes.set_xticklabels([short(n) for n in sizes], fontsize=8)
    axes.set_xlim(right=sizes[-1] * (sizes[-1] / sizes[0]) ** 0.35)  # room for the names
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(label, fontsize=9)


def short(n: int) -> str:
    """16k for 16384."""
    return f"{n // 1024}k" if n >= 1024 and n % 1024 == 0 else f"{n}"
