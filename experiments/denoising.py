"""A U-Net takes the noise off handwritten digits.

    uv run python -m experiments.denoising

Question: Can a network give back digits under noise, and does a U-Net do it better than layers that
connect every pixel with every other?

x = t + σ ε: t is a digit of 8 × 8 pixels from 0 to 1, ε normal and drawn anew in every step. All
are asked for t; what they say is cut to 0 ... 1 and judged by the root of the mean squared error
of a pixel on the test digits, whose noise is the same for all:

    neighbours    the mean of the pixels around, 3 × 3, with 0 beyond the border
    linear map    the one of least squares, W = (Σ xᵀx)⁻¹ Σ xᵀt, made from 64 noises of every digit
    digits        E[t | x], were there no digits but those of the training: their mean, each with
                  the weight exp(−‖x − t‖² / 2σ²)
    MLP           64–n–n–64, n such that it has as many parameters as the U-Net
    U-Net         fnn.unet: 8 × 8, 4 × 4 and 2 × 2 pixels

Adam trains both networks for as many steps, on the training digits, at a rate that falls to 0 by a
cosine from where both did best (of 0.003 and 0.01). Seeds draw the first weights and the noise.
The noise is a layer of its own, written below: evaluation, which is another network, has none.

Source: Vincent, Larochelle, Bengio & Manzagol (2008), ICML, section 2.2, for learning to denoise;
Ronneberger, Fischer & Brox (2015), arXiv:1505.04597, for the network.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np

import fnn
from experiments.common import bundles, claims, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.data import Rows
from experiments.common.portraits import cells
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from fnn.evaluation import evaluation_form

LOSS = fnn.SquaredError()
NEIGHBOURS, LINEAR, DIGITS = "neighbours", "linear map", "digits"
MLP, UNET = "MLP", "U-Net"


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Take the noise off handwritten digits, by networks and without."""

    sigma: Annotated[float, Bounds(0.01, 10)] = 0.3  # of the noise; the pixels are 0 to 1
    widths: Annotated[tuple[int, ...], Bounds(1)] = (8, 16, 32)  # channels of the U-Net's levels
    epochs: Annotated[int, Bounds(1)] = 60
    batch_size: Annotated[int, Bounds(1)] = 64
    learning_rate: Annotated[float, Bounds(1e-6, 1)] = 1e-2
    seeds: Annotated[int, Bounds(2)] = 3


QUICK = Config(quick=True, sigma=0.2, epochs=24, seeds=2)


@dataclass(frozen=True)
class Noise(fnn.Layer[Any, Any]):
    """y = x + σ ε, ε ~ N(0, 1).  x [B, ...] → y [B, ...]."""

    draws = True

    sigma: float

    def forward(self, params, x, *, key=None):
        """y = x + σ ε."""
        assert key is not None  # `draws` says so
        return x + self.sigma * jax.random.normal(key, x.shape, x.dtype), ()

    def backward(self, params, cache, dy):
        """dx = dy."""
        return (), dy


@evaluation_form.register(Noise)
def _(layer, params):
    """What is evaluated brings its noise along."""
    return fnn.Identity(), params


def networks(widths: tuple[int, ...]) -> dict[str, fnn.Serial]:
    """Both networks, with about as many parameters."""
    unet = fnn.unet(1, 1, widths=widths)
    n = width(size(unet))
    return {MLP: fnn.Serial(flat=fnn.Flatten(), mlp=fnn.mlp([64, n, n, 64])), UNET: unet}


def size(net: fnn.Serial) -> int:
    """The number of parameters."""
    params = jax.eval_shape(net.init, jax.random.key(0))
    return sum(a.size for a in jax.tree.leaves(params))


def width(parameters: int) -> int:
    """n for which 64–n–n–64 has about so many: n² + 130 n + 64."""
    return round((65**2 + parameters - 64) ** 0.5 - 65)


def images(rows: Rows) -> np.ndarray:
    """Pixels of 0 to 1, [N, 8, 8, 1]."""
    return rows.x.reshape(-1, 8, 8, 1) / 16


def trained(net: fnn.Serial, config: Config, key: Any) -> Any:
    """x → what the trained network says of it."""
    noisy, x = fnn.Serial(noise=Noise(config.sigma), net=net), images(bundles.digits().train)
    target = x.reshape(len(x), -1) if "flat" in net.children else x
    steps = config.epochs * -(-len(x) // config.batch_size)
    rate = fnn.optim.CosineDecay(config.learning_rate, steps)
    plan = fnn.Plan(noisy, LOSS, fnn.optim.Scheduled(fnn.optim.Adam(), rate))
    state, _ = fnn.fit(
        plan, fnn.start(plan, key), (x, target),
        epochs=config.epochs, batch_size=config.batch_size,
    )  # fmt: skip
    return lambda x: np.asarray(fnn.predict(plan, state, x)).reshape(x.shape)


def around(x: Any) -> Any:
    """The mean of the pixels of 3 × 3 windows [N, H, W, 1], 0 beyond the border."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + x.shape[1], j : j + x.shape[2]] for i in range(3) for j in range(3)
    ]
    return np.mean(shifted, 0)


def linear(config: Config, rng: np.random.Generator) -> Any:
    """x → x W, of the least squares on noisy training digits; the last column of x is 1."""
    target = np.tile(bundles.digits().train.x.astype(float) / 16, (64, 1))
    x = with_one(target + config.sigma * rng.standard_normal(target.shape))
    w = np.linalg.solve(x.T @ x, x.T @ target)
    return lambda x: (with_one(x.reshape(len(x), -1)) @ w).reshape(x.shape)


def posterior(sigma: float) -> Any:
    """x → Σ t w, the weights w ∝ exp(−‖x − t‖² / 2σ²) of the training digits t."""
    t = bundles.digits().train.x.astype(float) / 16

    def mean(x):
        rows = x.reshape(len(x), -1).astype(float)
        exponent = (rows @ t.T - (t**2).sum(1) / 2) / sigma**2  # but for what all have in common
        w = np.exp(exponent - exponent.max(1, keepdims=True))
        return (w / w.sum(1, keepdims=True) @ t).reshape(x.shape)

    return mean


def with_one(x: Any) -> Any:
    """x with a column of ones."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def error(y: Any) -> float:
    """The root of the mean squared error of a pixel."""
    return float(np.sqrt(((np.asarray(y, float) - images(bundles.digits().test)) ** 2).mean()))


def measure(config: Config) -> Outcome:
    """Denoise the test digits in four ways, for every seed."""
    errors: dict[str, list[float]] = {name: [] for name in (NEIGHBOURS, LINEAR, DIGITS, MLP, UNET)}
    nets, shown, clean = networks(config.widths), {}, images(bundles.digits().test)
    for seed in track("seeds", range(config.seeds)):
        rng = np.random.default_rng(config.seed + seed)
        noisy = (clean + config.sigma * rng.standard_normal(clean.shape)).astype(np.float32)
        ways = {NEIGHBOURS: around, LINEAR: linear(config, rng), DIGITS: posterior(config.sigma)}
        for name, net in nets.items():
            ways[name] = trained(net, config, jax.random.key(config.seed + seed))
        found = {name: np.clip(way(noisy), 0, 1) for name, way in ways.items()}
        for name, y in found.items():
            errors[name].append(error(y))
        shown = shown or {"noisy": noisy, **found, "clean": clean}
    return concluded(config, {name: size(net) for name, net in nets.items()}, errors, shown)


def concluded(config: Config, sizes: Any, errors: dict[str, list[float]], shown: Any) -> Outcome:
    """What the errors say."""
    mean = {name: float(np.mean(found)) for name, found in errors.items()}
    gain = np.array(errors[MLP]) - np.array(errors[UNET])
    share = (mean[UNET] / mean[MLP]) ** 2
    findings = {
        "the U-Net leaves less than the best linear map": mean[UNET] < mean[LINEAR],
        "the U-Net leaves less than an MLP of its size, with every seed": bool((gain > 0).all()),
        "the mean of neighbours leaves most": mean[NEIGHBOURS] == max(mean.values()),
    }
    answer = (
        f"It can, in part: of noise with σ = {config.sigma:g} the U-Net leaves {mean[UNET]:.3f}, "
        f"an MLP of as many parameters ({sizes[UNET]:,} and {sizes[MLP]:,}) {mean[MLP]:.3f}, the "
        f"best linear map {mean[LINEAR]:.3f}, what is known of the training digits alone "
        f"{mean[DIGITS]:.3f} and the mean of neighbours {mean[NEIGHBOURS]:.3f}. The squared error "
        f"of the U-Net is {share:.2f} of the MLP's, and less with every one of {config.seeds} "
        "seeds."
    )
    rows = [
        {"way": name, "seed": config.seed + i, "error": e}
        for name, found in errors.items()
        for i, e in enumerate(found)
    ]
    spread = [[n, f"{mean[n]:.4f}", f"{min(e):.4f}", f"{max(e):.4f}"] for n, e in errors.items()]
    return Outcome(
        answer, findings, {"errors": errors, "parameters": sizes}, drawn(config, shown),
        [Table("Root mean squared error of a pixel", ("way", "mean", "least", "most"), spread)],
        rows,
    )  # fmt: skip


def drawn(config: Config, shown: dict[str, Any]) -> plots.Figure:
    """A test digit of every class as each way gives it back, a row for each way."""
    chosen = [int(np.flatnonzero(bundles.digits().test.label == k)[0]) for k in range(10)]
    images = np.stack([np.asarray(y)[chosen, ..., 0] for y in shown.values()])
    title = f"Ten test digits under noise of σ = {config.sigma:g}, and what is made of them"
    figure, ((axes,),) = plots.picture(title, size=(8, 5))
    axes.imshow(cells(images, 1, 1), cmap="Greys", vmin=0, vmax=1)
    for i, (name, y) in enumerate(shown.items()):
        left = "" if name == "clean" else f"\n{error(y):.3f}"
        axes.text(-1.5, 9 * i + 3.5, name + left, ha="right", va="center")
    axes.set_axis_off()
    note = "numbers: root mean squared error of a pixel (0 to 1), all test digits, first seed"
    figure.supxlabel(note, fontsize=10, color=plots.INK, x=0.01, ha="left")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
