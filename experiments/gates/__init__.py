"""The smallest systems that learn, each by two gradients.

    uv run python -m experiments.gates

Question: What can one neuron learn, what takes a second layer, and does it matter where the
gradient comes from?

    twice            y = x w                      learns w = 2
    AND, OR          y = σ(x w + b)               one neuron is enough
    XOR, linear      y = (x w₁ + b₁) w₂ + b₂      cannot: the best it can say is ½
    XOR, two layers  y = σ(σ(x w₁ + b₁) w₂ + b₂)  learns it

All make C = (1/n) Σ (y − t)² small, by plain descent. The gradient is either the
hand-written one, a forward and a backward pass, or the difference quotient

    C′(w) ≈ (C(w + ε) − C(w)) / ε

for every parameter in turn: one more forward pass each, and an error of about ε C″ / 2.
A system has learned where every output is within 0.2 of its target. The starts are
y = σ(f(x w₁ + b₁) w₂ + b₂) with other hidden activations f, each from the initial weights
of `starts` seeds. Without f it is linear before the last sigmoid, and some corner stays wrong.

Source: Minsky & Papert (1969), Perceptrons, on XOR; Rumelhart, Hinton &
Williams (1986), in Parallel Distributed Processing 1, chapter 8, on its local minima.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings
from experiments.gates.systems import (
    METHODS,
    NO_BEND,
    SYSTEMS,
    Result,
    System,
    compare,
    count_starts,
    outputs,
)


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train the smallest networks, by hand-written gradients and by difference quotients."""

    steps: Annotated[int, Bounds(1)] = 8000  # of descent, for every system
    epsilon: Annotated[float, Bounds(0, 1, open_low=True)] = 1e-3  # ε of the quotient
    starts: Annotated[int, Bounds(1)] = 40  # seeds that XOR is learned from, from `seed` on


QUICK = Config(quick=True, steps=2000)


Results = dict[str, tuple[Result, Result]]  # system → one result per method


def measure(config: Config) -> Outcome:
    """Train every system by both methods, compare them, draw them."""
    with jax.enable_x64(True):
        compared = {
            system.name: compare(system, config.epsilon, config.steps, config.seed)
            for system in SYSTEMS
        }
        results = {name: both for name, (both, _) in compared.items()}
        gaps = {name: gap for name, (_, gap) in compared.items()}
        starts = count_starts(range(config.seed, config.seed + config.starts), config.steps)
        figure = picture(results)
    apart = max(float(abs(a.y - b.y).max()) for a, b in results.values())
    return Outcome(
        answer=answer(results, starts, config.starts, gaps, apart),
        findings=findings(results, starts, apart),
        measured=figures(results, gaps) | {"starts": starts},
        figure=figure,
        tables=tables(results, starts, config.starts),
        rows=[
            {"system": system.name, "method": method, "x": " ".join(f"{v:g}" for v in x)}
            | {"target": float(t[0]), "y": float(y[0])}
            for system in SYSTEMS
            for method, result in zip(METHODS, results[system.name], strict=True)
            for x, t, y in zip(system.x, system.target, result.y, strict=True)
        ],
    )


def answer(
    results: Results, starts: dict[str, int], n: int, gaps: dict[str, float], apart: float
) -> str:
    """In words, with the figures."""
    cost = {name: both[0].cost for name, both in results.items()}
    counts = [f"{found} with {name}" for name, found in starts.items()]
    return (
        f"One neuron learns AND (mean squared error C = {cost['AND']:.1e}) and OR "
        f"({cost['OR']:.1e}). For XOR a linear network ends at ½ for every corner, "
        f"C = {cost['XOR, linear']:.4f}, and two "
        f"layers with a sigmoid between them at {cost['XOR, two layers']:.1e}. Hand-written "
        f"gradients and difference quotients differ by up to {max(gaps.values()):.0e} before "
        f"the first step, and lead to the same networks: their outputs differ by at most "
        f"{apart:.0e}. Of {n} starts, XOR is learned from {', '.join(counts[:-1])} and "
        f"{counts[-1]} neurons in the first layer."
    )


def findings(results: Results, starts: dict[str, int], apart: float) -> dict[str, bool]:
    """What is claimed → whether it was seen."""
    learned = {name: all(r.learned for r in both) for name, both in results.items()}
    half = [abs(r.y - 0.5).max() < 0.01 for r in results["XOR, linear"]]
    weights = [float(r.params.w) for r in results["twice"]]
    bent = [found for name, found in starts.items() if name != NO_BEND]
    return {
        "the factor is found": max(abs(w - 2) for w in weights) < 0.01,
        "one neuron learns AND and OR": learned["AND"] and learned["OR"],
        "a linear network says ½ at every corner of XOR": all(half),
        "two layers with a sigmoid between them learn XOR": learned["XOR, two layers"],
        "both gradients find the same networks": apart < 0.02,
        "from no start is XOR learned without a hidden activation": starts[NO_BEND] == 0,
        "with any hidden activation it is, from some start": min(bent) > 0,
        "three sigmoid neurons learn it from no fewer starts than two": (
            starts["3 sigmoid"] >= starts["2 sigmoid"]
        ),
    }


def figures(results: Results, gaps: dict[str, float]) -> dict[str, Any]:
    """What summary.json says."""
    return {
        name: {
            method: {"cost": r.cost, "learned": r.learned, "y": r.y[:, 0].tolist()}
            for method, r in zip(METHODS, both, strict=True)
        }
        | {"gradient_difference": gaps[name]}
        for name, both in results.items()
    }


def tables(results: Results, starts: dict[str, int], n: int) -> list[Table]:
    """Both methods side by side, and the starts."""
    rows = []
    for name, both in results.items():
        outputs = [" ".join(f"{v:.2f}" for v in r.y[:, 0]) for r in both]
        costs = [f"{r.cost:.1e}" for r in both]
        learned = "/".join("yes" if r.learned else "no" for r in both)
        rows.append([name, outputs[0], costs[0], outputs[1], costs[1], learned])
    columns = ["", "hand-written: y", "C", "quotient: y", "C", "learned"]
    title = "Trained alike by the hand-written gradient and by difference quotients"
    counts = [[name, f"{found} of {n}"] for name, found in starts.items()]
    return [
        Table(title, columns, rows),
        Table("XOR from many starts", ["hidden neurons", "learned"], counts),
    ]


def picture(results: Results) -> plots.Figure:
    """One panel per system and method: what the network says, and what it should say."""
    title = "One neuron learns AND and OR; XOR takes a second layer with a sigmoid between"
    figure, axes = plots.picture(title, 2, len(SYSTEMS), (11, 5))
    drawn: Any = None
    for i, system in enumerate(SYSTEMS):
        for j, (a, r) in enumerate(zip(axes[:, i], results[system.name], strict=True)):
            verdict = "learned" if r.learned else "not learned"
            a.set_title(f"{system.name}: {verdict}\nC = {r.cost:.1e}", fontsize=9, loc="left")
            if system.x.shape[1] == 1:
                line(a, system, r)
                a.set_ylabel(f"{METHODS[j]}\ny", fontsize=10)
            else:
                drawn = plane(a, system, r)
    figure.colorbar(
        drawn,
        ax=axes,
        shrink=0.7,
        label="y (line: y = ½; filled dots: target 1)",
        ticks=[0, 0.5, 1],
    )
    return figure


def line(axes: Any, system: System, result: Result) -> None:
    """y over x, with the targets as dots."""
    axes.plot(system.x[:, 0], result.y[:, 0], color=plots.COLORS[0])
    axes.plot(system.x[:, 0], system.target[:, 0], "o", color=plots.INK, markersize=5)
    axes.set_xlabel("x")


def plane(axes: Any, system: System, result: Result) -> Any:
    """y over both inputs, with the four targets: filled is 1, empty is 0."""
    ticks = np.linspace(-0.3, 1.3, 81)
    grid = np.stack(np.meshgrid(ticks, ticks), -1)
    y = outputs(system.net, result.params, jnp.asarray(grid.reshape(-1, 2)))
    y = np.asarray(y).reshape(81, 81)
    drawn = axes.imshow(
        y, cmap="RdBu_r", vmin=-0.2, vmax=1.2, origin="lower", alpha=0.7,
        extent=(-0.3, 1.3, -0.3, 1.3), interpolation="bilinear",
    )  # fmt: skip
    if np.ptp(y) > 0.1:  # a constant has no boundary, only rounding
        axes.contour(ticks, ticks, y, levels=[0.5], colors=plots.INK)
    fill = [plots.INK if t > 0.5 else "white" for t in system.target[:, 0]]
    axes.scatter(*system.x.T, c=fill, s=60, edgecolors=plots.INK, zorder=3)
    axes.set(xlabel="x₁", ylabel="x₂", xticks=[0, 1], yticks=[0, 1])
    return drawn
