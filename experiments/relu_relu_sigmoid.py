"""The three-layer classifier of ReLU, ReLU and sigmoid, by its own equations.

    uv run python -m experiments.relu_relu_sigmoid

Question: Do the six gradients of the ReLU–ReLU–sigmoid classifier, written out, train it as fnn
does, and are its three layers worth it?

    z₁ = X w₁ + b₁      A₁ = max(z₁, 0)      L = −(1/N) Σ y log ŷ + (1 − y) log(1 − ŷ)
    z₂ = A₁ w₂ + b₂     A₂ = max(z₂, 0)
    z₃ = A₂ w₃ + b₃     ŷ  = σ(z₃)

    D₃ = (ŷ − y)/N                       ∂w₃ = A₂ᵀ D₃      ∂b₃ = Σ D₃
    D₂ = D₃ w₃ᵀ ⊙ [z₂ > 0]               ∂w₂ = A₁ᵀ D₂      ∂b₂ = Σ D₂
    D₁ = D₂ w₂ᵀ ⊙ [z₁ > 0]               ∂w₁ = Xᵀ D₁       ∂b₁ = Σ D₁

L is differentiated through the sigmoid by hand, which cancels ŷ (1 − ŷ). The six gradients
in plain jax.numpy, fnn with BinaryCrossEntropy after a Sigmoid, and fnn with both in one,
SigmoidBinaryCrossEntropy, take the same full-batch steps θ ← θ − α ∂θ in float64 from the
same start, on the tumours of breast_cancer, standardised. Every repetition has its own
start and its own division, 70 % : 15 % : 15 %; what is tested are the parameters with the
least validation loss, for the linear model (one layer) too.

Source: S2, displays 1 to 28 as corrected; He, Zhang, Ren & Sun (2015), ICCV, eq. 10, for the start.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, claims, descent, plots
from experiments.common.claims import Outcome
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

SIZES = [30, 16, 8, 1]
APART = fnn.mlp(SIZES, activation=fnn.ReLU(), output=fnn.Sigmoid())
FUSED, LINEAR = (
    fnn.mlp(SIZES, activation=fnn.ReLU()),
    fnn.mlp(SIZES[::3], w_init=fnn.initializers.zeros),
)


NAMES = {"apart": "sigmoid and loss apart", "fused": "both in one"}


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Train the classifier by its own equations and by fnn's backward passes."""

    steps: Annotated[int, Bounds(200)] = 1000
    rate: Annotated[float, Bounds(0, open_low=True)] = 0.3  # α
    repetitions: Annotated[int, Bounds(4)] = 40


QUICK = Config(quick=True, steps=200, repetitions=10)


class Six(NamedTuple):
    """The parameters, in the letters of the equations."""

    w1: Any
    b1: Any
    w2: Any
    b2: Any
    w3: Any
    b3: Any


def gradients(p: Six, x: Any, y: Any) -> Six:
    """The six, line by line as above."""
    z1 = x @ p.w1 + p.b1
    a1 = jnp.maximum(z1, 0)
    z2 = a1 @ p.w2 + p.b2
    a2 = jnp.maximum(z2, 0)
    z3 = a2 @ p.w3 + p.b3
    d3 = (1 / (1 + jnp.exp(-z3)) - y) / len(x)
    d2 = jnp.where(z2 > 0, d3 @ p.w3.T, 0)
    d1 = jnp.where(z1 > 0, d2 @ p.w2.T, 0)
    return Six(x.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d3, d3.sum(0))


def by_hand(p: Six, x: Any, y: Any, rate: float, steps: int) -> Six:
    """θ ← θ − α ∂θ: the start and every step, [steps + 1, ...]."""

    def step(p, _):
        new = Six(*(a - rate * g for a, g in zip(p, gradients(p, x, y), strict=True)))
        return new, new

    _, later = jax.lax.scan(step, p, length=steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), p, later)


def six(params: Any) -> Six:
    """fnn's params of this net, or their paths, by the names of the equations."""
    return Six(*(leaf for layer in params for leaf in layer))


def trained(config: Config, net: Any, loss: Any, start: Any, part: descent.Parts) -> Any:
    """The params of every repetition after every step, [R, steps + 1, ...]."""
    plan = fnn.Plan(net, loss, fnn.optim.SGD(config.rate))

    def one(start, x, y):
        return descent.descend(plan, start, (x, y), config.steps).params

    return jax.vmap(one)(start, part.x, part.y)


@jax.jit
def judged(net: Any, paths: Any, part: descent.Parts) -> tuple[Any, Any]:
    """Loss and accuracy of every repetition after every step, [R, steps + 1]."""

    def one(params, x, y):
        z, _ = net.forward(params, x)
        losses, _ = fnn.SigmoidBinaryCrossEntropy().forward(z, y)
        return losses.mean(), ((z > 0) == (y > 0)).mean()

    def along(path, x, y):
        return jax.lax.map(lambda params: one(params, x, y), path)

    return jax.vmap(along)(paths, *part)


def tested(net: Any, paths: Any, validation: descent.Parts, test: descent.Parts) -> tuple[Any, Any]:
    """The validation loss after every step, and the test accuracy where it is least."""
    losses = np.asarray(judged(net, paths, validation)[0])
    right = np.asarray(judged(net, paths, test)[1])
    return losses, right[np.arange(len(right)), losses.argmin(1)]


def saturation() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """∂L/∂z of one wrong example (y = 0) in float32, against σ(z): relative errors over z."""
    z = np.linspace(0, 30, 301)
    truth = 1 / (1 + np.exp(-z))
    found = {}
    for name, net, loss in (
        ("apart", fnn.Serial(fnn.Sigmoid()), fnn.BinaryCrossEntropy()),
        ("fused", fnn.Serial(), fnn.SigmoidBinaryCrossEntropy()),
    ):
        y, cache = net.forward(net.init(jax.random.key(0)), jnp.asarray(z[:, None], "float32"))
        ones = jnp.ones(len(z), "float32")
        _, dy = loss.value_and_backward(y, jnp.zeros_like(y), ones)
        _, dz = net.backward(net.init(jax.random.key(0)), cache, dy)
        found[name] = abs(np.asarray(dz, float)[:, 0] / truth - 1)
    return z, found


class Paths(NamedTuple):
    """All params after every step, [R, steps + 1, ...]."""

    hand: Six
    apart: Any  # the same by fnn, sigmoid and loss apart
    fused: Any  # both in one
    linear: Any


def all_paths(config: Config, train: descent.Parts) -> Paths:
    """The same steps three times, and the linear model."""
    keys = jax.random.split(jax.random.key(config.seed), config.repetitions)
    start = jax.vmap(FUSED.init)(keys)
    hand = jax.vmap(lambda p, x, y: by_hand(p, x, y, config.rate, config.steps))
    loss = fnn.SigmoidBinaryCrossEntropy()
    return Paths(
        jax.jit(hand)(six(start), *train),
        trained(config, APART, fnn.BinaryCrossEntropy(), (*start, ()), train),
        trained(config, FUSED, loss, start, train),
        trained(config, LINEAR, loss, jax.vmap(LINEAR.init)(keys), train),
    )


def measure(config: Config) -> Outcome:
    """The same steps three times, the linear model, and float32 where the sigmoid is 1."""
    with jax.enable_x64(True):
        parts = descent.three_parts(config.seed, config.repetitions, bundles.breast_cancer().rows)
        train, validation, test = parts
        paths = all_paths(config, train)
        losses, accuracy = {}, {}
        nets = (("three layers", FUSED, paths.fused), ("linear", LINEAR, paths.linear))
        for name, net, path in nets:
            losses[name], accuracy[name] = tested(net, path, validation, test)
        distances = {
            "apart": differences(paths.apart, paths.hand),
            "fused": differences(paths.fused, paths.hand),
        }
    z, float32 = saturation()
    largest = {name: max(d.max() for d in ds.values()) for name, ds in distances.items()}
    broken = float(z[~np.isfinite(float32["apart"])].min())
    seen = Seen(largest, accuracy, broken, float32["fused"].max())
    return Outcome(
        answer=answer(config, seen),
        findings=findings(seen),
        measured={
            "differences": largest, "test_accuracy": seen.mean(), "gain": seen.gain().mean(),
            "standard_error": seen.error(), "broken_from": broken,
        },
        figure=picture(distances["apart"], losses, z, float32),
        rows=[
            {"step": i} | {f"difference {name}": d[i] for name, d in distances["apart"].items()}
            | {f"validation loss, {name}": np.median(l[:, i]) for name, l in losses.items()}
            for i in range(0, config.steps + 1, 10)
        ],
    )  # fmt: skip


class Seen(NamedTuple):
    """What was measured."""

    largest: dict[str, float]  # way of fnn → difference of its params from those by hand
    accuracy: dict[str, np.ndarray]  # model → on the test rows, [R]
    broken: float  # the least z without a gradient in float32, sigmoid and loss apart
    inexact: float  # the largest relative error in float32 of both in one

    def mean(self) -> dict[str, float]:
        """Model → mean accuracy."""
        return {name: a.mean() for name, a in self.accuracy.items()}

    def gain(self) -> np.ndarray:
        """Accuracy by three layers, less that of the linear model, [R]."""
        return self.accuracy["three layers"] - self.accuracy["linear"]

    def error(self) -> float:
        """The standard error of the mean gain."""
        return self.gain().std(ddof=1) / len(self.gain()) ** 0.5


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    return {
        "the six equations and fnn take the same steps to 1e-12": seen.largest["apart"] < 1e-12,
        "so do they with sigmoid and cross-entropy in one": seen.largest["fused"] < 1e-12,
        "both learn": min(seen.mean().values()) > 0.93,
        "no network is better than the other by two points": abs(seen.gain().mean()) < 0.02,
        "in float32, apart fails where 1 + e^−z is rounded to 1": (
            abs(seen.broken - 24 * np.log(2)) <= 0.1
        ),
        "in one is right to 1e-6 everywhere": seen.inexact < 1e-6,
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    largest, mean = seen.largest, seen.mean()
    return (
        f"They do: after each of {config.steps} steps, in {config.repetitions} repetitions, "
        f"all six parameters are those of fnn, within {largest['apart']:.0e} with the sigmoid "
        f"and the cross-entropy apart and {largest['fused']:.0g} with both in one. In float32 "
        f"the two apart give no gradient (0 · ∞) from z₃ = {seen.broken:.1f} on for a wrong "
        "example, where the sigmoid is rounded to 1; in one they always do. Three layers are "
        f"not worth it here: they name {mean['three layers']:.1%} of the held-out tumours "
        f"rightly, the linear model {mean['linear']:.1%} (difference "
        f"{100 * seen.gain().mean():+.1f} ± {100 * seen.error():.1f} points)."
    )


def differences(paths: Any, hand: Six) -> dict[str, np.ndarray]:
    """Per parameter and step: the largest difference of all repetitions, [steps + 1]."""
    pairs = zip(Six._fields, six(paths), hand, strict=True)
    return {n: np.abs(a - b).reshape(*a.shape[:2], -1).max((0, 2)) for n, a, b in pairs}


def picture(distances: Any, losses: Any, z: Any, float32: Any) -> plots.Figure:
    """Differences of the parameters, validation losses, and the float32 gradient."""
    title = "The written-out equations take fnn's steps; three layers do no better than one"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(11, 4))
    left.set(xlabel="step", ylabel="largest difference from fnn", yscale="log", ylim=(1e-17, 1e-14))
    for (name, d), color in zip(distances.items(), plots.COLORS, strict=True):
        left.plot(np.where(d > 0, d, np.nan), color=color, label=name, linewidth=1)
    left.legend(frameon=False, ncols=3, loc="lower right")
    middle.set(xlabel="step", ylabel="validation loss", yscale="log", xscale="log")
    for (name, loss), color in zip(losses.items(), plots.COLORS, strict=False):
        plots.band(middle, np.arange(1, loss.shape[1]), loss.T[1:], color, name)
    middle.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    middle.minorticks_off()
    middle.legend(frameon=False)
    right.set(xlabel="z₃ of a wrong example", ylabel="gradient in float32", ylim=(0, 1.15))
    truth = 1 / (1 + np.exp(-z))
    for (name, e), color in zip(float32.items(), plots.COLORS[2:], strict=False):
        shown = np.where(np.isfinite(e), truth, np.nan)
        right.plot(
            z, shown, color=color, linewidth=6 if name == "apart" else 1.6, label=NAMES[name]
        )
    end = z[np.isfinite(float32["apart"])].max()
    right.annotate("not a number", (end, 1.03), color=plots.COLORS[2], va="bottom")
    right.legend(frameon=False, loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
