"""The picture: kinds of mistakes against checkers, how many of a hundred are noticed."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from benchmarks.mutations.report import CHECKERS, OURS, SHORT, asked, mutants
from benchmarks.mutations.work import Result

GOOD, BAD = "#1b7f79", "#c8553d"
COLOURS = LinearSegmentedColormap.from_list("kills", [BAD, "#f3e3c3", GOOD])


def draw(path: Path, results: list[Result]) -> None:
    """Write the picture."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for r in mutants(results):
        groups[r["row"]].append(r)
    checkers = [c for c in CHECKERS if asked(mutants(results), c)]
    columns = [*[(c, "killed") for c in checkers], (OURS, "right")]
    shares = np.array([[rate(group, *column) for column in columns] for group in groups.values()])
    order = np.argsort(-np.nan_to_num(shares[:, 1:-1]).sum(axis=1), kind="stable")
    names, shares = np.array(list(groups))[order], shares[order]

    figure = Figure(figsize=(7.2, 1.2 + 0.23 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(np.ma.masked_invalid(shares), cmap=COLOURS, vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(shares):
        text = "" if np.isnan(value) else f"{int(value)}"
        colour = "white" if value > 85 or value < 15 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    heads = [SHORT[c] for c in checkers] + ["right\ndiagnosis"]
    axes.set_xticks(range(len(columns)), heads, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.axvline(len(checkers) - 0.5, color="white", lw=4)
    axes.spines[:].set_visible(False)
    title = "Of 100 wrong gradients of each kind, how many are noticed"
    axes.set_title(title, loc="left", pad=10, fontsize=10)
    axes.set_xlabel("white: nothing of the kind was asked about", fontsize=9)
    figure.savefig(path, dpi=140)


def rate(group: list[Result], checker: str, key: str) -> float:
    """The share in percent, NaN where nobody was asked."""
    verdicts = asked(group, checker)
    return 100 * float(np.mean([v[key] for v in verdicts])) if verdicts else float("nan")
