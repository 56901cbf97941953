"""Seven optimizers side by side.

    uv run python -m experiments.optimizers

Question: Which of seven optimizers is the best, if each has the learning rate that suits it?

    bowl       f = ½ (u² + κ v²), κ = 50, with u and v the distances from (1, 1) along axes
               turned by 30°; ∇f = rotated back (u, κ v); 100 steps from (−3, 1.5)
    valley     f = (1 − x)² + 100 (y − x²)², Rosenbrock's; ∇f = (−2 (1 − x) − 400 x (y − x²),
               200 (y − x²)); 1,000 steps from (−1.2, 1)
    digits     a 64 → 32 → 10 network, softmax cross-entropy, minibatches of 32

Every optimizer keeps its usual constants (Momentum is the heavy ball with μ = 0.9,
AdamW decays by λ = 0.01); only the learning rate η is chosen from a grid: in the planes by
the largest f of the last tenth of the steps, for the digits by the training loss, the mean of
all epochs, of two runs that are not shown. The digits' runs differ in initial weights and in
the order of the examples, and the optimizers have them in common. Then the bowl is turned
back so that its axes are those of the coordinates: plain descent and momentum must not
notice, the others may.

Source: the seven are numbered in fnn/optim; Rosenbrock (1960), Computer Journal 3, p. 175.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.data import Standardizer
from experiments.common.settings import ClaimSettings
from experiments.optimizers.planes import (
    KAPPA,
    PLANES,
    RATES,
    Make,
    Plane,
    Race,
    bowl,
    finite,
    race,
)

NET = fnn.mlp([64, 32, 10])
LOSS = fnn.SoftmaxCrossEntropy()
# name → (optimizer, the middle of its learning rates for the digits)
OPTIMIZERS: dict[str, tuple[Make, float]] = {
    "SGD": (lambda rate: fnn.optim.SGD(rate), 0.3),
    "Momentum": (lambda rate: fnn.optim.Momentum(rate, 0.9), 0.03),
    "AdaGrad": (lambda rate: fnn.optim.AdaGrad(rate), 0.1),
    "AdaDelta": (lambda rate: fnn.optim.AdaDelta(rate), 10.0),
    "RMSProp": (lambda rate: fnn.optim.RMSProp(rate), 0.01),
    "Adam": (lambda rate: fnn.optim.Adam(rate), 0.01),
    "AdamW": (lambda rate: fnn.optim.AdamW(rate), 0.01),
}
FACTORS = 10.0 ** np.arange(-1.5, 1.6, 0.5)  # of the middle: seven rates
DASHES = dict.fromkeys(OPTIMIZERS, "-") | {"AdamW": "--"}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare seven optimizers, each with its best learning rate."""

    steps: Annotated[int, Bounds(20)] = 100  # in the bowl; ten times as many in the valley
    epochs: Annotated[int, Bounds(2)] = 15  # over the digits
    runs: Annotated[int, Bounds(1)] = 3  # over the digits, besides two to choose the rate by


QUICK = Config(quick=True, epochs=3, runs=1)


class Training(NamedTuple):
    """One optimizer on the digits."""

    rates: np.ndarray  # η, [rates]
    best: int  # which of them
    chosen: np.ndarray  # mean training loss of the runs that choose, [rates]
    losses: np.ndarray  # of the runs shown, at the best rate, [epochs, runs]
    accuracies: np.ndarray  # on the validation digits, [runs]


def gradients(params: Any, x: Any, label: Any) -> tuple[Any, Any]:
    """Losses and gradients of all networks: params [K, R, S, ...], rows [S, B]."""

    def one(params, x, label):
        return fnn.value_and_grad(NET, LOSS, params, x, label)

    over_rates = jax.vmap(jax.vmap(one), (0, None, None))
    return jax.vmap(over_rates, (0, None, None))(params, x, label)


def moved(make: Make, rates: Any, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """The next params and state of one optimizer, [R, S, ...]."""

    def one(rate, grads, state, params):
        updates, state = make(rate).update(grads, state, params)
        return fnn.optim.apply_updates(params, updates), state

    return jax.vmap(jax.vmap(one, (None, 0, 0, 0)))(rates, grads, state, params)


def at(tree: Any, k: int) -> Any:
    """What belongs to optimizer k."""
    return jax.tree.map(lambda a: a[k], tree)


@jax.jit
def trained(grids: Any, starts: Any, x: Any, label: Any, order: Any) -> tuple[Any, Any]:
    """All optimizers, rates and runs at once: mean loss of every epoch, and the params.

    grids [K, R], starts [S, ...], order [epochs, steps, S, B]; losses [epochs, K, R, S].
    """
    makes = [make for make, _ in OPTIMIZERS.values()]
    params = jax.tree.map(lambda a: jnp.broadcast_to(a, (*grids.shape, *a.shape)), starts)
    begin = [jax.vmap(jax.vmap(make(1.0).init))(at(params, 0)) for make in makes]

    def step(carry, rows):
        params, states = carry
        losses, grads = gradients(params, x[rows], label[rows])
        new = [
            moved(make, grids[k], at(grads, k), states[k], at(params, k))
            for k, make in enumerate(makes)
        ]
        params = jax.tree.map(lambda *a: jnp.stack(a), *(p for p, _ in new))
        return (params, [state for _, state in new]), losses

    def epoch(carry, rows):
        carry, losses = jax.lax.scan(step, carry, rows)
        return carry, losses.mean(0)

    (params, _), losses = jax.lax.scan(epoch, (params, begin), order)
    return losses, params


def train(config: Config) -> dict[str, Training]:
    """Every optimizer on the digits, with every rate of its grid."""
    data = bundles.digits()
    standardize = Standardizer.of(data.train.x)
    x, held_out = (jnp.asarray(standardize(rows.x)) for rows in (data.train, data.validation))
    k_init, k_order = jax.random.split(jax.random.key(config.seed))
    runs, steps = 2 + config.runs, len(x) // 32
    starts = jax.jit(jax.vmap(NET.init))(jax.random.split(k_init, runs))
    rows = jnp.broadcast_to(jnp.arange(len(x)), (config.epochs, runs, len(x)))
    order = jax.random.permutation(k_order, rows, axis=2, independent=True)[..., : steps * 32]
    order = jnp.moveaxis(order.reshape(config.epochs, runs, steps, 32), 2, 1)
    grids = np.array([middle * FACTORS for _, middle in OPTIMIZERS.values()])
    losses, params = trained(jnp.array(grids), starts, x, jnp.asarray(data.train.label), order)
    forward = jax.vmap(jax.vmap(jax.vmap(lambda p: NET.forward(p, held_out)[0])))
    said = np.asarray(jax.jit(forward)(params)).argmax(-1)
    right = (said == data.validation.label).mean(-1)
    losses, found = finite(losses), {}
    for k, name in enumerate(OPTIMIZERS):
        chosen = losses[:, k, :, :2].mean((0, 2))
        best = int(chosen.argmin())
        shown = losses[:, k, best, 2:], right[k, best, 2:]
        found[name] = Training(grids[k], best, chosen, *shown)
    return found


def measure(config: Config) -> Outcome:
    """Two planes and the digits, with every optimizer."""
    lengths = config.steps, 10 * config.steps
    planes = [
        {name: race(plane, make, n) for name, (make, _) in OPTIMIZERS.items()}
        for plane, n in zip(PLANES, lengths, strict=True)
    ]
    aligned = {name: race(bowl(0), make, lengths[0]) for name, (make, _) in OPTIMIZERS.items()}
    in_bowl, in_valley, on_digits = *planes, train(config)
    losses = {name: float(t.losses.mean()) for name, t in on_digits.items()}
    accuracies = {name: float(t.accuracies.mean()) for name, t in on_digits.items()}
    ends = {name: float(r.f[-1]) for name, r in in_valley.items()}
    turned = {name: abs(in_bowl[name].f.mean() / r.f.mean() - 1) for name, r in aligned.items()}
    seen = Seen(in_bowl, aligned, in_valley, on_digits, losses, accuracies, ends)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "bowl": {name: {"rate": r.rate, "f": float(r.f[-1])} for name, r in in_bowl.items()},
            "valley": {name: {"rate": r.rate, "f": ends[name]} for name, r in in_valley.items()},
            "digits": {
                name: {"rate": t.rates[t.best], "loss": losses[name], "accuracy": accuracies[name]}
                for name, t in on_digits.items()
            },
            "change_by_turning_the_bowl": turned,
        },
        figure=picture(planes, on_digits),
        tables=[table(seen)],
        rows=[
            {"optimizer": name, "epoch": i + 1, "rate": t.rates[t.best], "loss": loss.mean()}
            for name, t in on_digits.items()
            for i, loss in enumerate(t.losses)
        ],
    )


class Seen(NamedTuple):
    """What was measured, by the names of the optimizers."""

    in_bowl: dict[str, Race]
    aligned: dict[str, Race]  # in the bowl that is turned back
    in_valley: dict[str, Race]
    on_digits: dict[str, Training]
    losses: dict[str, float]  # on the digits, means of all epochs and runs
    accuracies: dict[str, float]  # on unseen digits
    ends: dict[str, float]  # f at the end of the valley's steps

    def near(self) -> list[str]:
        """Who is at the minimum of the valley, the nearest first."""
        found = [name for name, f in self.ends.items() if f < 1e-3]
        return sorted(found, key=lambda name: self.ends[name])

    def spread(self) -> float:
        """The largest loss on the digits over the smallest."""
        return max(self.losses.values()) / min(self.losses.values())

    def wrong(self) -> np.ndarray:
        """By what factor a rate ten times too small, two to the left, raises the digits' loss."""
        shown = self.on_digits.values()
        return np.array(
            [t.chosen[t.best - 2] / t.chosen[t.best] if inside(t) else np.nan for t in shown]
        )


def inside(t: Training) -> bool:
    """Whether the best rate is inside its grid, which also holds a rate ten times as small."""
    return 2 <= t.best < len(FACTORS) - 1


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed; some of it is known of the optimizers without running them."""
    in_bowl, aligned, stable = seen.in_bowl, seen.aligned, RATES < 2 / KAPPA
    sgd = in_bowl["SGD"]
    blind = [abs(in_bowl[n].f / aligned[n].f - 1).max() for n in ("SGD", "Momentum")]
    others = [n for n in OPTIMIZERS if n not in ("SGD", "Momentum")]
    seeing = [abs(in_bowl[n].f / np.maximum(aligned[n].f, 1e-99) - 1).max() for n in others]
    first = [
        abs(np.diff(r.path[:2], axis=0)) / r.rate - 1
        for plane in (in_bowl, seen.in_valley)
        for r in (plane["AdaGrad"], plane["Adam"])
    ]
    return {
        "in the bowl SGD is stable below η = 2/κ only": bool(
            (sgd.ends[stable] < sgd.f[0]).all() and (sgd.ends[~stable] > sgd.f[0]).all()
        ),
        "SGD and Momentum do not notice that the bowl is turned": max(blind) < 1e-6,
        "the other five do": min(seeing) > 0.1,
        "the first step of AdaGrad and Adam is η along x and y": (
            max(abs(step).max() for step in first) < 1e-6
        ),
        "every best rate is inside its grid, a ten times smaller one too": all(
            inside(t) for t in seen.on_digits.values()
        ),
        "in the valley only Momentum and Adam arrive": set(seen.near()) == {"Momentum", "Adam"},
        "a rate ten times too small costs more than the worst optimizer": bool(
            seen.wrong().min() > seen.spread()
        ),
        "with its best rate each reads 9 of 10 unseen digits": min(seen.accuracies.values()) > 0.9,
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    ends, losses, near, wrong = seen.ends, seen.losses, seen.near(), seen.wrong()
    best, worst = (pick(losses, key=lambda name: losses[name]) for pick in (min, max))
    right = [100 * accuracy for accuracy in seen.accuracies.values()]
    return (
        f"None of them everywhere. In Rosenbrock's valley only {' and '.join(near)} are at the "
        f"minimum after {10 * config.steps:,} steps (f = "
        f"{' and '.join(f'{ends[name]:.0e}' for name in near)}; SGD {ends['SGD']:.1g}, AdamW, "
        f"whose decay pulls it away, {ends['AdamW']:.1g}). On the digits the mean training "
        f"loss lies between {losses[best]:.3f} ({best}) and {losses[worst]:.3f} "
        f"({worst}), the accuracy on unseen digits between {min(right):.1f} and "
        f"{max(right):.1f} %. The rate matters more: one ten times too small costs a factor of "
        f"{wrong.min():.1f} to {wrong.max():.1f}, choosing the worst of the seven instead of the "
        f"best costs a factor of {seen.spread():.1f}."
    )


def table(seen: Seen) -> Table:
    """The best rates and what they reach."""
    rows = [
        [
            name, f"{b.rate:.2g}", f"{b.f[-1]:.0e}", f"{v.rate:.2g}", f"{v.f[-1]:.0e}",
            f"{t.rates[t.best]:.2g}", f"{t.losses.mean():.3f}",
            f"{100 * t.accuracies.mean():.1f} %",
        ]
        for name in OPTIMIZERS
        for b, v, t in [(seen.in_bowl[name], seen.in_valley[name], seen.on_digits[name])]
    ]  # fmt: skip
    title = "With the best rate of each: bowl, valley, digits"
    columns = ["", "bowl: η", "f", "valley: η", "f", "digits: η", "mean loss", "unseen right"]
    return Table(title, columns, rows)


def picture(planes: Any, on_digits: dict[str, Training]) -> plots.Figure:
    """The ways through both planes, and the loss over steps, epochs and rates."""
    title = "None is the best everywhere, and a wrong rate costs more than a wrong optimizer"
    figure, axes = plots.picture(title, 2, 3, (11, 7))
    colors = dict(zip(OPTIMIZERS, (*plots.COLORS, "#7a5230"), strict=True))
    boxes = ((-3.6, 2.6, -2.4, 2.6), (-1.6, 1.6, -0.4, 1.8))
    for i, (plane, races) in enumerate(zip(PLANES, planes, strict=True)):
        ways(axes[0, i], plane, races, colors, boxes[i])
        low = axes[1, i]
        for name, r in races.items():
            low.plot(np.maximum(r.f, 1e-12), DASHES[name], color=colors[name], linewidth=1.3)
        low.set(yscale="log", xlabel="step", ylabel="f", ylim=(1e-8, 1e3))
    axes[0, 0].set_title("Bowl, 50 times as steep across as along", loc="left")
    axes[0, 1].set_title("Rosenbrock's valley", loc="left")
    (over_epochs, over_rates), epochs = axes[:, 2], [0]
    for name, t in on_digits.items():
        epochs = np.arange(1, len(t.losses) + 1)
        over_epochs.plot(epochs, t.losses.mean(1), DASHES[name], color=colors[name], label=name)
        over_rates.plot(t.rates, t.chosen, "." + DASHES[name], color=colors[name])
    over_epochs.set(yscale="log", xlabel="epoch", ylabel="training loss", xticks=epochs[::2])
    over_epochs.set_title("Digits, best rates", loc="left")
    over_rates.set(xscale="log", yscale="log", ylim=(0.03, 5), xlabel="learning rate η")
    over_rates.set(ylabel="training loss, mean of all epochs")
    over_rates.set_title("Digits, all rates", loc="left")
    figure.legend(*over_epochs.get_legend_handles_labels(), loc="outside lower center", ncols=7,
                  frameon=False)  # fmt: skip
    return figure


def ways(axes: Any, plane: Plane, races: dict[str, Race], colors: Any, box: Any) -> None:
    """Paths over the contours of f, with start and minimum."""
    x, y = (np.linspace(low, high, 150) for low, high in (box[:2], box[2:]))
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    f = plane.f(grid.T).reshape(150, 150)
    axes.contour(x, y, f, levels=np.geomspace(0.1, 1000, 9), colors=plots.FAINT, linewidths=0.7)
    for name, r in races.items():
        axes.plot(*r.path.T, DASHES[name], color=colors[name], linewidth=1.2)
    for place, mark, what in ((plane.start, "o", "start"), (plane.minimum, "*", "minimum")):
        axes.plot(*place, mark, color=plots.INK, markersize=9 if mark == "*" else 6, zorder=5)
        axes.annotate(
            what,
            place,
            xytext=(4, 7),
            textcoords="offset points",
            zorder=6,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
        )
    axes.set(xlim=box[:2], ylim=box[2:], xlabel="x", ylabel="y")
