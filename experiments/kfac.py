"""An autoencoder of digits by KFAC, in fewer steps than by Adam.

    uv run python -m experiments.kfac

Question: How many steps does the metric of the Fisher matrix save on a deep autoencoder of digits,
and how much time?

Σ_i binary cross-entropy of 64 pixels through 64–128–64–32–8–32–64–128–64 units, tanh between them:
deep, and narrow in the middle, where gradient descent is slow. The factors of every layer are

    KFAC, own δ      those of the step itself: gradient and factors from one way back
    KFAC, drawn δ    of pixels drawn from what the net says: one more way back, the true Fisher
    EKFAC, drawn δ   the same, with second moments in the eigenbases

All go through the training digits equally often, in batches. Adam runs at every rate of a grid with
every seed, all at once in a vmap, and is judged at the rate whose loss is lowest in the end; the
others at the best of a grid of dampings, with the first seed. The goal is the loss of the last
epoch that Adam reaches, seed by seed; the seconds of a step are medians of turns, in which all run
one after another.

Source: Martens & Grosse (2015), arXiv:1503.05671, section 13, for KFAC on deep autoencoders; George
and others (2018), arXiv:1806.03884, section 4.1, for EKFAC.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.common.timing import in_turn

LOSS = fnn.SigmoidBinaryCrossEntropy()
ADAM = "Adam"
KFACS = {
    "KFAC, own δ": fnn.optim.KFAC(0.3),
    "KFAC, drawn δ": fnn.optim.KFAC(0.3, kind="monte_carlo"),
    "EKFAC, drawn δ": fnn.optim.KFAC(0.3, kind="monte_carlo", method="ekfac"),
}
RATES = tuple(float(r) for r in 10 ** np.linspace(-3, -1, 9))  # of Adam
DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0)
TURN = 2  # epochs of a turn of timing


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train an autoencoder of digits by Adam and by KFAC, and count steps and seconds."""

    hidden: Annotated[tuple[int, ...], Bounds(1)] = (128, 64, 32, 8, 32, 64, 128)
    epochs: Annotated[int, Bounds(2)] = 60
    batch_size: Annotated[int, Bounds(1, 1258)] = 128
    seeds: Annotated[int, Bounds(1)] = 3
    rounds: Annotated[int, Bounds(3)] = 15  # of timing


QUICK = Config(quick=True, hidden=(32, 8, 32), epochs=12, seeds=2, rounds=3)


class Seen(NamedTuple):
    """What all of them did."""

    losses: dict[str, np.ndarray]  # [seeds, epochs]
    chosen: dict[str, float]  # the rate or the damping
    steps: dict[str, np.ndarray]  # to Adam's last loss, [seeds]; infinite where it is not reached
    seconds: dict[str, float]  # of a step


def pixels() -> np.ndarray:
    """Of the training digits, 0 to 1, [N, 64]."""
    return bundles.digits().train.x / np.float32(16)


def trained(config: Config, optimizer: Any, key: Any, epochs: int) -> Any:
    """The loss of every epoch, [epochs]."""
    net = fnn.mlp([64, *config.hidden, 64], fnn.Tanh())
    plan, data = fnn.Plan(net, LOSS, optimizer), (jnp.asarray(pixels()),) * 2
    start = fnn.start(plan, key)
    _, history = fnn.fit(plan, start, data, epochs=epochs, batch_size=config.batch_size)
    return history["loss"]


def measure(config: Config) -> Outcome:
    """Tune, train with every seed, time."""
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    losses, chosen = {}, {}

    def of_rate(rate, key):
        return trained(config, fnn.optim.Adam(rate), key, config.epochs)

    grid = jax.jit(jax.vmap(jax.vmap(of_rate, (None, 0)), (0, None)))(jnp.array(RATES), keys)
    best = int(np.nanargmin(np.mean(grid[:, :, -1], 1)))
    losses[ADAM], chosen[ADAM] = np.asarray(grid[best]), RATES[best]
    for name, optimizer in track("KFAC", list(KFACS.items())):
        losses[name], chosen[name] = tuned(config, optimizer, keys)
    steps = {name: needed(config, found, losses[ADAM][:, -1]) for name, found in losses.items()}
    return concluded(config, Seen(losses, chosen, steps, timed(config, chosen, keys[0])))


def tuned(config: Config, optimizer: Any, keys: Any) -> tuple[np.ndarray, float]:
    """The losses with every seed at the best damping, and that."""
    run = jax.jit(lambda o, key: trained(config, o, key, config.epochs))
    tried = [optimizer.with_fields(damping=d) for d in DAMPINGS]
    ends = [float(run(o, keys[0])[-1]) for o in tried]
    best = int(np.nanargmin(ends))
    return np.stack([np.asarray(run(tried[best], key)) for key in keys]), DAMPINGS[best]


def needed(config: Config, losses: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Steps up to the end of the first epoch whose loss is the goal or below, of every seed."""
    reached = losses <= goals[:, None]
    first = np.where(reached.any(1), reached.argmax(1) + 1, np.inf)
    return first * per_epoch(config)


def per_epoch(config: Config) -> int:
    """The steps of an epoch."""
    return -(-len(pixels()) // config.batch_size)


def timed(config: Config, chosen: dict[str, float], key: Any) -> dict[str, float]:
    """The seconds of a step, the median of the turns."""
    made = {ADAM: fnn.optim.Adam(chosen[ADAM])}
    made |= {name: o.with_fields(damping=chosen[name]) for name, o in KFACS.items()}
    runs = [lambda key, o=o: trained(config, o, key, TURN) for o in made.values()]
    seconds = np.median(in_turn(runs, (key,), config.rounds), 0) / TURN / per_epoch(config)
    return dict(zip(made, seconds.tolist(), strict=True))


def concluded(config: Config, seen: Seen) -> Outcome:
    """What steps and seconds say."""
    share = {n: float(np.median(s / seen.steps[ADAM])) for n, s in seen.steps.items()}
    cost = {n: s / seen.seconds[ADAM] for n, s in seen.seconds.items()}
    own, drawn, _ = KFACS
    findings = {
        "KFAC needs fewer steps than Adam, with every seed": all(
            (seen.steps[n] < seen.steps[ADAM]).all() for n in (own, drawn)
        ),
        "a step of KFAC takes longer": min(cost[n] for n in KFACS) > 1,
    }
    words = "; ".join(
        f"{n}: {share[n]:.2f} of the steps at {cost[n]:.1f} × the time of each, "
        f"{share[n] * cost[n]:.2f} of the time" for n in KFACS
    )  # fmt: skip
    reached = ", ".join(f"{seen.losses[n][:, -1].mean():.2f}" for n in KFACS)
    answer = (
        f"To the loss that Adam reaches in {config.epochs} epochs at its best rate "
        f"({seen.chosen[ADAM]:.1e}, {seen.losses[ADAM][:, -1].mean():.2f} nats a digit), {words}. "
        f"In as many epochs these reach {reached}."
    )
    rows = [
        [n, f"{seen.chosen[n]:.2g}", f"{seen.losses[n][:, -1].mean():.2f}",
         " ".join(f"{s:.0f}" for s in seen.steps[n]), f"{share[n]:.2f}",
         f"{1e3 * seen.seconds[n]:.2f}", f"{cost[n]:.2f}", f"{share[n] * cost[n]:.2f}"]
        for n in seen.losses
    ]  # fmt: skip
    columns = ("optimizer", "rate or λ", "last loss", "steps to Adam's", "÷ Adam's", "ms a step",
               "÷ Adam's", "time ÷ Adam's")  # fmt: skip
    points = [
        {"optimizer": n, "seed": config.seed + i, "epoch": e + 1, "loss": float(v)}
        for n, found in seen.losses.items() for i, each in enumerate(found)
        for e, v in enumerate(each)
    ]  # fmt: skip
    measured = {
        "steps": {n: s.tolist() for n, s in seen.steps.items()}, "chosen": seen.chosen,
        "seconds": seen.seconds, "share_of_steps": share, "cost_of_a_step": cost,
    }  # fmt: skip
    tables = [Table("To the last loss of Adam", columns, rows)]
    return Outcome(answer, findings, measured, drawn_of(config, seen), tables, points)


def drawn_of(config: Config, seen: Seen) -> plots.Figure:
    """The loss against steps and against seconds, a band of all seeds for each."""
    title = "A deep autoencoder of digits: loss by steps, and by the time that they take"
    figure, ((left, right),) = plots.picture(title, 1, 2, size=(10, 4.2))
    steps = per_epoch(config) * np.arange(1, config.epochs + 1)
    goal = float(seen.losses[ADAM][:, -1].mean())
    for (name, losses), color in zip(seen.losses.items(), plots.COLORS, strict=False):
        plots.band(left, steps, losses.T, color, name, share=1.0)
        plots.band(right, steps * seen.seconds[name], losses.T, color, name, share=1.0)
    for axes, label in ((left, "steps"), (right, "seconds")):
        axes.axhline(goal, color=plots.FAINT, linestyle="--", linewidth=1.2, zorder=0)
        axes.set(xlabel=label, yscale="log", xlim=(0, None))
        axes.set_yticks([15, 20, 25, 30, 40], labels=["15", "20", "25", "30", "40"])
        axes.set_yticks([], minor=True)
    left.set_ylabel("training loss, nats a digit")
    left.annotate(
        "Adam's last", (0, goal), xytext=(4, -12), textcoords="offset points", color="#888888"
    )
    right.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
