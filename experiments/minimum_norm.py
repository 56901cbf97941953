"""Where gradient descent ends when many solutions fit.

    uv run python -m experiments.minimum_norm

Question: Of the many weights that fit all training rows exactly, which does gradient descent
find, and are they good ones?

The hidden layer is random and stays as it is; X [N, p + 1] are its outputs for N digits and
a column of ones, T [N, 10] the one-hot classes, and the last layer W alone is trained, from
W_0, on the mean of ‖X W − T‖². With p + 1 > N its minima are X⁺ T + (I − X⁺ X) V for any V,
of which X⁺ T is the shortest. Every gradient 2/N Xᵀ (X W − T) lies in the row space of X, so
W stays in W_0 + row space and must end at

    W_∞ = X⁺ T + (I − X⁺ X) W_0

With X⁺ from NumPy's singular values, σ from the same, κ = (σ_max / σ_min)². The rate is
2 / (L + m), with L and m the largest and smallest curvature 2 σ² / N, which shrinks the error
by (κ − 1) / (κ + 1) a step; heavy ball has the rate and momentum that are best for L and m,
one row at a time the rate ½ / max ‖x‖², Adam 0.001. As many steps are taken as κ calls for.
All in float64.

Source: Zhang, Bengio, Hardt, Recht & Vinyals (2017), arXiv:1611.03530, section 5; the rates:
Polyak (1964), USSR Computational Mathematics and Mathematical Physics 4.
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
from experiments.common.settings import ClaimSettings
from experiments.common.stages import fit_in_stages

LOSS = fnn.SquaredError()
SIZES = (0.0, 0.3, 1.0, 3.0, 10.0)  # of W_0, in those of X⁺ T
STAGES = 40
NAMES = {
    "descent": "gradient descent",
    "ball": "heavy ball",
    "single": "one row at a time",
    "adam": "Adam",
}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare the end of gradient descent with the shortest exact fit."""

    rows: Annotated[int, Bounds(10, 200)] = 60  # N, digits to learn from
    features: Annotated[int, Bounds(1)] = 300  # p, hidden units
    draws: Annotated[int, Bounds(1)] = 4  # of hidden layers and training rows


QUICK = Config(quick=True, rows=20, features=100, draws=2)


class Problem(NamedTuple):
    """One draw, with what the singular values say of it; vmap adds a first axis."""

    x: Any  # [N, p]
    target: Any  # [N, 10]
    test_x: Any  # [N', p]
    shortest: Any  # X⁺ T [p + 1, 10]
    rows_only: Any  # X⁺ X [p + 1, p + 1]: onto the row space
    strange: Any  # a random W_0, as long as X⁺ T
    steep: Any  # L
    flat: Any  # m
    longest: Any  # max ‖x‖²


def problem(key: Any, config: Config) -> Problem:
    """Random rows of the digits through a random hidden layer."""
    k_net, k_rows, k_start = jax.random.split(key, 3)
    digits = bundles.digits()
    mean, n = digits.train.x.mean(0), config.rows
    chosen = np.asarray(jax.random.permutation(k_rows, len(digits.train.x)))[:n]
    net = fnn.Serial(fnn.Dense(64, config.features, fnn.initializers.he_normal), fnn.ReLU())
    params = net.init(k_net)
    x, test_x = (
        np.asarray(net.forward(params, ((rows - mean) / 16).astype(np.float64))[0])
        for rows in (digits.train.x[chosen], digits.test.x)
    )
    full, target = with_ones(x), np.eye(10)[digits.train.label[chosen]]
    inverse, sigma = np.linalg.pinv(full), np.linalg.svd(full, compute_uv=False)
    shortest = inverse @ target
    strange = np.asarray(jax.random.normal(k_start, shortest.shape))
    return Problem(
        x, target, test_x, shortest, inverse @ full,
        strange * np.linalg.norm(shortest) / np.linalg.norm(strange),
        2 * sigma[0] ** 2 / n, 2 * sigma[-1] ** 2 / n, (full**2).sum(1).max(),
    )  # fmt: skip


def with_ones(x: np.ndarray) -> np.ndarray:
    """X with the column that the biases multiply."""
    return np.concatenate([x, np.ones_like(x[..., :1])], -1)


def joined(params: Any) -> Any:
    """W with b as its last row."""
    return jnp.concatenate([params.w, params.b[None]])


def parted(w: Any) -> fnn.DenseParams:
    """The reverse of `joined`."""
    return fnn.DenseParams(w[:-1], w[-1])


def optimizer(name: str, p: Problem) -> Any:
    """The optimizer of this name, with the rates that suit the problem."""
    if name == "adam":
        return fnn.optim.Adam(1e-3)
    if name == "single":
        return fnn.optim.SGD(0.5 / p.longest)
    if name == "ball":
        roots = jnp.sqrt(p.steep), jnp.sqrt(p.flat)
        momentum = ((roots[0] - roots[1]) / (roots[0] + roots[1])) ** 2
        return fnn.optim.Momentum(4 / (roots[0] + roots[1]) ** 2, momentum)
    return fnn.optim.SGD(2 / (p.steep + p.flat))


def epochs_for(name: str, p: Problem) -> int:
    """Passes over the rows in a stage, enough for an error of 1e-11 in the hardest draw."""
    kappa = p.steep / p.flat
    rows = p.x.shape[1]
    needed = {
        "descent": kappa / 2,
        "ball": 1.4 * np.sqrt(kappa) / 2,
        "single": p.longest / (rows * p.flat / 2),
        "adam": kappa / 2,
    }[name]
    return int(np.ceil(np.log(1e11) * needed.max() / STAGES))


def trained(name: str, p: Problem, starts: Any, keys: Any) -> tuple[Any, Any]:
    """The ends of these starts, both [starts, draws, p + 1, 10], and how they got there.

    That is the distance to X⁺ T in lengths of X⁺ T, [starts, draws, STAGES].
    """
    epochs, rows = epochs_for(name, p), p.x.shape[1]
    net = fnn.Dense(p.x.shape[2], 10)

    def one(p: Problem, start: Any, key: Any):
        def look(params):
            gap = joined(params) - p.shortest
            return jnp.linalg.norm(gap) / jnp.linalg.norm(p.shortest)

        how = {"stages": STAGES, "epochs": epochs, "batch_size": 1 if name == "single" else rows}
        plan, data = fnn.Plan(net, LOSS, optimizer(name, p)), (p.x, p.target)
        params, seen = fit_in_stages(plan, parted(start), data, look, key=key, **how)
        return joined(params), seen

    runs = jax.jit(jax.vmap(jax.vmap(one), (None, 0, None)))
    end, seen = runs(p, starts, keys)
    return np.asarray(end), np.asarray(seen)


def mistakes(p: Problem, w: np.ndarray) -> np.ndarray:
    """The share of test digits that W reads wrong, for every draw."""
    label = bundles.digits().test.label
    return ((with_ones(p.test_x) @ w).argmax(-1) != label).mean(-1)


def unfit(p: Problem, w: np.ndarray) -> float:
    """The largest squared error on the training rows, over the draws."""
    return float(((with_ones(p.x) @ w - p.target) ** 2).sum(-1).mean(-1).max())


def far(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖ in the worst draw."""
    return float((np.linalg.norm(a - b, axis=(1, 2)) / np.linalg.norm(b, axis=(1, 2))).max())


def measure(config: Config) -> Outcome:
    """Train from 0 in four ways, from other starts by gradient descent; compare the ends."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(config.seed), config.draws)
        drawn = [problem(key, config) for key in keys]
        p = Problem(*(np.stack(part) for part in zip(*drawn, strict=True)))
        starts = np.multiply.outer(SIZES, p.strange)
        ends, ways = trained("descent", p, starts, keys)
        others = {n: trained(n, p, starts[:1], keys) for n in NAMES if n != "descent"}
    from_zero = {"descent": ends[0]} | {n: end[0] for n, (end, _) in others.items()}
    paths = {"descent": ways[0]} | {n: path[0] for n, (_, path) in others.items()}
    outside = starts - p.rows_only @ starts
    gaps = {n: far(end, p.shortest) for n, end in from_zero.items()}
    kept = max(far(end, p.shortest + o) for end, o in zip(ends, outside, strict=True))
    wrong = np.array([mistakes(p, end) for end in ends])
    seen = Seen(p, from_zero, ends, gaps, kept, wrong)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "distance_from_zero": gaps,
            "distance_from_other_starts": kept,
            "test_mistakes": dict(zip(SIZES, wrong.tolist(), strict=True)),
            "condition": (p.steep / p.flat).tolist(),
        },
        figure=picture(paths | {"strange": ways[2]}, 100 * wrong),
        tables=[table(seen)],
        rows=[
            {"start": s, "draw": i, "length": length(end[i : i + 1], p, i), "wrong": w[i]}
            for s, end, w in zip(SIZES, ends, wrong, strict=True)
            for i in range(config.draws)
        ],
    )


class Seen(NamedTuple):
    """Where each way ended."""

    p: Problem
    from_zero: dict[str, np.ndarray]  # way → W from 0 [draws, p + 1, 10]
    ends: np.ndarray  # of gradient descent [starts, draws, p + 1, 10]
    gaps: dict[str, float]  # way → distance from X⁺ T, from 0
    kept: float  # the largest distance from W_∞, of all starts
    wrong: np.ndarray  # share of mistakes [starts, draws]


def length(w: np.ndarray, p: Problem, draw: int | None = None) -> float:
    """‖W‖ / ‖X⁺ T‖, of one draw or over all."""
    shortest = p.shortest if draw is None else p.shortest[draw]
    return float(np.linalg.norm(w) / np.linalg.norm(shortest))


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    p, gaps, wrong, adam = seen.p, seen.gaps, seen.wrong, seen.from_zero["adam"]
    return {
        "from 0, gradient descent ends at the shortest exact fit": gaps["descent"] < 1e-8,
        "so it does with momentum": gaps["ball"] < 1e-8,
        "and one row at a time": gaps["single"] < 1e-8,
        "what a start has outside the row space stays": seen.kept < 1e-8,
        "all of these fit every training row": max(unfit(p, e) for e in seen.ends) < 1e-12,
        "in every draw starts 3 and 10 times as long make more mistakes": bool(
            (wrong[4] > wrong[3]).all() and (wrong[3] > wrong[0]).all()
        ),
        "Adam fits too, with longer weights that lie elsewhere": gaps["adam"] > 0.1
        and length(adam, p) > 1.01
        and unfit(p, adam) < 0.01,
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    p, gaps, adam, wrong = seen.p, seen.gaps, seen.from_zero["adam"], seen.wrong.mean(1)
    reached = max(gaps[name] for name in ("descent", "ball", "single"))
    return (
        f"From 0 it finds the shortest: gradient descent, heavy ball and one row at a time all "
        f"end at the pseudo-inverse's X⁺ T, to {reached:.0e}. From another start it keeps "
        f"whatever of that lies outside the row space (to {seen.kept:.0e}). All fit the "
        f"{config.rows} training digits exactly, yet the shortest weights read {wrong[0]:.0%} of "
        f"the test digits wrong, those from random starts 1, 3 and 10 times as long "
        f"{wrong[2]:.0%}, {wrong[3]:.0%} and {wrong[4]:.0%}. Adam is different: from 0 it ends "
        f"{gaps['adam']:.0%} of a length away, at weights {length(adam, p) - 1:.0%} longer, with "
        f"{mistakes(p, adam).mean():.0%} mistakes."
    )


def table(seen: Seen) -> Table:
    """The four ways from 0."""
    p, gaps = seen.p, seen.gaps
    columns = ["", "distance to X⁺ T", "length", "test digits read wrong"]
    rows = [
        [NAMES[n], f"{gaps[n]:.0e}", f"{length(end, p):.3f}", f"{mistakes(p, end).mean():.1%}"]
        for n, end in seen.from_zero.items()
    ]
    return Table("Starting from 0", columns, rows)


def picture(paths: dict[str, np.ndarray], wrong: np.ndarray) -> plots.Figure:
    """Left: the way to X⁺ T, in the first draw. Right: mistakes against the length of W_0."""
    title = "From 0, gradient descent finds the shortest exact fit; longer ones read worse"
    figure, ((left, right),) = plots.picture(title, 1, 2, (10.5, 4.3))
    left.set(yscale="log", ylim=(1e-16, 30))
    named = NAMES | {"strange": "from a random start"}
    share = np.arange(1, STAGES + 1) / STAGES
    plots.lines(left, 100 * share, {named[name]: path[0] for name, path in paths.items()})
    left.set(
        xlabel="share of each run, %", ylabel="distance to X⁺ T, in its lengths",
        title="distance to the shortest exact fit",
    )  # fmt: skip
    places = range(len(SIZES))
    right.plot(places, wrong, color=plots.FAINT, linewidth=1)
    right.plot([], [], color=plots.FAINT, label="one draw")
    right.plot(places, wrong.mean(1), color=plots.COLORS[0], marker="o", label="mean")
    right.set_xticks(places, [f"{s:g}" for s in SIZES])
    right.set(
        xlabel="length of the random start, in lengths of X⁺ T", ylim=(0, 100),
        ylabel="test digits read wrong, %", title="all of these fit every training digit",
    )  # fmt: skip
    right.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
