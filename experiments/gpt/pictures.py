"""What a net has learned to write, in a picture: its learning curves and samples of its text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import insides
from experiments.common.plots import FAINT, INK, lines, picture

WIDTH = 62  # letters of a line
HOW: Any = {
    "family": "monospace", "fontsize": 7.5, "color": INK, "va": "top", "parse_math": False,
}  # fmt: skip


def picture_of(
    history: Sequence[Mapping[str, Any]], held_out: float, baselines: Mapping[str, float]
) -> Figure:
    """Bits per byte against steps, the baselines as lines; beside them three samples."""
    steps = [row["step"] for row in history]
    title = f"After {steps[-1]:,} steps a byte of unseen text takes {held_out:.2f} bits"
    figure, ((left, right),) = picture(title, 1, 2, (11, 4.6))
    curves = {
        "training": [row["train"] for row in history],
        "held out": [row["held_out"] for row in history],
    }
    lines(left, steps, curves)
    for name, value in baselines.items():
        left.axhline(value, color=FAINT, linestyle="--", linewidth=1.2, zorder=0)
        # the curves fall from the left above to the right below: names keep out of their way
        x, side = (0.98, "right") if value > 1.4 * curves["held out"][-1] else (0.02, "left")
        left.annotate(
            name, (x, value), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha=side, color="#888888", fontsize=9,
        )  # fmt: skip
    left.set(xlabel="step", ylabel="bits per byte", ylim=(0, max(8.6, max(curves["training"]))))
    right.set_axis_off()
    right.text(0, 1, "\n".join(samples(history)), **HOW, transform=right.transAxes)
    return figure


def insides_of(history: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Norms and ratios of every layer, over the steps that were watched; None where none was."""
    seen = [row["insides"] for row in history if row.get("insides")]
    if not seen:
        return None
    quantities = {
        name: {layer: np.array([s[name][layer] for s in seen]) for layer in layers}
        for name, layers in seen[0].items()
        if name != "step"
    }
    return insides.picture_of([s["step"] for s in seen], quantities)


def samples(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines that show what was written at the beginning, early, and at the end."""
    shown = []
    kept = [i for i, row in enumerate(history) if row["sample"]]  # of a long history not all are
    for wanted in sorted({0, len(history) // 4, len(history) - 1}):
        i = max(i for i in (kept[0], *kept) if i <= max(wanted, kept[0]))
        # no font has all letters that a net writes before it has learned
        text = history[i]["sample"].encode("ascii", "backslashreplace").decode()
        cut = [
            line[at : at + WIDTH]
            for line in text.expandtabs(4).rstrip().splitlines()
            for at in range(0, max(len(line), 1), WIDTH)
        ]
        shown += [f"step {history[i]['step']:,}", *(f"  {line}" for line in cut[:9]), ""]
    return shown
