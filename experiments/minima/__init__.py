"""Many minima, a saddle, and the way from one minimum to another.

    uv run python -m experiments.minima

Question: Do different seeds find different minima, and are some of them worse?

Networks 64–n–n–10 with ReLU, trained on the digits by Adam from different seeds. The
barrier between parameters a and b is the largest excess of the training loss J over the
straight line between its ends,

    max over s of J((1 − s) a + s b) − (1 − s) J(a) − s J(b)

which no convex J has. A matched b has its hidden units in the order that brings its weights
nearest to those of a (matching.py); a's own copy has them in a random
order. The tiny network is 2–3–1 with tanh and an L2 penalty, in float64
(critical.py), where the Hessian, the derivative of the hand-written
gradient, can be had whole.

Source: Ainsworth, Hayase & Srinivasa (2023), arXiv:2209.04836, figures 1 and 2; Goodfellow,
Bengio & Courville (2016), Deep Learning, section 8.2.2.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.narrow import narrowed
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.minima import critical
from experiments.minima.matching import matched, reordered

LOSS = fnn.SoftmaxCrossEntropy()
KINDS = ("as found", "matched", "own copy")
SHARES = np.linspace(0, 1, 11, dtype=np.float32)  # s


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Compare the minima that seeds find, and what lies between them."""

    widths: Annotated[tuple[int, ...], Bounds(1)] = (8, 16, 32, 64, 128)
    seeds: Annotated[int, Bounds(2)] = 8
    epochs: Annotated[int, Bounds(1)] = 20
    tiny: Annotated[int, Bounds(2)] = 24  # starts of the tiny network
    steps: Annotated[int, Bounds(100)] = 10_000  # of the tiny network


QUICK = Config(quick=True, widths=(16, 64), seeds=4, epochs=8, tiny=8)


class Found(NamedTuple):
    """What one width gave."""

    loss: Any  # on the training rows [seeds]
    test: Any  # on the test rows [seeds]
    wrong: Any  # share of mistakes there [seeds]
    paths: Any  # J along the lines [kinds, pairs, SHARES]
    apart: Any  # distance of the two, in lengths of the first [kinds, pairs]
    change: float  # of J by reordering, largest, relative


def net_of(width: int) -> fnn.Serial:
    """64–n–n–10."""
    return fnn.mlp([64, width, width, 10], w_init=fnn.initializers.glorot_uniform)


def centred(x: Any) -> Any:
    """Pixels with mean 0, of size about 1."""
    return (x - bundles.digits().train.x.mean(0)) / 8


def trained(width: int, config: Config) -> Any:
    """Params from all seeds, in one compiled program."""
    k_init, k_fit = jax.random.split(jax.random.key(config.seed))
    net, wide = net_of(width), net_of(max(config.widths))
    drawn = [wide.init(key) for key in jax.random.split(k_init, config.seeds)]
    first = narrowed(net, wide, jax.tree.map(lambda *p: jnp.stack(p), *drawn))
    x, label = bundles.digits().train
    data = centred(x), jnp.asarray(label)
    plan = fnn.Plan(net, LOSS, fnn.optim.Adam(3e-3))

    def run(params, key):
        start = fnn.start(plan, key, params)
        return fnn.fit(plan, start, data, epochs=config.epochs, batch_size=64)[0].params

    ends = jax.jit(jax.vmap(run))(first, jax.random.split(k_fit, config.seeds))
    return jax.tree.map(np.asarray, ends)


def landscape(width: int, config: Config) -> Found:
    """Train, and go along the lines between neighbouring seeds."""
    net, ends = net_of(width), trained(width, config)
    rng, digits = np.random.default_rng(config.seed), bundles.digits()

    @jax.jit
    def judged(params, x, label):
        y, _ = jax.lax.map(lambda p: net.forward(p, x)[0], params), None
        losses, _ = LOSS.forward(y, jnp.broadcast_to(label, y.shape[:-1]))
        return losses.mean(-1), (y.argmax(-1) != label).mean(-1)

    def on_training_rows(params):
        return np.asarray(judged(params, centred(digits.train.x), digits.train.label)[0])

    one = [jax.tree.map(lambda p, i=i: p[i], ends) for i in range(config.seeds)]
    pairs = [], [], []
    for a, b in itertools.pairwise(one):
        shuffled = [rng.permutation(width) for _ in range(2)]
        others = b, reordered(b, matched(a, b)), reordered(a, shuffled)
        for found, other in zip(pairs, others, strict=True):
            found.append((a, other))
    lines = [[between(a, b) for a, b in kind] for kind in pairs]
    every = jax.tree.map(lambda *p: np.concatenate(p), *(line for kind in lines for line in kind))
    paths = on_training_rows(every).reshape(len(KINDS), config.seeds - 1, len(SHARES))
    loss = on_training_rows(ends)
    test, wrong = map(np.asarray, judged(ends, centred(digits.test.x), digits.test.label))
    apart = np.array([[distance(a, b) / distance(a) for a, b in kind] for kind in pairs])
    return Found(loss, test, wrong, paths, apart, float(abs(paths[2, :, -1] / loss[:-1] - 1).max()))


def between(a: Any, b: Any) -> Any:
    """(1 − s) a + s b for all s, with a first axis."""
    return jax.tree.map(lambda u, v: np.stack([(1 - s) * u + s * v for s in SHARES]), a, b)


def distance(a: Any, b: Any = None) -> float:
    """‖a − b‖ over all parameters, or ‖a‖."""
    gap = a if b is None else jax.tree.map(np.subtract, a, b)
    return math.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gap)))


def barriers(paths: np.ndarray) -> np.ndarray:
    """The largest excess over the straight line, [kinds, pairs]."""
    straight = paths[..., :1] * (1 - SHARES) + paths[..., -1:] * SHARES
    return (paths - straight).max(-1)


class Tiny(NamedTuple):
    """What the tiny network showed."""

    saddle: critical.Critical
    expected: Any  # the eigenvalues at the saddle
    ends: critical.Critical  # [starts]
    copies: critical.Critical  # of the best end

    def settled(self) -> np.ndarray:
        """Which ends are critical points, [starts]."""
        return self.ends.slope < 1e-6


def tiny(config: Config) -> Tiny:
    """The point 0, the ends of descent, and the copies of the best, in double precision."""
    with jax.enable_x64(True):
        k_data, k_starts = jax.random.split(jax.random.key(config.seed))
        x, t = critical.data(k_data)
        zero, expected = critical.zero_point(x, t)
        starts = jax.random.split(k_starts, config.tiny)
        ends, found = critical.minima(starts, x, t, config.steps)
        best = jax.tree.map(
            lambda p: p[jnp.where(found.slope < 1e-6, found.loss, jnp.inf).argmin()], ends
        )
        look = jax.jit(jax.vmap(lambda params: critical.critical(params, x, t)))
        saddle = jax.tree.map(lambda p: p[0], look(jax.tree.map(lambda p: p[None], zero)))
        copies = look(critical.copies(best))
        return jax.tree.map(np.asarray, Tiny(saddle, expected, found, copies))


def measure(config: Config) -> Outcome:
    """Every width, and the tiny network."""
    found = [landscape(width, config) for width in track("width", config.widths)]
    small = tiny(config)
    highest = np.array([np.median(barriers(f.paths), 1) for f in found])
    return Outcome(
        answer=answer(config, found, highest, small),
        findings=findings(found, small),
        measured={
            "barriers": dict(zip(KINDS, highest.T.tolist(), strict=True)),
            "loss": [f.loss.tolist() for f in found],
            "test_mistakes": [f.wrong.tolist() for f in found],
            "curvatures_at_zero": small.saddle.curvatures.tolist(),
            "losses_of_tiny_minima": np.sort(small.ends.loss).tolist(),
        },
        figure=picture(config, found, highest, small),
        tables=[table(config, found, highest)],
        rows=[
            {"width": width, "seed": i, "loss": f.loss[i], "test": f.test[i], "wrong": f.wrong[i]}
            for width, f in zip(config.widths, found, strict=True)
            for i in range(config.seeds)
        ],
    )


def findings(found: list[Found], small: Tiny) -> dict[str, bool]:
    """What is claimed."""
    heights = [barriers(f.paths) for f in found]
    spread = [f.loss.std() for f in found]
    settled = small.settled()
    return {
        "reordering hidden units leaves the loss as it is": max(f.change for f in found) < 1e-3,
        "between a net and its own copy the loss is higher, in every pair": all(
            h[2].min() > 0.02 for h in heights
        ),
        "seeds end further apart than either is from 0": all(f.apart[0].min() > 1 for f in found),
        "with a barrier between them, in every pair": all(h[0].min() > 0.02 for h in heights),
        "matching halves the median barrier at every width": all(
            np.median(h[1]) < np.median(h[0]) / 2 for h in heights
        ),
        "and leaves less than an eighth of it at the largest": bool(
            np.median(heights[-1][1]) < np.median(heights[-1][0]) / 8
        ),
        "final losses of the widest nets differ less than those of the narrowest": bool(
            spread[-1] < spread[0] / 2
        ),
        "the curvatures at 0 are those of the formula": bool(
            np.allclose(small.saddle.curvatures, small.expected, atol=1e-9)
        ),
        "three of them are negative where the gradient is 0: a saddle": bool(
            (small.saddle.curvatures < -0.01).sum() == critical.N_HIDDEN
            and small.saddle.slope < 1e-12
        ),
        "from three starts of four at least, descent ends where the gradient is 0": bool(
            settled.mean() >= 0.75
        ),
        "and no curvature negative": bool(small.ends.curvatures[settled].min() > -1e-6),
        "the best end has 48 copies of equal loss, with gradient 0": bool(
            np.ptp(small.copies.loss) < 1e-12 and small.copies.slope.max() < 1e-6
        ),
        "not all minima of the tiny network are equal": bool(
            np.ptp(small.ends.loss[settled]) > 0.01
        ),
    }


def answer(config: Config, found: list[Found], highest: np.ndarray, small: Tiny) -> str:
    """What was measured, in sentences."""
    minima = small.ends.loss[small.settled()]
    n, m, wide, thin = config.widths[-1], config.widths[0], found[-1], found[0]
    return (
        f"Different in place, hardly in worth if the net is wide: {config.seeds} nets with two "
        f"hidden layers of {n} end with losses of {wide.loss.min():.4f} to {wide.loss.max():.4f} "
        f"(with layers of {m}: {thin.loss.min():.2f} to {thin.loss.max():.2f}), "
        f"{np.median(wide.apart[0]):.1f} times as far from each other as from 0. On the "
        f"straight line between two the loss rises by {highest[-1, 0]:.2f}; with the hidden "
        f"units of one put in the order of the other's only by {highest[-1, 1]:.3f}. Even a net "
        f"and its own copy with reordered units, the same function, have a barrier of "
        f"{highest[-1, 2]:.2f} between them, so the loss is not convex. In a net "
        f"of 3 hidden units the point 0 is a saddle with "
        f"{int((small.saddle.curvatures < -1e-6).sum())} directions down, and "
        f"{len(minima)} of {config.tiny} starts end in minima of loss {minima.min():.2f} to "
        f"{minima.max():.2f}, the best of them 48 times over: there some are worse."
    )


def table(config: Config, found: list[Found], highest: np.ndarray) -> Table:
    """Medians over seeds and pairs."""
    columns = ["width", "loss", "± (seeds)", "test digits wrong"]
    columns += [f"barrier, {kind}" for kind in KINDS]
    rows = [
        [str(width), f"{f.loss.mean():.4f}", f"{f.loss.std():.4f}", f"{f.wrong.mean():.1%}"]
        + [f"{height:.3f}" for height in heights]
        for width, f, heights in zip(config.widths, found, highest, strict=True)
    ]
    return Table("Nets 64–n–n–10 on the digits", columns, rows)


def picture(config: Config, found: list[Found], highest: np.ndarray, small: Tiny) -> plots.Figure:
    """A line between two nets, barriers and losses over width, curvatures."""
    title = "Minima apart: most of the barrier is the order of the hidden units"
    figure, ((line, wall), (spread, bend)) = plots.picture(title, 2, 2, (10, 7.4))
    for kind, path, heights, color in zip(
        KINDS, found[-1].paths[:, 0], highest.T, plots.COLORS, strict=False
    ):
        line.plot(SHARES, path, color=color, marker=".", label=kind)
        wall.plot(config.widths, heights, color=color, marker="o", label=kind)
    line.set(
        xlabel="place between the two nets, s", ylabel="training loss", ylim=(0, None),
        title=f"from one net of width {config.widths[-1]} to another, or to its copy",
    )  # fmt: skip
    wall.set(ylabel="barrier in the training loss, median", title="barriers over width")
    wall.set_yscale("log")
    for part, color, name in (("loss", 0, "training"), ("test", 1, "test")):
        values = np.array([getattr(f, part) for f in found])
        where = np.repeat(config.widths, config.seeds)
        spread.plot(where, values.ravel(), "o", color=plots.COLORS[color], alpha=0.5, label=name)
    spread.set(yscale="log", ylabel="final loss of every seed", title="narrow nets differ more")
    for axes in (wall, spread):
        axes.set(xscale="log", xlabel="width of both hidden layers")
        axes.set_xticks(config.widths, [str(width) for width in config.widths])
        axes.minorticks_off()
    place = np.arange(1, len(small.expected) + 1)
    best = np.where(small.settled(), small.ends.loss, np.inf).argmin()
    bend.axhline(0, color=plots.FAINT, linewidth=1)
    bend.plot(place, small.saddle.curvatures, "o", color=plots.COLORS[1], label="at the point 0")
    bend.plot(
        place, small.ends.curvatures[best], "o", color=plots.COLORS[0], label="at the best minimum"
    )
    bend.set(
        xlabel="eigenvalue of the Hessian, by size", ylabel="curvature",
        title="a net of 3 hidden units: saddle and minimum",
    )  # fmt: skip
    for axes in (line, wall, spread, bend):
        axes.legend(frameon=False)
    return figure
