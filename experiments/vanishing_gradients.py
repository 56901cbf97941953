"""Error signals on their way back through a deep network.

    uv run python -m experiments.vanishing_gradients

Question: How much of the error signal reaches the first layers of a deep network?

    δ_l = ∂L/∂z_l = (δ_{l+1} w_{l+1}ᵀ) ⊙ f′(z_l)       z_l = a_{l−1} w_l + b_l
    ∂L/∂w_1 = xᵀ δ_1

    σ′ ≤ ¼   ⇒   ‖δ_l‖ ≤ 4^−(L−l) s(w_{l+1}) ... s(w_L) ‖δ_L‖        s: largest singular value

The networks have L hidden layers of `width` neurons and a softmax; weights as glorot_uniform
draws them (sigmoid, tanh) or he_normal (ReLU), from many seeds. Norms are over a batch of
standardised digits, in float64, where 10⁻²⁰ is still a number; the bound is checked for
every single digit as well. Shown is the median of the seeds, with the middle 80 %.

The theory is that of infinitely many neurons: z_l is normal with the variance q_l, and

    q_{l+1} = v E[f(z_l)²]      ‖δ_l‖² / ‖δ_{l+1}‖² = v E[f′(z_l)²]      v = width · Var(w)

Source: Hochreiter, Bengio, Frasconi & Schmidhuber (2001), Gradient flow in recurrent nets;
Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), arXiv:1611.01232, eqs. 3 and 8.
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

LOSS = fnn.SoftmaxCrossEntropy()


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Follow the error signal back through deep networks, layer by layer."""

    depths: Annotated[tuple[int, ...], Bounds(2)] = (2, 4, 8, 16, 32)  # hidden layers
    seeds: Annotated[int, Bounds(1)] = 16  # initial weights
    rows: Annotated[int, Bounds(1)] = 128  # digits


QUICK = Config(quick=True, depths=(2, 8), seeds=5, rows=64)


class Kind(NamedTuple):
    """An activation and the weights that suit it."""

    activation: fnn.Layer[Any, Any]
    w_init: Any
    variance: float  # v, width · Var(w)


KINDS = {
    "sigmoid": Kind(fnn.Sigmoid(), fnn.initializers.glorot_uniform, 1.0),
    "tanh": Kind(fnn.Tanh(), fnn.initializers.glorot_uniform, 1.0),
    "ReLU": Kind(fnn.ReLU(), fnn.initializers.he_normal, 2.0),
}


class Signals(NamedTuple):
    """What one depth shows, for all seeds."""

    deltas: np.ndarray  # ‖δ_l‖, [seeds, L]
    gradients: np.ndarray  # ‖∂L/∂w_1‖, [seeds]
    slack: float  # the smallest bound / ‖δ_l‖, over all seeds, layers and digits
    bounds: np.ndarray  # 4^−(L−l) s(w_{l+1}) ... s(w_L), [seeds, L]


def network(kind: Kind, width: int, depth: int) -> fnn.Serial:
    """`depth` hidden layers, and the output."""
    hidden = fnn.Serial(fnn.Dense(width, width, kind.w_init), kind.activation)
    return fnn.Serial(fnn.Repeat(depth, hidden), fnn.Dense(width, 10))


def signals(kind: Kind, depths: list[int], rows: Rows, keys: Any) -> list[Signals]:
    """Norms of δ and of the first gradient for every depth, and the sigmoid's bound.

    A network of d hidden layers is the deepest one without its others.
    """
    x, width = jnp.asarray(rows.x, float), rows.x.shape[1]
    params = jax.jit(jax.vmap(network(kind, width, depths[-1]).init))(keys)
    found = []
    for depth in depths:
        hidden, output = params
        first = jax.tree.map(lambda a, d=depth: a[:, :d], hidden)
        norms, gradients = norms_of(network(kind, width, depth), (first, output), x, rows.label)
        bounds = lowest_rates(np.linalg.norm(np.asarray(first[0].w), 2, axis=(-2, -1)))
        below = norms[:, :-1]  # at the last layer the bound is δ itself
        slack = (bounds[:, :-1, None] * norms[:, -1:] / below).min() if below.all() else np.inf
        found.append(Signals(np.linalg.norm(norms, axis=-1), gradients, float(slack), bounds))
    return found


def norms_of(net: fnn.Serial, params: Any, x: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Norms of every δ [seeds, L, rows], and of the first gradient [seeds]."""

    @jax.jit
    @jax.vmap
    def run(params):
        (dense, _), _ = fnn.fold(net, LOSS, params, x, target, rule=fnn.rules.deltas).result
        return jnp.linalg.norm(dense, axis=-1), jnp.linalg.norm(x.T @ dense[0])

    norms, gradients = run(params)
    return np.asarray(norms), np.asarray(gradients)


def lowest_rates(s: np.ndarray) -> np.ndarray:
    """4^−(L−l) s_{l+1} ... s_L for every l, of largest singular values [..., L]."""
    factors = np.concatenate([s[..., 1:] / 4, np.ones_like(s[..., :1])], -1)
    return np.cumprod(factors[..., ::-1], -1)[..., ::-1]


def theory(kind: Kind, depth: int, square: float) -> np.ndarray:
    """‖δ_l‖ / ‖δ_L‖ [L] of infinitely wide layers; `square` is the mean of x²."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)  # none at a kink in 0
    weights = weights / weights.sum()
    q, rates = kind.variance * square, []
    for _ in range(depth):
        z = jnp.asarray(np.sqrt(q) * nodes)
        f, cache = kind.activation.forward((), z)
        _, slope = kind.activation.backward((), cache, jnp.ones_like(z))
        rates.append(kind.variance * float(weights @ np.asarray(slope) ** 2))
        q = kind.variance * float(weights @ np.asarray(f) ** 2)
    steps = np.sqrt([*rates[:-1], 1.0])
    return np.cumprod(steps[::-1])[::-1]


def measure(config: Config) -> Outcome:
    """Norms by layer in the deepest network, and of the first gradient by depth."""
    depths = sorted(config.depths)
    with jax.enable_x64(True):
        rows = bundles.first_digits(config.rows)
        keys = jax.random.split(jax.random.key(config.seed), config.seeds)
        runs = {name: signals(k, depths, rows, keys) for name, k in KINDS.items()}
        square = float((rows.x**2).mean())
        expected = {name: theory(k, depths[-1], square) for name, k in KINDS.items()}
    shares = {name: s[-1].deltas / s[-1].deltas[:, -1:] for name, s in runs.items()}
    first = {name: float(np.median(share[:, 0])) for name, share in shares.items()}
    root = 1 / (depths[-1] - 1)
    seen = Seen(
        depths, runs, first,
        rates={name: share**root for name, share in first.items()},
        wide={name: float(e[0]) ** root for name, e in expected.items()},
    )  # fmt: skip
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "share": first, "rate": seen.rates, "rate_infinite_width": seen.wide,
            "slack": seen.slack(),
        },
        figure=picture(depths, runs, shares, expected),
        tables=[table(seen)],
        rows=[
            {"layer": i + 1}
            | {name: float(np.median(shares[name][:, i])) for name in KINDS}
            | {f"{name} theory": float(expected[name][i]) for name in KINDS}
            for i in range(depths[-1])
        ],
    )  # fmt: skip


class Seen(NamedTuple):
    """What was measured, by activation."""

    depths: list[int]
    runs: dict[str, list[Signals]]  # [depths]
    first: dict[str, float]  # what is left of δ in the first layer of the deepest network
    rates: dict[str, float]  # the same per layer
    wide: dict[str, float]  # rates of infinitely wide layers

    def slack(self) -> float:
        """The least of δ's distances from the sigmoids' bound, as a ratio."""
        return min(s.slack for s in self.runs["sigmoid"])


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    rates = seen.rates
    return {
        "the bound from σ′ ≤ ¼ holds for every sigmoid network, layer and digit": (
            seen.slack() >= 1
        ),
        "it does not hold for tanh or ReLU, which do not shrink δ that much": all(
            s[-1].slack < 1 for name, s in seen.runs.items() if name != "sigmoid"
        ),
        "sigmoids leave less than a third of δ per layer": rates["sigmoid"] < 1 / 3,
        "tanh and ReLU leave more than three quarters of it": (
            min(rates["tanh"], rates["ReLU"]) > 3 / 4
        ),
        "the rates are within 5 % of those of infinitely wide layers": all(
            abs(rates[name] / seen.wide[name] - 1) < 0.05 for name in KINDS
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    first, rates, wide = seen.first, seen.rates, seen.wide
    bound = float(np.median(seen.runs["sigmoid"][-1].bounds[:, 0]))
    return (
        f"Of the error signal {first['sigmoid']:.0e} is left after {seen.depths[-1] - 1} layers of "
        f"sigmoids, {first['tanh']:.2f} of tanh, {first['ReLU']:.2f} of ReLU: per layer it is "
        f"multiplied by {rates['sigmoid']:.3f}, {rates['tanh']:.3f} and {rates['ReLU']:.3f} "
        f"(theory of infinitely wide layers: {wide['sigmoid']:.3f}, {wide['tanh']:.3f}, "
        f"{wide['ReLU']:.3f}). The bound from σ′ ≤ ¼, {bound:.0e} over all layers, held for "
        "every sigmoid network, layer and digit."
    )


def table(seen: Seen) -> Table:
    """What is left of δ, measured and by theory."""
    first, rates, wide = seen.first, seen.rates, seen.wide
    return Table(
        f"δ from layer {seen.depths[-1]} back to layer 1",
        ["", "left of it", "per layer", "theory"],
        [[k, f"{first[k]:.1e}", f"{rates[k]:.3f}", f"{wide[k]:.3f}"] for k in KINDS],
    )


def picture(
    depths: list[int],
    runs: dict[str, list[Signals]],
    shares: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
) -> plots.Figure:
    """δ by layer, and the first layer's gradient by depth."""
    title = "Sigmoids swallow the error signal; tanh and ReLU let it through"
    figure, ((left, right),) = plots.picture(title, 1, 2, (10.5, 4.4))
    layers = np.arange(1, depths[-1] + 1)
    for name, color in zip(KINDS, plots.COLORS, strict=False):
        plots.band(left, layers, shares[name].T, color, name)
        left.plot(layers, expected[name], ":", color=plots.INK, linewidth=1.2)
        gradients = np.stack([s.gradients for s in runs[name]])
        plots.band(right, depths, gradients, color, name)
    left.plot([], [], ":", color=plots.INK, linewidth=1.2, label="theory")
    bound = np.median(runs["sigmoid"][-1].bounds, 0)
    left.plot(layers, bound, "--", color=plots.COLORS[0], linewidth=1.2, label="sigmoid: bound")
    left.set(yscale="log", xlabel="layer", ylabel=f"‖δ‖ at the layer / at layer {depths[-1]}")
    left.set_title(f"One network of {depths[-1]} hidden layers", loc="left", fontsize=10)
    right.set(yscale="log", xlabel="hidden layers")
    right.set(ylabel="‖∂L/∂w₁‖, gradient of the first layer")
    right.set_xticks(depths)
    right.set_title("Networks of other depths", loc="left", fontsize=10)
    left.legend(frameon=False, loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
