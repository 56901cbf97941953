"""What a net that writes has learned, in a picture: its curves, and what it writes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.common.plots import FAINT, INK, lines, picture


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
        left.annotate(
            name, (0.98, value), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", color="#888888", fontsize=9,
        )  # fmt: skip
    left.set(xlabel="step", ylabel="bits per byte", ylim=(0, max(8.6, max(curves["training"]))))
    right.set_axis_off()
    right.text(0, 1, "\n".join(samples(history)), **HOW, transform=right.transAxes)
    return figure


def samples(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines that show what was written at the beginning, early, and at the end."""
    shown = []
    for i in sorted({0, len(history) // 4, len(history) - 1}):
        wrapped = [
            part
            for line in history[i]["sample"].expandtabs(4).splitlines()
            for part in textwrap.wrap(line, 62, drop_whitespace=False) or [""]
        ]
        shown += [f"step {history[i]['step']:,}", *(f"  {line}" for line in wrapped[:7]), ""]
    return shown


HOW: Any = {
    "family": "monospace", "fontsize": 7.5, "color": INK, "va": "top", "parse_math": False,
}  # fmt: skip
