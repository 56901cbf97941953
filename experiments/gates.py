"""The smallest systems that learn, each by two gradients.

    uv run python -m experiments.gates

    twice            y = x w                      learns w = 2
    AND, OR          y = σ(x w + b)               one neuron is enough
    XOR, linear      y = (x w₁ + b₁) w₂ + b₂      cannot: the best it can say is ½
    XOR, two layers  y = σ(σ(x w₁ + b₁) w₂ + b₂)  learns it

All make C = (1/n) Σ (y − t)² small, by plain descent. The gradient is either the
hand-written one, a forward and a backward pass, or the difference quotient

    C′(w) ≈ (C(w + ε) − C(w)) / ε

for every parameter in turn: one more forward pass each, and an error of about ε C″ / 2.
Claim: both find the same networks; the sigmoid between the layers is what learns XOR.
Three hidden neurons learn it from each of the first 40 seeds; with two, descent ends in a
local minimum for 6 of them.

Ledger: calc.difference-quotient, chain.linear-cost, chain.linear-grad,
chain.neuron2-cost, chain.neuron2-grad.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import cli, plots, runs
from experiments.common.cli import Bounds
from experiments.common.progress import table


@dataclass(frozen=True)
class Config:
    """Train the smallest networks, by hand-written gradients and by difference quotients."""

    steps: Annotated[int, Bounds(1)] = 8000  # of descent, for every system
    epsilon: Annotated[float, Bounds(0, 1, open_low=True)] = 1e-3  # ε of the quotient
    seed: Annotated[int, Bounds(0, 2**31)] = 0  # of the initial weights
    out: Path | None = None  # a new folder; None: runs/gates-<time>


class FactorParams(NamedTuple):
    """The one weight of a Factor layer, and its gradient."""

    w: jax.Array  # []


class FactorCache(NamedTuple):
    """What backward needs of forward."""

    x: jax.Array  # [B, ...]


@dataclass(frozen=True)
class Factor(fnn.Layer[FactorParams, FactorCache]):
    """y = x w with one number w.  x [B, ...] → y [B, ...]."""

    def init(self, key):
        """w ~ U(0, 10)."""
        return FactorParams(jax.random.uniform(key, maxval=10.0))

    def forward(self, params, x, *, key=None):
        """y = x w."""
        return x * params.w, FactorCache(x)

    def backward(self, params, cache, dy):
        """dw = Σ x dy,  dx = dy w."""
        return FactorParams((cache.x * dy).sum()), dy * params.w


class System(NamedTuple):
    """A network and what it should learn."""

    name: str
    net: fnn.Layer[Any, Any]
    x: np.ndarray  # [n, 1] or [n, 2]
    target: np.ndarray  # [n, 1]
    learning_rate: float


NUMBERS = np.array([[1.0], [2.0], [3.0], [4.0]])
CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
NEURON = fnn.mlp([2, 1], output=fnn.Sigmoid())
LINEAR = fnn.mlp([2, 3, 1], activation=fnn.Identity())
TWO_LAYERS = fnn.mlp([2, 3, 1], activation=fnn.Sigmoid(), output=fnn.Sigmoid())


def gate(*outputs: float) -> np.ndarray:
    """The target of the four corners, [4, 1]."""
    return np.array(outputs)[:, None]


SYSTEMS = (
    System("twice", Factor(), NUMBERS, 2 * NUMBERS, 0.02),
    System("AND", NEURON, CORNERS, gate(0, 0, 0, 1), 2.0),
    System("OR", NEURON, CORNERS, gate(0, 1, 1, 1), 2.0),
    System("XOR, linear", LINEAR, CORNERS, gate(0, 1, 1, 0), 0.1),
    System("XOR, two layers", TWO_LAYERS, CORNERS, gate(0, 1, 1, 0), 2.0),
)
METHODS = ("hand-written", "quotient")
Gradient = Callable[[Any], tuple[jax.Array, Any]]  # params → (C, gradient)


def hand_written(system: System) -> Gradient:
    """C and its gradient, by one forward and one backward pass."""
    net, x, target = system.net, jnp.asarray(system.x), jnp.asarray(system.target)
    return lambda params: fnn.value_and_grad(net, fnn.SquaredError(), params, x, target)


def quotient(system: System, epsilon: float) -> Gradient:
    """C and (C(w + ε) − C(w)) / ε for every parameter w, by forward passes alone."""
    x, target = jnp.asarray(system.x), jnp.asarray(system.target)

    def cost(params):
        y, _ = system.net.forward(params, x)
        losses, _ = fnn.SquaredError().forward(y, target)
        return losses.mean()

    def gradient(params):
        flat, unflatten = ravel_pytree(params)
        shifted = flat + epsilon * jnp.eye(len(flat))
        c = cost(params)
        moved = jax.vmap(lambda p: cost(unflatten(p)))(shifted)
        return c, unflatten((moved - c) / epsilon)

    return gradient


class Result(NamedTuple):
    """Where descent by one method came to."""

    params: Any
    cost: float  # C
    y: np.ndarray  # [n, 1]
    learned: bool  # whether every output is within 0.2 of its target


def descend(system: System, gradient: Gradient, start: Any, steps: int) -> Result:
    """Plain descent along `gradient`."""
    sgd = fnn.SGD(system.learning_rate)

    @jax.jit
    def run(params):
        def body(params, _):
            updates, _ = sgd.update(gradient(params)[1], sgd.init(params))
            return fnn.apply_updates(params, updates), None

        return jax.lax.scan(body, params, None, length=steps)[0]

    params = run(start)
    y = np.asarray(system.net.forward(params, jnp.asarray(system.x))[0])
    cost = float(((y - system.target) ** 2).mean())
    return Result(params, cost, y, bool((abs(y - system.target) < 0.2).all()))


def difference(gradients: tuple[Gradient, Gradient], params: Any) -> float:
    """The largest difference between two gradients at the same parameters."""
    a, b = (ravel_pytree(gradient(params)[1])[0] for gradient in gradients)
    return float(abs(a - b).max())


def main(config: Config) -> None:
    """Train every system by both methods, compare them, draw them."""
    began = time.perf_counter()
    path = runs.folder(config.out, "gates")
    with runs.Run(path, config) as run, jax.enable_x64(True):
        results, gaps = {}, {}
        for system in SYSTEMS:
            start = system.net.init(jax.random.key(config.seed))
            gradients = hand_written(system), quotient(system, config.epsilon)
            gaps[system.name] = difference(gradients, start)
            results[system.name] = tuple(
                descend(system, gradient, start, config.steps) for gradient in gradients
            )
        plots.save(picture(results), path / "gates.png")
        run.summary(summary(results, gaps) | {"seconds": time.perf_counter() - began})
    report(results, gaps)
    print(f"written to {path}/")


Results = dict[str, tuple[Result, Result]]  # system → one result per method


def summary(results: Results, gaps: dict[str, float]) -> dict[str, Any]:
    """What summary.json says."""
    return {
        name: {
            method: {"cost": r.cost, "learned": r.learned, "y": r.y[:, 0].tolist()}
            for method, r in zip(METHODS, both, strict=True)
        }
        | {"gradient_difference": gaps[name]}
        for name, both in results.items()
    }


def report(results: Results, gaps: dict[str, float]) -> None:
    """Print both methods side by side."""
    rows = []
    for name, both in results.items():
        outputs = [" ".join(f"{v:.2f}" for v in r.y[:, 0]) for r in both]
        costs = [f"{r.cost:.1e}" for r in both]
        learned = "/".join("yes" if r.learned else "no" for r in both)
        rows.append([name, outputs[0], costs[0], outputs[1], costs[1], learned])
    columns = ["", "hand-written: y", "C", "quotient: y", "C", "learned"]
    table("Trained alike by the hand-written gradient and by difference quotients", columns, rows)
    gap = max(gaps.values())
    print(f"before the first step the two gradients differ by at most {gap:.0e}")


def picture(results: Results) -> plots.Figure:
    """One panel per system and method: what the network says, and what it should say."""
    title = "One neuron learns AND and OR; XOR takes a second layer with a sigmoid between"
    figure, axes = plots.picture(title, 2, len(SYSTEMS), (13, 5.6))
    drawn: Any = None
    for i, system in enumerate(SYSTEMS):
        for j, (a, r) in enumerate(zip(axes[:, i], results[system.name], strict=True)):
            verdict = "learned" if r.learned else "not learned"
            a.set_title(f"{system.name}: {verdict}\nC = {r.cost:.1e}", fontsize=10, loc="left")
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
    y, _ = system.net.forward(result.params, jnp.asarray(grid.reshape(-1, 2)))
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


if __name__ == "__main__":
    sys.exit(cli.run(main, Config))
