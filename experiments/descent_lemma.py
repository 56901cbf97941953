"""The descent lemma and the rate of gradient descent.

    uv run python -m experiments.descent_lemma

Question: Which learning rates are sure to lower the cost, and how fast does it then fall?

    J(θ − η ∇J) ≤ J(θ) − η (1 − η β/2) ‖∇J‖²          for any η; at most J − (η/2) ‖∇J‖² for η ≤ 1/β
    J(θ_T) − J* ≤ ‖θ_0 − θ*‖² / (2 η T)               where J is convex and η ≤ 1/β

β = λ_max(c Xᵀ X/N + λ D) bounds the curvature of J, the mean loss plus (λ/2) ‖w‖²: c = 1/4
for logistic regression, because σ′ ≤ 1/4, and c = 2 for squared errors, where β is the
curvature itself. X are the breast cancer data, standardised, with ones for the bias, which D
leaves out; λ = 10⁻³. The left picture shows the worst step of all runs, as
(J(θ) − J(θ⁺)) / (η ‖∇J‖²). Runs start in random directions, at distances from 0.1 to 10.
Gradients are fnn's, in float64; θ* is found by Newton's method with jax.jacfwd.

For squared errors the share of the second bound is at most max_x x (1 − x/T)^{2T} < 1/(2e).

Source: Nesterov (2018), Lectures on Convex Optimization, lemma 1.2.3; Beck & Teboulle (2009),
SIAM Journal on Imaging Sciences 2, theorem 3.1; the curvature: Böhning (1992), Annals of the
Institute of Statistical Mathematics 44, section 2.
"""

import sys
from dataclasses import dataclass
from functools import partial
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
from experiments.common.settings import ClaimSettings

FEWEST = 1e-9  # of η ‖∇J‖²: below, J(θ) − J(θ⁺) is mostly rounding
PENALTY = fnn.L2(1e-3)
LOGISTIC, COINS, SQUARED = COSTS = (
    "logistic regression", "logistic regression, random labels", "squared errors"
)  # fmt: skip


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Descend with many learning rates, from many starts."""

    starts: Annotated[int, Bounds(2)] = 20  # per learning rate
    rates: Annotated[int, Bounds(8)] = 50  # values of η β, from 0.1 to 5
    steps: Annotated[int, Bounds(10, 201)] = 200  # of every run with those
    longest: Annotated[int, Bounds(10)] = 3000  # steps of the runs with η β = 1


QUICK = Config(quick=True, starts=6, rates=25, steps=60, longest=300)


class Problem(NamedTuple):
    """A convex cost of a vector θ = (w, b)."""

    loss: Any
    x: Any
    target: Any
    net: Any
    curvature: float  # β


def problem(name: str, key: Any) -> Problem:
    """One of COSTS, with β from the data."""
    loss, c = fnn.SigmoidBinaryCrossEntropy(), 0.25
    if name == SQUARED:
        loss, c = fnn.SquaredError(), 2.0
    rows = bundles.breast_cancer().rows
    x = Standardizer.of(rows.x)(rows.x).astype(np.float64)
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    hessian = c * ones.T @ ones / len(x) + PENALTY.strength * np.diag([1.0] * x.shape[1] + [0])
    coins = jax.random.bernoulli(key, 0.5, (len(x), 1))
    target = jnp.asarray(coins if name == COINS else rows.label[:, None], float)
    net = fnn.Dense(x.shape[1], 1)
    return Problem(loss, jnp.asarray(x), target, net, float(np.linalg.eigvalsh(hessian)[-1]))


def cost_and_gradient(p: Problem, theta: Any) -> tuple[Any, Any]:
    """J(θ) and ∇J(θ)."""
    params = fnn.DenseParams(theta[:-1, None], theta[-1:])
    value, grads = fnn.value_and_grad(p.net, p.loss, params, p.x, p.target, penalty=PENALTY)
    return value, ravel_pytree(grads)[0]


class Landmarks(NamedTuple):
    """What Newton's method and the Hessian say of a cost."""

    best: Any  # θ*
    lowest: float  # J*
    steepest: float  # the largest eigenvalue of the Hessian at 0 and at θ*


def landmarks(p: Problem) -> Landmarks:
    """The minimum and the curvature."""
    value_and_gradient = jax.jit(lambda theta: cost_and_gradient(p, theta))
    hessian = jax.jit(jax.jacfwd(lambda theta: cost_and_gradient(p, theta)[1]))
    theta = jnp.zeros(p.x.shape[1] + 1)
    steepest = [float(jnp.linalg.eigvalsh(hessian(theta))[-1])]
    for _ in range(30):
        theta = theta - jnp.linalg.solve(hessian(theta), value_and_gradient(theta)[1])
    steepest.append(float(jnp.linalg.eigvalsh(hessian(theta))[-1]))
    return Landmarks(theta, float(value_and_gradient(theta)[0]), max(steepest))


@partial(jax.jit, static_argnames="steps")
def descents(x: Any, target: Any, loss: Any, starts: Any, rates: Any, steps: int) -> Any:
    """J [rates, starts, steps + 1] and ‖∇J‖² along gradient descent."""
    p = Problem(loss, x, target, fnn.Dense(x.shape[1], 1), 0.0)

    def run(theta, rate):
        def step(theta, _):
            value, g = cost_and_gradient(p, theta)
            return theta - rate * g, (value, (g**2).sum())

        return jax.lax.scan(step, theta, None, length=steps + 1)[1]

    return jax.vmap(jax.vmap(run, (0, None)), (None, 0))(starts, rates)


class Found(NamedTuple):
    """What is measured of one cost."""

    worst: np.ndarray  # the least (J − J⁺) / (η ‖∇J‖²) for every η β
    excess: np.ndarray  # the largest (J_T − J*) / (β ‖θ_0 − θ*‖²) for T = 1, 2, ...; η β = 1
    curvature: float  # β
    steepest: float  # the largest eigenvalue of the Hessian at 0 and at θ*, as a share of β


def found(name: str, config: Config, products: np.ndarray) -> Found:
    """Descend on one of COSTS."""
    k_labels, k_starts = jax.random.split(jax.random.key(config.seed))
    p = problem(name, k_labels)
    marks = landmarks(p)
    directions = jax.random.normal(k_starts, (config.starts, len(marks.best)))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    starts = directions * jnp.geomspace(0.1, 10, config.starts)[:, None]
    rates = jnp.asarray(products) / p.curvature
    run = partial(descents, p.x, p.target, p.loss, starts)
    values, squares = (np.asarray(a) for a in run(rates, config.steps))
    step = np.asarray(rates)[:, None, None] * squares[..., :-1]
    ratio = np.where(step > FEWEST, -np.diff(values) / np.maximum(step, FEWEST), np.inf)
    long, _ = run(jnp.array([1 / p.curvature]), config.longest)
    far = p.curvature * ((starts - marks.best) ** 2).sum(1)
    excess = np.asarray((long[0, :, 1:] - marks.lowest) / far[:, None])
    return Found(ratio.min((1, 2)), excess.max(0), p.curvature, marks.steepest / p.curvature)


def measure(config: Config) -> Outcome:
    """Both costs."""
    products = np.linspace(0.1, 5, config.rates)
    with jax.enable_x64(True):
        all_found = {name: found(name, config, products) for name in COSTS}
    times = np.arange(1, config.longest + 1)
    share = {name: float((2 * times * f.excess).max()) for name, f in all_found.items()}
    rises = {
        name: float(products[f.worst < 0].min(initial=np.inf)) for name, f in all_found.items()
    }
    least = min(float(f.worst[products <= 1].min()) for f in all_found.values())
    seen = Seen(products, all_found, least, rises, share)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            name: {
                "beta": f.curvature,
                "largest_hessian_eigenvalue_over_beta": f.steepest,
                "rises_from_eta_beta": rises[name],
                "largest_share_of_the_bound": share[name],
            }
            for name, f in all_found.items()
        },
        figure=picture(products, all_found),
        tables=[table(seen)],
        rows=[
            {"eta_beta": e, **{name: f.worst[i] for name, f in all_found.items()}}
            for i, e in enumerate(products)
        ],
    )


class Seen(NamedTuple):
    """What was measured of all costs; dictionaries by their names."""

    products: np.ndarray  # η β
    found: dict[str, Found]
    least: float  # (J − J⁺) / (η ‖∇J‖²) of the worst step of all with η β ≤ 1
    rises: dict[str, float]  # the least η β with which a step raised the cost
    share: dict[str, float]  # the largest (J_T − J*) / (‖θ_0 − θ*‖² / (2 η T))


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    every, quadratic, coins = seen.found.values(), seen.found[SQUARED], seen.found[COINS]
    safe = seen.products <= 1
    return {
        "no step lowers the cost by less than η (1 − η β/2) ‖∇J‖²": all(
            bool((f.worst >= 1 - seen.products / 2 - 1e-6).all()) for f in every
        ),
        "with η ≤ 1/β every step lowers it by η ‖∇J‖²/2": all(
            bool((f.worst[safe] >= 0.5 - 1e-6).all()) for f in every
        ),
        "squared errors rise with every η > 2/β": bool(
            (quadratic.worst[seen.products > 2.01] < 0).all()
        ),
        "logistic regression of random labels rises with η = 3/β": bool(
            (coins.worst[seen.products > 3] < 0).all()
        ),
        "J − J* stays below ‖θ₀ − θ*‖²/(2ηT)": all(0 < s <= 1 for s in seen.share.values()),
        "squared errors stay below 1/(2e) of that": seen.share[SQUARED] < 0.5 / np.e,
        "β is the largest eigenvalue of the Hessian of squared errors": bool(
            abs(quadratic.steepest - 1) < 1e-6
        ),
        "and is not exceeded by that of logistic regression": all(
            0.5 < seen.found[name].steepest <= 1 + 1e-9 for name in (LOGISTIC, COINS)
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    rises = seen.rises
    flat = "not up to 5/β" if rises[LOGISTIC] > 5 else f"from {rises[LOGISTIC]:.2f}/β"
    return (
        f"Every rate below 2/β, where β bounds the curvature. With η ≤ 1/β every step lowered "
        f"the cost by at least {seen.least:.2f} η ‖∇J‖² (the lemma promises 0.5). Squared errors "
        f"rose from η = {rises[SQUARED]:.2f}/β on, logistic regression of random labels from "
        f"{rises[COINS]:.2f}/β; of true labels, whose minimum is flatter, {flat}. After T steps "
        f"with η = 1/β the cost was above its minimum by at most {max(seen.share.values()):.2f} "
        f"of ‖θ₀ − θ*‖²/(2ηT), the bound of convex costs."
    )


def table(seen: Seen) -> Table:
    """Curvature, dangerous rates and the bound, of every cost."""
    rows = [
        [name, f"{f.curvature:.2f}", f"{seen.rises[name]:.2f}", f"{seen.share[name]:.2f}"]
        for name, f in seen.found.items()
    ]
    title = "Learning rates that raise the cost, and the share of the bound of J − J*"
    return Table(title, ["", "β", "least η β", "share"], rows)


def picture(products: np.ndarray, all_found: dict[str, Found]) -> plots.Figure:
    """The worst step for every rate; the excess cost for every number of steps."""
    title = "Rates below 2/β lower the cost, and the excess falls at least like 1/T"
    figure, ((steps, rates),) = plots.picture(title, 1, 2, size=(10, 4.2))
    times = np.arange(1, len(all_found[SQUARED].excess) + 1)
    steps.set(ylim=(-1.6, 1.1), xlim=(0, 5.1))
    steps.axhspan(-1.6, 0, color=plots.FAINT, alpha=0.3, linewidth=0)
    steps.plot(products, 1 - products / 2, color=plots.INK, label="the lemma: 1 − η β/2")
    for (name, f), color in zip(all_found.items(), plots.COLORS, strict=False):
        steps.plot(products, f.worst, ".", color=color, label=name, markersize=7)
        rates.plot(times, f.excess, color=color, label=name)
    rates.plot(times, 0.5 / times, color=plots.INK, label="the bound: 1/(2 T)")
    steps.text(0.1, -0.14, "the cost rises", color="#777777")
    steps.set(xlabel="η β", ylabel="(J(θ) − J(θ⁺)) / (η ‖∇J‖²)", title="worst step of all runs")
    rates.set(xscale="log", yscale="log", xlabel="steps T, with η = 1/β")
    rates.set(ylabel="(J − J*) / (β ‖θ₀ − θ*‖²)", title="worst start of all")
    for axes in (steps, rates):
        axes.legend(frameon=False, loc="lower left", fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
