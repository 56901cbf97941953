"""Which regularization helps a network that has learned wrong labels.

    uv run python -m experiments.regularization

Question: Do L2, dropout and early stopping narrow the gap between training and test?

    gap = risk − risk on the data          risk: the mean cross-entropy
    ridge: w = (XᵀX/N + λI)⁻¹ Xᵀt/N        degrees of freedom 1 + Σ s²/(s² + λ)

Networks 64-width-10 (ReLU) learn 300 digits, 30 % of whose labels are drawn anew from all
classes, by momentum 0.9, η = 0.05, in minibatches of 50. The risk is that of 898 other digits
under the same noise, the accuracy that on their right labels. Early stopping takes, of every
fifth epoch, the one with the least loss on 180 more digits with noise. Every seed draws its
digits, labels and weights; a gain in accuracy is the mean over the seeds of the difference to
the same seed without regularization, ± its standard error. The best strengths are those of
the test accuracy, so their gains are a little flattered. Degrees of freedom are the trace of
∂ŷ/∂t: ridge is trained by full-batch descent in float64 on 100 rows of diabetes with every
column of the identity as a target, and ŷ of these is ∂ŷ/∂t.

Source: Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, eq. 3.50 and
7.32; Zhang, Bengio, Hardt, Recht & Vinyals (2017), ICLR.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

import fnn
from experiments.common import claims, few, linear, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import EVERY, ClaimSettings

NOISE = 0.3
WAYS = ("none", "L2", "early stopping")  # compared over the widths
KINDS = ("L2", "dropout", "early stopping")
SCORES = ("accuracy", "gap", "risk", "on data")


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train on a few digits with wrong labels, with and without regularization."""

    rows: Annotated[int, Bounds(50, 700)] = 300  # digits to learn from
    seeds: Annotated[int, Bounds(2)] = 6
    epochs: Annotated[int, Bounds(EVERY)] = 150
    width: Annotated[int, Bounds(1)] = 128  # where strengths are compared
    widths: Annotated[tuple[int, ...], Bounds(1)] = (2, 4, 8, 32, 256)  # where L2 is
    strengths: Annotated[tuple[float, ...], Bounds(0)] = (1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 0.1)
    rates: Annotated[tuple[float, ...], Bounds(0, 1, open_low=True)] = (0.25, 0.5, 0.75)


class Gain(NamedTuple):
    """A mean difference, and its standard error."""

    mean: float
    error: float


QUICK = Config(
    quick=True, rows=200, seeds=3, epochs=60, width=64, widths=(4, 64),
    strengths=(3e-3, 2e-2, 0.1), rates=(0.75,),
)  # fmt: skip


def trained(config: Config, width: int, strengths: Any, rate: float = 0.0) -> dict[str, np.ndarray]:
    """Name → scores [λ, seeds, periods]."""
    k_data, k_learn = jax.random.split(jax.random.key(config.seed))
    data = few.drawn_for(jax.random.split(k_data, config.seeds), config.rows, NOISE)
    net = fnn.mlp([64, width, 10], dropout=rate)
    return few.trained(net, data, k_learn, config.epochs, strengths)


def at(history: dict[str, np.ndarray], i: int, period: int | None = -1) -> dict[str, np.ndarray]:
    """The scores [seeds] of the i-th λ in a period, in all of them where it is None."""
    return {k: v[i] if period is None else v[i, ..., period] for k, v in history.items()}


def gain(scores: dict[str, np.ndarray], plain: dict[str, np.ndarray], name: str) -> Gain:
    """The mean over the seeds of a score less the plain one."""
    difference = scores[name] - plain[name]
    return Gain(float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5))


def compared(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """Way → scores [seeds] at one width."""
    histories = trained(config, config.width, (0.0, *config.strengths))
    ways = {"none": at(histories, 0)}
    ways |= {f"L2, λ = {s:g}": at(histories, i) for i, s in enumerate(config.strengths, 1)}
    for rate in config.rates:
        ways[f"dropout, p = {rate:g}"] = at(trained(config, config.width, (0.0,), rate), 0)
    return ways | {"early stopping": few.stopped(at(histories, 0, None))}


def over_widths(config: Config, strength: float) -> dict[int, dict[str, np.ndarray]]:
    """Width → way → test accuracy [seeds], without, with this λ and with early stopping."""
    found = {}
    for width in config.widths:
        histories = trained(config, width, (0.0, strength))
        ways = at(histories, 0), at(histories, 1), few.stopped(at(histories, 0, None))
        found[width] = {w: s["accuracy"] for w, s in zip(WAYS, ways, strict=True)}
    return found


def measure(config: Config) -> Outcome:
    """Every regularization at one width, L2 and early stopping at all, degrees of freedom."""
    ways, lambdas = compared(config), np.logspace(-3, 2, 11)
    gains = {
        score: {way: gain(s, ways["none"], score) for way, s in ways.items() if way != "none"}
        for score in ("accuracy", "gap")
    }
    points = gains["accuracy"]
    best = {
        kind: max((w for w in points if w.startswith(kind)), key=lambda w: points[w].mean)
        for kind in KINDS
    }
    widths = over_widths(config, float(best["L2"].split()[-1]))
    with jax.enable_x64(True):
        ridge = Ridge(lambdas, *linear.freedom(linear.diabetes(100)[0], lambdas, 6000))
    seen = Seen(ways, points, best, f"L2, λ = {max(config.strengths):g}", widths, ridge)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "gains": {w: {score: by_way[w] for score, by_way in gains.items()} for w in points},
            "degrees_of_freedom": ridge._asdict(),
            "widths": {str(n): {w: a.mean() for w, a in s.items()} for n, s in widths.items()},
        },
        figure=picture(config.width, seen),
        tables=[table(config, ways)],
        rows=[{"way": w} | {n: s[n].mean() for n in SCORES} for w, s in ways.items()],
    )


class Ridge(NamedTuple):
    """Degrees of freedom of ridge regression, over λ."""

    strengths: np.ndarray  # λ
    trained: np.ndarray  # the trace of ∂ŷ/∂t
    theory: np.ndarray  # 1 + Σ s²/(s² + λ)

    def off(self) -> float:
        """By how much the two differ, relative."""
        return float(abs(self.trained / self.theory - 1).max())


class Seen(NamedTuple):
    """What was measured."""

    ways: dict[str, dict[str, np.ndarray]]  # way → scores [seeds]
    points: dict[str, Gain]  # way → what it gains in accuracy
    best: dict[str, str]  # kind → its way of the largest gain
    too_much: str  # the way of the largest λ
    widths: dict[int, dict[str, np.ndarray]]  # width → way → accuracy [seeds]
    ridge: Ridge

    def mean(self, way: str, score: str) -> float:
        """Of a score, over the seeds."""
        return float(self.ways[way][score].mean())

    def at_width(self, width: int) -> dict[str, float]:
        """Way → mean accuracy."""
        return {way: float(a.mean()) for way, a in self.widths[width].items()}


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    ways, points, best, excess = seen.ways, seen.points, seen.best, seen.too_much
    many = seen.at_width(max(seen.widths))
    return {
        **{f"{k} narrows the gap for every seed": narrower(ways[w], ways["none"])
           for k, w in best.items()},
        **{f"{k} raises the accuracy by over five points": points[w].mean > 0.05
           for k, w in best.items()},
        "the smallest gap is not the best network's": all(
            2 * seen.mean(excess, "gap") < seen.mean(w, "gap")
            and seen.mean(excess, "accuracy") < seen.mean(w, "accuracy")
            for w in best.values()
        ),
        "wide networks read more with L2 and with early stopping": all(
            many[way] > many["none"] + 0.03 for way in WAYS[1:]
        ),
        "ridge has the degrees of freedom of theory": seen.ridge.off() < 1e-6,
        "no more of them than parameters": float(seen.ridge.trained.max()) <= 11,
    }  # fmt: skip


def narrower(scores: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> bool:
    """Whether the gap is smaller for every seed."""
    return bool(np.all(scores["gap"] < plain["gap"]))


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    widest, narrowest = max(seen.widths), min(seen.widths)
    many, little = seen.at_width(widest), seen.at_width(narrowest)
    lambdas, _, theory = seen.ridge
    gains = {way: seen.points[way] for way in seen.best.values()}
    shown = "; ".join(
        f"{way} {seen.mean(way, 'accuracy'):.1%}, {100 * gained.mean:+.1f} ± "
        f"{100 * gained.error:.1f} points, gap {seen.mean(way, 'gap'):.2f}"
        for way, gained in gains.items()
    )
    return (
        f"All three do, and where 30 % of the labels are drawn anew they also help. Without "
        f"any, {seen.mean('none', 'accuracy'):.1%} of the test digits are read right, and the "
        f"test loss is {seen.mean('none', 'gap'):.2f} above the training loss (the gap). At "
        f"their best: {shown}. But {seen.too_much} has the smallest gap of all "
        f"({seen.mean(seen.too_much, 'gap'):.2f}) and reads "
        f"{seen.mean(seen.too_much, 'accuracy'):.1%}: a small gap is no aim in itself. At width "
        f"{widest} L2 reads {many['L2']:.1%} instead of {many['none']:.1%}, at width {narrowest} "
        f"{little['L2']:.1%} instead of {little['none']:.1%}. Ridge regression of 11 "
        f"parameters has {theory[0]:.1f} effective degrees of freedom at λ = {lambdas[0]:g} "
        f"and {theory[-1]:.1f} at {lambdas[-1]:g}, as 1 + Σ s²/(s² + λ) says, to "
        f"{seen.ridge.off():.0e}."
    )


def table(config: Config, ways: dict[str, dict[str, np.ndarray]]) -> Table:
    """Mean scores."""
    return Table(
        f"{config.rows} digits, 30 % of the labels drawn anew, width {config.width}",
        ["", *SCORES],
        [[w, *(f"{s[n].mean():.3f}" for n in SCORES)] for w, s in ways.items()],
    )


def picture(width: int, seen: Seen) -> plots.Figure:
    """Accuracy over gap, accuracy over width, degrees of freedom over λ."""
    ways, best, widths = seen.ways, seen.best, seen.widths
    title = "With wrong labels L2, dropout and early stopping all help; too much L2 does not"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(11, 3.8))
    for i, kind in enumerate(("none", *KINDS)):
        some = [way for way in ways if way.startswith(kind)]
        x, y = ([ways[w][n].mean() for w in some] for n in ("gap", "accuracy"))
        color = plots.INK if kind == "none" else plots.COLORS[i - 1]
        left.plot(x, 100 * np.array(y), "o-", color=color, label=kind, markersize=5)
    strongest = [way for way in ways if way.startswith("L2")][-1]
    for way in (best["L2"], strongest, best["dropout"]):
        spot = (ways[way]["gap"].mean(), 100 * ways[way]["accuracy"].mean())
        how: Any = {"xytext": (7, 2), "textcoords": "offset points", "fontsize": 9}
        left.annotate(way.split(", ")[1], spot, **how)
    left.set(xscale="log", xlabel="gap: risk − risk on the data", ylabel="test accuracy, %")
    left.set_title(f"width {width}, a point per strength")
    for way, color in zip(WAYS, (plots.INK, *plots.COLORS[:3:2]), strict=True):
        values = 100 * np.array([s[way] for s in widths.values()])
        plots.band(middle, list(widths), values, color, way)
    middle.set(xscale="log", xlabel="hidden width", ylabel="test accuracy, %")
    middle.set_title("seeds: median, middle 80 %")
    lambdas, trace, theory = seen.ridge
    right.plot(lambdas, theory, color=plots.FAINT, label="1 + Σ s²/(s² + λ)")
    right.plot(lambdas, trace, ".", color=plots.COLORS[0], label="trace of ∂ŷ/∂t, trained")
    right.axhline(11, color=plots.INK, linestyle=":", label="parameters")
    right.set(xscale="log", xlabel="λ", ylabel="effective degrees of freedom", ylim=(0, 12))
    right.set_title("ridge regression, diabetes")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=9, loc="lower left" if axes is right else "best")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
