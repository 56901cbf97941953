"""Test error on both sides of the point where a network can fit anything.

    uv run python -m experiments.overparameterization

Question: Does a network with more parameters than it has data to fit do worse on new data?

N digits with one of the wrong labels at every fifth row, squared error to one-hot classes,
so N n_L = 10 N numbers to fit. Left: min-norm regression on the outputs of a random hidden
layer of p − 1 tanh units and a column of ones, 10 p parameters,

    W = X⁺ T        or, ridge,    W = (Xᵀ X + N λ I)⁻¹ Xᵀ T,   df = Σ_k s_k² / (s_k² + N λ)
                                                          = tr X (Xᵀ X + N λ I)⁻¹ Xᵀ

where X is divided by √p, the s_k are its singular values, λ = 0.003 and df, at most min(N,
p), is the effective number of parameters. Middle: the same kind of net, 64–n–10, 75 n + 10
parameters, with all of them trained by Adam, the whole set in every step, also with weight
decay 0.01 (L2). Early stopping takes the step at which the squared error on the validation
rows was least; the test rows decide nothing. Right: the share of training labels that are
still read wrong, also with labels that are all drawn at random. Seeds draw rows, labels and
first weights; the left and middle lines are medians over seeds, the right ones means.

Source: Belkin, Hsu, Ma & Mandal (2019), PNAS 116, figures 1 to 3; random labels: Zhang,
Bengio, Hardt, Recht & Vinyals (2017), arXiv:1611.03530, section 2; ridge: Hoerl & Kennard
(1970), Technometrics 12, eq. 2.1; df: Hastie, Tibshirani & Friedman (2009), The Elements of
Statistical Learning, eq. 3.50.
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
from experiments.common.narrow import narrowed
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.common.stages import fit_in_stages

LOSS = fnn.SquaredError()
RIDGE, DECAY = 0.003, 0.01  # λ of the regression and of the nets
NOISY, RANDOM = 0, 1  # kinds of labels
RUNS = ("noisy", "noisy, weight decay", "random")
RUN_RANDOM = 2


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Measure test error against the number of parameters."""

    rows: Annotated[int, Bounds(20, 200)] = 60  # N, digits to learn from
    widths: Annotated[tuple[int, ...], Bounds(1)] = (2, 4, 6, 8, 10, 13, 20, 40, 80, 160)
    # p / N
    shares: Annotated[tuple[float, ...], Bounds(0.01)] = (
        0.1,
        0.2,
        0.35,
        0.5,
        0.7,
        0.85,
        1,
        1.15,
        1.4,
        2,
        4,
        10,
        25,
    )
    seeds: Annotated[int, Bounds(2)] = 5
    steps: Annotated[int, Bounds(50)] = 3000


QUICK = Config(quick=True, widths=(2, 8, 40), shares=(0.2, 1, 10), seeds=5, steps=1500)


class Regression(NamedTuple):
    """What a regression gave, or several with first axes."""

    shortest: Any  # squared error of X⁺ T on the test rows, summed over outputs
    ridge: Any  # of W_λ
    freedom: Any  # df, from the singular values
    trace: Any  # df, as the trace


def least_squares(x: Any, test: Any, target: Any, truth: Any, strength: float) -> Regression:
    """Fit to x and target, judge on test and truth; `strength` is λ."""
    n = len(x)
    hat = np.linalg.solve(x @ x.T + n * strength * np.eye(n), x)  # its transpose takes T to W_λ
    s = np.linalg.svd(x, compute_uv=False) ** 2

    def error(w):
        return float(((test @ w - truth) ** 2).sum(-1).mean())

    return Regression(
        shortest=error(np.linalg.pinv(x) @ target),
        ridge=error(hat.T @ target),
        freedom=float((s / (s + n * strength)).sum()),
        trace=float(np.trace(x @ hat.T)),
    )


class Drawn(NamedTuple):
    """What one seed draws; stacked, it has a first axis."""

    x: Any  # [N, 64]
    target: Any  # [2, N, 10]: noisy labels, random labels
    hidden: Any  # params of the random layer
    params: Any  # of the widest net


def drawn(key: Any, config: Config) -> Drawn:
    """Random training rows, their labels every fifth wrong or all random, first weights."""
    keys, n = jax.random.split(key, 5), config.rows
    chosen = np.asarray(jax.random.permutation(keys[0], len(bundles.digits().train.x)))[:n]
    label = bundles.digits().train.label[chosen]
    other, random = np.asarray(jax.random.randint(keys[1], (2, n), 0, 90)) % [[9], [10]]
    noisy = np.where(np.arange(n) % 5 == 0, (label + 1 + other) % 10, label)
    layer, net = (
        fnn.Dense(64, max(sizes(config)) - 1, fnn.initializers.lecun_normal),
        net_of(max(config.widths)),
    )
    return Drawn(
        centred(bundles.digits().train.x[chosen]), one_hot(np.stack([noisy, random])),
        layer.init(keys[2]), net.init(keys[3]),
    )  # fmt: skip


def sizes(config: Config) -> list[int]:
    """p of every regression."""
    return [round(share * config.rows) for share in config.shares]


def net_of(width: int) -> fnn.Serial:
    """64–n–10."""
    return fnn.mlp([64, width, 10], activation=fnn.Tanh())


def centred(x: Any) -> Any:
    """Pixels with mean 0, of size about 1."""
    return (x - bundles.digits().train.x.mean(0)) / 8


def one_hot(label: Any) -> Any:
    """1 for the class, else 0."""
    return np.eye(10, dtype=np.float32)[label]


def judged(y: Any, target: Any) -> tuple[Any, Any]:
    """Mean squared error and share of mistakes."""
    wrong = y.argmax(-1) != target.argmax(-1)
    return ((y - target) ** 2).sum(-1).mean(-1), wrong.mean(-1)


class Net(NamedTuple):
    """What training gave [seeds, runs], over the runs noisy, noisy with decay, random."""

    parameters: int
    trained: Any  # mistakes on the training rows
    fitted: Any  # squared error there
    test: Any  # squared error on the test rows
    mistakes: Any  # on the test rows
    stopped: Any  # squared error on the test rows, stopped early
    stopped_mistakes: Any


def trained(width: int, rows: Drawn, config: Config) -> Net:
    """All seeds and all three kinds of run of a width, in one compiled program."""
    net, stages = net_of(width), 50
    first = narrowed(net, net_of(max(config.widths)), rows.params)
    held, test = bundles.digits().validation, bundles.digits().test
    others, n = centred(np.concatenate([held.x, test.x])), len(held.x)
    how = {"stages": stages, "epochs": config.steps // stages, "batch_size": config.rows}

    def one(params: Any, x: Any, target: Any, decay: Any):
        def look(params):
            y, _ = net.forward(params, jnp.concatenate([x, others]))
            y, unseen = y[: len(x)], y[len(x) :]
            validation, _ = judged(unseen[:n], one_hot(held.label))
            return judged(y, target), validation, judged(unseen[n:], one_hot(test.label))

        plan = fnn.Plan(net, LOSS, fnn.optim.Adam(0.01), penalty=fnn.L2(decay))
        _, seen = fit_in_stages(plan, params, (x, target), look, **how)
        (fitted, wrong), validation, (error, mistakes) = seen
        best = validation.argmin()
        return wrong[-1], fitted[-1], error[-1], mistakes[-1], error[best], mistakes[best]

    kinds, decays = np.array([NOISY, NOISY, RANDOM]), jnp.array([0, DECAY, 0])
    runs = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0, 0)), (0, 0, 0, None)))
    found = runs(first, rows.x, rows.target[:, kinds], decays)
    return Net(75 * width + 10, *map(np.asarray, found))


def regression(row: Drawn, config: Config) -> Regression:
    """The regressions of one seed, on ones and the first p − 1 units of its random layer."""

    def features(x):
        hidden = np.tanh(x @ row.hidden.w + row.hidden.b).astype(np.float64)
        return np.concatenate([np.ones((len(x), 1)), hidden], 1)

    x, test = features(row.x), features(centred(bundles.digits().test.x))
    target, truth = row.target[NOISY].astype(np.float64), one_hot(bundles.digits().test.label)
    solved = []
    for p in sizes(config):  # divided by √p, so that λ means the same at every size
        near, far = x[:, :p] / p**0.5, test[:, :p] / p**0.5
        solved.append(least_squares(near, far, target, truth, RIDGE))
    return Regression(*map(np.array, zip(*solved, strict=True)))


class Medians(NamedTuple):
    """Over the seeds, against parameters / (N n_L)."""

    load: np.ndarray  # of the regressions
    shortest: np.ndarray
    ridge: np.ndarray
    size: np.ndarray  # of the nets
    net: np.ndarray
    decay: np.ndarray
    stopped: np.ndarray


def measure(config: Config) -> Outcome:
    """Every width of the regression and of the net, over all seeds."""
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    draws = [drawn(key, config) for key in keys]
    rows = jax.tree.map(lambda *parts: np.stack(parts), *draws)
    lines = jax.tree.map(lambda *a: np.stack(a), *(regression(d, config) for d in draws))
    nets = [trained(width, rows, config) for width in track("width", config.widths)]
    seen = Medians(
        load=np.array(sizes(config)) / config.rows,
        shortest=np.median(lines.shortest, 0),
        ridge=np.median(lines.ridge, 0),
        size=np.array([net.parameters for net in nets]) / (10 * config.rows),
        net=np.median(stack(nets, "test")[..., 0], 1),
        decay=np.median(stack(nets, "test")[..., 1], 1),
        stopped=np.median(stack(nets, "stopped")[..., 0], 1),
    )  # fmt: skip
    return Outcome(
        answer=answer(config, seen, nets),
        findings=findings(config, seen, nets, lines),
        measured={
            "medians": {name: a.tolist() for name, a in seen._asdict().items()},
            "freedom": lines.freedom.mean(0).tolist(),
            "random_labels_read_wrong": stack(nets, "trained")[..., RUN_RANDOM].tolist(),
        },
        figure=picture(config, seen, nets),
        tables=[table(config, nets)],
        rows=[
            {
                "width": width, "parameters": net.parameters, "seed": i,
                "run": RUNS[j], "test_error": net.test[i, j], "test_mistakes": net.mistakes[i, j],
                "stopped_early": net.stopped[i, j], "training_mistakes": net.trained[i, j],
            }
            for width, net in zip(config.widths, nets, strict=True)
            for i in range(config.seeds)
            for j in range(len(RUNS))
        ],
    )  # fmt: skip


def stack(nets: list[Net], name: str) -> np.ndarray:
    """A field of every width, [widths, seeds, runs]."""
    return np.stack([getattr(net, name) for net in nets])


def findings(config: Config, seen: Medians, nets: list[Net], lines: Regression) -> dict[str, bool]:
    """What is claimed, on medians, and for single runs where it says every or none."""
    peak, left = int(seen.net.argmax()), seen.load < 1
    fits = stack(nets, "trained")[..., 0].max(1) == 0
    random, loss = (stack(nets, name)[..., RUN_RANDOM] for name in ("trained", "fitted"))
    wrong = stack(nets, "mistakes")[..., 0].mean(1)
    many, few = seen.size >= 1.5, seen.size <= 0.8
    top, bound = seen.shortest.max(), np.minimum(seen.load * config.rows, config.rows)
    return {
        "the min-norm regression is worst where p = N": seen.load[seen.shortest.argmax()] == 1,
        "three times as bad as the best smaller one, and as the largest": bool(
            top > 3 * max(seen.shortest[left].min(), seen.shortest[-1])
        ),
        "ridge has no peak there": bool(seen.ridge[seen.load == 1][0] < 1.25 * seen.ridge.min()),
        "the effective number of parameters is at most p and N": bool(
            (lines.freedom <= bound).all() and np.allclose(lines.freedom, lines.trace)
        ),
        "the net is worst between ½ and 2 parameters for each number to fit": bool(
            0.5 <= seen.size[peak] <= 2
        ),
        "past the peak its error falls by a fifth at least": bool(
            seen.net[-1] < seen.net[peak] / 1.25
        ),
        "the largest net makes the fewest mistakes of smallest, worst and largest": bool(
            wrong[-1] < min(wrong[0], wrong[peak])
        ),
        "the error does not rise once every training row is read right": bool(
            fits[-1] and (seen.net[fits][1:] <= 1.1 * seen.net[fits][0]).all()
        ),
        "weight decay takes off a third of the peak": bool(seen.decay.max() < seen.net[peak] / 1.5),
        "and so does early stopping": bool(seen.stopped.max() < seen.net[peak] / 1.5),
        "1.5 parameters for each number to fit read every random label": bool(
            many.any() and random[many].max() == 0 and loss[many].max() < 0.01
        ),
        "0.8 and fewer never do": bool(few.any() and random[few].min() > 0),
    }


def answer(config: Config, seen: Medians, nets: list[Net]) -> str:
    """What was measured, in sentences."""
    peak = int(seen.net.argmax())
    wrong, plain = stack(nets, "mistakes").mean(1), stack(nets, "trained")[..., RUN_RANDOM]
    first = seen.size[np.argmax(plain.max(1) == 0)]
    return (
        f"In squared error most around the point where it can just fit them. With {config.rows} "
        f"digits, a fifth of "
        f"their labels wrong, the squared error on new digits is {seen.net[0]:.1f} for the "
        f"smallest net, {seen.net[peak]:.1f} with {seen.size[peak]:.1f} parameters for each of "
        f"the {10 * config.rows} numbers to fit, and {seen.net[-1]:.1f} with {seen.size[-1]:.0f} "
        f"for each, although that net learns every wrong label by heart. The share of mistakes "
        f"has no such peak: {wrong[0, 0]:.0%}, {wrong[peak, 0]:.0%} and {wrong[-1, 0]:.0%}. "
        f"Weight decay (at most {seen.decay.max():.1f}) and early stopping ({seen.stopped[0]:.1f}, "
        f"with size {seen.stopped[-1]:.1f}) remove the peak; a constant, 0.1 for every class, has "
        f""
        f"0.9. Random labels are learned to the last one in all {config.seeds} runs from "
        f"{first:.1f} parameters for each number on."
    )


def table(config: Config, nets: list[Net]) -> Table:
    """Means over the seeds."""
    columns = ["width", "parameters", "test error", "with decay", "stopped early", "mistakes"]
    columns += ["training mistakes", "random labels wrong"]
    rows = []
    for width, net in zip(config.widths, nets, strict=True):
        plain, decay = np.median(net.test, 0)[:2]
        errors = [plain, decay, np.median(net.stopped, 0)[0]]
        wrong = [net.mistakes.mean(0)[0], *net.trained.mean(0)[[0, RUN_RANDOM]]]
        cells = [f"{e:.2f}" for e in errors] + [f"{w:.1%}" for w in wrong]
        rows.append([str(width), str(net.parameters), *cells])
    return Table("Nets 64–n–10: squared error (medians), mistakes (means)", columns, rows)


def picture(config: Config, seen: Medians, nets: list[Net]) -> plots.Figure:
    """Test error of regression and net, mistakes on training rows; 1 is where all can be fitted."""
    title = "The error on new digits peaks where the parameters just suffice to fit the old ones"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, (11, 4.2))
    blue, red, green = plots.COLORS[:3]
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.axvline(1, color=plots.FAINT, linestyle="--", linewidth=1.2, zorder=0)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("parameters / numbers to fit (log scale)")
    left.plot(seen.load, seen.shortest, color=blue, marker=".", label="shortest fit")
    left.plot(seen.load, seen.ridge, color=red, marker=".", label="ridge")
    middle.plot(seen.size, seen.net, color=blue, marker=".", label="all steps")
    middle.plot(seen.size, seen.decay, color=red, marker=".", label="weight decay")
    middle.plot(seen.size, seen.stopped, color=green, marker=".", label="early stopping")
    left.set(
        yscale="log", ylim=(0.4, 2000), ylabel="squared error on test digits",
        title="only the last layer trained",
    )  # fmt: skip
    middle.set(ylim=(0, None), ylabel="squared error on test digits", title="all layers trained")
    shown = stack(nets, "trained").mean(1)
    right.plot(seen.size, 100 * shown[:, RUN_RANDOM], color=plots.INK, marker=".", label="random")
    right.plot(seen.size, 100 * shown[:, 0], color=blue, marker=".", label="a fifth wrong")
    right.set(
        ylim=(0, 100), ylabel="training labels not learned, %", title="labels learned by heart"
    )
    left.yaxis.set_major_formatter("{x:g}")
    for axes in (left, middle, right):
        axes.legend(frameon=False, loc="upper right")
    return figure


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
