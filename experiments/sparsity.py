"""What L2 and L1 do to weights.

    uv run python -m experiments.sparsity

Question: Does L2 make weights smaller and the function smoother, and does L1 make weights zero?

    L2            J + (λ/2) Σ w²     step  w − η (dw + λ w)
    L1            J + λ Σ |w|        step  w − η (dw + λ sign w)                (subgradient)
                                     step  sign(v) max(|v| − η λ, 0), v = w − η dw (proximal)

Left, diabetes (442 × 10, standardised): linear regression with L2 by full-batch descent in
float64 from w = 0. cₖ(λ) is the weight along the k-th eigenvector of XᵀX/N, whose eigenvalue
is sₖ²; cₖ(0) is NumPy's least squares. The lasso of the same rows must obey its optimality
conditions: |xⱼᵀ(t − X w)/N| ≤ λ, with equality and the sign of wⱼ where wⱼ ≠ 0. Middle and
right, a 64-32-10 ReLU network on the digits (pixels/16, minibatches of 100, SGD), medians over
the seeds; every λ starts from the same weights. ‖J‖ is the Frobenius norm of ∂y/∂x, the
gradients of all ten logits in the pixels, averaged over the test digits.

Source: Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, eq. 3.47;
Tibshirani (1996), JRSS B 58; Parikh & Boyd (2014), Proximal Algorithms, section 6.5.2.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import bundles, claims, linear, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.settings import ClaimSettings

NET, LOSS = fnn.mlp([64, 32, 10]), fnn.SoftmaxCrossEntropy()
NAMES = ("exactly zero", "nearly zero", "norm of w", "input gradient", "accuracy")
SIZES = NAMES[2:4]
METHODS = ("L2", "L1, subgradient", "L1, proximal")
SMALL = 0.01  # what counts as nearly zero; the initial weights have a spread of 0.18


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Measure the weights that L2 and L1 leave, in a regression and in a network."""

    steps: Annotated[int, Bounds(5000)] = 10000  # of descent on diabetes
    strengths: Annotated[int, Bounds(3)] = 8  # values of λ, from 10⁻⁵ to 0.03
    seeds: Annotated[int, Bounds(1)] = 5  # networks for each
    epochs: Annotated[int, Bounds(1)] = 60  # of the networks
    learning_rate: Annotated[float, Bounds(0, open_low=True)] = 0.3


QUICK = Config(quick=True, steps=8000, strengths=4, seeds=1, epochs=15)


def shrinkage(strengths: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues s² [n], and cₖ(λ)/cₖ(0) [λ, n] of the trained ridge regressions."""
    x, t = linear.diabetes()
    s2, vectors = np.linalg.eigh(x.T @ x / len(x))
    plain = np.linalg.lstsq(x, t, rcond=None)[0]
    trained = np.asarray(linear.ridge(x, t, strengths, steps).w)
    return s2, (trained.mT @ vectors / (plain.T @ vectors))[:, 0]


def lasso(strengths: Any, steps: int) -> tuple[np.ndarray, float]:
    """How many weights are 0 at every λ, and by how much the lasso's conditions are missed."""
    x, t = linear.diabetes()
    w, bound = np.asarray(linear.lasso(x, t, strengths, steps).w)[..., 0], strengths[:, None]
    slopes = (t.T - w @ x.T) @ x / len(x)
    missed = np.where(w == 0, np.maximum(abs(slopes) - bound, 0), abs(slopes - bound * np.sign(w)))
    return (w == 0).sum(1), float(missed.max())


def networks(config: Config, strengths: Any) -> dict[str, np.ndarray]:
    """Name → figures [methods, λ, seeds] of the networks, trained in one program."""
    data = bundles.digits()
    x, t = jnp.asarray(data.train.x / 16), jnp.asarray(data.train.label)
    x_test, t_test = jnp.asarray(data.test.x / 16), jnp.asarray(data.test.label)

    def one(strength, key):
        l2, subgradient, proximal = strength  # two of them are 0, which changes nothing
        k_init, k_fit = jax.random.split(key)
        optimizer = fnn.optim.Proximal(fnn.optim.SGD(config.learning_rate), fnn.L1(proximal))
        plan = fnn.Plan(NET, LOSS, optimizer, penalty=(fnn.L2(l2), fnn.L1(subgradient)))
        start = fnn.start(plan, k_fit, NET.init(k_init))
        state, _ = fnn.fit(plan, start, (x, t), epochs=config.epochs, batch_size=100)
        w = ravel_pytree([p.w for p in state.params if p])[0]
        y, _ = NET.forward(state.params, x_test)
        return {
            "exactly zero": (w == 0).mean(),
            "nearly zero": (abs(w) < SMALL).mean(),
            "norm of w": jnp.linalg.norm(w),
            "input gradient": jacobian(state.params, x_test),
            "accuracy": fnn.accuracy(y, t_test).mean(),
        }

    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    table = jnp.eye(3)[:, None] * jnp.asarray(strengths)[:, None]  # [methods, λ, 3]
    many = jax.vmap(jax.vmap(jax.vmap(one, (None, 0)), (0, None)), (0, None))
    return {name: np.asarray(values) for name, values in jax.jit(many)(table, keys).items()}


def jacobian(params: Any, x: Any) -> Any:
    """The mean over the rows of x of ‖∂y/∂x‖_F, from ten backward passes."""
    y, cache = NET.forward(params, x)

    def gradient(direction):
        return NET.backward(params, cache, jnp.broadcast_to(direction, y.shape))[1]

    dx = jax.vmap(gradient)(jnp.eye(y.shape[-1]))  # [10, B, 64]
    return jnp.sqrt((dx**2).sum((0, 2))).mean()


def falls(values: np.ndarray) -> bool:
    """Whether in L2 and in L1 by proximal steps every λ has a smaller value than the one before."""
    return bool(np.all(np.diff(values[[0, 2]]) < 0))


def measure(config: Config) -> Outcome:
    """Ridge and lasso against their closed forms, then the networks."""
    ridge, lambdas = np.logspace(-3, 1, 9), np.logspace(-5, -1.5, config.strengths)
    with jax.enable_x64(True):
        s2, ratios = shrinkage(ridge, config.steps)
        zeros, missed = lasso(np.logspace(-3, 0, 7), config.steps)
    off = float(abs(ratios - s2 / (s2 + ridge[:, None])).max())
    every = networks(config, lambdas)
    nets = {name: np.median(values, 2) for name, values in every.items()}
    good = np.flatnonzero(nets["accuracy"][2] >= nets["accuracy"][2, 0] - 0.02)[-1]
    seen = Seen(off, zeros, missed, lambdas, nets, good)
    return Outcome(
        answer=answer(seen),
        findings=findings(seen),
        measured={
            "ridge_error": off,
            "lasso_conditions_missed": missed,
            "lasso_zeros": zeros,
            **{m: {n: v[i] for n, v in nets.items()} for i, m in enumerate(METHODS)},
        },
        figure=picture(ridge, s2, ratios, lambdas, nets),
        tables=[table(seen)],
        rows=[
            {"method": m, "strength": strength, **{n: v[i, j] for n, v in nets.items()}}
            for i, m in enumerate(METHODS)
            for j, strength in enumerate(lambdas)
        ],
    )


class Seen(NamedTuple):
    """What was measured."""

    off: float  # the largest distance of a ridge regression's shrinking from s²/(s² + λ)
    zeros: np.ndarray  # weights of the lasso that are 0, by λ
    missed: float  # by how much the lasso misses its conditions
    lambdas: np.ndarray  # of the networks
    nets: dict[str, np.ndarray]  # name → medians [methods, λ]
    good: Any  # place of the largest λ where proximal steps cost two points of accuracy at most


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    exact, nearly = seen.nets["exactly zero"], seen.nets["nearly zero"]
    return {
        "ridge shrinks every eigendirection by s²/(s² + λ)": seen.off < 1e-7,
        "the proximal step solves the lasso": (
            seen.missed < 1e-10 and seen.zeros[0] < seen.zeros[-2] < 10
        ),
        "the penalised networks' weights get smaller with every λ": falls(seen.nets["norm of w"]),
        "and so do their input gradients": falls(seen.nets["input gradient"]),
        "L2 makes no weight zero": float(exact[0].max()) < 0.001,
        "nor does L1 by its subgradient": float(exact[1].max()) < 0.001,
        "the proximal step makes a fifth zero, at two points of accuracy": (
            exact[2, seen.good] > 0.2
        ),
        "the subgradient comes near zero where the proximal step is there": bool(
            np.all(nearly[1] > exact[2] - 0.02)
        ),
    }


def answer(seen: Seen) -> str:
    """What was measured, in sentences."""
    exact, nearly, accuracy = (seen.nets[n] for n in ("exactly zero", "nearly zero", "accuracy"))
    shorter, smoother = (
        seen.nets[name][0, -1] / seen.nets[name][0, 0] for name in ("norm of w", "input gradient")
    )
    lambdas, good = seen.lambdas, seen.good
    return (
        f"L2 does; L1 does so only with the right step. L2 shrinks every eigendirection of a "
        f"ridge regression by s²/(s² + λ), to {seen.off:.0e}. In a network that reads digits, "
        f"going from λ = {lambdas[0]:.0e} to {lambdas[-1]:.0e} takes the norm of the weights "
        f"to {shorter:.0%} and that of ∂y/∂x to {smoother:.0%}, but L2 makes no weight zero. "
        f"With the proximal step of L1, {exact[2, good]:.0%} of the weights are exactly zero "
        f"at λ = {lambdas[good]:.1e}, and {accuracy[2, good]:.1%} of the test digits are still "
        f"read right, {accuracy[2, 0]:.1%} at the smallest λ. L1 by its subgradient brings "
        f"{nearly[1, good]:.0%} of the weights within {SMALL} of zero there, but "
        f"{exact[1, good]:.1%} to zero."
    )


def table(seen: Seen) -> Table:
    """The networks at one λ."""
    good, nets = seen.good, seen.nets
    return Table(
        f"Networks at λ = {seen.lambdas[good]:.1e}",
        ["", *NAMES],
        [[m, *(f"{nets[n][i, good]:.3f}" for n in NAMES)] for i, m in enumerate(METHODS)],
    )


def picture(ridge: Any, s2: Any, ratios: Any, lambdas: Any, nets: Any) -> plots.Figure:
    """Ridge on its curve, the share of zeros, and the size of weights and input gradients."""
    title = "L2 shrinks weights; only the proximal step of L1 makes them exactly zero"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(11, 3.8))
    curve = np.logspace(-4, 3.2, 100)
    left.plot(curve, 1 / (1 + curve), color=plots.FAINT, label="s²/(s² + λ)")
    for k, eigenvalue in enumerate(s2):
        label = "trained, ten directions" if k == 0 else None
        left.plot(ridge / eigenvalue, ratios[:, k], ".", color=plots.COLORS[0], label=label)
    left.set(xscale="log", xlabel="λ / s²", ylabel="weight along an eigenvector / without L2")
    left.set_title("ridge regression, diabetes")
    for i, method in enumerate(METHODS):
        color, wide = plots.COLORS[i], 3.5 - i
        middle.plot(lambdas, nets["exactly zero"][i], color=color, label=method, linewidth=wide)
        middle.plot(lambdas, nets["nearly zero"][i], ":", color=color)
    middle.plot([], [], ":", color=plots.INK, label=f"(dotted: within {SMALL})")
    middle.set(xscale="log", xlabel="λ", ylabel="share of the weights")
    middle.set_title("exactly zero weights, digits")
    for i, style, method in ((0, "-", "L2"), (2, "--", "L1, proximal")):
        for j, (name, letter) in enumerate((("norm of w", "‖W‖"), ("input gradient", "‖∂y/∂x‖"))):
            values = nets[name][i] / nets[name][i, 0]
            right.plot(
                lambdas, values, style, color=plots.COLORS[3 + j], label=f"{letter}, {method}"
            )
    right.set(xscale="log", xlabel="λ", ylabel=f"relative to λ = {lambdas[0]:.0e}", ylim=(0, None))
    right.set_title("weights and input gradients, digits")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
