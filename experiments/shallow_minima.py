"""Noise of minibatches and shallow minima.

    uv run python -m experiments.shallow_minima

Question: Does the noise of minibatches carry descent out of a shallow minimum?

Somebody stands on the parabola (θ, θ²), 256 times seen at t_i = (a, b) + ε_i; where?

    J(θ) = (1/N) Σ_i ½ ‖(θ, θ²) − t_i‖²          J′(θ) = 2θ³ + (1 − 2b) θ − a

has with a = 0.3, b = 1.5 a shallow minimum at −0.92, a barrier at −0.15 and a deep minimum
at 1.07. The ε_i are normal with spread 1.5 and shifted to mean 0. Every run starts in the
shallow valley and takes steps θ ← θ − η g_B of B examples drawn with replacement, until
η × steps = 60; it has escaped once it was beyond θ = ½. The control takes the gradient of
all examples. Predicted is the share 1 − exp(−60/τ), with τ the mean time of passage from the
shallow minimum to ½ of the diffusion dθ = −J′ dt + √(2D) dW:

    D(θ) = η Var_i(∇L_i)/(2B)         Φ(θ) = ∫ J′/D
    τ = ∫ dy exp Φ(y) ∫ dz exp(−Φ(z))/D(z)        y from −0.92 to ½, z from −∞ to y

where η and B come in as η/B alone.

Source: Gardiner (2004), Handbook of Stochastic Methods, 3rd ed., eq. 5.2.157; Mandt, Hoffman &
Blei (2017), JMLR 18, section 3, for the diffusion.
"""

import functools
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

N, A, B, SPREAD = 256, 0.3, 1.5, 1.5  # a random byte names one of N examples
RATES = (0.025, 0.05, 0.1)  # η
BEYOND = 0.5  # θ where a run has escaped
LOSS = fnn.SquaredError(0.5)


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Count escapes from a shallow minimum, against batch size and learning rate."""

    starts: Annotated[int, Bounds(16)] = 400  # runs for every rate and batch size
    time: Annotated[float, Bounds(1)] = 60.0  # η × steps
    batches: Annotated[tuple[int, ...], Bounds(1)] = (1, 2, 3, 4, 6, 8, 12, 16, 32)  # sizes B


QUICK = Config(quick=True, starts=200, time=30.0, batches=(1, 2, 4, 16))


class Parameter(NamedTuple):
    """Where on the parabola; or the gradient there."""

    w: jax.Array  # θ, []

    weights = ("w",)


class ParabolaCache(NamedTuple):
    """What backward needs of forward."""

    x: jax.Array  # [B, 1]


@dataclass(frozen=True)
class Parabola(fnn.Layer[Parameter, ParabolaCache]):
    """y = x (θ, θ²).  x [B, 1] → y [B, 2]."""

    def init(self, key):
        """θ ~ N(0, 1)."""
        return Parameter(jax.random.normal(key))

    def forward(self, params, x, *, key=None):
        """y = x (θ, θ²)."""
        return x * jnp.stack([params.w, params.w**2]), ParabolaCache(x)

    def backward(self, params, cache, dy):
        """dθ = Σ x (dy₁ + 2θ dy₂),  dx = dy₁ θ + dy₂ θ²."""
        along = dy[..., :1] + 2 * params.w * dy[..., 1:]
        dx = dy @ jnp.stack([params.w, params.w**2])
        return Parameter((cache.x * along).sum()), dx[..., None]


def sightings(seed: int) -> np.ndarray:
    """t, [N, 2], with the mean (a, b)."""
    noise = np.asarray(jax.random.normal(jax.random.key(seed), (N, 2)), float)
    return np.array([A, B]) + SPREAD * (noise - noise.mean(0))


def slope(theta: Any) -> Any:
    """J′(θ)."""
    return 2 * theta**3 + (1 - 2 * B) * theta - A


def height(theta: Any) -> Any:
    """J(θ), less its value at 0."""
    return theta**4 / 2 + (1 - 2 * B) * theta**2 / 2 - A * theta


def resting() -> tuple[float, float, float]:
    """Where J′ = 0: the shallow minimum, the barrier, the deep minimum."""
    shallow, barrier, deep = np.sort(np.roots([2, 0, 1 - 2 * B, -A]).real)
    return float(shallow), float(barrier), float(deep)


@functools.partial(jax.jit, static_argnames=("batch", "steps"))
def wander(rates: Any, starts: Any, target: Any, key: Any, time: Any, batch: int, steps: int):
    """Where each run ends, and how far right it ever was, [rates, starts]; batch 0: all."""
    net = Parabola()

    def run(rate, start, key):
        sgd = fnn.optim.SGD(rate)

        def body(carry, t):
            params, furthest = carry
            rows = target
            if batch:
                rows = target[jax.random.bits(jax.random.fold_in(key, t), (batch,), "uint8")]
            _, grads = fnn.value_and_grad(net, LOSS, params, jnp.ones((len(rows), 1)), rows)
            updates, _ = sgd.update(grads, ())
            moved = fnn.optim.apply_updates(params, updates).w
            theta = jnp.where(t.astype(rate.dtype) * rate < time, moved, params.w)
            return (Parameter(theta), jnp.maximum(furthest, theta)), None

        (end, furthest), _ = jax.lax.scan(body, (Parameter(start), start), jnp.arange(steps))
        return end.w, furthest

    keys = jax.random.split(key, (len(rates), len(starts)))
    return jax.vmap(jax.vmap(run, (None, 0, 0)), (0, None, 0))(rates, starts, keys)


def predicted(target: np.ndarray, ratio: float, time: float) -> float:
    """The share of runs that escape, by the time of passage of the diffusion; ratio is η/B."""
    theta = np.linspace(-3, BEYOND, 4001)
    each = theta[:, None] - target[:, 0] + 2 * theta[:, None] * (theta[:, None] ** 2 - target[:, 1])
    diffusion = ratio * each.var(1) / 2
    phi, start = integral(slope(theta) / diffusion, theta), np.searchsorted(theta, resting()[0])
    phi = np.minimum(phi - phi[start], 600)  # more is forever
    inner = integral(np.exp(-phi) / diffusion, theta)
    passage = integral(np.exp(phi[start:]) * inner[start:], theta[start:])[-1]
    return float(-np.expm1(-time / passage))


def integral(f: np.ndarray, x: np.ndarray) -> np.ndarray:
    """∫ f from x[0] to every x, by trapezoids."""
    return np.concatenate([[0], np.cumsum((f[1:] + f[:-1]) / 2 * np.diff(x))])


class Runs(NamedTuple):
    """All runs of one batch size."""

    end: np.ndarray  # θ, [rates, starts]
    escaped: np.ndarray  # share, [rates]
    predicted: np.ndarray  # share, [rates]


def all_runs(config: Config) -> dict[int, Runs]:
    """Batch size → its runs; 0 stands for all examples."""
    target = sightings(config.seed)
    k_start, key = jax.random.split(jax.random.key(config.seed + 1))
    starts = jax.random.uniform(k_start, (config.starts,), minval=-1.4, maxval=-0.5)
    steps, found = round(config.time / min(RATES)), {}
    for batch in (0, *config.batches):
        k = jax.random.fold_in(key, batch)
        some = starts if batch else starts[::4]  # the control is slow, and always the same
        how = (jnp.array(RATES), some, jnp.asarray(target), k, config.time)
        end, furthest = (np.asarray(a) for a in wander(*how, batch=batch, steps=steps))
        told = [predicted(target, r / batch, config.time) if batch else 0.0 for r in RATES]
        found[batch] = Runs(end, (furthest > BEYOND).mean(1), np.array(told))
    return found


def collapse(found: dict[int, Runs]) -> float:
    """The largest difference of the shares at the same η/B: rate doubled, batch doubled."""
    pairs = [
        abs(found[2 * batch].escaped[i + 1] - runs.escaped[i])
        for batch, runs in found.items()
        if batch and 2 * batch in found
        for i in range(len(RATES) - 1)
    ]
    return float(max(pairs))


def measure(config: Config) -> Outcome:
    """Escapes for every rate and batch size, measured and predicted."""
    runs, rates = all_runs(config), [f"{rate:g}" for rate in RATES]
    shallow, barrier, _ = resting()
    noisy = {b: r for b, r in runs.items() if b}
    seen = Seen(
        runs[0], noisy, collapse(noisy),
        off=max(float(abs(r.escaped - r.predicted).max()) for r in noisy.values()),
        stuck=float(abs(runs[0].end - shallow).max()),
        back=float((noisy[1].end[-1] < barrier).mean()),
    )  # fmt: skip
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "escaped": {str(b): dict(zip(rates, r.escaped, strict=True)) for b, r in runs.items()},
            "largest_distance_from_predicted": seen.off,
            "largest_difference_at_equal_ratio": seen.collapse,
            "back_in_the_shallow_valley": seen.back,
            "distance_of_control_from_minimum": seen.stuck,
        },
        figure=picture(runs, sightings(config.seed), config.time),
        tables=[table(runs)],
        rows=[
            {"batch": b, "rate": RATES[i], "escaped": r.escaped[i], "predicted": r.predicted[i]}
            for b, r in noisy.items()
            for i in range(len(RATES))
        ],
    )


class Seen(NamedTuple):
    """What was measured."""

    control: Runs  # with all examples
    noisy: dict[int, Runs]  # by batch size
    collapse: float  # the largest difference of shares at equal η/B
    off: float  # the largest difference of a share from the one predicted
    stuck: float  # the largest distance of a control's end from the shallow minimum
    back: float  # share of runs with single examples that end left of the barrier


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    control, noisy = seen.control, seen.noisy
    shares = np.array([runs.escaped for runs in noisy.values()])  # [batch sizes, rates]
    return {
        "the gradient of all examples never escapes": (
            float(control.end.max()) < resting()[1] and not control.escaped.any()
        ),
        "... it rests where J′ = 0": seen.stuck < 1e-4,
        "single examples at the largest rate nearly always escape": shares[0, -1] > 0.9,
        "batches of 16 never do": not noisy[16].escaped.any(),
        "the larger the batch, the fewer escape": bool((np.diff(shares, axis=0) < 0.03).all()),
        "the smaller the rate, the fewer escape": bool((np.diff(shares, axis=1) > -0.03).all()),
        "the theory of diffusion predicts the shares": seen.off < 0.2,
        "equal η/B, equal shares": seen.collapse < 0.15,
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    told = {b: f"{100 * seen.noisy[b].escaped[-1]:.0f} %" for b in (1, 4, 16)}
    return (
        f"Yes, if there is enough of it. Descent along the gradient of all examples leaves the "
        f"shallow minimum in none of {seen.control.end.size:,} runs. At learning rate "
        f"η = {RATES[-1]:g}, single examples carry {told[1]} of the runs over the barrier, "
        f"batches of 4 carry {told[4]}, batches of 16 {told[16]}. Only η/B counts: rate and "
        f"batch size doubled together change no share by more than "
        f"{100 * seen.collapse:.0f} points, and all are within {100 * seen.off:.0f} points of "
        f"what the theory of diffusion predicts. But noise does not know which minimum is "
        f"the deep one: of the runs with single examples {100 * seen.back:.0f} % end in "
        f"the shallow valley again."
    )


def table(runs: dict[int, Runs]) -> Table:
    """The shares, by batch size and rate."""
    return Table(
        "Share of runs that escape, measured (predicted)",
        ["batch size B", *(f"η = {rate:g}" for rate in RATES)],
        [
            [str(batch or "all")]
            + [f"{s:.3f} ({f:.3f})" for s, f in zip(r.escaped, r.predicted, strict=True)]
            for batch, r in runs.items()
        ],
    )


def picture(runs: dict[int, Runs], target: np.ndarray, time: float) -> plots.Figure:
    """J, where the runs end, and the share of escapes over η/B."""
    title = "The noise of small batches carries descent over a barrier that stops full batches"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (11, 4))
    theta = np.linspace(-1.7, 1.7, 200)
    shallow, _, deep = resting()
    left.plot(theta, height(theta), color=plots.INK)
    left.plot([shallow, deep], [height(shallow), height(deep)], "o", color=plots.COLORS[1])
    for x, name in ((shallow, "all start\nin this valley"), (deep, "the better\nminimum")):
        left.annotate(name, (x, height(x) - 0.06), ha="center", va="top", fontsize=9)
    left.set(xlabel="parameter θ", ylabel="J(θ) − J(0)", ylim=(-1.15, 0.7))
    left.set_title("The loss has two minima", loc="left")
    edges = np.linspace(-1.7, 1.7, 52)
    chosen = [b for b in (0, 16, 4, 1) if b in runs]
    for i, b in enumerate(chosen):
        share, _ = np.histogram(runs[b].end[-1], edges)
        share = 0.9 * share / max(share.max(), 1) - i
        middle.stairs(share, edges, baseline=-i, fill=True, color=plots.COLORS[2], alpha=0.8)
    middle.set_yticks(-np.arange(len(chosen)), [f"B = {b}" if b else "all" for b in chosen])
    middle.set(xlabel="θ at the end", ylim=(-len(chosen) + 0.9, 1), xlim=left.get_xlim())
    middle.set_title(f"Where the runs end, η = {RATES[-1]:g}", loc="left")
    ratios = np.geomspace(RATES[0] / max(runs), RATES[-1], 60)
    told = [predicted(target, ratio, time) for ratio in ratios]
    right.plot(ratios, told, color=plots.FAINT, label="predicted", zorder=0)
    for i, (rate, mark) in enumerate(zip(RATES, "o^s", strict=True)):
        seen = [(rate / b, r.escaped[i]) for b, r in runs.items() if b]
        right.plot(*zip(*seen, strict=True), mark, color=plots.COLORS[i], label=f"η = {rate:g}")
    right.set(xscale="log", xlabel="learning rate over batch size, η/B", ylabel="share escaped")
    right.set_title("How many escape", loc="left")
    right.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
