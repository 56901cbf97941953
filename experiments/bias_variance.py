"""Bias, variance and noise of the error, against the size of the model.

    uv run python -m experiments.bias_variance

Question: Is the test error bias² + variance + noise, and how do the terms change with size?

    E[(y − f̂(x))²] = (E f̂(x) − f(x))² + Var f̂(x) + σ²        averaged over x

y = f(x) + ε with f(x) = sin 3x + x/2 and ε ~ N(0, σ²), σ = 0.3. Every training set has the same
24 evenly spaced x in [−2, 2] and noise of its own; x to judge by lie between. Networks 1-width-1
of tanh are trained on each by full-batch Adam (η = 0.02), polynomials (Legendre) by least
squares. Bias² and variance come from the first n training sets, one half: with m the mean of
their fits and s² = Σ (f̂ − m)² / (n − 1), bias² is (m − f)² − s²/n, since m itself scatters by
s²/n. This is right on average, but near 0 it is lost in its standard error and may be negative
(the picture shows it from two standard errors on); that is √(4 bᵀC b / n + 2 tr C² / n²) / 100
for b = m − f with C the covariance of the fits at the 100 x to judge by. The test error comes
from the other half, with new noise at every x, and the two must agree within four standard
errors. For polynomials b = φ(x)ᵀ Φ⁺ f − f(x) and C = σ² φ(x)ᵀ Φ⁺ (φ(x)ᵀ Φ⁺)ᵀ are known exactly:
bias² must be the mean b² within six standard errors, the variance that of C. In a finite case,
where y = f ± σ takes its two values equally often, the equation holds exactly.

Source: Geman, Bienenstock & Doursat (1992), Neural Computation 4, section 2;
Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, eq. 7.9.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

SIGMA, POINTS = 0.3, 24
LOSS = fnn.SquaredError()
KINDS = ("polynomial", "network")
X = np.linspace(-2, 2, POINTS)[:, None]  # to learn from
BETWEEN = np.linspace(-1.98, 1.98, 100)[:, None]  # to judge by


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train many networks, each on noisy data of its own, and decompose their error."""

    sets: Annotated[int, Bounds(10)] = 400  # training sets
    widths: Annotated[tuple[int, ...], Bounds(1)] = (1, 2, 3, 4, 6, 10, 20, 50)
    degrees: Annotated[tuple[int, ...], Bounds(0, POINTS)] = tuple(range(16))
    epochs: Annotated[int, Bounds(1)] = 3000


QUICK = Config(quick=True, sets=100, widths=(1, 4, 30), degrees=(1, 3, 7, 13), epochs=1500)


class Terms(NamedTuple):
    """The terms of the error, and the error itself, measured separately."""

    bias2: float
    variance: float
    noise: float
    error: float
    slack: float  # the standard error of error − (bias² + variance + noise)
    doubt: float  # the standard error of bias²

    @property
    def total(self) -> float:
        """bias² + variance + noise."""
        return self.bias2 + self.variance + self.noise

    @property
    def biased(self) -> bool:
        """Whether the bias can be distinguished from 0."""
        return self.bias2 > 2 * self.doubt


def f(x: Any) -> Any:
    """The truth."""
    return np.sin(3 * x) + x / 2


def terms(fits: np.ndarray, noise: np.ndarray) -> Terms:
    """Of fits [sets, x]: the terms from one half, the error from the other with noise [sets, x]."""
    truth, half = f(BETWEEN[:, 0]), len(fits) // 2
    first, second = fits[:half], fits[half:]
    off, variance = first.mean(0) - truth, first.var(0, ddof=1)
    bias2 = off**2 - variance / half  # without the scatter of the mean
    errors = ((truth + noise[half:] - second) ** 2).mean(1)
    spread = ((first - truth) ** 2).mean(1).var() / half + errors.var() / len(second)
    parts = (float(bias2.mean()), float(variance.mean()), SIGMA**2)
    doubt = uncertainty(off, np.cov(first.T), half)
    return Terms(*parts, float(errors.mean()), float(np.sqrt(spread)), doubt)


def uncertainty(bias: np.ndarray, covariance: np.ndarray, sets: int) -> float:
    """The standard error of bias², averaged over x, from the covariance of the fits [x, x]."""
    both = 4 * bias @ covariance @ bias / sets + 2 * (covariance**2).sum() / sets**2
    return float(np.sqrt(both) / len(bias))


def exactly(fits: np.ndarray) -> float:
    """By how much the equation is missed where y = f ± σ, both equally often, for every fit."""
    truth = f(BETWEEN[:, 0])
    error = np.mean([(truth + sign * SIGMA - fits) ** 2 for sign in (1, -1)])
    total = ((fits.mean(0) - truth) ** 2 + fits.var(0)).mean() + SIGMA**2
    return float(abs(error / total - 1))


def networks(config: Config, width: int, targets: np.ndarray) -> np.ndarray:
    """f̂(x) [sets, x] of the networks of one width, one for every row of targets."""
    net, x = fnn.mlp([1, width, 1], activation=fnn.Tanh()), jnp.asarray(X, jnp.float32)
    plan = fnn.Plan(net, LOSS, fnn.optim.Adam(0.02))

    def one(target, key):
        data, start = (x, target[:, None]), fnn.start(plan, None, net.init(key))
        state, _ = fnn.fit(plan, start, data, epochs=config.epochs, batch_size=POINTS)
        y, _ = net.forward(state.params, jnp.asarray(BETWEEN, jnp.float32))
        return y[:, 0]

    keys = jax.random.split(jax.random.key(config.seed + 1), len(targets))
    fits = jax.jit(jax.vmap(one))(jnp.asarray(targets, jnp.float32), keys)
    return np.asarray(fits, float)


def smoother(degree: int) -> np.ndarray:
    """φ(x)ᵀ Φ⁺: what takes the targets to the f̂(x) of a polynomial, [x, points]."""
    basis = [np.polynomial.legendre.legvander(x[:, 0] / 2, degree) for x in (BETWEEN, X)]
    return basis[0] @ np.linalg.pinv(basis[1])


def expected(degree: int) -> np.ndarray:
    """The bias of a polynomial at all x, from its expected fit."""
    return smoother(degree) @ f(X[:, 0]) - f(BETWEEN[:, 0])


def as_known(degree: int, found: Terms, sets: int) -> bool:
    """Whether a polynomial's bias² and variance are as in theory."""
    bias, hat = expected(degree), smoother(degree)
    covariance = SIGMA**2 * hat @ hat.T
    near = abs(found.bias2 - (bias**2).mean()) < 6 * uncertainty(bias, covariance, sets)
    variance = np.trace(covariance) / len(bias)
    return bool(near and abs(found.variance / variance - 1) < 4 * np.sqrt(2 / sets))


def exact(degree: int) -> float:
    """The bias² of a polynomial, averaged over x."""
    return float((expected(degree) ** 2).mean())


def measure(config: Config) -> Outcome:
    """Polynomials and networks of every size on the same noisy training sets."""
    k_sets, k_noise = jax.random.split(jax.random.key(config.seed))
    shapes = (config.sets, POINTS), (config.sets, len(BETWEEN))
    drawn = (jax.random.normal(k, s) for k, s in zip((k_sets, k_noise), shapes, strict=True))
    targets, noise = (SIGMA * np.asarray(e, float) for e in drawn)
    targets += f(X[:, 0])
    fits = {("polynomial", d): targets @ smoother(d).T for d in config.degrees}
    fits |= {("network", w): networks(config, w, targets) for w in config.widths}
    found = {key: terms(values, noise) for key, values in fits.items()}
    rounding = max(exactly(values) for values in fits.values())
    off = max(abs(t.error - t.total) / t.slack for t in found.values())
    one, many = ([t for (k, _), t in found.items() if k == kind] for kind in KINDS)
    best, wide = (min(range(len(ts)), key=lambda i, ts=ts: ts[i].error) for ts in (one, many))
    seen = Seen(rounding, off, one, many, best, wide)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(config, seen),
        measured={"rounding": rounding, "standard_errors": off},
        figure=picture(found, fits),
        tables=[table(found)],
        rows=[
            {"model": kind, "size": n, **t._asdict(), "sum": t.total}
            for (kind, n), t in found.items()
        ],
    )


class Seen(NamedTuple):
    """The terms of all models, and how well they add up."""

    rounding: float  # by how much the sum misses the error in a finite case
    off: float  # the same with noise held out, in standard errors
    one: list[Terms]  # of polynomials, by degree
    many: list[Terms]  # of networks, by width
    best: int  # which polynomial has the least error
    wide: int  # which network has


def findings(config: Config, seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    one, many = seen.one, seen.many
    return {
        "in a finite case the error is the sum, to rounding": seen.rounding < 1e-12,
        "with noise held out it is, within four standard errors": seen.off < 4,
        "polynomials have the bias² and the variance of theory": all(
            as_known(d, t, config.sets // 2) for d, t in zip(config.degrees, one, strict=True)
        ),
        "larger models have less bias": all(
            ts[-1].bias2 < 0.05 * ts[0].bias2 for ts in (one, many)
        ),
        "polynomials of higher degree have more variance": bool(
            np.all(np.diff([t.variance for t in one]) > 0)
        ),
        "the best degree is neither the lowest nor the highest": 0 < seen.best < len(one) - 1,
        "the smallest network has the least variance": all(
            t.variance > 1.5 * many[0].variance for t in many[1:]
        ),
        "the widest network is within 15 % of the best": (
            many[-1].error < 1.15 * many[seen.wide].error
        ),
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    one, many, best, wide = seen.one, seen.many, seen.best, seen.wide
    return (
        f"It is: in a finite case to {seen.rounding:.0e}, and with noise held out within "
        f"{seen.off:.1f} standard errors for all {len(one) + len(many)} models. From degree "
        f"{config.degrees[0]} to {config.degrees[-1]} the bias² of polynomials falls from "
        f"{one[0].bias2:.2f} to {least(one[-1])} (in theory "
        f"{exact(config.degrees[-1]):.0e}) and their variance grows from "
        f"{one[0].variance:.3f} to {one[-1].variance:.2f}: the error is least at degree "
        f"{config.degrees[best]}, {one[best].error:.3f}, of which {SIGMA**2:.2f} is noise. "
        f"Networks are different. From width {config.widths[0]} to {config.widths[-1]} their "
        f"bias² falls from {many[0].bias2:.2f} to {least(many[-1])} too, but their variance "
        f"stops growing: {many[0].variance:.3f}, at most "
        f"{max(t.variance for t in many):.3f}, {many[-1].variance:.3f} at the end. Width "
        f"{config.widths[-1]}, {3 * config.widths[-1] + 1} parameters for {POINTS} points, "
        f"has an error of {many[-1].error:.3f}, the best width "
        f"({config.widths[wide]}) {many[wide].error:.3f}."
    )


def least(t: Terms) -> str:
    """A small bias², or below what it is, rounded up, where it cannot be distinguished from 0."""
    if t.biased:
        return f"{t.bias2:.1g}"
    top = max(t.bias2, 0) + 2 * t.doubt
    unit = 10 ** np.floor(np.log10(top))
    return f"below {np.ceil(top / unit) * unit:.1g}"


def table(found: dict[Any, Terms]) -> Table:
    """The terms of every model."""
    columns = ["", "bias²", "variance", "noise", "sum", "test error"]
    rows = [
        [f"{kind} {n}", *(f"{v:.4f}" for v in (*t[:3], t.total, t.error))]
        for (kind, n), t in found.items()
    ]
    return Table("What the error consists of", columns, rows)


def picture(found: dict[Any, Terms], fits: dict[Any, np.ndarray]) -> plots.Figure:
    """The terms over the size, and the fits of the smallest and the largest model."""
    title = "Polynomials trade bias for variance; the variance of networks stops growing"
    figure, axes = plots.picture(title, 2, 3, size=(10, 6))
    for row, kind in zip(axes, KINDS, strict=True):
        sizes = [n for k, n in found if k == kind]
        these = [found[kind, n] for n in sizes]
        what = {"polynomial": "degree", "network": "width"}[kind]
        for i, name in enumerate(("bias2", "variance", "noise", "total")):
            label = {"bias2": "bias² if > 2 std. errors", "total": "sum"}.get(name, name)
            color = plots.INK if name == "total" else plots.COLORS[i]
            values = [getattr(t, name) for t in these]
            if name == "bias2":  # where it can be distinguished from 0
                values = [t.bias2 if t.biased else np.nan for t in these]
            row[0].plot(sizes, values, color=color, label=label)
        doubts = [t.doubt for t in these]
        row[0].plot(sizes, doubts, ":", color=plots.COLORS[0], label="std. error of bias²")
        if kind == "polynomial":
            known = [exact(degree) for degree in sizes]
            row[0].plot(sizes, known, "--", color=plots.COLORS[0], label="bias² in theory")
        errors = [t.error for t in these]
        row[0].plot(sizes, errors, "o", color=plots.INK, markersize=4, label="test error")
        row[0].set(yscale="log", ylim=(1e-7, 1), xlabel=what, ylabel="squared error")
        row[0].set_title(f"{kind}s: terms of the error")
        if kind == "network":
            row[0].set_xscale("log")
        handles, labels = row[0].get_legend_handles_labels()
        mine = [i for i, n in enumerate(labels) if ("bias²" in n) == (kind == "polynomial")]
        chosen = [handles[i] for i in mine], [labels[i] for i in mine]
        row[0].legend(*chosen, frameon=False, fontsize=8, loc="lower left")
        for ax, n in ((row[1], sizes[0]), (row[2], sizes[-1])):
            ax.plot(BETWEEN, fits[kind, n][:30].T, color=plots.COLORS[5], linewidth=0.6)
            ax.plot(BETWEEN, fits[kind, n].mean(0), color=plots.COLORS[1], label="mean of all")
            ax.plot(BETWEEN, f(BETWEEN), "--", color=plots.INK, label="truth f")
            ax.set(ylim=(-2.6, 2.6), xlabel="x")
            ax.set_title(f"{what} {n}: 30 fits")
    axes[0, 1].legend(frameon=False, fontsize=9, loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
