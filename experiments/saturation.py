"""Sigmoid and tanh where they are flat.

    uv run python -m experiments.saturation

Question: How flat are sigmoid and tanh far from 0, and what does that do to training?

    σ′(z) = σ(z) (1 − σ(z)) ≤ min(¼, e^−|z|)        tanh′(z) = 1 − tanh² z ≤ min(1, 4 e^−2|z|)

The derivatives are those of the backward passes, at z from 10⁻⁸ to the largest float64, of
both signs. The networks have two hidden layers of 32 neurons, whose weights start k times as
large as glorot_uniform draws them; the output layer starts as usual. A neuron is saturated at
a digit where its derivative is below a hundredth of the largest. Training is plain
gradient descent on all digits; it has learned when 90 % of them are read right. Shown are
medians over the seeds, with the middle 80 %.

Source: LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, sections 4.4 and 4.6;
Glorot & Bengio (2010), AISTATS, section 3.
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
from experiments.common.data import Rows
from experiments.common.settings import ClaimSettings

ACTIVATIONS = {"sigmoid": fnn.Sigmoid(), "tanh": fnn.Tanh()}
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}  # the largest derivative
CENTRE = {"sigmoid": 0.5, "tanh": 0.0}
LOSS = fnn.SoftmaxCrossEntropy()
ENOUGH = 0.9  # of the digits read right


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Start sigmoid and tanh networks with weights that are too large."""

    scales: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (1, 2, 4, 8, 16, 32, 64)  # k
    steps: Annotated[int, Bounds(1)] = 600  # of training
    seeds: Annotated[int, Bounds(2)] = 8  # initial weights
    rows: Annotated[int, Bounds(10)] = 256  # digits
    learning_rate: Annotated[float, Bounds(0, open_low=True)] = 1.0


QUICK = Config(quick=True, scales=(1, 64), seeds=3)


def derivative(name: str, z: Any) -> Any:
    """f′(z), from the backward pass."""
    activation = ACTIVATIONS[name]
    _, cache = activation.forward((), z)
    return activation.backward((), cache, jnp.ones_like(z))[1]


def bound(name: str, z: np.ndarray) -> np.ndarray:
    """e^−|z| for the sigmoid, 4 e^−2|z| for tanh."""
    return np.exp(-abs(z)) if name == "sigmoid" else 4 * np.exp(-abs(z)) ** 2


class Flatness(NamedTuple):
    """How the derivative compares with its bounds."""

    highest: float  # the largest f′
    over: float  # how far f′ is above its exponential bound, at most: rounding
    tight: float  # f′ / bound at |z| = 15
    vanishes: float  # the smallest z > 0 from which on f′ is 0 in float32


def flatness(name: str) -> Flatness:
    """Compare in float64 over all magnitudes; look for 0 in float32."""
    with jax.enable_x64(True):
        half = np.unique(np.concatenate([np.logspace(-8, 308, 20_001), np.linspace(0, 50, 20_001)]))
        z = np.concatenate([-half[::-1], half])
        slope = np.asarray(derivative(name, jnp.asarray(z)))
        over = float((slope - bound(name, z)).max())
        far = np.array([-15.0])
        tight = float(np.asarray(derivative(name, jnp.asarray(far)))[0] / bound(name, far)[0])
    single = np.linspace(0, 30, 30_001, dtype=np.float32)
    flat = np.asarray(derivative(name, jnp.asarray(single))) > 0
    return Flatness(float(slope.max()), over, tight, float(single[np.flatnonzero(flat)[-1] + 1]))


class Trained(NamedTuple):
    """What one activation shows for every k: [scales, seeds]."""

    saturated: np.ndarray  # share of the hidden outputs before training
    gradient: np.ndarray  # ‖∂L/∂w‖ of both hidden layers before training
    mean: np.ndarray  # of the hidden outputs before training
    steps: np.ndarray  # until ENOUGH is read right; infinite where never


def train(name: str, config: Config, rows: Rows) -> Trained:
    """Every k and seed in one program."""
    activation, n = ACTIVATIONS[name], rows.x.shape[1]
    net = fnn.mlp([n, 32, 32, 10], activation=activation)
    sgd, metrics = fnn.optim.SGD(config.learning_rate), {"accuracy": fnn.accuracy}
    plan = fnn.Plan(net, LOSS, sgd, metrics=metrics)
    x, target = jnp.asarray(rows.x), jnp.asarray(rows.label)

    def one(scale, key):
        first, a, second, b, last = net.init(key)
        first, second = (layer._replace(w=scale * layer.w) for layer in (first, second))
        params = (first, a, second, b, last)
        hidden = outputs(net, params, x)
        slope = hidden * (1 - hidden) if name == "sigmoid" else 1 - hidden**2
        _, grads = fnn.value_and_grad(net, LOSS, params, x, target)
        start = fnn.start(plan, None, params)
        _, history = fnn.fit(plan, start, (x, target), epochs=config.steps, batch_size=len(x))
        right = history["accuracy"] >= ENOUGH
        steps = jnp.where(right.any(), right.argmax().astype(jnp.float32), jnp.inf)
        saturated = (slope < 0.01 * STEEPEST[name]).mean()
        gradient = jnp.hypot(*(jnp.linalg.norm(grads[i].w) for i in (0, 2)))
        return saturated, gradient, hidden.mean(), steps

    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    run = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    return Trained(*map(np.asarray, run(jnp.asarray(config.scales, jnp.float32), keys)))


def outputs(net: fnn.Serial, params: Any, x: Any) -> Any:
    """All hidden outputs, [2, rows, 32]."""
    found = []
    for layer, p in zip(net.layers[:-1], params, strict=False):
        x, _ = layer.forward(p, x)
        found.append(x)
    return jnp.stack(found[1::2])


def measure(config: Config) -> Outcome:
    """The bounds, and the training."""
    rows = bundles.first_digits(config.rows)
    flat = {name: flatness(name) for name in ACTIVATIONS}
    runs = {name: train(name, config, rows) for name in ACTIVATIONS}
    middle = {
        name: {field: np.median(values, 1) for field, values in run._asdict().items()}
        for name, run in runs.items()
    }
    seen = Seen(flat, middle, {name: float(run.mean[0].mean()) for name, run in runs.items()})
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "flatness": {name: f._asdict() for name, f in flat.items()},
            "mean_output": seen.means,
        },
        figure=picture(config, runs),
        tables=[table(config, seen)],
        rows=[
            {"activation": name, "k": k} | {field: float(v[i]) for field, v in m.items()}
            for name, m in middle.items()
            for i, k in enumerate(config.scales)
        ],
    )


class Seen(NamedTuple):
    """What was measured, by activation."""

    flat: dict[str, Flatness]
    middle: dict[str, dict[str, np.ndarray]]  # of Trained: field → medians, [scales]
    means: dict[str, float]  # of the outputs, at the first k


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    flat, both = seen.flat, list(seen.middle.values())
    return {
        "σ′ ≤ ¼ and tanh′ ≤ 1": all(f.highest <= STEEPEST[name] for name, f in flat.items()),
        "σ′ ≤ e^−|z| and tanh′ ≤ 4 e^−2|z|, but for rounding": all(
            f.over < 64 * 2.0**-53 for f in flat.values()
        ),
        "both bounds are reached to 0.1 % at |z| = 15": all(f.tight > 0.999 for f in flat.values()),
        "larger weights saturate more outputs, the largest more than half": all(
            (np.diff(m["saturated"]) > 0).all() and m["saturated"][-1] > 0.5 for m in both
        ),
        "the largest weights leave less than half of the gradient": all(
            m["gradient"][-1] < m["gradient"][0] / 2 for m in both
        ),
        "they take more than twice the steps": all(
            m["steps"][-1] > 2 * m["steps"][0] for m in both
        ),
        "the mean output of tanh is 0, that of the sigmoid ½, within 0.03": all(
            abs(mean - CENTRE[name]) < 0.03 for name, mean in seen.means.items()
        ),
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    flat, scales, means = seen.flat, config.scales, seen.means
    s, t = seen.middle["sigmoid"], seen.middle["tanh"]
    best = scales[int(s["steps"].argmin())]
    return (
        f"σ′ is at most ¼ and below e^−|z|, tanh′ at most 1 and below 4 e^−2|z|; in float32 "
        f"σ′ is 0 from z = {flat['sigmoid'].vanishes:.1f} on (not at −z, where σ is small "
        f"itself) and tanh′ from |z| = {flat['tanh'].vanishes:.1f} on. Where the weights start "
        f"{scales[-1]:g} times too large, "
        f"{100 * s['saturated'][-1]:.0f} % of the sigmoid outputs are saturated (tanh: "
        f"{100 * t['saturated'][-1]:.0f} %), the gradient of the hidden layers is "
        f"{s['gradient'][0] / s['gradient'][-1]:.1f} times smaller (tanh: "
        f"{t['gradient'][0] / t['gradient'][-1]:.1f}), and reading {100 * ENOUGH:.0f} % of "
        f"the digits right takes {s['steps'][-1]:.0f} steps instead of {s['steps'][0]:.0f} "
        f"(tanh: {t['steps'][-1]:.0f} instead of {t['steps'][0]:.0f}). Sigmoids learn "
        f"fastest at k = {best:g}. The mean output is {means['sigmoid']:.3f} for the sigmoid "
        f"and {means['tanh']:.3f} for tanh."
    )


def table(config: Config, seen: Seen) -> Table:
    """Medians over the seeds."""
    return Table(
        "Medians by k",
        ["", "k", "saturated", "gradient", "steps"],
        [
            [name, f"{k:g}", *(f"{m[f][i]:.3g}" for f in Trained._fields if f != "mean")]
            for name, m in seen.middle.items()
            for i, k in enumerate(config.scales)
        ],
    )


def picture(config: Config, runs: dict[str, Trained]) -> plots.Figure:
    """The derivatives with their bounds, and three figures by k."""
    title = "Weights that are too large saturate sigmoid and tanh, and training slows down"
    figure, ((flat, shares), (gradients, steps)) = plots.picture(title, 2, 2, (10, 7))
    z = np.linspace(-12, 12, 241)
    for (name, f), color in zip(runs.items(), plots.COLORS, strict=False):
        flat.plot(z, derivative(name, jnp.asarray(z)), color=color, label=f"{name}: derivative")
        flat.plot(z, bound(name, z), ":", color=color, label=f"{name}: bound")
        plots.band(shares, config.scales, 100 * f.saturated, color, name)
        plots.band(gradients, config.scales, f.gradient, color, name)
        plots.band(steps, config.scales, np.minimum(f.steps, config.steps), color, name)
    flat.set(yscale="log", ylim=(1e-11, 20), xlabel="z", ylabel="f′(z), in float32")
    shares.set_ylabel("saturated hidden outputs, %")
    gradients.set(yscale="log", ylabel="‖∂L/∂w‖ of the hidden layers")
    steps.set(yscale="log", ylabel=f"steps until {100 * ENOUGH:.0f} % of the digits are right")
    names = ("Exponentially flat", "Saturated at the start", "Gradient at the start", "Training")
    for axes, name in zip((flat, shares, gradients, steps), names, strict=True):
        axes.set_title(name, loc="left", fontsize=10)
        axes.legend(frameon=False)
        if axes is not flat:
            axes.set(xscale="log", xlabel="k, size of the first weights")
            axes.set_xticks(config.scales, [f"{k:g}" for k in config.scales])
            axes.minorticks_off()
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
