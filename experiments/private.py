"""Digits learned in private: what it costs, in accuracy and in time.

    uv run python -m experiments.private

Question: How much accuracy and how much time does it cost to learn digits so that nobody can tell
whether any one of them was among the examples?

Every step takes each of the n training digits with probability q (Poisson sampling), sums their
gradients g_b, none longer than C, and adds noise (fnn.Clipping):

    G = (Σ_b g_b min(1, C/‖g_b‖) + σ C ξ) / (q n)        ξ ~ N(0, 1)

and Adam steps by G. Whatever may be seen in the params of all steps, one digit more or less changes
its probability by a factor e^ε at most, but for δ. Google's dp_accounting says ε, from the privacy
loss distribution of so many steps. δ is 10⁻⁵, less than 1/n. A batch has places for more than q n
digits; an empty one weighs 0. With probability p a run draws more digits than it has places for,
which adds (1 + e^ε) p to δ, less than a hundredth of it.

plain is Adam on batches drawn in the same way, clipped is with σ = 0. All else is equal for all,
the rate and the number of steps too, which were chosen by the validation digits; ε counts neither
that choice nor what this experiment tells of the runs. ξ is from jax.random in float32: good enough
to measure with, not against an adversary. The cost of a step is the median of its ratios to a plain
step on q n digits, in turn with it.

Source: Abadi et al. (2016), arXiv:1607.00133, algorithm 1; for the privacy loss distribution
Koskela, Jälkö & Honkela (2020), arXiv:1906.03049.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import fnn
from experiments.common import bundles, claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import DATA, Bounds, UserError
from experiments.common.data import Rows
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.common.timing import in_turn

LOSS = fnn.SoftmaxCrossEntropy()
N = 1258  # digits to learn from
NET = fnn.mlp([64, 32, 10], activation=fnn.Tanh())
DELTA, OVERFLOW = 1e-5, 0.01  # δ, and the share of it for batches that are too small
WAYS = ("plain", "places", "clipped", "noise")  # of a step, each with what is before it


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Learn digits in private, with more and less noise."""

    noises: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (1, 1.5, 2, 3, 4, 6, 8, 12, 20)
    max_norm: Annotated[float, Bounds(0, open_low=True)] = 1.0  # C
    batch_size: Annotated[int, Bounds(1, 1000)] = 256  # digits that a step expects, q n
    steps: Annotated[int, Bounds(1)] = 200
    learning_rate: Annotated[float, Bounds(1e-6, 1)] = 0.03
    seeds: Annotated[int, Bounds(2)] = 10
    rounds: Annotated[int, Bounds(3)] = 41  # of timing


QUICK = Config(quick=True, noises=(2, 8, 20), steps=100, seeds=3, rounds=5)


def epsilon(noise: float, share: float, steps: int, places: int) -> float:
    """ε at δ, of Gaussian noise σ on Poisson batches of this share.

    Raises a UserError without dp_accounting, and where the places are too few.
    """
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError:
        raise UserError(
            "the package dp-accounting, which says how private a run was, is not installed; "
            "run uv sync.",
            DATA,
        ) from None
    gaussian = dp_accounting.GaussianDpEvent(noise)
    step = dp_accounting.PoissonSampledDpEvent(share, gaussian)
    accountant = pld.PLDAccountant()  # of one more or less
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
    found = accountant.get_epsilon((1 - OVERFLOW) * DELTA)
    if overflow(share, steps, places) * (1 + math.exp(min(found, 700))) > OVERFLOW * DELTA:
        raise UserError(f"--noises {noise:g}: ε = {found:.0f}, for which no batch is large enough.")
    return float(found)


def overflow(share: float, steps: int, places: int) -> float:
    """At most the probability that a run draws more digits than it has places for."""
    return float(steps * stats.binom.sf(places, N, share))


def ready(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Pixels of 0 to 1, [N, 64], and labels."""
    return jnp.asarray(rows.x / 16), jnp.asarray(rows.label)


def capacity(share: float, steps: int) -> int:
    """Places for a batch, so many that a run overflows once in 10²⁰, or all."""
    places = np.arange(N + 1)
    enough = steps * stats.binom.sf(places, N, share) < 1e-20
    return int(places[enough][0])


def drawn(key: Any, share: float, places: int) -> tuple[Any, Any]:
    """The rows of one Poisson batch and their weights, 1, and 0 in what is filled up."""
    there = jax.random.bernoulli(key, share, (N,))
    rows = jnp.argsort(~there)[:places]  # those that are there come first
    return rows, there[rows].astype(jnp.float32)


def plan_of(net: Any, config: Config, rule: Any) -> fnn.Plan:
    """What is trained with this rule."""
    return fnn.Plan(net, LOSS, fnn.optim.Adam(config.learning_rate), rule=rule)


def private(config: Config, noise: Any) -> fnn.Clipping:
    """The rule."""
    size = config.batch_size
    return fnn.Clipping(config.max_norm, noise=noise, expected_batch_size=size)


def accuracy(config: Config, places: int, rule: Any, key: Any) -> jax.Array:
    """The share of the test digits that are read right after the last step."""
    plan = plan_of(NET, config, rule)
    k_start, k_rows = jax.random.split(key)
    x, label = ready(bundles.digits().train)

    def body(state, i):
        rows, weights = drawn(jax.random.fold_in(k_rows, i), config.batch_size / N, places)
        state, _ = fnn.step(plan, state, (x[rows], label[rows], weights))
        return state, None

    state, _ = jax.lax.scan(body, fnn.start(plan, k_start), jnp.arange(config.steps))
    x, label = ready(bundles.digits().test)
    y, _ = NET.forward(state.params, x)
    return fnn.accuracy(y, label).mean()


def accuracies(config: Config, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Of plain training, [seeds], and of private training, [1 + noises, seeds], first without any.

    All runs of a kind are one program.
    """
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)

    def plain(key):
        return accuracy(config, places, fnn.rules.backprop, key)

    def noisy(noise, key):
        return accuracy(config, places, private(config, noise), key)

    noises = jnp.array([0.0, *config.noises])
    both = jax.vmap(jax.vmap(noisy, (None, 0)), (0, None))
    return np.asarray(jax.jit(jax.vmap(plain))(keys)), np.asarray(jax.jit(both)(noises, keys))


def timed_nets() -> dict[str, tuple[Any, Any]]:
    """The nets whose steps are timed, and the digits in their form."""
    cnn = fnn.Serial(
        fnn.Conv2d(1, 16, 3, padding="same"), fnn.ReLU(), fnn.MaxPool2d(2),
        fnn.Conv2d(16, 32, 3, padding="same"), fnn.ReLU(), fnn.Flatten(), fnn.Dense(512, 10),
    )  # fmt: skip
    wide, (x, _) = fnn.mlp([64, 512, 512, 10]), ready(bundles.digits().train)
    return {"64-32-10": (NET, x), "64-512-512-10": (wide, x), "CNN": (cnn, x.reshape(-1, 8, 8, 1))}


def costs(net: Any, x: Any, config: Config, places: int) -> np.ndarray:
    """Seconds of a step, [rounds, WAYS]."""
    n, (_, label) = config.batch_size, ready(bundles.digits().train)
    weights = (jnp.arange(places) < n).astype(jnp.float32)
    full, padded = (x[:n], label[:n]), (x[:places], label[:places], weights)
    rules = fnn.rules.backprop, fnn.rules.backprop, private(config, None), private(config, 1.0)
    batches = full, padded, padded, padded
    key = jax.random.key(config.seed)
    states = [fnn.start(plan_of(net, config, rule), key) for rule in rules]

    def step(rule, state, batch):
        return fnn.step(plan_of(net, config, rule), state, batch)

    ways = [
        lambda states, batches, i=i, rule=rule: step(rule, states[i], batches[i])
        for i, rule in enumerate(rules)
    ]
    return in_turn(ways, (states, batches), config.rounds)


def measure(config: Config) -> Outcome:
    """Train with every noise, count what it says about a digit, time the steps."""
    share = config.batch_size / N
    places = capacity(share, config.steps)
    spent = [epsilon(s, share, config.steps, places) for s in track("epsilon", config.noises)]
    plain, noisy = accuracies(config, places)
    ratios = {}
    nets = timed_nets()
    for name in track("timing", list(nets)[: 1 if config.quick else None]):
        seconds = costs(*nets[name], config, places)
        ratios[name] = np.median(seconds / seconds[:, :1], 0)
    return concluded(config, places, np.array(spent), plain, noisy, ratios)


def concluded(
    config: Config, places: int, spent: np.ndarray, plain: Any, noisy: np.ndarray, ratios: Any
) -> Outcome:
    """What accuracies and times say."""
    clipped, noisy = noisy[0], noisy[1:]
    mean, order = noisy.mean(1), np.argsort(spent)
    low, high = order[0], order[-1]
    findings = {
        "the more private, the fewer digits are read right": mean[high] > mean[low],
        "no private training is better than plain training": plain.mean() >= mean.max(),
        "clipping alone costs less than two points": plain.mean() - clipped.mean() < 0.02,
    }
    chosen = dict.fromkeys(int(np.abs(np.log(spent / e)).argmin()) for e in (8, 2))
    middle = ", ".join(f"{100 * mean[i]:.1f} % with ε = {spent[i]:.1f}" for i in chosen)
    step = [f"{r[-1]:.2f} ({name})" for name, r in ratios.items()]
    answer = (
        f"Plain training reads {100 * plain.mean():.1f} % of the test digits right, with clipping "
        f"alone {100 * clipped.mean():.1f} %, private training {middle} and "
        f"{100 * mean[low]:.1f} % with ε = {spent[low]:.1f} (δ = 10⁻⁵, n = {N:,}, "
        f"{config.steps} steps, means of {config.seeds} seeds). A private step takes "
        f"{joined(step)} times as long as a plain one: {places} places for {config.batch_size} "
        "digits, clipping and noise."
    )
    rows = [
        {"noise": s, "epsilon": e, "seed": i, "accuracy": a}
        for s, e, found in zip(config.noises, spent, noisy, strict=True)
        for i, a in enumerate(found)
    ]
    times = {name: dict(zip(WAYS, r, strict=True)) for name, r in ratios.items()}
    return Outcome(
        answer, findings,
        {"epsilon": spent, "plain": plain, "clipped": clipped, "private": noisy, "delta": DELTA,
         "places": places, "times": times},
        pictured(config, spent, plain, clipped, noisy, ratios),
        tables(config, spent, plain, clipped, noisy, ratios), rows,
    )  # fmt: skip


def joined(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def tables(
    config: Config, spent: np.ndarray, plain: Any, clipped: Any, noisy: Any, ratios: Any
) -> list[Table]:
    """Accuracies and times."""

    def row(name, e, found):
        return [name, e, *(f"{100 * f(found):.1f}" for f in (np.mean, np.min, np.max))]

    rows = [row("plain", "∞", plain), row("clipped", "∞", clipped)]
    rows += [
        row(f"σ = {s:g}", f"{e:.2f}", found)
        for s, e, found in zip(config.noises, spent, noisy, strict=True)
    ]
    times = [[name, *(f"{r:.2f}" for r in found)] for name, found in ratios.items()]
    return [
        Table("Test digits read right, %", ("training", "ε", "mean", "least", "most"), rows),
        Table("Time of a step / that of a plain one", ("net", *WAYS), times),
    ]


def pictured(
    config: Config, spent: np.ndarray, plain: Any, clipped: Any, noisy: Any, ratios: Any
) -> plots.Figure:
    """Accuracy against ε, and what a step takes."""
    title = f"{N:,} digits learned in private, δ = 10⁻⁵, {config.seeds} seeds"
    figure, ((left, right),) = plots.picture(title, 1, 2, size=(10, 4))
    order = np.argsort(spent)
    left.set_xscale("log")
    plots.band(left, spent[order], 100 * noisy[order], plots.COLORS[0], "private", share=1)
    x = np.repeat(spent, config.seeds)
    left.scatter(x, 100 * noisy.ravel(), s=7, color=plots.COLORS[0], linewidth=0)
    references = (("plain", plain, "-"), ("clipped, no noise", clipped, "--"))
    for color, (name, found, style) in zip((1, 2), references, strict=True):
        left.axhline(100 * found.mean(), color=plots.COLORS[color], linestyle=style, label=name)
    left.xaxis.set_major_formatter("{x:g}")
    left.set(xlabel="ε (log scale; smaller is more private)", ylabel="test digits read right, %")
    left.set_title("line: median; band and points: all seeds")
    left.legend(frameon=False, loc="lower right")
    parts = {"plain": 1, "places that may be empty": 2, "clipping": 3, "noise": 4}
    for j, (part, color) in enumerate(zip(parts, (5, 4, 2, 0), strict=True)):
        found = np.array([r[j] for r in ratios.values()])
        right.bar(
            np.arange(len(found)) + 0.2 * (j - 1.5), found, 0.18, color=plots.COLORS[color],
            label=part if j == 0 else f"+ {part}",
        )  # fmt: skip
    right.axhline(1, color=plots.FAINT, linewidth=1, zorder=0)
    right.set_xticks(range(len(ratios)), list(ratios))
    right.set_ylim(0, 1.45 * max(r.max() for r in ratios.values()))
    right.set(ylabel="time of a step / that of a plain one")
    right.set_title("what a step takes, median of ratios")
    right.legend(frameon=False, loc="upper left", ncols=2)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
