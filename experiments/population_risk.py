"""The loss on the training rows, and the loss on everything.

    uv run python -m experiments.population_risk

Question: How far is the loss on N examples from the loss on all that could ever come?

    J(θ) = 1/N Σ_i (x_i·θ − y_i)²      R(θ) = E (x·θ − y)² = ‖θ − θ*‖² + σ²

with x ~ N(0, I_d), y = x·θ* + σ e, e ~ N(0, 1), where the population risk R is known. Of a
fixed θ the errors are normal with variance R(θ), so J has the standard deviation R(θ) √(2/N).
The minimiser θ̂ of J, which is where the hand-written gradient of J is 0, has

    E R(θ̂) − R(θ*) = σ² d / (N − d − 1)      E J(θ*) − J(θ̂) = σ² d / N

Left also the law of large numbers: means of N exponential variables miss 1 by 1/√N, root
mean square. Right a net 5–16–1 trained by Adam on N rows of a known function with
noise, all sizes N in one program (rows beyond N have weight 0), its R measured on fresh
rows. Slopes are least squares on logarithmic axes, over the root mean square, the mean or,
of the net, the median of repetitions.

Source: Vapnik (1995), The Nature of Statistical Learning Theory, sections 1.2 and 1.4; the
excess risk: Breiman & Freedman (1983), JASA 78, p. 131.
"""

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
from experiments.common.estimates import power
from experiments.common.settings import ClaimSettings

LOSS = fnn.SquaredError()
NET = fnn.mlp([5, 16, 1], activation=fnn.Tanh())
SIGMA = 0.5


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare empirical and population risk over N."""

    features: Annotated[int, Bounds(1, 20)] = 10  # d
    most: Annotated[int, Bounds(256, 2**16)] = 4096  # the largest N
    repetitions: Annotated[int, Bounds(20)] = 1000
    nets: Annotated[int, Bounds(2)] = 6  # trained for every N
    steps: Annotated[int, Bounds(10)] = 2000


QUICK = Config(quick=True, most=512, repetitions=500, nets=3, steps=300)


def sizes(most: int, least: int = 32) -> list[int]:
    """Doubling from 32."""
    return [n for n in (least * 2**k for k in range(20)) if n <= most]


class Linear(NamedTuple):
    """What the first N of an endless row of examples gave, [repetitions, sizes]."""

    gap: Any  # J(θ) − R(θ), θ fixed
    mean: Any  # mean of N exponential variables − 1
    excess: Any  # R(θ̂) − R(θ*)
    better: Any  # J(θ*) − J(θ̂)
    slope: Any  # ‖∇J(θ̂)‖


def truth(d: int) -> Any:
    """θ*, of length 1."""
    return jnp.full((d, 1), 1 / d**0.5)


def linear(config: Config) -> Linear:
    """Everything about the linear problem; in double precision."""
    d, ns = config.features, sizes(config.most)
    net, best = fnn.Dense(d, 1), truth(d)

    def one(key):
        k_x, k_e, k_m = jax.random.split(key, 3)
        x = jax.random.normal(k_x, (config.most, d))
        y = x @ best + SIGMA * jax.random.normal(k_e, (config.most, 1))
        draws = jax.random.exponential(k_m, (config.most,))
        return [at(x[:n], y[:n], draws[:n]) for n in ns]

    def at(x, y, draws):
        fixed, _ = fnn.value_and_grad(net, LOSS, fnn.DenseParams(-best, jnp.zeros(1)), x, y)
        w = jnp.linalg.solve(x.T @ x, x.T @ y)
        true, _ = fnn.value_and_grad(net, LOSS, fnn.DenseParams(best, jnp.zeros(1)), x, y)
        fitted, grads = fnn.value_and_grad(net, LOSS, fnn.DenseParams(w, jnp.zeros(1)), x, y)
        excess, slope = ((w - best) ** 2).sum(), jnp.linalg.norm(grads.w)
        return Linear(fixed - risk(-best), draws.mean() - 1, excess, true - fitted, slope)

    def all_of_them(keys):
        return jax.lax.map(one, keys, batch_size=10)

    keys = jax.random.split(jax.random.key(config.seed), config.repetitions)
    return jax.tree.map(lambda *a: np.stack(a, 1), *jax.jit(all_of_them)(keys))


def risk(w: Any) -> Any:
    """R(θ) = ‖θ − θ*‖² + σ²."""
    return ((w - truth(len(w))) ** 2).sum() + SIGMA**2


def function(x: Any) -> Any:
    """What the net is to learn, [N, 5] → [N, 1]."""
    return jnp.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.5 * x[:, 3:4]


def nets(config: Config) -> tuple[list[int], Any, Any]:
    """N, and J(θ̂) and R(θ̂) of nets trained on N rows, [sizes, nets]."""
    most = min(config.most, 1024)
    ns = sizes(most)
    k_x, k_e, k_net, k_fresh = jax.random.split(jax.random.key(config.seed), 4)
    x = jax.random.normal(k_x, (config.nets, most, 5))
    y = jax.vmap(function)(x) + SIGMA * jax.random.normal(k_e, (config.nets, most, 1))
    fresh = jax.random.normal(k_fresh, (20_000, 5))
    params = [NET.init(key) for key in jax.random.split(k_net, config.nets)]
    first = jax.tree.map(lambda *p: jnp.stack(p), *params)
    plan = fnn.Plan(NET, LOSS, fnn.optim.Adam(0.01))

    def one(n, x, y, params):
        data = x, y, (jnp.arange(most) < n).astype(x.dtype)
        start = fnn.start(plan, None, params)
        state, _ = fnn.fit(plan, start, data, epochs=config.steps, batch_size=most)
        found = fnn.evaluate(plan, state, data)
        error = ((NET.forward(state.params, fresh)[0] - function(fresh)) ** 2).mean()
        return found["loss"], error + SIGMA**2

    runs = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0, 0)), (0, None, None, None)))
    fitted, population = runs(jnp.array(ns), x, y, first)
    return ns, np.asarray(fitted), np.asarray(population)


def measure(config: Config) -> Outcome:
    """J against R over N: of a fixed θ, of the minimiser, of a net."""
    with jax.enable_x64(True):
        found = linear(config)
        fixed = float(risk(-truth(config.features)))
    n, d = np.array(sizes(config.most)), config.features
    n_net, fitted, population = nets(config)
    seen = Seen(
        n, rms(found.gap), fixed * np.sqrt(2 / n), rms(found.mean), 1 / np.sqrt(n),
        found.excess.mean(0), SIGMA**2 * d / (n - d - 1),
        found.better.mean(0), SIGMA**2 * d / n,
        np.array(n_net), np.median(population - fitted, 1), np.median(population, 1) - SIGMA**2,
    )  # fmt: skip
    slopes = {
        "gap": power(n, seen.gap), "mean": power(n, seen.mean),
        "excess": power(n[n >= 8 * d], seen.excess[n >= 8 * d]),
        "net gap": power(n_net, seen.net_gap), "net excess": power(n_net, seen.net_excess),
    }  # fmt: skip
    return Outcome(
        answer=answer(seen, slopes, fixed),
        findings=findings(seen, slopes, found, fitted, population),
        measured={"slopes": slopes, "population_risk_of_fixed": fixed}
        | {name: a.tolist() for name, a in seen._asdict().items()},
        figure=picture(seen, slopes),
        tables=[table(seen)],
        rows=[
            {"N": m, "gap": seen.gap[i], "mean": seen.mean[i], "excess": seen.excess[i]}
            | {"too_small": seen.better[i]}
            for i, m in enumerate(n)
        ],
    )


class Seen(NamedTuple):
    """Over N: what was measured, and what it should be."""

    n: np.ndarray
    gap: np.ndarray
    true_gap: np.ndarray
    mean: np.ndarray
    true_mean: np.ndarray
    excess: np.ndarray
    true_excess: np.ndarray
    better: np.ndarray
    true_better: np.ndarray
    n_net: np.ndarray
    net_gap: np.ndarray
    net_excess: np.ndarray


def rms(a: np.ndarray) -> np.ndarray:
    """Root mean square over repetitions."""
    return np.sqrt((a**2).mean(0))


def near(measured: np.ndarray, true: np.ndarray, tolerance: float) -> bool:
    """Whether the relative error is at most `tolerance` at every N."""
    return bool((abs(measured / true - 1) < tolerance).all())


def findings(
    seen: Seen, slopes: dict[str, float], found: Linear, fitted: Any, population: Any
) -> dict[str, bool]:
    """What is claimed."""
    return {
        "J of a fixed θ is right on average": bool(
            (abs(found.gap.mean(0)) < 5 * seen.true_gap / np.sqrt(len(found.gap))).all()
        ),
        "it misses R by R √(2/N)": near(seen.gap, seen.true_gap, 0.15),
        "which falls like N^−½": abs(slopes["gap"] + 0.5) < 0.06,
        "the mean of N numbers misses by their deviation / √N": near(
            seen.mean, seen.true_mean, 0.15
        ),
        "at the minimiser of J the hand-written gradient is 0": found.slope.max() < 1e-10,
        "its excess risk is σ² d / (N − d − 1)": near(seen.excess, seen.true_excess, 0.15),
        "which falls like 1/N": abs(slopes["excess"] + 1) < 0.15,
        "its J is too small by σ² d / N": near(seen.better, seen.true_better, 0.15),
        "every trained net has J < R": bool((fitted < population).all()),
        "the gap of the nets shrinks with N at every doubling": bool(
            (np.diff(seen.net_gap) < 0).all()
        ),
    }


def answer(seen: Seen, slopes: dict[str, float], fixed: float) -> str:
    """What was measured, in sentences."""
    few, many = seen.n[0], seen.n[-1]
    return (
        f"For parameters fixed beforehand the difference falls like N^{slopes['gap']:.2f}, as the "
        f"error of any mean does (N^{slopes['mean']:.2f}): from {seen.gap[0]:.2f} with {few} "
        f"examples to {seen.gap[-1]:.3f} with {many}, where the loss is {fixed:.2f}. For "
        f"parameters that were fitted to these very examples the loss is too small, and what they "
        f"lose against the best falls faster, like N^{slopes['excess']:.2f}: {seen.excess[0]:.3f} "
        f"with {few}, {seen.excess[-1]:.5f} with {many}, everywhere within "
        f"{abs(seen.excess / seen.true_excess - 1).max():.0%} of σ² d / (N − d − 1). A trained "
        f"net's loss on new rows exceeds that on its own by {seen.net_gap[0]:.2f} with "
        f"{seen.n_net[0]} rows and by {seen.net_gap[-1]:.2f} with {seen.n_net[-1]}."
    )


def table(seen: Seen) -> Table:
    """Measured beside what it should be."""
    columns = ["N", "|J − R|, θ fixed", "R √(2/N)", "R(θ̂) − R(θ*)", "σ² d / (N − d − 1)"]
    rows = [[str(n)] + [f"{seen[k][i]:.5f}" for k in (1, 2, 5, 6)] for i, n in enumerate(seen.n)]
    return Table("Linear-Gaussian problem", columns, rows)


def picture(seen: Seen, slopes: dict[str, float]) -> plots.Figure:
    """Left: fixed θ and sample means; middle: the minimiser; right: a net."""
    title = (
        "Four times the examples halve the error of a loss; twice as many halve what a fit loses"
    )
    figure, (axes,) = plots.picture(title, 1, 3, (11, 4.2))
    left, middle, right = axes
    for panel in axes:
        panel.set(xscale="log", yscale="log", xlabel="examples N")
    blue, red, green = plots.COLORS[:3]
    left.plot(seen.n, seen.gap, "o", color=blue, label="loss of a fixed θ")
    left.plot(seen.n, seen.true_gap, color=blue, label="R √(2/N)")
    left.plot(seen.n, seen.mean, "o", color=red, label="sample mean")
    left.plot(seen.n, seen.true_mean, color=red, label="1 / √N")
    left.set(ylabel="root mean square error", title="fixed beforehand: like 1 / √N")
    middle.plot(seen.n, seen.excess, "o", color=blue, label="R(θ̂) − R(θ*)")
    middle.plot(seen.n, seen.true_excess, color=blue, label="σ² d / (N − d − 1)")
    middle.plot(seen.n, seen.better, "o", color=green, label="J(θ*) − J(θ̂)")
    middle.plot(seen.n, seen.true_better, color=green, label="σ² d / N")
    middle.set(ylabel="mean difference of losses", title="fitted to the N examples: like 1 / N")
    right.plot(seen.n_net, seen.net_gap, "o-", color=blue, label="R(θ̂) − J(θ̂)")
    right.plot(seen.n_net, seen.net_excess, "o-", color=green, label="R(θ̂) − σ²")
    right.set(ylabel="median difference of losses", title="a trained net")
    left.set_ylim(seen.mean.min() / 8, None)
    for panel in axes:
        panel.legend(frameon=False, loc="lower left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
