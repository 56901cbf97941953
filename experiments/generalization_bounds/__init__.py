"""Seven bounds of the test error of one net.

    uv run python -m experiments.generalization_bounds

Question: What do the bounds of learning theory say about a net that reads digits?

A net of 65, 16 and 1 units without biases (1,056 weights) tells odd digits from even ones.
Every bound holds with probability 0.95 over the drawing of the rows:

    held-out rows      270 other rows, Hoeffding
    PAC-Bayes          of a net drawn from N(μ, diag e^{2ρ}), where μ and ρ make the bound small;
                       prior around the random start, 100 widths; or around a net trained on the
                       first half of the rows, for the other half. 1/5 of δ pays for estimating
                       the error of 1,000 drawn nets, kl-Chernoff
    b bits             weights rounded to 2^b values of [−2, 2], the best of b = 1, ..., 8
    margin             norms by Golowich et al., the best of 64 margins that most rows exceed
    32 bits            card(H) = 2^(32 · 1,056)
    VC                 the VC dimension by Bartlett et al., at most 21,670; with fewer than half
                       as many rows, all labellings are allowed for

A union bound pays for each choice. The error is measured on 270 rows that nothing has seen.
With random labels the risk of every net is 1/2 exactly, so a bound below that is wrong.

Source: experiments/common/bounds.py; for PAC-Bayes of nets Dziugaite & Roy (2017), UAI; for a
prior from half of the rows Ambroladze, Parrado-Hernández & Shawe-Taylor (2007), NIPS 19.
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np

from experiments.common import plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings
from experiments.generalization_bounds import net_bounds
from experiments.generalization_bounds.measuring import DELTA, FRESH, MOST, measured
from experiments.generalization_bounds.net_bounds import (
    ALL_BITS,
    FEW_BITS,
    HALF,
    HELD,
    MARGIN,
    NAMES,
    RANDOM,
    VC,
)

COLORS = (*plots.COLORS[:6], "#666666")


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train nets on N digits, bound their test error in seven ways."""

    repeats: Annotated[int, Bounds(1)] = 5  # shuffles of the rows, and starts of the net
    steps: Annotated[int, Bounds(100)] = 4000  # of training, and of fitting a posterior
    draws: Annotated[int, Bounds(10)] = 1000  # of nets from a posterior
    fewest: Annotated[int, Bounds(40, 1257)] = 157  # rows; then doubled up to 1257


QUICK = Config(quick=True, repeats=2, steps=600, draws=200, fewest=314)


def measure(config: Config) -> Outcome:
    """All bounds for every N, with true and with random labels."""
    rows = [config.fewest]
    while rows[-1] < MOST:
        rows.append(min(2 * rows[-1] + 1, MOST))
    runs = measured(jax.random.key(config.seed), rows, config.repeats, config)
    # name → [repeats, rows, labels, (train, value, fresh)]
    found = {name: np.zeros((config.repeats, len(rows), 2, 3)) for name in NAMES}
    for i, j, k in np.ndindex(config.repeats, len(rows), 2):
        one = jax.tree.map(lambda a, where=(i, j, k): a[where], runs)
        for name, bound in net_bounds.all_bounds(one, rows[j], config.draws).items():
            found[name][i, j, k] = bound
    return outcome(rows, found)


def outcome(rows: list[int], found: dict[str, np.ndarray]) -> Outcome:
    """What the bounds say."""
    last = {name: np.median(values[:, -1], axis=0) for name, values in found.items()}
    value = {name: float(middle[0, 1]) for name, middle in last.items()}
    error = float(last[VC][0, 2])
    return Outcome(
        answer=answer(rows[-1], value, error),
        findings=findings(found, value),
        measured={
            "vc_dimension_at_most": net_bounds.DIMENSION,
            "rows_needed_for_less_than_1": net_bounds.needed(),
            "bounds": {
                name: dict(zip(("train", "bound", "fresh"), last[name][0].tolist(), strict=True))
                | {"vacuous": value[name] >= 1, "with_random_labels": float(last[name][1, 1])}
                for name in NAMES
            },
        },
        figure=picture(rows, found, error),
        tables=[table(rows[-1], last)],
        rows=[
            {"rows": n, "labels": label, "bound": name, "repeat": i}
            | dict(zip(("train", "value", "fresh"), found[name][i, j, k].tolist(), strict=True))
            for name in NAMES
            for i in range(len(found[name]))
            for j, n in enumerate(rows)
            for k, label in enumerate(("true", "random"))
        ],
    )  # fmt: skip


def answer(n: int, value: dict[str, float], error: float) -> str:
    """In words, with the figures for n rows."""
    few = net_bounds.needed()
    return (
        f"Most say nothing. A net trained on {n:,} rows reads {error:.1%} of fresh digits wrong. "
        f"The VC bound is {value[VC]:.1f}, as for any class that can label these rows in all "
        f"ways, counting nets with 32-bit weights gives {value[ALL_BITS]:.1f}, margin and norms "
        f"{value[MARGIN]:.1f}: all vacuous (1 or more); the first two would need {few[VC]:,} and "
        f"{few[ALL_BITS]:,} rows to fall below 1. Rounding the weights to a few bits gives "
        f"{value[FEW_BITS]:.2f}, worse than a coin, PAC-Bayes {value[RANDOM]:.2f}, and "
        f"{value[HALF]:.2f} with a prior learned from half of the rows. {FRESH} held-out rows "
        f"say {value[HELD]:.2f} and need no theory of nets."
    )


def findings(found: dict[str, np.ndarray], value: dict[str, float]) -> dict[str, bool]:
    """What is claimed; value: the medians for the largest N."""
    true = {name: values[:, :, 0] for name, values in found.items()}
    below = max(np.mean(values[:, :, 1, 1] < 0.5) for values in found.values())
    return {
        "no bound is below the error on fresh rows, in any run": all(
            bool((v[..., 1] >= v[..., 2]).all()) for v in true.values()
        ),
        "random labels: no bound is below the risk, 1/2, in more than 5 % of the runs": bool(
            below <= DELTA
        ),
        "VC dimension, 32-bit weights and norms are vacuous in all runs": all(
            bool((true[n][..., 1] >= 1).all()) for n in (MARGIN, ALL_BITS, VC)
        ),
        "PAC-Bayes promises better than a coin, a few bits do not": (
            value[RANDOM] < 0.5 < value[FEW_BITS]
        ),
        "a prior learned from half of the rows is the better one": value[HALF] < value[RANDOM],
        "held-out rows give the smallest bound": value[HELD] == min(value.values()),
        "more rows make every bound of the training rows smaller": all(
            value[n] < np.median(true[n][:, 0, 1]) for n in NAMES if n not in (HELD, VC)
        ),
    }


def table(n: int, last: dict[str, np.ndarray]) -> Table:
    """The bounds for the largest N."""
    columns = ["", "training error", "bound", "error on fresh rows", "bound, random labels", ""]
    return Table(
        f"Errors and their bounds, {n:,} rows, medians",
        columns,
        [
            [name, *(f"{m[0, i]:.3f}" for i in range(3)), f"{m[1, 1]:.2f}", note(m[0, 1])]
            for name, m in last.items()
        ],
    )


def note(bound: float) -> str:
    """Whether it says anything."""
    return "vacuous" if bound >= 1 else ""


def picture(rows: list[int], found: dict[str, np.ndarray], error: float) -> plots.Figure:
    """Every bound for the largest N, and against N."""
    title = "Bounds of a net's test error: counting weights, or their norms, promises nothing"
    figure, ((bars, curves),) = plots.picture(title, 1, 2, size=(11, 4.4))
    for y, color, name in zip(range(len(NAMES))[::-1], COLORS, NAMES, strict=True):
        middle = np.median(found[name][..., 1], axis=0)  # [rows, labels]
        bars.plot([4e-3, middle[-1, 0]], [y, y], color=color, linewidth=13, solid_capstyle="butt")
        bars.plot(middle[-1, 1], y, "D", color=plots.INK, markersize=6, fillstyle="none")
        bars.text(4.6e-3, y, f"{middle[-1, 0]:.2g}", va="center", color="white", fontsize=9)
        curves.plot(rows, middle[:, 0], color=color, marker=".")
    fresh = np.median(found[VC][:, :, 0, 2], axis=0)
    bars.axvline(error, ymax=0.88, color=plots.INK, linestyle=":", label="error on fresh rows")
    curves.plot(rows, fresh, color=plots.INK, linestyle=":", label="error on fresh rows")
    bars.plot([], [], "D", color=plots.INK, fillstyle="none", label="bound with random labels")
    bars.set(xscale="log", xlim=(4e-3, 400), ylim=(-0.6, 8.1), yticks=range(len(NAMES)))
    bars.set(yticklabels=NAMES[::-1], xlabel="bound of the error", title=f"{rows[-1]:,} rows")
    for label, color in zip(bars.get_yticklabels(), COLORS[::-1], strict=True):
        label.set_color(color)
    curves.set(xscale="log", yscale="log", ylim=(1e-2, 40), xlabel="rows to learn from, N")
    curves.set(title="against the number of rows", ylabel="bound of the error")
    curves.set_xticks(rows, [f"{n:,}" for n in rows])
    curves.set_xticks([], minor=True)
    bars.axvspan(1, 400, color=plots.FAINT, alpha=0.3, linewidth=0, zorder=0)
    curves.axhspan(1, 40, color=plots.FAINT, alpha=0.3, linewidth=0, zorder=0)
    bars.text(1.2, 6.6, "vacuous", color="#777777")
    curves.text(rows[0], 25, "vacuous", color="#777777")
    bars.legend(frameon=False, loc="upper right", ncols=2, fontsize=9)
    curves.legend(frameon=False, loc="lower left", fontsize=9)
    return figure
