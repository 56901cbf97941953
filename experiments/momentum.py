"""What momentum does, and what it does not.

    uv run python -m experiments.momentum

Question: Does momentum smooth noise and speed up consistent directions, and by how much?

Velocity v and step η v, with fnn.optim.Momentum in its two forms:

    heavy ball       v ← μ v + g                      moving average   v ← γ v + (1 − γ) g

    constant g       steps end at η g/(1 − μ)         at η g
    white noise g    Var v = Var g/(1 − μ²)           Var v = (1 − γ)/(1 + γ) Var g
    equal            with μ = γ and η_heavy = (1 − γ) η_average

On J = λθ²/2 with noise of variance σ² in its gradient θ itself ends with the variance

    η σ² (1 + γ) / (λ (2 (1 + γ) − η λ (1 − γ)))      moving average; γ = 0 is plain descent

which for small ηλ is η σ²/(2λ) whatever γ is. Without noise, on J = ½ Σ_j λ_j θ_j² with
condition number κ = λ_max/λ_min, the best plain descent has η = 2/(λ_min + λ_max); the best
heavy ball η = 4/(√λ_max + √λ_min)², μ = ((√κ − 1)/(√κ + 1))²; Nesterov's form
η = 4/(3 λ_max + λ_min), μ = (√(3κ + 1) − 2)/(√(3κ + 1) + 2). Steps are counted until
‖θ‖ stays below a millionth of where it started, λ_j evenly spaced in log λ, from random
starts.

Source: Polyak (1964), USSR Comp. Math. 4, section 3; Lessard, Recht & Packard (2016), SIAM
J. Optim. 26, table 1 for the three tunings.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import bundles, claims, descent, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.data import Standardizer
from experiments.common.estimates import power
from experiments.common.settings import ClaimSettings

GAMMAS = np.array([0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98])
FORMS = ("heavy ball", "moving average")
MU = 0.9  # μ and γ, where a single value is used
METHODS = ("plain descent", "heavy ball", "Nesterov")
COLORS = dict(
    zip(("plain descent", "heavy ball", "Nesterov", "moving average"), plots.COLORS, strict=False)
)
ETA_LAMBDA = 0.02  # ηλ of the noisy bowl
TOLERANCE = 1e-6  # ‖θ‖ over ‖θ₀‖ where steps are counted


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Measure what momentum does to noise, to constant gradients and to narrow valleys."""

    lanes: Annotated[int, Bounds(2)] = 256  # independent sequences of noise
    steps: Annotated[int, Bounds(500)] = 8000  # of each
    kappa: Annotated[float, Bounds(100)] = 3000.0  # the largest condition number
    starts: Annotated[int, Bounds(1)] = 9  # in every narrow valley


QUICK = Config(quick=True, lanes=128, steps=4000, kappa=300.0, starts=3)


class Noise(NamedTuple):
    """Variances over time and lanes, one per γ."""

    step: np.ndarray  # of v / g, relative to that of g
    position: np.ndarray  # of θ, relative to η σ²/(2λ)


def wander(config: Config) -> Noise:
    """White noise of variance 1 through the moving average; γ are the lanes of a vmap."""
    shape = (config.steps, config.lanes)
    noise = jax.random.normal(jax.random.key(config.seed), shape)
    burn = config.steps // 4

    @jax.jit
    @jax.vmap
    def variances(gamma):
        free = fnn.optim.Momentum(1.0, gamma, average=True)
        bowl = fnn.optim.Momentum(ETA_LAMBDA, gamma, average=True)

        def body(carry, xi):
            theta, v, state = carry
            step, v = free.update(xi, v)
            updates, state = bowl.update(theta + xi, state, theta)
            theta = fnn.optim.apply_updates(theta, updates)
            return (theta, v, state), (step, theta)

        zero = jnp.zeros(config.lanes)
        _, found = jax.lax.scan(body, (zero, free.init(zero), bowl.init(zero)), noise)
        return [(a[burn:] ** 2).mean() for a in found]

    step, position = (np.asarray(a, float) for a in variances(jnp.asarray(GAMMAS)))
    return Noise(step, position / (ETA_LAMBDA / 2))


def wander_predicted() -> Noise:
    """The same by the formulas above."""
    g, a = GAMMAS, ETA_LAMBDA
    return Noise((1 - g) / (1 + g), 2 * (1 + g) / (2 * (1 + g) - a * (1 - g)))


def push(mu: float, average: bool, eta: float, n: int) -> np.ndarray:
    """The lengths of n steps under the constant gradient 1, [n]."""
    momentum = fnn.optim.Momentum(eta, mu, average=average)
    g = jnp.ones(())

    def body(state, _):
        updates, state = momentum.update(g, state)
        return state, -updates

    return np.asarray(jax.lax.scan(body, momentum.init(g), None, length=n)[1])


def apart(config: Config, gamma: float, factor: float) -> float:
    """How far a network trained by one form ends from that of the other, in float64.

    η_heavy = factor (1 − γ) η_average: with factor 1 the two should be one.
    """
    with jax.enable_x64(True):
        rows = bundles.iris().rows
        x = jnp.asarray(Standardizer.of(rows.x)(rows.x), float)
        net, key = fnn.mlp([4, 8, 3], activation=fnn.Tanh()), jax.random.key(config.seed)
        params = net.init(key)

        def trained(momentum):
            plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), momentum)
            start, data = fnn.start(plan, key, params), (x, jnp.asarray(rows.label))
            state, _ = fnn.fit(plan, start, data, epochs=20, batch_size=10)
            return ravel_pytree(state.params)[0]

        heavy = trained(fnn.optim.Momentum(factor * (1 - gamma) * 0.1, gamma))
        ema = trained(fnn.optim.Momentum(0.1, gamma, average=True))
        return float(jnp.linalg.norm(heavy - ema) / jnp.linalg.norm(ema))


def tuned(method: str, kappa: float) -> fnn.optim.SGD | fnn.optim.Momentum:
    """The method at its best for λ from 1 to κ."""
    if method == "plain descent":
        return descent.plain(1, kappa).optimizer
    if method == "heavy ball":
        return descent.heavy_ball(1, kappa).optimizer
    three = (3 * kappa + 1) ** 0.5
    return fnn.optim.Momentum(4 / (3 * kappa + 1), (three - 2) / (three + 2), nesterov=True)


def steps_needed(config: Config, method: str, kappas: np.ndarray) -> np.ndarray:
    """Steps until ‖θ‖ stays below TOLERANCE ‖θ₀‖, [κ, starts]; the gradient is λ θ."""
    starts = jax.random.normal(jax.random.key(config.seed), (config.starts, 10))
    best = [tuned(method, float(kappa)) for kappa in kappas]
    optimizers = jax.tree.map(lambda *leaves: jnp.array(leaves), *best)
    growth = kappas.max() if method == "plain descent" else 4 * np.sqrt(kappas.max())
    length = int(10 * growth + 100)  # more than enough, by ln(1/TOLERANCE) = 14

    def count(optimizer, kappa, theta):
        curvature = kappa ** jnp.linspace(0, 1, 10)
        goal = TOLERANCE * jnp.linalg.norm(theta)

        def body(carry, t):
            theta, state, last = carry
            updates, state = optimizer.update(curvature * theta, state, theta)
            theta = fnn.optim.apply_updates(theta, updates)
            last = jnp.where(jnp.linalg.norm(theta) > goal, t, last)
            return (theta, state, last), None

        start = theta, optimizer.init(theta), jnp.zeros((), int)
        return jax.lax.scan(body, start, jnp.arange(1, length + 1))[0][2] + 1

    over_starts = jax.vmap(count, (None, None, 0))
    found = jax.jit(jax.vmap(over_starts, (0, 0, None)))(optimizers, jnp.array(kappas), starts)
    return np.asarray(found)


def measure(config: Config) -> Outcome:
    """Noise, a constant gradient, the two forms, narrow valleys."""
    with jax.enable_x64(True):
        noise, told = wander(config), wander_predicted()
        pushed = {name: push(MU, name == "moving average", 0.1, 100) for name in FORMS}
        kappas = np.geomspace(10, config.kappa, 6)
        needed = {m: np.median(steps_needed(config, m, kappas), 1) for m in METHODS}
    ends = {name: float(steps[-1]) for name, steps in pushed.items()}
    same, other = apart(config, MU, 1.0), apart(config, MU, 1 / (1 - MU))
    slopes = {method: power(kappas, n) for method, n in needed.items()}
    seen = Seen(noise, told, ends, same, other, kappas, needed, slopes)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "noise_of_step": dict(zip(map(str, GAMMAS), noise.step, strict=True)),
            "noise_of_position": dict(zip(map(str, GAMMAS), noise.position, strict=True)),
            "terminal_steps": ends,
            "forms_apart": {"as predicted": same, "with the same rate": other},
            "slopes": slopes,
        },
        figure=picture(noise, told, pushed, kappas, needed),
        tables=[table(seen)],
        rows=[
            {"kappa": k, **{method: n[i] for method, n in needed.items()}}
            for i, k in enumerate(kappas)
        ],
    )


class Seen(NamedTuple):
    """What was measured of momentum."""

    noise: Noise
    told: Noise  # the same by the formulas
    ends: dict[str, float]  # form → the last step under a constant gradient, η = 0.1
    same: float  # how far apart the forms end with η_heavy = (1 − γ) η_average
    other: float  # and with equal rates
    kappas: np.ndarray  # condition numbers κ
    needed: dict[str, np.ndarray]  # method → steps for every κ, medians
    slopes: dict[str, float]  # method → their power of κ


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    pairs = zip(seen.noise, seen.told, strict=True)
    off_step, off_position = (float(abs(n / t - 1).max()) for n, t in pairs)
    ends, slopes, plain = seen.ends, seen.slopes, seen.needed["plain descent"][-1]
    return {
        "the step keeps (1 − γ)/(1 + γ) of the noise": off_step < 0.05,
        "the position keeps all of it, as predicted": off_position < 0.08,
        "a constant gradient ends in steps of η g/(1 − μ), heavy ball": (
            abs(ends["heavy ball"] - 0.1 / (1 - MU)) < 1e-4
        ),
        "a constant gradient ends in steps of η g, moving average": (
            abs(ends["moving average"] - 0.1) < 1e-4
        ),
        "the two forms are one with η_heavy = (1 − γ) η_average": seen.same < 1e-12,
        "with the same η they are not": seen.other > 0.1,
        "the steps of plain descent grow like κ": abs(slopes["plain descent"] - 1) < 0.02,
        "with momentum like √κ": (
            max(abs(slopes[m] - 0.5) for m in ("heavy ball", "Nesterov")) < 0.08
        ),
        "plain descent is as slow as ½ κ ln(1/tolerance), to a fifth": (
            bool(abs(plain / (-np.log(TOLERANCE) * seen.kappas[-1] / 2) - 1) < 0.2)
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    noise, told, ends, slopes = seen.noise, seen.told, seen.ends, seen.slopes
    plain, heavy, nesterov = (n[-1] for n in seen.needed.values())
    at = int(np.flatnonzero(GAMMAS == MU)[0])
    return (
        f"Both. With γ = {MU:g} the step keeps {noise.step[at]:.3f} of the variance of a "
        f"noisy gradient, as (1 − γ)/(1 + γ) = {told.step[at]:.3f} says; a constant gradient "
        f"g ends in steps of {ends['heavy ball'] / 0.1:.1f} η g (heavy ball) or "
        f"{ends['moving average'] / 0.1:.1f} η g (moving average), and with "
        f"η_heavy = (1 − γ) η_average the two forms are one. In a valley with condition "
        f"number κ = {seen.kappas[-1]:,.0f} the best plain descent needs {plain:,.0f} steps, "
        f"Nesterov's form {nesterov:,.0f}, the heavy ball {heavy:,.0f}: they grow like "
        f"κ^{slopes['plain descent']:.2f}, κ^{slopes['Nesterov']:.2f} and "
        f"κ^{slopes['heavy ball']:.2f}. But only the steps get smoother: the place where "
        f"descent ends has {noise.position[at] / noise.position[0]:.2f} of the variance that "
        f"it has without momentum."
    )


def table(seen: Seen) -> Table:
    """The steps that every method needs."""
    rows = [
        [f"{k:,.0f}", *(f"{n[i]:,.0f}" for n in seen.needed.values())]
        for i, k in enumerate(seen.kappas)
    ]
    return Table("Steps until ‖θ‖ is a millionth", ["condition number κ", *METHODS], rows)


def picture(noise: Noise, told: Noise, pushed: Any, kappas: Any, needed: Any) -> plots.Figure:
    """Noise over γ, steps under a constant gradient, steps needed over κ."""
    title = "Momentum smooths the steps, lengthens those that agree, and shortens the way"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (11, 4))
    left.set_title("Variance caused by a noisy gradient", loc="left")
    names = ("of the step", "of the position")
    for name, seen, line, color in zip(names, noise, told, plots.COLORS[4:], strict=False):
        left.plot(GAMMAS, line / line[0], color=color, linewidth=1.2)
        left.plot(GAMMAS, seen / seen[0], "o", color=color, markersize=5, label=name)
    left.set(xlabel="γ", yscale="log", ylim=(0.005, 3), ylabel="variance over that at γ = 0")
    left.legend(frameon=False, loc="lower left", title="dots measured, lines predicted")
    middle.set_title("Steps under a constant gradient g", loc="left")
    middle.set(xlabel="step number", ylabel="length of the step / (η g)", ylim=(0, 11))
    for height, name in ((1 / (1 - MU), f"1/(1 − μ), μ = {MU:g}"), (1, "1")):
        middle.axhline(height, color=plots.FAINT, linestyle="--", linewidth=1.2, zorder=0)
        middle.annotate(name, (60, height + 0.15), color="#888888", fontsize=9, ha="right")
    for name, steps in pushed.items():
        middle.plot(np.arange(1, 61), steps[:60] / 0.1, color=COLORS[name], label=name)
    middle.legend(frameon=False, loc="center right")
    right.set_title("Steps until ‖θ‖ is a millionth", loc="left")
    right.set(xscale="log", yscale="log", xlabel="condition number κ", ylabel="steps needed")
    for name, n in needed.items():
        right.plot(kappas, n, "o-", color=COLORS[name], markersize=4, label=name)
    plots.slope(right, kappas, 1.7 * needed["plain descent"][0], 1, "slope 1")
    plots.slope(right, kappas, 0.33 * needed["heavy ball"][0], 0.5, "slope ½")
    right.set_ylim(bottom=4)
    right.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
