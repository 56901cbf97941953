"""What recurrent layers remember, and what reaches back through time.

    uv run python -m experiments.sequences

Question: Over how many steps do RNN, LSTM and GRU learn to remember, and what is left of the
gradient that far back?

    adding      x_t = (v_t, m_t), v_t ~ U(0, 1), m_t = 1 at one step of each half, else 0;
                the target is the sum of the two marked v, and always saying 1 misses it
                by 1/6 in the mean square

    signal      ∂L/∂s_t, of what a layer remembers after step t: h_t, of an LSTM (h_t, c_t)

    RNN         ∂L/∂h_{t−1} = (∂L/∂h_t ⊙ (1 − h_t²)) whᵀ
                ‖∂L/∂h_t‖ ≤ ‖∂L/∂h_T‖ Π_{k>t} s_max(wh) max(1 − h_k²)

Every layer has 16 neurons and is read at the last step alone. It learns by Adam, η = 0.01
falling to 0, the gradient's norm clipped at 1, from several initial weights; it is judged on
1,000 other sequences, and has learned where it leaves less than a fifth of 1/6. wh is
orthogonal at first, its spectral radius and its largest singular value are 1; times g, both
are g. Norms are over 32 sequences, in float64; ∂L/∂s_t is the gradient of the initial state
of a layer that begins behind step t. Shown are medians of the starts, with their range.

Source: Hochreiter & Schmidhuber (1997), Neural Computation 9; Pascanu, Mikolov & Bengio
(2013), arXiv:1211.5063, section 2.1, the bound; Cho et al. (2014), arXiv:1406.1078.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from experiments.common import plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.sequences import recurrent
from experiments.sequences.recurrent import KINDS, VARIANCE, Learned, Signal

SEQUENCES = 32  # whose gradient is followed


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train recurrent layers on long sequences, and follow their gradients back in time."""

    lengths: Annotated[tuple[int, ...], Bounds(2)] = (10, 20, 40)  # T
    starts: Annotated[int, Bounds(1)] = 3  # initial weights
    rows: Annotated[int, Bounds(32)] = 3200  # sequences to learn from
    epochs: Annotated[int, Bounds(1)] = 8
    radii: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (0.5, 1, 3)  # of wh


QUICK = Config(quick=True, lengths=(5, 20), starts=1, epochs=4)


def measure(config: Config) -> Outcome:
    """Train every layer at every length; follow the gradient back before and after."""
    lengths = sorted(config.lengths)
    rng = np.random.default_rng(config.seed)
    keys = jax.random.split(jax.random.key(config.seed), config.starts)
    data = {n: [recurrent.adding(rng, rows, n) for rows in (config.rows, 1000)] for n in lengths}
    runs = {}
    for name, n in track("trained", [(name, n) for name in KINDS for n in lengths]):
        # of equal shape for every length, so that each layer compiles once
        parts = [(recurrent.padded(x, lengths[-1]), target) for x, target in data[n]]
        runs[name, n] = recurrent.learned(name, *parts, keys, config.epochs)
    with jax.enable_x64(True):
        x, target = (a[:SEQUENCES].astype(float) for a in data[lengths[-1]][1])
        rows = x, target
        last = {name: runs[name, lengths[-1]] for name in KINDS}
        before = {name: signals(name, run.first, rows) for name, run in last.items()}
        after = {name: signals(name, run.last, rows) for name, run in last.items()}
        radii = {
            g: signals("RNN", scaled(last["RNN"], g), rows) for g in sorted({*config.radii, 1.0})
        }
    losses = {at: np.asarray(run.losses) for at, run in runs.items()}
    seen = Seen(lengths, losses, before, after, radii)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "losses": {f"{name}, T = {n}": seen.ends(name, n) for name, n in losses},
            "left_before": {name: left(s) for name, s in before.items()},
            "left_after": {name: left(s) for name, s in after.items()},
            "left_by_radius": {f"{g:g}": left(s) for g, s in radii.items()},
            "slack": seen.slack(),
        },
        figure=picture(seen),
        tables=tables(seen),
        rows=[points(seen, k) for k in range(lengths[-1] + 1)],
    )


def signals(name: str, params: Any, rows: tuple[Any, Any]) -> list[Signal]:
    """The signal of every start, in float64."""
    wide = jax.tree.map(lambda a: np.asarray(a, float), params)
    starts = len(jax.tree.leaves(wide)[0])
    each = [jax.tree.map(lambda a, i=i: a[i], wide) for i in range(starts)]
    return [recurrent.signal(name, params, *rows) for params in each]


def scaled(run: Learned, radius: float) -> Any:
    """The RNN's params before training, with wh of this spectral radius."""
    inner, *others = run.first
    return (inner._replace(wh=radius * inner.wh), *others)


def shares(found: list[Signal]) -> np.ndarray:
    """What is left after 0, 1, ... T steps back, [starts, T + 1]."""
    return np.stack([s.share() for s in found])


def left(found: list[Signal]) -> float:
    """What is left at the first step, the median of the starts."""
    return float(np.median(shares(found)[:, -1]))


class Seen(NamedTuple):
    """What was measured."""

    lengths: list[int]
    losses: dict[tuple[str, int], np.ndarray]  # layer and T → loss [starts, epochs]
    before: dict[str, list[Signal]]  # layer → signal of every start, at the longest T
    after: dict[str, list[Signal]]
    radii: dict[float, list[Signal]]  # spectral radius → of an RNN before training

    def ends(self, name: str, length: int) -> np.ndarray:
        """The loss after training, of every start."""
        return self.losses[name, length][:, -1]

    def slack(self) -> float:
        """The least of the distances from the RNN's bound, as a ratio."""
        found = [*self.radii.values(), self.before["RNN"], self.after["RNN"]]
        return min(s.slack() for some in found for s in some)


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    short, long = seen.lengths[0], seen.lengths[-1]
    small, large = min(seen.radii), max(seen.radii)
    learned = {at: bool((seen.ends(*at) < VARIANCE / 5).all()) for at in seen.losses}
    loss = {at: float(np.median(seen.ends(*at))) for at in seen.losses}
    return {
        "every layer learns the shortest sequences, from every start": all(
            learned[name, short] for name in KINDS
        ),
        "LSTM and GRU learn the longest too": learned["LSTM", long] and learned["GRU", long],
        "of the longest the RNN is left with five times as much as either": bool(
            loss["RNN", long] > 5 * max(loss["LSTM", long], loss["GRU", long])
        ),
        "the bound holds for every RNN, sequence and step": seen.slack() > 1 - 1e-9,
        "with a radius below 1 the RNN's gradient vanishes": (
            left(seen.radii[small]) < small ** (long / 2)
        ),
        "with a radius above 1 it explodes": left(seen.radii[large]) > 10,
        "at the start less is left in the GRU than in the RNN of radius 1": (
            left(seen.before["GRU"]) < left(seen.before["RNN"])
        ),
        "training brings LSTM and GRU to where a tenth is left at the first step": all(
            left(seen.after[name]) > 0.1 for name in ("LSTM", "GRU")
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    short, long = seen.lengths[0], seen.lengths[-1]
    small, large = min(seen.radii), max(seen.radii)
    loss = {at: float(np.median(seen.ends(*at))) for at in seen.losses}
    before, after = ({k: left(s) for k, s in f.items()} for f in (seen.before, seen.after))
    return (
        f"LSTM and GRU learn the adding problem at T = {long} (mean squared error "
        f"{loss['LSTM', long]:.4f} and {loss['GRU', long]:.4f}; always saying 1 has "
        f"{VARIANCE:.4f}), the RNN at T = {short} ({loss['RNN', short]:.4f}); at {long} "
        f"it is left with {loss['RNN', long]:.4f}. Before training, {long} steps back, an RNN with "
        f"orthogonal weights has {before['RNN']:.0e} of its gradient left, "
        f"{left(seen.radii[small]):.0e} with spectral radius {small:g}, "
        f"{left(seen.radii[large]):.0e} with {large:g}: it vanishes or explodes, and is nowhere "
        f"above the bound. The LSTM has {before['LSTM']:.0e} left; the "
        f"GRU {before['GRU']:.0e}, far less than the RNN, which it outdoes. What counts is where "
        f"training leads: then it is {after['LSTM']:.2f} and {after['GRU']:.2f} "
        f"(RNN {after['RNN']:.0e})."
    )


def points(seen: Seen, k: int) -> dict[str, Any]:
    """What is left of every gradient k steps back."""
    signals_of = {f"RNN, radius {g:g}": s for g, s in seen.radii.items()}
    signals_of |= {f"{name} before": seen.before[name] for name in KINDS}
    signals_of |= {f"{name} after": seen.after[name] for name in KINDS}
    return {"steps back": k} | {name: np.median(shares(s)[:, k]) for name, s in signals_of.items()}


def tables(seen: Seen) -> list[Table]:
    """The losses, and what is left."""
    rows = [
        [f"{name}, T = {n}", *(f"{v:.4f}" for v in seen.ends(name, n))] for name, n in seen.losses
    ]
    starts = [f"start {i}" for i in range(1, len(rows[0]))]
    kept = [[f"RNN, radius {g:g}", f"{left(s):.1e}", "–"] for g, s in seen.radii.items()] + [
        [name, f"{left(seen.before[name]):.1e}", f"{left(seen.after[name]):.1e}"] for name in KINDS
    ]
    return [
        Table(f"Mean squared error; always 1: {VARIANCE:.4f}", ["", *starts], rows),
        Table(
            f"Left of ∂L/∂s_T after {seen.lengths[-1]} steps back", ["", "before", "after"], kept
        ),
    ]


def picture(seen: Seen) -> plots.Figure:
    """Losses by epoch, and the gradient over the steps back, before and after training."""
    title = "A GRU starts with less of its gradient than an RNN, ends with more, and learns"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (12, 4.2))
    short, long = seen.lengths[0], seen.lengths[-1]
    back, epochs = np.arange(long + 1), np.arange(1, seen.losses["RNN", long].shape[1] + 1)
    for name, color in zip(KINDS, plots.COLORS, strict=False):
        plots.band(left, epochs, seen.losses[name, long].T, color, name, 1)
        plots.band(middle, back, shares(seen.before[name]).T, color, name, 1)
        plots.band(right, back, shares(seen.after[name]).T, color, name, 1)
    easy = np.median(seen.losses["RNN", short], 0)
    left.plot(epochs, easy, "--", color=plots.COLORS[0], label=f"RNN, T = {short}")
    for g, style in zip((g for g in seen.radii if g != 1), ("--", ":", "-."), strict=False):
        line = np.median(shares(seen.radii[g]), 0)
        middle.plot(back, line, style, color=plots.COLORS[0], label=f"RNN, radius {g:g}")
    left.axhline(VARIANCE, color=plots.INK, linestyle=":", label="always 1: 1/6")
    left.set(yscale="log", xlabel="epoch", ylabel="mean squared error, other sequences")
    left.set_title(f"The adding problem, T = {long}", loc="left")
    for axes, when in ((middle, "Before training"), (right, "After training")):
        axes.set(yscale="log", xlabel="steps back, T − t", ylabel="‖∂L/∂s_t‖ / ‖∂L/∂s_T‖")
        axes.set_title(f"{when}, T = {long}", loc="left")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=9)
    return figure
