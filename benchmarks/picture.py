"""The picture: time and memory ratios of every row, training runs and steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measure import Result
from benchmarks.report import MEMORY, Report, machine, time_limit

GOOD, BAD, GREY = "#1b7f79", "#c8553d", "#8a8a8a"
FLOOR, CEILING = 1 / 256, 8.0  # the edges of the ratio panels; what is beyond stands there


def draw(path: Path, report: Report) -> None:
    """Write the picture: the tables in two columns, training runs and steps below, in pairs."""
    columns = in_columns([t for t in report.tables if t[1]])
    rows = max((height(c) for c in columns), default=0.0)
    n = max(len(columns), 1)
    below = compared(report)
    heights = [max(1.0, 0.21 * rows), *[1.5] * -(-len(below) // 2)]
    figure = Figure(figsize=(9.5 * n, 2.0 + sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), 2 * n, height_ratios=heights)
    for i, tables in enumerate(columns):
        time, memory = (figure.add_subplot(grid[0, 2 * i + j]) for j in (0, 1))
        ratio_panels(time, memory, tables, rows)
    for i, (title, ratios) in enumerate(below):
        left = n * (i % 2)
        bars(figure.add_subplot(grid[1 + i // 2, left : left + n]), ratios, title)
    figure.suptitle("{device}, {platform}, {date}".format(**machine()), fontsize=9, color=GREY)
    figure.savefig(path, dpi=130)


def compared(report: Report) -> list[tuple[str, list[tuple[str, float | None]]]]:
    """Title, and every peer with its ratio: of the training runs, and of every net's steps."""
    found = {}
    for r in report.runs:
        found.setdefault("a whole training run: time / that of fnn.fit", []).append(
            (r.name, r.ratio)
        )
    for s in report.steps:
        found.setdefault(f"step, {s.net}: time / fnn's", []).append((s.peer, s.ratio))
    return list(found.items())


Measured = tuple[Any, list[Result]]


def height(tables: Sequence[Measured]) -> float:
    """In rows, with titles and gaps."""
    return sum(len(results) + 1.5 for _, results in tables)


def in_columns(tables: Sequence[Measured], most: float = 40) -> list[Sequence[Measured]]:
    """One column up to `most` rows, else two, cut between tables so that they are even."""
    if height(tables) <= most or len(tables) < 2:
        return [tables] if tables else []
    cut = min(range(1, len(tables)), key=lambda i: max(height(tables[:i]), height(tables[i:])))
    return [tables[:cut], tables[cut:]]


def ratio_panels(time: Any, memory: Any, tables: Sequence[Measured], rows: float) -> None:
    """A dot per row, with quartiles in time; `rows` is the height of the panel."""
    y, ticks = 0.0, []
    for table, results in tables:
        time.text(FLOOR, y, f" {table.title}", weight="bold", va="center", fontsize=9)
        y += 1
        for r in results:
            colour = GOOD if r.time <= time_limit(r) else BAD
            time.plot([max(r.low, FLOOR), r.high], [y, y], color=colour, lw=2, alpha=0.45)
            time.plot(r.time, y, "o", color=colour, ms=4)
            x = min(max(r.memory, FLOOR), CEILING)
            memory.plot(x, y, "o", color=GOOD if r.memory <= MEMORY else BAD, ms=4)
            ticks.append((y, r.name))
            y += 1
        y += 0.5
    for axes, title in ((time, "time"), (memory, "temporary memory")):
        axes.set_xscale("log", base=2)
        axes.set_xlim(FLOOR, 1.1 * CEILING)
        axes.set_xticks([1 / 256, 1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4])
        axes.set_xticklabels(["1/256", "1/64", "1/16", "1/4", "1/2", "1", "2", "4"])
        axes.axvline(1, color=GREY, lw=1)
        axes.set_ylim(rows, -1)
        axes.set_yticks([t for t, _ in ticks])
        axes.grid(axis="y", color="0.93")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_title(f"{title}: hand-written / autodiff", fontsize=10, loc="left")
    time.set_yticklabels([name for _, name in ticks])
    memory.set_yticklabels([])


def bars(axes: Any, ratios: Sequence[tuple[str, float | None]], title: str) -> None:
    """How many times as long as ours, the first one's, a peer takes, in red who is faster."""
    shown = [(name, 1 / ratio) for name, ratio in ratios if ratio]
    for i, (_, times) in enumerate(shown):
        colour = GOOD if i == 0 else BAD if times < 1 else GREY
        axes.barh(i, times, color=colour, height=0.6)
        axes.text(times, i, f" {times:.1f}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)))
    axes.set_yticklabels([name for name, _ in shown], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=8, loc="left")
