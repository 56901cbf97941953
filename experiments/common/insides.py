"""A run from the inside, in a picture: what a `fnn.Watch` saw of every layer, step by step."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import fnn
from experiments.common.plots import lines, picture

NAMES = {  # of what was watched → what its panel says, and whether on a log scale
    "gradient_norms": ("norm of the gradient, ‖g‖", True),
    "update_ratios": ("update / weight, ‖Δp‖ / ‖p‖", True),
    "dead_units": ("share of dead units", False),
    "saturation": ("share of saturated outputs", False),
}
MOST = 6  # lines in a panel; more layers are rows of a map

Layers = Mapping[str, np.ndarray]  # path of a layer, with the number of the copy → [steps]


def by_layer(net: fnn.Layer[Any, Any], seen: Any) -> dict[str, np.ndarray]:
    """What was watched under one name, by layer and copy, with the steps on the first axis.

    Layers are in the order of the net, those of one copy of a repeated block together.
    """
    found, order = {}, [".".join(path) for path in paths(net, ())]

    def place(name):
        path, *copy = name.split(" ")
        first = next(i for i, p in enumerate(order) if p.split(".")[0] == path.split(".")[0])
        return first, [int(i) for i in copy], order.index(path)

    for path, a in jax.tree_util.tree_flatten_with_path(seen)[0]:
        name, a = jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(a)
        copies = np.ndindex(a.shape[1:])
        found |= {" ".join([name, *(str(i + 1) for i in c)]): a[(slice(None), *c)] for c in copies}
    return {name: found[name] for name in sorted(found, key=place)}


def paths(net: fnn.Layer[Any, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of all leaves, in the order of the net."""
    if not isinstance(net, fnn.Composite):
        yield path
        return
    for name, layer in net.children.items():
        yield from paths(layer, path if isinstance(net, fnn.Wrapper) else (*path, str(name)))


def picture_of(steps: Any, quantities: Mapping[str, Layers]) -> Figure:
    """One panel for everything that was watched, over the steps; what no layer has is left out."""
    shown = {name: quantities[name] for name in NAMES if quantities.get(name)}
    mapped = max(map(len, shown.values())) > MOST
    height = max(3.4, 1.2 + 0.24 * max(map(len, shown.values()))) if mapped else 3.6
    ratios = np.array(list(shown["update_ratios"].values()))
    first, typical, last = (np.median(a) for a in (ratios[:, 0], ratios, ratios[:, -1]))
    title = f"A step moves a layer by {typical:.1e} of its size, the first by {first:.1e}, "
    title += f"the last by {last:.1e} (medians)"
    figure, (row,) = picture(title, 1, len(shown), (4.6 * len(shown) + 0.4, height))
    for axes, (name, layers) in zip(row, shown.items(), strict=True):
        label, log = NAMES[name]
        (heat if mapped else curves)(figure, axes, steps, layers, log)
        axes.set_title(label + ("" if mapped or not log else " (log scale)"))
        axes.set(xlabel="step")
    return figure


def curves(figure: Figure, axes: Any, steps: Any, layers: Layers, log: bool) -> None:
    """A line for every layer."""
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(max(a.max() for a in layers.values()), 0.01) * 1.1)
    lines(axes, list(steps), layers, linewidth=1.1)


def heat(figure: Figure, axes: Any, steps: Any, layers: Layers, log: bool) -> None:
    """A row for every layer, the first one at the top; colours are powers of ten on a log scale."""
    values = np.array(list(layers.values()))
    values = np.log10(np.where(values > 0, values, np.nan)) if log else values
    edges = np.append(steps, 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[-1] + 1)
    drawn = axes.pcolormesh(edges, np.arange(len(layers) + 1), values, cmap="cividis")
    axes.set_yticks(np.arange(len(layers)) + 0.5, layers)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.invert_yaxis()
    figure.colorbar(drawn, ax=axes, label="log₁₀" if log else "share", aspect=30)
