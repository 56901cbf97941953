"""The picture: memory of a device, and what it sends in a step, case by case."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.picture import GOOD, GREY
from benchmarks.scale.models import SIZES, Case

WAYS = {"hand": ("hand-written", GOOD), "autodiff": ("jax.grad", GREY)}


def draw(path: Path, rows: Sequence[tuple[Case, dict[str, Any]]]) -> None:
    """Write the picture: bars of the State with what is needed beside it; bars of what is sent."""
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    at = np.arange(len(rows))
    for i, (way, (name, colour)) in enumerate(WAYS.items()):
        y, found = at + 0.4 * i - 0.2, [f[way] for _, f in rows]
        state, beside = ([f[k] / 2**30 for f in found] for k in ("state", "temporary"))
        left.barh(y, state, 0.36, color=colour)
        left.barh(y, beside, 0.36, left=state, color=colour, alpha=0.45, label=name)
        sizes = [SIZES[case.size] for case, _ in rows]
        pairs = zip(found, sizes, strict=True)
        right.barh(y, [(f["block"] * s.n_layers + f["rest"]) / 1e9 for f, s in pairs], 0.36,
                   color=colour)  # fmt: skip
    names = [f"{c.size} on {c.data}" + f" × {c.model}" * (c.model > 1) for c, _ in rows]
    left.set_yticks(at, names)
    left.invert_yaxis()
    left.set_xlabel("GiB of a device: State, and beside it (pale)")
    right.set_xlabel("GB that a device sends in a step")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
