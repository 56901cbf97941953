"""Four models on six kinds of data.

    uv run python -m experiments.linear_or_not

Question: Which data does each of the four models suffice for, and what do nonlinear layers
add?

    linear regression      y = x W + b          Σ (y − t)²/2, classes as one-hot rows
    logistic regression    y = x W + b          sigmoid and cross-entropy of every class
    softmax classifier     y = x W + b          softmax and cross-entropy
    multilayer perceptron  y = tanh(tanh(x W₁ + b₁) W₂ + b₂) W₃ + b₃
                                                softmax and cross-entropy, Σ (y − t)²/2 for numbers

The class is that of the largest y; for two classes the border is a line in the first three.
Numbers are judged by R² = 1 − Σ (t − y)²/Σ (t − t̄)², classes by the share that is right, both
on fresh rows (digits: on the test rows). The made-up data are those of shapes.py, drawn
anew for every repetition. The last claim is about the four corners of XOR, with full-batch
descent: the cost of a model that is linear in x is convex, with its minimum log 2 at W = 0.

Source: Minsky & Papert (1969), Perceptrons, MIT Press; Rumelhart, Hinton & Williams (1986),
Nature 323.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from matplotlib.colors import ListedColormap

import fnn
from experiments.common import descent, plots
from experiments.common.claims import Outcome
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings
from experiments.linear_or_not import shapes
from experiments.linear_or_not.four_models import (
    LINEAR,
    LOGISTIC,
    LOSSES,
    MLP,
    MODELS,
    SOFTMAX,
    digits,
    made,
    scores,
    taught,
)

NUMBERS = {"line": shapes.line, "wave": shapes.wave}
CLASSES = {"separable": shapes.separable, "XOR": shapes.xor, "moons": shapes.moons}
SETS = (*NUMBERS, *CLASSES, "digits")
SPAN = np.linspace(-2.2, 2.2, 80)
GRID = {1: SPAN[:, None], 2: np.stack(np.meshgrid(SPAN, SPAN), -1).reshape(-1, 2)}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Teach four models six kinds of data."""

    rows: Annotated[int, Bounds(64)] = 400  # of every made-up set
    steps: Annotated[int, Bounds(500)] = 1000  # of full-batch descent
    repetitions: Annotated[int, Bounds(1)] = 8


QUICK = Config(quick=True, rows=200, repetitions=2, steps=600)


def corners(config: Config) -> dict[str, np.ndarray]:
    """The cost of the corners of XOR, before every step, for three nets."""
    nets = {
        "one layer": fnn.mlp([2, 1]),
        "two layers, no activation": fnn.mlp([2, 8, 1], activation=fnn.Identity()),
        "two layers, tanh": fnn.mlp([2, 8, 1], activation=fnn.Tanh()),
    }
    keys = jax.random.split(jax.random.key(config.seed), max(config.repetitions, 5))
    x, t = shapes.CORNERS, shapes.XOR[:, None].astype(np.float32)

    def losses(f, key):
        plan = fnn.Plan(f, fnn.SigmoidBinaryCrossEntropy(), fnn.optim.SGD(1.0))
        return descent.descend(plan, f.init(key), (x, t), config.steps).loss

    run = jax.jit(lambda keys, f: jax.vmap(lambda key: losses(f, key))(keys))
    return {name: np.asarray(run(keys, f)) for name, f in nets.items()}


class Result(NamedTuple):
    """What one model makes of one set."""

    scores: np.ndarray  # [repetitions]
    y: Any  # of the first repetition, at GRID


def results(config: Config, groups: Any) -> dict[tuple[str, str], Result]:
    """(model, set) → result, where the model is for such data."""
    found, key = {}, jax.random.key(config.seed)
    for names, rows in groups:
        numbers = names[0] in NUMBERS
        for model in (LINEAR, MLP) if numbers else MODELS:
            loss = LOSSES[LINEAR] if numbers else LOSSES[model]
            n = rows.x.shape[-1]
            points = GRID.get(n, np.zeros((1, n)))
            test, y = taught(key, config.steps, model, rows, loss, points)
            each = scores(test, rows.test_target, numbers)
            found |= {
                (model, name): Result(each[i], np.asarray(y[i, 0])) for i, name in enumerate(names)
            }
    return found


def measure(config: Config) -> Outcome:
    """Every model on every set, and the corners of XOR."""
    key, size = jax.random.key(config.seed), (config.repetitions, config.rows)
    groups = [
        (tuple(NUMBERS), made(key, *size, NUMBERS.values(), True)),
        (tuple(CLASSES), made(key, *size, CLASSES.values(), False)),
        (("digits",), digits()),
    ]
    found = results(config, groups)
    mean = {k: float(r.scores.mean()) for k, r in found.items()}
    straight = MODELS[:3]
    best = {name: max(mean[m, name] for m in straight if (m, name) in mean) for name in SETS}
    ends = {name: losses[:, -1] for name, losses in corners(config).items()}
    seen = Seen(mean, best, ends)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "scores": {" on ".join(k): v for k, v in mean.items()},
            "corners": {name: float(e.mean()) for name, e in ends.items()},
        },
        figure=picture(groups, found),
        rows=[
            {"model": m, "data": s, "score": mean[m, s], "spread": float(r.scores.std())}
            for (m, s), r in found.items()
        ],
    )


class Seen(NamedTuple):
    """What was measured."""

    mean: dict[tuple[str, str], float]  # (model, set) → mean score
    best: dict[str, float]  # set → the best mean of a linear model
    ends: dict[str, np.ndarray]  # net → costs of the corners at the end

    def flat(self) -> np.ndarray:
        """The costs of the corners without activation."""
        return np.concatenate([self.ends["one layer"], self.ends["two layers, no activation"]])

    def bent(self) -> np.ndarray:
        """The costs of the corners with tanh."""
        return self.ends["two layers, tanh"]


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    mean, best = seen.mean, seen.best
    return {
        "linear regression follows a line": mean[LINEAR, "line"] > 0.95,
        "every model parts separable classes": min(mean[m, "separable"] for m in MODELS) > 0.97,
        "no linear model knows XOR": best["XOR"] < 0.75 < 0.95 < mean[MLP, "XOR"],
        "the multilayer perceptron is better on moons": mean[MLP, "moons"] > best["moons"] + 0.05,
        "and on a wave": mean[MLP, "wave"] > mean[LINEAR, "wave"] + 0.4,
        "all read most digits": min(mean[m, "digits"] for m in MODELS) > 0.9,
        "without activations, depth leaves XOR at log 2": bool(
            (abs(seen.flat() - np.log(2)) < 1e-3).all()
        ),
        "with tanh its cost goes to 0": bool((seen.bent() < 0.02).all()),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    mean, best = seen.mean, seen.best
    return (
        f"Linear models do on linear data: R² {mean[LINEAR, 'line']:.2f} on a line, "
        f"{best['separable']:.1%} right on separable classes; of handwritten digits linear "
        f"regression reads {mean[LINEAR, 'digits']:.1%}, logistic regression "
        f"{mean[LOGISTIC, 'digits']:.1%}, softmax {mean[SOFTMAX, 'digits']:.1%}, the "
        f"multilayer perceptron {mean[MLP, 'digits']:.1%}. On the rest only the multilayer "
        f"perceptron does: XOR "
        f"{mean[MLP, 'XOR']:.1%} (the best of the others {best['XOR']:.1%}), moons "
        f"{mean[MLP, 'moons']:.1%} ({best['moons']:.1%}), a wave R² {mean[MLP, 'wave']:.2f} "
        f"({mean[LINEAR, 'wave']:.2f}). It is the activation, not the depth: on the corners of "
        f"XOR two layers without one stay at {seen.flat().mean():.4f} (log 2 is 0.6931), with tanh "
        f"they get to {seen.bent().max():.4f} or less."
    )


def picture(groups: Any, found: Any) -> plots.Figure:
    """A model per row, a data set per column, its answers and its score in each."""
    title = "Where a line will do, all models do; wave, XOR and moons need the nonlinear one"
    figure, axes = plots.picture(title, 4, 6, size=(9, 6))
    rows = {
        name: (r.x[i, 0], r.target[i, 0]) for names, r in groups for i, name in enumerate(names)
    }
    for row, model in zip(axes, MODELS, strict=True):
        row[0].set_ylabel(model.replace(" ", "\n"), fontsize=10)
        for at, name in zip(row, SETS, strict=True):
            at.set(xticks=[], yticks=[])
            if (model, name) not in found:
                at.text(0.5, 0.5, "for classes", ha="center", transform=at.transAxes)
                continue
            score, y = found[model, name].scores.mean(), found[model, name].y
            if name in NUMBERS:
                at.plot(*(a[:, 0] for a in rows[name]), ".", color=plots.FAINT, ms=2)
                at.plot(GRID[1], y, color=plots.COLORS[1], linewidth=2)
                at.set_title(f"R² {score:.2f}")
            elif name in CLASSES:
                regions(at, *rows[name], y)
                at.set_title(f"{score:.1%} right")
            else:
                at.imshow(rows[name][0][0].reshape(8, 8), cmap="Greys")
                at.set_title(f"{score:.1%} right")
    for at, name in zip(axes[-1], SETS, strict=True):
        at.text(0.5, -0.12, name, ha="center", va="top", transform=at.transAxes, fontsize=11)
    return figure


def regions(axes: Any, x: Any, target: Any, y: Any) -> None:
    """The points of two classes, and what the model says everywhere."""
    side = int(len(GRID[2]) ** 0.5)
    parts = y.argmax(-1).reshape(side, side)
    colors = plots.COLORS[:2]
    axes.imshow(
        parts, extent=(-2.2, 2.2, -2.2, 2.2), origin="lower", cmap=ListedColormap(colors),
        alpha=0.25, vmin=0, vmax=1, aspect="auto",
    )  # fmt: skip
    for k, color in enumerate(colors):
        axes.plot(*x[target[:, k] > 0.5].T, ".", color=color, ms=2)
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
