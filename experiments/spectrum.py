"""The curvature of a small transformer while gradient descent trains it.

    uv run python -m experiments.spectrum

Question: Does gradient descent take a transformer to where its curvature is 2/η, and how much of
the curvature does the Gauss–Newton matrix have?

    p ← p − η ∇L(p)              of the same windows of Python text in every step
    ∇²L = G + Σ ∂L/∂z ∇²z        G = Jᵀ (∂²L/∂z²) J, the Gauss–Newton matrix

On a quadratic with the largest eigenvalue λ the steps of gradient descent grow where λ > 2/η. The
left picture shows λ of the Hessian along the way, by Lanczos from Hessian-vector products
(fnn.curvature), for several η. The right ones show the density of all eigenvalues of the Hessian
and of G before and after the training with the middle η, every node of Lanczos a normal
distribution on the axis of asinh, |λ| < 0.05 in the middle; the nodes lie close at both ends of the
spectrum and far from each other around 0, where they say little. G has no negative ones: what the
Hessian has of them comes from how the net bends. The negative share is that of Σ |λ|. Text: the
standard library; the loss is the cross-entropy of the next byte, in nats.

Source: Cohen, Kaur, Li, Kolter & Talwalkar (2021), arXiv:2103.00065, for the edge of stability;
Ghorbani, Krishnan & Xiao (2019), arXiv:1901.10159, for the density.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.gpt import corpus
from fnn.curvature import gauss_newton_product, hessian_product, spectral_density, top_eigenvalues

LOSS = fnn.SoftmaxCrossEntropy()
HESSIAN, GAUSS_NEWTON = "Hessian", "Gauss–Newton"
KNEE, WIDTH = 0.05, 0.25  # where asinh turns into a logarithm; of a node on that axis


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Follow the largest eigenvalue of a transformer's Hessian along gradient descent."""

    rates: Annotated[tuple[float, ...], Bounds(1e-4, 10)] = (0.05, 0.1, 0.2)  # η
    points: Annotated[int, Bounds(4)] = 30  # at which λ is measured
    every: Annotated[int, Bounds(1)] = 20  # steps between them
    n: Annotated[int, Bounds(4, 64)] = 24  # width of the net, of two blocks with two heads
    windows: Annotated[int, Bounds(2)] = 16  # of as many bytes
    lanczos: Annotated[int, Bounds(4, 200)] = 12  # steps to λ; of the density ten times as many


QUICK = Config(quick=True, rates=(0.1, 0.2), points=16, every=20, n=8, windows=8, lanczos=8)


class Problem(NamedTuple):
    """A net, its params at the start, and the text that it reads."""

    net: Any
    params: Any
    x: Any
    target: Any

    def product(self, kind: str, params: Any) -> Any:
        """v → A v at these params."""
        f = hessian_product if kind == HESSIAN else gauss_newton_product
        return partial(f, self.net, LOSS, params, self.x, self.target)


def problem(config: Config) -> Problem:
    """The first params, and windows spread over the text, its bytes by number."""
    context = config.windows
    text = corpus.read(None, context)
    x, target = corpus.spread(text.train, context, context)
    used, rows = np.unique(np.concatenate([x, target[:, -1:]], 1), return_inverse=True)
    rows = jnp.asarray(rows.reshape(len(x), -1))
    net = fnn.gpt(len(used), config.n, 2, 2, context, chunk=context)
    params = net.init(jax.random.key(config.seed))
    return Problem(net, params, rows[:, :-1], rows[:, 1:])


@partial(jax.jit, static_argnames=("net", "points", "every", "steps"))
def descent(net, params, x, target, rates, key, points, every, steps) -> Any:
    """Params after the descent with every rate, losses and λ at the points in front of it."""
    p = Problem(net, params, x, target)

    def run(rate):
        def step(params, _):
            value, g = fnn.value_and_grad(net, LOSS, params, x, target)
            return jax.tree.map(lambda a, b: a - rate * b, params, g), value

        def point(params, key):
            top = top_eigenvalues(p.product(HESSIAN, params), params, key=key, steps=steps)
            after, values = jax.lax.scan(step, params, None, every)
            return after, (values[0], top.values[0])

        return jax.lax.scan(point, params, jax.random.split(key, points))

    return jax.lax.map(run, rates)


@partial(jax.jit, static_argnames=("net", "steps"))
def densities(net, params, x, target, key, steps) -> Any:
    """Nodes and weights of Hessian and Gauss–Newton matrix."""
    p = Problem(net, params, x, target)
    return {
        kind: spectral_density(p.product(kind, params), params, key=key, steps=steps, starts=2)
        for kind in (HESSIAN, GAUSS_NEWTON)
    }


class Seen(NamedTuple):
    """What was measured."""

    rates: tuple[float, ...]
    steps: np.ndarray  # [points]
    losses: np.ndarray  # [rates, points]
    tops: np.ndarray  # λ, [rates, points]
    before: Any  # densities
    after: Any

    def late(self) -> np.ndarray:
        """λ η / 2 over the second half of the way, the median of every rate."""
        half = self.tops.shape[1] // 2
        return np.median(self.tops[:, half:], 1) * np.asarray(self.rates) / 2


def negative(density: Any) -> float:
    """The share of negative eigenvalues in Σ |λ|."""
    return float(density.mean(lambda t: jnp.maximum(-t, 0)) / density.mean(jnp.abs))


def measure(config: Config) -> Outcome:
    """Descend and look."""
    p, key = problem(config), jax.random.key(config.seed + 1)
    rates = tuple(sorted(config.rates))
    args = p.net, p.params, p.x, p.target
    sizes = config.points, config.every, config.lanczos
    ends, (losses, tops) = descent(*args, jnp.array(rates), key, *sizes)
    middle = jax.tree.map(lambda a: a[len(rates) // 2], ends)
    found = [
        densities(p.net, at, p.x, p.target, key, 10 * config.lanczos)
        for at in track("densities", [p.params, middle])
    ]
    steps = config.every * np.arange(config.points)
    seen = Seen(rates, steps, np.asarray(losses), np.asarray(tops), *found)
    shares = {
        f"{when}, {kind}": negative(d[kind])
        for when, d in zip(("before", "after"), found, strict=True)
        for kind in d
    }
    return Outcome(
        answer=answer(seen, shares),
        findings=findings(seen, shares),
        measured={"eta lambda / 2": seen.late(), "negative": shares, "losses": losses[:, -1]},
        figure=picture(seen),
        tables=[table(seen)],
        rows=[{"step": int(s)} | {f"top, {r}": float(v) for r, v in zip(rates, column, strict=True)}
              for s, column in zip(steps, seen.tops.T, strict=True)],
    )  # fmt: skip


def findings(seen: Seen, shares: dict[str, float]) -> dict[str, bool]:
    """What is claimed."""
    late = seen.late()
    return {
        "late λ is within a factor of two of 2/η at every rate": bool(
            ((late > 0.5) & (late < 2)).all()
        ),
        "the larger the rate, the smaller late λ": bool((np.diff(late / seen.rates) < 0).all()),
        "the Gauss–Newton matrix has no negative eigenvalues, the Hessian has": (
            shares[f"before, {GAUSS_NEWTON}"] < 1e-3 < shares[f"before, {HESSIAN}"]
        ),
        "training takes the negative share of the Hessian down": (
            shares[f"after, {HESSIAN}"] < shares[f"before, {HESSIAN}"]
        ),
        "after it both have the same largest eigenvalue, within a tenth": bool(
            abs(seen.after[GAUSS_NEWTON].nodes.max() / seen.after[HESSIAN].nodes.max() - 1) < 0.1
        ),
    }


def answer(seen: Seen, shares: dict[str, float]) -> str:
    """What was measured, in sentences."""
    late = ", ".join(f"{v:.2f} (η {r:g})" for v, r in zip(seen.late(), seen.rates, strict=True))
    return (
        f"Over the second half of the way λ is {late} times 2/η: the larger the steps, the flatter "
        f"the place where they stay. Negative eigenvalues have "
        f"{100 * shares[f'before, {HESSIAN}']:.0f} % of Σ |λ| of the Hessian before the training "
        f"and {100 * shares[f'after, {HESSIAN}']:.0f} % after it; the Gauss–Newton matrix has "
        f"none, and after the training its largest eigenvalue is that of the Hessian."
    )


def table(seen: Seen) -> Table:
    """λ at the start, in the middle and at the end."""
    at = [0, seen.tops.shape[1] // 2, -1]
    rows = [
        [f"η {r:g}, 2/η = {2 / r:.1f}", *(f"{tops[i]:.1f}" for i in at), f"{losses[-1]:.3f}"]
        for r, tops, losses in zip(seen.rates, seen.tops, seen.losses, strict=True)
    ]
    return Table(
        "The largest eigenvalue λ", ["", *(f"step {seen.steps[i]}" for i in at), "loss"], rows
    )


def picture(seen: Seen) -> plots.Figure:
    """λ along the way, and densities before and after."""
    title = "Gradient descent takes a transformer to a curvature of 2/η and some more"
    figure, ((left, before, after),) = plots.picture(title, 1, 3, (13, 4))
    left.set(yscale="log", xlabel="step", ylabel="λ, largest eigenvalue of the Hessian (log scale)")
    plots.lines(
        left, seen.steps, {f"η {r:g}": v for r, v in zip(seen.rates, seen.tops, strict=True)}
    )
    for rate, color in zip(seen.rates, plots.COLORS, strict=False):
        left.axhline(2 / rate, color=color, linestyle="--", linewidth=1)
    left.set_title("λ along the way; dashed: 2/η")
    middle = seen.rates[len(seen.rates) // 2]
    drawn(before, seen.before, "Before the training")
    drawn(after, seen.after, f"After it, with η {middle:g}")
    return figure


def drawn(axes: Any, found: Any, title: str) -> None:
    """Densities on an axis of asinh, so that both signs and all sizes have room."""
    ticks = np.array([-100, -10, -1, -0.1, 0, 0.1, 1, 10, 100])
    reach = np.arcsinh(200 / KNEE)
    grid = np.linspace(-reach, reach, 801)
    for (kind, density), color in zip(found.items(), plots.COLORS, strict=False):
        on = fnn.curvature.Density(jnp.arcsinh(density.nodes / KNEE), density.weights)
        axes.plot(grid, np.asarray(on.at(grid, WIDTH)), color=color, linewidth=1.6, label=kind)
    axes.set_xticks(np.arcsinh(ticks / KNEE), [f"{t:g}" for t in ticks])
    axes.set(
        yscale="log",
        ylim=(1e-5, 5),
        xlabel="eigenvalue (asinh scale)",
        ylabel="density on that axis (log scale)",
    )
    axes.set_title(title)
    axes.legend(frameon=False, loc="upper left")


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
