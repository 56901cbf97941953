"""How many examples a gradient needs.

    uv run python -m experiments.batch_size

Question: What does a gradient of few examples lose against that of all, and what does it gain?

The gradient of a batch is g_B = (1/B) Σ_{i in batch} ∇L_i, that of all g = (1/N) Σ_i ∇L_i.
With σ² = (1/N) Σ_i ‖∇L_i − g‖², the scatter of single examples,

    E g_B = g            E ‖g_B − g‖² = σ²/B               batch drawn with replacement
                         E ‖g_B − g‖² = σ²/B (N − B)/(N − 1)            without replacement

σ² is predicted from one backward pass (fnn.rules.example_norms), the left sides are measured on
random batches, at the initial weights of a 64 → 32 → 10 network and N handwritten digits.
Then θ ← θ − η g_B goes through fresh permutations of the digits, from several initial
weights; for every B the rate η of a grid that needs the fewest examples is taken. All
losses are means over the N digits, medians over the runs.

Source: Robbins & Monro (1951), Ann. Math. Stat. 22, eq. 8; the factor (N − B)/(N − 1) is
Cochran (1977), Sampling Techniques, theorem 2.2; Bottou, Curtis & Nocedal (2018), SIAM
Review 60, section 3.3.
"""

import functools
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import bundles, claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.data import Standardizer
from experiments.common.estimates import power
from experiments.common.settings import ClaimSettings

NET = fnn.mlp([64, 32, 10])
LOSS = fnn.SoftmaxCrossEntropy()
RATES = 2.0 ** np.arange(-6, 4)  # η
WAYS = ("with replacement", "without replacement")


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare gradients of one example, of a minibatch and of all examples."""

    n: Annotated[int, Bounds(64, 1258)] = 1024  # digits, N; a power of 2
    draws: Annotated[int, Bounds(8)] = 2000  # random batches of every size
    runs: Annotated[int, Bounds(1)] = 5  # initial weights to descend from
    epochs: Annotated[int, Bounds(1)] = 10  # passes over the digits with small batches
    full_epochs: Annotated[int, Bounds(1)] = 100  # the same for the batch of all
    level: Annotated[float, Bounds(0, open_low=True)] = 0.1  # the loss to reach


QUICK = Config(quick=True, n=256, draws=500, runs=2, epochs=5, full_epochs=30)


class Curve(NamedTuple):
    """Descent with one batch size, at its best rate."""

    rate: float  # η
    every: int  # examples between two records
    losses: np.ndarray  # [runs, records]
    examples: float  # needed to reach the level, median; infinite if never
    steps: float  # the same


def digits(n: int) -> tuple[Any, Any]:
    """The first n training digits, standardised, and their labels."""
    rows = bundles.digits().train
    return jnp.asarray(Standardizer.of(rows.x)(rows.x)[:n]), jnp.asarray(rows.label[:n])


@functools.partial(jax.jit, static_argnames="batch")
def gradients(params: Any, x: Any, label: Any, batch: int) -> jax.Array:
    """One gradient for every batch of a partition in equal parts, [N/B, parameters]."""

    def gradient(x, label):
        return ravel_pytree(fnn.value_and_grad(NET, LOSS, params, x, label)[1])[0]

    return jax.vmap(gradient)(x.reshape(-1, batch, x.shape[1]), label.reshape(-1, batch))


class Scatter(NamedTuple):
    """The gradients of single examples, in float64."""

    each: np.ndarray  # ∇L_i − g, [N, parameters]
    bias: dict[int, float]  # B → how far the mean over a partition is from the full gradient
    sigma2: float  # (1/N) Σ ‖∇L_i‖² − ‖g‖²


def scatter(config: Config, x: Any, label: Any) -> Scatter:
    """At random weights; σ² is from fnn.rules.example_norms, which forms no example's gradient."""
    with jax.enable_x64(True):
        params = jax.jit(NET.init)(jax.random.key(config.seed))
        rows = params, jnp.asarray(x, float), label
        full = gradients(*rows, config.n)[0]
        found = {batch: gradients(*rows, batch) for batch in (1, 32)}
        norms = jax.jit(fnn.fold)(NET, LOSS, *rows, rule=fnn.rules.example_norms).result
        bias = {
            batch: float(jnp.linalg.norm(g.mean(0) - full) / jnp.linalg.norm(full))
            for batch, g in found.items()
        }
        sigma2 = float(fnn.rules.total(norms).mean() - (full**2).sum())
        return Scatter(np.asarray(found[1] - full), bias, sigma2)


@functools.partial(jax.jit, static_argnames=("way", "draws"))
def variance(key: Any, way: str, batch: Any, each: Any, draws: int) -> jax.Array:
    """The mean of ‖g_B − g‖² over random batches; `each` are the ∇L_i − g, [N, parameters]."""
    shape, n = (draws, len(each)), len(each)
    if way == "with replacement":
        drawn = jax.random.randint(key, shape, 0, n)
        taken = (jnp.arange(n) < batch).astype(each.dtype)
        counts = jax.vmap(lambda rows: jnp.zeros_like(taken).at[rows].add(taken))(drawn)
    else:
        places = jnp.broadcast_to(jnp.arange(n), shape)
        shuffled = jax.random.permutation(key, places, axis=1, independent=True)
        counts = (shuffled < batch).astype(each.dtype)
    return (((counts / batch) @ each) ** 2).sum(1).mean()


def descend(rate: Any, params: Any, order: Any, x: Any, label: Any, batch: int) -> jax.Array:
    """The loss of all N examples after every `interval` examples of `order`, [records]."""
    sgd = fnn.optim.SGD(rate)

    def step(params, rows):
        _, grads = fnn.value_and_grad(NET, LOSS, params, x[rows], label[rows])
        updates, _ = sgd.update(grads, sgd.init(params))
        return fnn.optim.apply_updates(params, updates), None

    def chunk(params, chosen):
        params, _ = jax.lax.scan(step, params, chosen)
        y, _ = NET.forward(params, x)
        return params, LOSS.forward(y, label)[0].mean()

    chosen = order.reshape(-1, interval(batch) // batch, batch)
    return jax.lax.scan(chunk, params, chosen)[1]


def interval(batch: int) -> int:
    """Examples between two records of the loss."""
    return max(batch, 64)


def reached(losses: Any, level: float) -> Any:
    """The first record at or below the level, counted from 1; infinite if there is none."""
    below = losses <= level
    return np.where(below.any(-1), below.argmax(-1) + 1.0, np.inf)


def curve(config: Config, x: Any, label: Any, batch: int) -> Curve:
    """Descent with every rate from every initial weights; the best rate is kept."""
    keys = jax.random.split(jax.random.key(config.seed + 1), config.runs)
    orders = np.tile(np.arange(config.n), (config.runs, config.full_epochs))
    if batch < config.n:
        orders = orders[:, : config.n * config.epochs].reshape(-1, config.n)
        k_order = jax.random.key(config.seed + 2)
        orders = jax.random.permutation(k_order, orders, axis=1, independent=True)

    def losses(rate, params, order):
        return descend(rate, params, order, x, label, batch)

    swept = jax.jit(jax.vmap(jax.vmap(losses, (None, 0, 0)), (0, None, None)))
    starts = jax.jit(jax.vmap(NET.init))(keys)
    found = swept(jnp.asarray(RATES), starts, jnp.reshape(orders, (config.runs, -1)))
    records = np.median(reached(np.asarray(found), config.level), 1)
    best = int(records.argmin())
    examples = float(records[best] * interval(batch))
    losses_of_best = np.asarray(found[best])
    return Curve(float(RATES[best]), interval(batch), losses_of_best, examples, examples / batch)


def variances(config: Config, each: np.ndarray) -> dict[str, np.ndarray]:
    """Way of drawing → E ‖g_B − g‖² for B = 1, 2, 4, ..., N/2."""
    found = {way: np.zeros(0) for way in WAYS}
    for i, way in enumerate(WAYS):
        key = jax.random.fold_in(jax.random.key(config.seed), i)
        for batch in batch_sizes(config.n):
            key, k = jax.random.split(key)
            v = variance(k, way, int(batch), jnp.asarray(each), config.draws)
            found[way] = np.append(found[way], float(v))
    return found


def batch_sizes(n: int) -> np.ndarray:
    """1, 2, 4, ..., n/2."""
    return 2 ** np.arange(int(np.log2(n)))


def measure(config: Config) -> Outcome:
    """Bias and variance of the gradient, and what descent along it needs."""
    x, label = digits(config.n)
    each, bias, sigma2 = scatter(config, x, label)
    sizes, found = batch_sizes(config.n), variances(config, each)
    told = predicted(sigma2, sizes, config.n)
    off = {way: float(abs(found[way] / told[way] - 1).max()) for way in WAYS}
    curves = {batch: curve(config, x, label, batch) for batch in (1, 32, config.n)}
    seen = Seen(max(bias.values()), power(sizes, found[WAYS[0]]), off, curves)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "sigma2": sigma2,
            "slope": seen.slope,
            "partition_error": {str(batch): error for batch, error in bias.items()},
            "variance_off": off,
            "descent": {
                str(batch): {"rate": c.rate, "examples": c.examples, "steps": c.steps}
                for batch, c in curves.items()
            },
        },
        figure=picture(config, sizes, found, told, curves),
        tables=[table(config, curves)],
        rows=[
            {"batch": batch}
            | {way: found[way][i] for way in WAYS}
            | {f"{way}, predicted": told[way][i] for way in WAYS}
            for i, batch in enumerate(sizes)
        ],
    )


def predicted(sigma2: float, sizes: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Way of drawing → the variance of the gradient by the formulas above."""
    return {WAYS[0]: sigma2 / sizes, WAYS[1]: sigma2 / sizes * (n - sizes) / (n - 1)}


class Seen(NamedTuple):
    """What was measured of gradients and of descent."""

    bias: float  # the largest distance of a partition's mean from the full gradient
    slope: float  # of the variance over B, with replacement
    off: dict[str, float]  # way of drawing → relative error of the variance predicted
    curves: dict[int, Curve]  # B → descent, B = 1, 32, N


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    one, some, every = seen.curves.values()
    return {
        "the batches of a partition average to the full gradient": seen.bias < 1e-14,
        "the variance has slope −1 in B": abs(seen.slope + 1) < 0.03,
        "with replacement it is σ²/B": seen.off[WAYS[0]] < 0.15,
        "without, (N − B)/(N − 1) of that": seen.off[WAYS[1]] < 0.15,
        "all examples at once cost twice the work of 32 or more": (
            every.examples > 2 * some.examples
        ),
        "32 at once cost a tenth of the steps of one or fewer": some.steps < one.steps / 10,
        "32 at once cost at most twice the work of one": some.examples < 2 * one.examples,
        "all at once cost the fewest steps": every.steps < some.steps,
        "no rate stands at the end of the grid": all(
            RATES[0] < c.rate < RATES[-1] for c in seen.curves.values()
        ),
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    one, some, every = seen.curves.values()
    return (
        f"It is right on average: the gradients of the parts of a partition average to the "
        f"full one (to {seen.bias:.0e}). Its variance falls like B^{seen.slope:.2f}, and "
        f"faster, by (N − B)/(N − 1), where no example is drawn twice. To bring the loss of "
        f"{config.n:,} digits to {config.level:g}, each with its best rate, single examples "
        f"need {one.examples:,.0f} examples in {one.steps:,.0f} steps, batches of 32 need "
        f"{some.examples:,.0f} in {some.steps:,.0f}, the batch of all {every.examples:,.0f} "
        f"in {every.steps:,.0f}: few examples save work, many save steps."
    )


def table(config: Config, curves: dict[int, Curve]) -> Table:
    """What every batch size needs."""
    columns = ["batch", "best rate η", "examples", "steps"]
    rows = [
        [str(batch), f"{c.rate:g}", f"{c.examples:,.0f}", f"{c.steps:,.0f}"]
        for batch, c in curves.items()
    ]
    return Table(f"To a loss of {config.level:g}", columns, rows)


def picture(config: Config, sizes: Any, found: Any, told: Any, curves: Any) -> plots.Figure:
    """The variance over the batch size; the loss over examples seen and over steps."""
    title = "Small batches reach a low loss with less work, large ones in fewer steps"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (11, 4))
    left.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="E ‖g_B − g‖²")
    left.set_title("Noise of a batch's gradient", loc="left")
    for way, color, mark in zip(WAYS, plots.COLORS[3:], "os", strict=False):
        left.plot(sizes, told[way], color=color, linewidth=1.2)
        left.plot(sizes, found[way], mark, color=color, markersize=5, label=way)
    left.legend(frameon=False, loc="lower left", title="dots measured, lines predicted")
    for axes, what, name in (
        (middle, "Loss over the work", "examples seen"),
        (right, "Loss over the steps", "steps taken"),
    ):
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="loss of all digits")
        axes.set_title(what, loc="left")
        for color, (batch, c) in zip(plots.COLORS, curves.items(), strict=False):
            seen = c.every * np.arange(1, c.losses.shape[1] + 1)
            x = seen if axes is middle else seen / batch
            plots.band(axes, x, c.losses.T, color, f"B = {batch:,}, η = {c.rate:g}")
        axes.axhline(config.level, color=plots.FAINT, linestyle="--", linewidth=1.2, zorder=0)
        axes.set_ylim(0.01, 20)
    middle.legend(frameon=False, loc="upper right")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
