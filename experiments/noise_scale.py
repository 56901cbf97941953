"""What batch size the noise of a gradient foretells.

    uv run python -m experiments.noise_scale

Question: Does the noise scale of the gradient, measured in one training run, foretell the batch
size up to which larger batches save steps?

With tr Σ the variance of the gradients of single examples and G their mean, B_noise = tr Σ / ‖G‖²
examples have as much noise as signal. If every step could be as long as is best for its noise, then
batches of B examples would need S steps and E = B S examples to a given loss, with

    (S / S_min − 1) (E / E_min − 1) = 1        B_crit = E_min / S_min

which is S = S_min (1 + B_crit / B), and B_crit = B_noise, were the noise alike in all directions
and all along the way. Here S is measured: a 64 → 32 → 10 network goes by SGD to a given mean loss
of N handwritten digits; for each B the rate of a grid that needs the fewest steps counts (medians
over the seeds; batches are drawn with replacement). S_min and B_crit are those of least squares in
log S. B_noise is measured by fnn.rules.noise_scale in runs of the middle batch size at its best
rate: tr Σ and ‖G‖² averaged over the middle third of the steps to the loss, and over the seeds,
before they are divided.

Source: McCandlish, Kaplan, Amodei et al. (2018), arXiv:1812.06162, eqs. 2.9, 2.11 and 2.12.
"""

import functools
import itertools
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.batch_size import LOSS, NET, digits
from experiments.common import claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings

RATES = 2.0 ** np.arange(-6, 3)
RULES = (fnn.rules.backprop, fnn.rules.noise_scale)


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare the noise scale of a gradient with the batch size up to which larger ones help."""

    n: Annotated[int, Bounds(64, 1258)] = 1024  # digits, N
    smallest: Annotated[int, Bounds(1)] = 2  # batch, a power of 2
    largest: Annotated[int, Bounds(4)] = 512
    seeds: Annotated[int, Bounds(1)] = 5  # of every rate and batch size
    told: Annotated[int, Bounds(1)] = 40  # seeds of the runs in which the noise is measured
    steps: Annotated[int, Bounds(10)] = 240  # of the largest batches
    examples: Annotated[int, Bounds(64)] = 12288  # of the smallest ones
    level: Annotated[float, Bounds(0, open_low=True)] = 0.1  # the loss to reach
    records: Annotated[int, Bounds(8)] = 96  # how often the loss of all digits is taken


QUICK = Config(
    quick=True,
    n=256,
    smallest=4,
    largest=256,
    seeds=2,
    told=20,
    steps=120,
    examples=4096,
    records=40,
)


class Course(NamedTuple):
    """Runs with one batch size at its best rate."""

    rate: float
    every: int  # steps between two records
    losses: np.ndarray  # [seeds, records]
    steps: np.ndarray  # to the level, [seeds]


class Noise(NamedTuple):
    """What was measured along the way, [seeds, steps]."""

    variance: np.ndarray
    square: np.ndarray


class Law(NamedTuple):
    """S = S_min (1 + B_crit / B)."""

    least: float  # S_min
    critical: float  # B_crit

    def steps(self, batch: Any) -> Any:
        """S."""
        return self.least * (1 + self.critical / np.asarray(batch, float))


def sizes(config: Config) -> list[int]:
    """Batch sizes, doubled from the smallest to the largest."""
    n = int(np.log2(config.largest / config.smallest))
    return [config.smallest * 2**i for i in range(n + 1)]


def descent(rate: Any, key: Any, x: Any, label: Any, batch: int, n: int, rule: Any) -> Any:
    """A step (params, key) → (params, what else the rule finds), the first params, n keys."""
    k_init, k_rows = jax.random.split(key)

    def step(params, k):
        rows = jax.random.randint(k, (batch,), 0, len(x))
        result = fnn.fold(NET, LOSS, params, x[rows], label[rows], rule=rule).result
        grads, found = result if isinstance(rule, tuple) else (result, ())
        return jax.tree.map(lambda p, g: p - rate * g, params, grads), found

    return step, NET.init(k_init), jax.random.split(k_rows, n)


@functools.partial(jax.jit, static_argnames=("batch", "every", "n"))
def swept(rates: Any, keys: Any, x: Any, label: Any, batch: int, every: int, n: int) -> Any:
    """The loss of all digits after every so many steps, [rates, seeds, n]."""

    def one(rate, key):
        step, params, ks = descent(rate, key, x, label, batch, every * n, fnn.rules.backprop)

        def record(params, ks):
            params, _ = jax.lax.scan(step, params, ks)
            return params, LOSS.forward(NET.forward(params, x)[0], label)[0].mean()

        return jax.lax.scan(record, params, ks.reshape(n, every))[1]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(rates, keys)


@functools.partial(jax.jit, static_argnames=("batch", "n"))
def noise(rate: Any, keys: Any, x: Any, label: Any, batch: int, n: int) -> Any:
    """tr Σ and ‖G‖² of the whole net in every step, [seeds, n] each."""

    def one(key):
        step, params, ks = descent(rate, key, x, label, batch, n, RULES)
        return jax.vmap(fnn.rules.total_noise)(jax.lax.scan(step, params, ks)[1])

    return jax.vmap(one)(keys)


def reached(losses: np.ndarray, level: float, every: int) -> np.ndarray:
    """Steps to the level, [..., records] → [...]: between two records along log loss; else inf."""
    below = losses <= level
    i = below.argmax(-1)
    here = np.take_along_axis(losses, i[..., None], -1)[..., 0]
    before = np.take_along_axis(losses, np.maximum(i - 1, 0)[..., None], -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.log(before / level) / np.log(before / here)
    steps = every * np.where(i == 0, 1.0, i + part)
    return np.where(below.any(-1), steps, np.inf)


def course(config: Config, keys: Any, x: Any, label: Any, batch: int) -> Course:
    """Runs with every rate from every seed; the best rate is kept."""
    every = max(1, -(-max(config.steps, config.examples // batch) // config.records))
    rates = jnp.asarray(RATES, jnp.float32)
    losses = np.asarray(swept(rates, keys, x, label, batch, every, config.records))
    steps = reached(np.where(np.isfinite(losses), losses, np.inf), config.level, every)
    best = int(np.median(steps, 1).argmin())
    return Course(float(RATES[best]), every, losses[best], steps[best])


def fitted(batches: Any, steps: Any) -> Law:
    """S_min and B_crit of least squares in log S, B_crit of a fine grid."""
    batches, logs = np.asarray(batches, float), np.log(np.asarray(steps, float))
    grid = np.geomspace(0.1, 1e4, 4000)
    shape = np.log(1 + grid[:, None] / batches)
    least = (logs - shape).mean(1)
    error = ((logs - shape - least[:, None]) ** 2).sum(1)
    best = int(error.argmin())
    return Law(float(np.exp(least[best])), float(grid[best]))


def measure(config: Config) -> Outcome:
    """Steps to the level for every batch size, and the noise scale on the way there."""
    x, label = digits(config.n)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    batches = sizes(config)
    courses = {b: course(config, keys, x, label, b) for b in track("batches", batches)}
    steps = np.array([np.median(c.steps) for c in courses.values()])
    law, middle = fitted(batches, steps), batches[len(batches) // 2]
    n = int(np.median(courses[middle].steps))
    others = jax.random.split(jax.random.key(config.seed + 1), config.told)
    found = noise(courses[middle].rate, others, x, label, middle, n)
    told = Noise(*map(np.asarray, found))
    thirds = [scale(told, slice(n * i // 3, n * (i + 1) // 3)) for i in range(3)]
    return concluded(config, courses, steps, law, middle, told, thirds)


def scale(told: Noise, steps: slice) -> float:
    """tr Σ / ‖G‖² of some steps, averaged before they are divided."""
    return float(told.variance[:, steps].mean() / told.square[:, steps].mean())


def concluded(
    config: Config, courses: dict[int, Course], steps: Any, law: Law, middle: int, told: Noise,
    thirds: list[float],
) -> Outcome:  # fmt: skip
    """What the figures say."""
    batches, measured = list(courses), thirds[1]
    off = float(np.exp(np.abs(np.log(steps / law.steps(batches))).max()))
    factor = measured / law.critical
    alone = Law(steps[-1] / (1 + measured / batches[-1]), measured)
    halved = steps[:-1] / steps[1:]  # by twice the batch
    rates = [courses[b].rate for b in batches]
    findings = {
        "small batches twice as large need about half the steps": bool(halved[0] > 1.6),
        "large batches twice as large hardly fewer": bool(halved[-1] < 1.35),
        "the law holds for all sizes within a factor 1.5": off < 1.5,
        "the noise scale is B_crit within a factor 3": bool(1 / 3 < factor < 3),
        "the noise grows while it learns": thirds[2] > thirds[0],
        "small batches want the smaller rates": rates[0] < rates[-1],
        "no rate stands at the end of the grid": all(RATES[0] < r < RATES[-1] for r in rates),
    }
    answer = (
        f"It does{'' if findings['the noise scale is B_crit within a factor 3'] else ' not'}, to a "
        f"factor of {max(factor, 1 / factor):.1f}: in the middle of training the noise scale is "
        f"{measured:.0f} examples ({thirds[0]:.0f} in the first third of the steps, "
        f"{thirds[2]:.0f} in the last), and the batch size at which steps and examples are both "
        f"twice their least is {law.critical:.0f}. To a loss of {config.level:g} batches of "
        f"{batches[0]} need {steps[0]:,.0f} steps, of {middle} {steps[len(batches) // 2]:,.0f}, of "
        f"{batches[-1]} {steps[-1]:,.0f}; S = S_min (1 + B_crit / B) with S_min = {law.least:.0f} "
        f"is off by a factor of at most {off:.2f}. One number for the whole way is coarse: the "
        f"scale changes {thirds[2] / thirds[0]:.1f}-fold from the first third to the last."
    )
    rows = [
        {"batch": b, "rate": c.rate, "steps": s, "examples": b * s, "law": float(law.steps(b))}
        for (b, c), s in zip(courses.items(), steps, strict=True)
    ]
    measured_ = {"noise_scale": thirds, "critical": law.critical, "least": law.least, "off": off}
    return Outcome(
        answer, findings, measured_, picture(config, courses, steps, law, alone, middle, told),
        [table(config, courses, steps, law)], rows,
    )  # fmt: skip


def table(config: Config, courses: dict[int, Course], steps: Any, law: Law) -> Table:
    """What every batch size needs."""
    rows = [
        [str(b), f"{c.rate:g}", f"{s:,.0f}", f"{law.steps(b):,.0f}", f"{b * s:,.0f}"]
        for (b, c), s in zip(courses.items(), steps, strict=True)
    ]
    columns = ["batch", "best rate", "steps", "by the law", "examples"]
    return Table(f"To a loss of {config.level:g}", columns, rows)


def picture(
    config: Config, courses: dict[int, Course], steps: Any, law: Law, alone: Law, middle: int,
    told: Noise,
) -> plots.Figure:  # fmt: skip
    """Steps over the batch size; examples over steps; the noise scale along the way."""
    title = "Larger batches save steps up to about the noise scale of the gradient"
    figure, ((left, centre, right),) = plots.picture(title, 1, 3, (11, 4))
    batches = np.array(list(courses))
    fine = np.geomspace(batches[0], batches[-1], 200)
    left.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="steps S")
    left.set_title(f"Steps to a loss of {config.level:g}", loc="left")
    for i, c in enumerate(courses.values()):
        left.plot(np.full(len(c.steps), batches[i]), c.steps, ".", color=plots.FAINT, markersize=4)
    curves = ((law, "law, fitted", plots.COLORS[0]), (alone, "law, noise scale", plots.COLORS[1]))
    for own, name, color in curves:
        style: Any = {"color": color, "linewidth": 1.2, "label": name}
        left.plot(fine, own.steps(fine), **style)
        centre.plot(own.steps(fine), own.steps(fine) * fine, **style)
    left.plot(batches, steps, "o", color=plots.INK, markersize=4, label="median of the seeds")
    for value, color, name in (
        (law.critical, plots.COLORS[0], "B_crit"),
        (alone.critical, plots.COLORS[1], "B_noise"),
    ):
        style = {"color": color, "linestyle": ":", "linewidth": 1.2}
        left.axvline(value, label=f"{name} = {value:.0f}", **style)
    left.legend(frameon=False, loc="lower left", fontsize=8)
    centre.set(xscale="log", yscale="log", xlabel="steps S", ylabel="examples E = B S")
    centre.set_title("What saves steps costs examples", loc="left")
    centre.plot(steps, steps * batches, "o", color=plots.INK, markersize=4)
    for b, s in zip(batches, steps, strict=True):
        centre.annotate(f"{b}", (s, s * b), xytext=(4, 3), textcoords="offset points", fontsize=8)
    along(right, told, middle, law)
    return figure


def along(axes: Any, told: Noise, middle: int, law: Law) -> None:
    """The noise scale over the steps, of averages over windows of steps and the seeds."""
    n = told.variance.shape[1]
    edges = np.linspace(0, n, min(n, 13)).astype(int)
    windows = list(itertools.starmap(slice, itertools.pairwise(edges)))
    at = [(w.start + w.stop) / 2 for w in windows]
    axes.set(yscale="log", xlabel=f"step, batches of {middle}", ylabel="tr Σ / ‖G‖², examples")
    axes.set_title("The noise scale on the way there", loc="left")
    axes.plot(at, [scale(told, w) for w in windows], "o-", color=plots.COLORS[1], markersize=4)
    axes.axhline(law.critical, color=plots.COLORS[0], linestyle=":", linewidth=1.2)
    axes.text(0, law.critical, "B_crit", color=plots.COLORS[0], va="bottom")
    axes.axvspan(n // 3, 2 * n // 3, color=plots.FAINT, alpha=0.3, linewidth=0)


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
