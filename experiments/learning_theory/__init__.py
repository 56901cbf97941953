"""Where the bounds of learning theory hold, and how much they leave.

    uv run python -m experiments.learning_theory

Question: Do the bounds for finite classes, PAC learning and the VC dimension hold?

A sample of N rows is drawn again and again, and the risk R of every hypothesis is known:

    coordinates    64 hypotheses h_k(x) = x_k on fair coins, labels fair coins: R = 1/2 each, and
                   their training errors are independent
    thresholds     all h_t(x) = 1[x ≥ t] on x uniform in [0, 1]; labels 1[x ≥ 1/2], a tenth of
                   them flipped: R(t) = 0.1 + 0.8 abs(t − 1/2). VC dimension 1. The largest
                   deviation over all t is found exactly, at the sorted x
    PAC            one hypothesis never errs (realizable) or with probability 0.3 (agnostic), 63
                   others with ε = 0.1 more, respectively 2 ε; the one with the fewest errors
                   is chosen, at a tie a bad one. The agnostic rows also keep all 64 coordinates
                   within ε of their risks
    half-spaces    labellings of random points in Rᵈ, each tried by linear programming;
                   fnn's hinge loss is to learn all 16 of 4 points of R³

δ = 0.05.

Source: experiments/common/bounds.py; Radon (1921), Mathematische Annalen 83.
"""

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import numpy as np

from experiments.common import bounds, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings
from experiments.learning_theory import half_spaces, samples
from experiments.learning_theory.samples import (
    AGNOSTIC,
    DELTA,
    LOG_SIZE,
    REALIZABLE,
    SHARES,
    SIZE,
    UNIFORM,
)

HALF = SHARES.index(0.5)
Pac = dict[str, samples.Learning]
Spaces = dict[int, half_spaces.Shattering]
NAMES = {
    REALIZABLE: "bad choice, realizable",
    AGNOSTIC: "bad choice, agnostic",
    UNIFORM: "some |R − R̂| > ε",
}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Draw samples, compare deviations with their bounds; count labellings."""

    repeats: Annotated[int, Bounds(500)] = 10_000  # samples
    most: Annotated[int, Bounds(64)] = 1024  # rows; from 16 on doubled
    points: Annotated[int, Bounds(5, 13)] = 9  # to label by half-spaces
    sets: Annotated[int, Bounds(1)] = 20  # random sets of d + 2 points


QUICK = Config(quick=True, repeats=1000, most=256, points=6, sets=3)


def measure(config: Config) -> Outcome:
    """Deviations, PAC learning, shattering."""
    k_deviations, k_pac, k_spaces, k_net = jax.random.split(jax.random.key(config.seed), 4)
    rows = [16 * 2**k for k in range(int(math.log2(config.most / 16)) + 1)]
    moved = samples.deviations(k_deviations, rows, config.repeats)
    pac = {
        kind: samples.learning(k, kind, config.repeats)
        for kind, k in zip(samples.KINDS, jax.random.split(k_pac, len(samples.KINDS)), strict=True)
    }
    spaces = {
        d: half_spaces.shattering(k, d, config.points, config.sets)
        for d, k in zip((1, 2, 3), jax.random.split(k_spaces, 3), strict=True)
    }
    learned = half_spaces.learned(k_net, half_spaces.simplex(3))
    loose = bounds.finite_class(moved.rows[-1], LOG_SIZE, DELTA) / moved.finite[-1]
    looser = bounds.vapnik_chervonenkis(moved.rows[-1], 1, DELTA) / moved.line[-1]
    seen = Seen(moved, pac, spaces, bool(learned.all()), loose, looser)
    return Outcome(
        answer=answer(seen),
        findings=findings(config, seen),
        measured={
            "deviations": {name: np.asarray(v).tolist() for name, v in moved._asdict().items()},
            "pac": {k: {n: v.tolist() for n, v in p._asdict().items()} for k, p in pac.items()},
            "half_spaces": {str(d): s._asdict() for d, s in spaces.items()},
            "bound_over_deviation": {"finite": loose, "vc": looser},
        },
        figure=picture(config, moved, pac, spaces),
        tables=[table(pac)],
        rows=[
            {"rows": n, "finite": f, "thresholds": t}
            for n, f, t in zip(moved.rows, moved.finite, moved.line, strict=True)
        ],
    )


class Seen(NamedTuple):
    """What was measured of bounds, of PAC learning and of half-spaces."""

    moved: samples.Deviations
    pac: Pac
    spaces: Spaces
    learned: bool  # whether the hinge loss finds all labellings of 4 points
    loose: float  # the bound for 64 hypotheses over the deviation, for the largest N
    looser: float  # the same of the VC bound


def findings(config: Config, seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    moved, pac, spaces = seen.moved, seen.pac, seen.spaces
    errors = [
        abs(p.measured - p.exact) / np.sqrt(p.exact * (1 - p.exact) / config.repeats + 1e-6)
        for p in pac.values()
    ]
    sizes = range(1, config.points + 1)
    return {
        "the finite-class bound holds in 95 % of the samples": max(moved.finite_fails) <= DELTA,
        "the bound for one hypothesis does not hold for 64": min(moved.single_fails) > DELTA,
        "it is at most twice the deviation": bool(
            moved.finite[-1] > 0.5 * bounds.finite_class(moved.rows[-1], LOG_SIZE, DELTA)
        ),
        "the VC bound for all thresholds holds in 95 % of the samples": (
            max(moved.vc_fails) <= DELTA
        ),
        "with the rows of PAC learning it fails in at most 5 %": all(
            p.measured[-1] <= DELTA for p in pac.values()
        ),
        "with half of the rows it fails more often, but for choosing among noisy ones": all(
            (pac[kind].measured[HALF] > DELTA) == (kind != AGNOSTIC) for kind in samples.KINDS
        ),
        "failures are as frequent as binomial sums say": bool(np.max(errors) < 5),
        "half-spaces make all labellings of d + 1 points": all(s.simplex for s in spaces.values()),
        "of d + 2 points they never make all": all(s.sets == 0 for s in spaces.values()),
        "Radon's two parts meet and cannot be told apart": all(s.radon for s in spaces.values()),
        "the number of labellings is Cover's, and within Sauer's bound": all(
            s.counts == [bounds.dichotomies(m, d) for m in sizes]
            and all(c <= bounds.sauer(m, d + 1) for m, c in zip(sizes, s.counts, strict=True))
            for d, s in spaces.items()
        ),
        "fnn's hinge loss learns all labellings of 4 points of R³": seen.learned,
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    moved, realizable, agnostic = seen.moved, seen.pac[REALIZABLE], seen.pac[AGNOSTIC]
    return (
        f"Yes. The bound for {SIZE} hypotheses failed in at most "
        f"{moved.finite_fails.max():.1%} of the samples ({DELTA:.0%} are allowed) and is "
        f"{seen.loose:.2f} times the deviation it bounds; the bound for one hypothesis fails for "
        f"{SIZE} in {moved.single_fails.max():.0%}. The VC bound for all thresholds failed in "
        f"{moved.vc_fails.max():.0%} and is {seen.looser:.0f} times too large. With the rows that "
        f"PAC learning asks for, a bad hypothesis was chosen in {realizable.measured[-1]:.1%} "
        f"({realizable.rows[-1]} rows, one never errs) and {agnostic.measured[-1]:.1%} "
        f"({agnostic.rows[-1]} rows, all err); with half of them in "
        f"{realizable.measured[HALF]:.0%} and {agnostic.measured[HALF]:.1%}. "
        "For d = 1, 2, 3 half-spaces of Rᵈ made all labellings of some d + 1 points, and of none "
        "of the sets of d + 2 that were tried (by Radon's theorem there is none)."
    )


def table(pac: Pac) -> Table:
    """Failures of PAC learning."""
    title = "Failures of PAC learning, by the share of the rows that are asked for"
    rows = [[NAMES[kind], *(f"{f:.3f}" for f in p.measured)] for kind, p in pac.items()]
    return Table(title, ["", *(f"{share:g}" for share in SHARES)], rows)


def picture(config: Config, moved: samples.Deviations, pac: Pac, spaces: Spaces) -> plots.Figure:
    """Deviations, failures, labellings."""
    title = "Bounds hold: tight for independent hypotheses, loose for related ones"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(11, 4.2))
    n, blue, red, green, *_ = moved.rows, *plots.COLORS
    finite = [bounds.finite_class(k, LOG_SIZE, DELTA) for k in n]
    left.set(
        xscale="log",
        yscale="log",
        ylim=(0.03, 20),
        xlabel="rows N",
        title="largest deviation of R̂ from R",
    )
    left.plot(n, [bounds.vapnik_chervonenkis(k, 1, DELTA) for k in n], color=red, label="VC bound")
    left.plot(n, moved.line, ".", color=red, label="all thresholds, 95 % quantile")
    left.plot(n, finite, color=blue, label="bound for 64 hypotheses")
    left.plot(n, moved.finite, ".", color=blue, label="64 hypotheses, 95 % quantile")
    for (kind, p), color in zip(pac.items(), (blue, red, green), strict=True):
        label = f"{NAMES[kind]}, N = {p.rows[-1]}"
        middle.plot(SHARES, np.maximum(p.exact, 1e-5), color=color, label=label)
        middle.plot(SHARES, np.where(p.measured > 0, p.measured, np.nan), ".", color=color)
    middle.axhline(DELTA, color=plots.INK, linestyle=":")
    middle.text(SHARES[0], DELTA * 1.15, "δ", color=plots.INK)
    middle.set(yscale="log", xlabel="share of the N rows that are asked for")
    middle.set(title="failures of PAC learning", ylim=(1e-4, 30))
    middle.set_yticks([10.0**k for k in range(-4, 1)])  # above 1 is room for the legend alone
    middle.set(ylabel="frequency (dots), probability (lines)")
    sizes = np.arange(1, config.points + 1)
    right.plot(sizes, 2.0**sizes, color=plots.FAINT, label="all, 2ᵐ")
    for (d, s), color in zip(spaces.items(), (blue, red, green), strict=True):
        sauer = [bounds.sauer(m, d + 1) for m in sizes.tolist()]
        right.plot(sizes, sauer, "--", color=color)
        right.plot(sizes, s.counts, ".", color=color, label=f"half-spaces of R{'⁰¹²³'[d]}")
    right.plot([], [], "--", color=plots.INK, label="Sauer's bound")
    right.set(yscale="log", xlabel="points m", title="labellings by half-spaces")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=8.5)
    return figure
