"""How many outputs of a rectifier are zero.

    uv run python -m experiments.relu_sparsity

Question: How sparse are the outputs of ReLU networks, and what do the zeros cost?

    ReLU         max(z, 0)        f′ = 1 for z > 0, else 0
    leaky ReLU   max(z, s z)      f′ = 1 for z > 0, else s = 0.1

    zeros   the share of z ≤ 0, over all training digits and the neurons of a layer
    dead    a neuron with z ≤ 0 for every training digit: ReLU passes it no gradient

The networks have six hidden layers of 32 neurons, weights drawn by he_normal and biases 0:
w and −w are equally likely, so z is positive with probability ½ for every digit. They are
trained on the standardised digits by SGD with minibatches, from many seeds, and looked at
after every epoch. The kept signal is ‖δ_1‖ / ‖δ_L‖ before training. Shown are means over the
seeds; bands are the middle 80 %. Two of the ten leaky networks at the rate 0.3 diverge, in
epochs 8 and 11, and are left out from then on; no other does.

Source: Glorot, Bordes & Bengio (2011), AISTATS, section 3; Maas, Hannun & Ng (2013),
section 2; He, Zhang, Ren & Sun (2015), arXiv:1502.01852, section 2.2.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments.common import bundles, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings
from experiments.relu_sparsity.zeros import ACTIVATIONS, History, exact, history
from experiments.relu_sparsity.zeros import Seen as Look


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Count the zeros of ReLU networks before, while and after they learn digits."""

    layers: Annotated[int, Bounds(2)] = 6  # hidden
    epochs: Annotated[int, Bounds(1)] = 15
    rates: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (0.01, 0.03, 0.1, 0.2, 0.3)
    draws: Annotated[int, Bounds(2)] = 64  # networks that are looked at before training
    seeds: Annotated[int, Bounds(2)] = 10  # networks that are trained, the first of these
    rows: Annotated[int, Bounds(32)] = 1257  # digits


QUICK = Config(quick=True, layers=4, epochs=10, rates=(0.03, 0.3), seeds=5, rows=512)


def measure(config: Config) -> Outcome:
    """Both activations, before and in training."""
    rows = bundles.first_digits(config.rows)
    keys = jax.random.split(jax.random.key(config.seed), max(config.draws, config.seeds))
    run = (config.layers, config.rates, config.epochs, rows, keys, config.seeds)
    runs = {name: history(name, *run) for name in ACTIVATIONS}
    seen = Seen(
        runs,
        exact(rows.x),
        {name: mean(h.seen[-1].zeros) for name, h in runs.items()},
        {name: mean(h.seen[-1].dead) for name, h in runs.items()},
        {name: float(np.median(h.before.kept)) for name, h in runs.items()},
    )
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "zeros_before": seen.before().tolist(),
            "zeros_after": {name: a.tolist() for name, a in seen.after.items()},
            "dead_after": {name: d.tolist() for name, d in seen.dead.items()},
            "kept": seen.kept,
            "diverged": {n: int(np.isnan(h.accuracy).sum()) for n, h in runs.items()},
        },
        figure=picture(config, runs),
        tables=[table(config, seen)],
        rows=[
            {"activation": name, "rate": rate, "epoch": epoch}
            | {f: float(np.nanmean(getattr(one, f)[i])) for f in ("zeros", "dead", "stuck")}
            for name, h in runs.items()
            for i, rate in enumerate(config.rates)
            for epoch, one in enumerate(h.seen, 1)
        ],
    )


class Seen(NamedTuple):
    """What was measured, by activation."""

    runs: dict[str, History]
    unscaled: bool  # whether δ passes the active side as it is
    after: dict[str, np.ndarray]  # zeros after training, [rates]
    dead: dict[str, np.ndarray]  # after training, [rates]
    kept: dict[str, float]  # signal before training

    def before(self) -> np.ndarray:
        """The zeros of ReLU before training, [layers]."""
        return self.runs["ReLU"].before.zeros.mean(0)


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    relu, leaky = seen.runs.values()
    return {
        "about half of the outputs of every layer are zero before training (± 5 %)": bool(
            (abs(seen.before() - 0.5) < 0.05).all()
        ),
        "the derivative is exactly 1 on the active side": seen.unscaled,
        "δ is neither halved nor doubled on its way to the first layer": all(
            0.5 < k < 2 for k in seen.kept.values()
        ),
        "the highest learning rate leaves more zeros than the lowest": bool(
            seen.after["ReLU"][-1] > seen.after["ReLU"][0] + 0.02
        ),
        "looks are left out only where training diverges, at most one in ten": all(
            skipped(h.before) == 0
            and skipped(h.seen[-1]) == np.isnan(h.accuracy).sum()
            and max(map(skipped, h.seen)) == skipped(h.seen[-1]) <= h.accuracy.size / 10
            for h in (relu, leaky)
        ),
        "every dead ReLU neuron gets no gradient": all(
            absent(s.reached) for s in (relu.before, *relu.seen)
        ),
        "every leaky ReLU neuron gets a gradient, negative for every digit or not": (
            leaky.before.dead.max() > 0
            and all(absent(s.stuck) for s in (leaky.before, *leaky.seen))
        ),
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    relu, before, after, dead = seen.runs["ReLU"], seen.before(), seen.after, seen.dead
    right = np.nanmean(relu.accuracy, 1)
    return (
        f"Before training {100 * before.min():.0f} to {100 * before.max():.0f} % of the "
        f"outputs of every ReLU layer are zero. After {config.epochs} epochs it is "
        f"{100 * after['ReLU'][0]:.0f} % at the learning rate {config.rates[0]:g} and "
        f"{100 * after['ReLU'][-1]:.0f} % at {config.rates[-1]:g} ({100 * right[0]:.0f} and "
        f"{100 * right[-1]:.0f} % of the digits read right). The zeros do not weaken the "
        f"error signal: before training δ is {seen.kept['ReLU']:.2f} times as large in the first "
        f"layer as in the last hidden one, through {config.layers - 1} layers. "
        f"{100 * relu.before.dead.mean():.1f} % of the neurons are dead before training, "
        f"{100 * dead['ReLU'].min():.1f} to {100 * dead['ReLU'].max():.1f} % after it; leaky "
        f"ReLU has {100 * dead['leaky ReLU'].max():.1f} % at most that are negative for every "
        f"digit, and all of them still get a gradient."
    )


def mean(shares: np.ndarray) -> np.ndarray:
    """Over seeds and layers: [rates]."""
    return np.nanmean(shares, (1, 2))


def skipped(look: Look) -> int:
    """How many networks show nothing in one look, because they have diverged."""
    return int(np.isnan(look.zeros).any(-1).sum())


def absent(shares: np.ndarray) -> bool:
    """Whether a share is 0 in every layer of every network that has not diverged."""
    return bool((shares[~np.isnan(shares)] == 0).all())


def table(config: Config, seen: Seen) -> Table:
    """Shares at the end of training."""
    rows = [
        [name, f"{rate:g}"]
        + [f"{100 * v[i]:.1f}" for v in (seen.after[name], seen.dead[name])]
        + [f"{100 * np.nanmean(h.accuracy[i]):.1f}"]
        for name, h in seen.runs.items()
        for i, rate in enumerate(config.rates)
    ]
    columns = ["", "learning rate", "z ≤ 0, %", "for every digit, %", "read right, %"]
    return Table(f"After {config.epochs} epochs", columns, rows)


def picture(config: Config, runs: dict[str, History]) -> plots.Figure:
    """Zeros by layer and by epoch, and dead neurons by learning rate."""
    title = "Half of all ReLU outputs are zero at first; large learning rates add more"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (11, 4))
    layers, relu = np.arange(1, config.layers + 1), runs["ReLU"]
    left.plot(layers, 100 * relu.before.zeros.mean(0), "o--", color=plots.INK, label="before")
    chosen = sorted({0, len(config.rates) // 2, len(config.rates) - 1})
    epochs = range(config.epochs + 1)
    start = relu.before.zeros.mean(1)[: config.seeds]
    for i, color in zip(chosen, plots.COLORS, strict=False):
        name = f"rate {config.rates[i]:g}"
        plots.band(left, layers, 100 * relu.seen[-1].zeros[i].T, color, name)
        curve = [start, *(s.zeros[i].mean(1) for s in relu.seen)]
        plots.band(middle, epochs, 100 * np.stack(curve), color, name)
    for (name, h), color in zip(runs.items(), plots.COLORS[3:], strict=False):
        for field, style, what in (
            ("dead", "o-", "never positive"),
            ("stuck", "s:", "no gradient"),
        ):
            share = 100 * mean(getattr(h.seen[-1], field))
            right.plot(config.rates, share, style, color=color, label=f"{name}: {what}")
    left.set(xlabel="layer", ylabel="zero outputs, %", title="After training, by layer")
    middle.set(xlabel="epoch", ylabel="zero outputs, %", title="In training, all layers")
    right.set(xscale="log", xlabel="learning rate", ylabel="neurons, %", title="Dead neurons")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=9)
        axes.set_title(axes.get_title(), loc="left", fontsize=10)
        axes.set_title("", loc="center")
    for axes in (left, middle):
        axes.set_ylim(0, 100)
    middle.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylim(top=1.5 * right.get_ylim()[1])
    return figure
