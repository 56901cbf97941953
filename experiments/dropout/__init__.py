"""What dropout computes on average, and what it is good for.

    uv run python -m experiments.dropout

Question: Is the test-time network the mean of the networks that dropout trains, and does it help?

    inverted   z = a m / (1 − p)    test time z = a             m = 0 with probability p
    standard   z = a m              test time z = (1 − p) a     keep probability q = 1 − p

A 64-10-10 ReLU network is trained on the digits with dropout on its ten hidden units a. They
have 1024 masks; every one is sent forward and backward for 40 test digits, in float64, and
weighted by its probability. Up to the logits y = z w + b the network is linear in the mask,
so the mean of y must be the test-time y, and the mean of the squared loss must be

    Σ (y_test − t)² + Σⱼ p/(1 − p) aⱼ² Σₖ wⱼₖ²      (standard: p (1 − p) instead)

whose jax.grad the mean of all hand-written gradients must be. Behind softmax only an
approximation is left; its distance is the largest difference between the mean probability of
a class and the test-time one, averaged over digits. Random masks are those of
fnn.Dropout(0.3) on ten numbers a; the error is that of the mean of z, relative to a. Right:
64-128-10 networks learn 200 digits with p = 0.5, with right labels and with 30 % of them drawn
anew; 898 others judge; means over the seeds.

Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), JMLR 15, sections 4
and 9.1 (linear regression), 10 (the inverted form).
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, few, plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.estimates import power
from experiments.common.settings import EVERY, ClaimSettings
from experiments.dropout.all_masks import AFTER, BEFORE, HIDDEN, exact

CONVENTIONS = ("inverted", "standard")
LABELS = ("right labels", "30 % drawn anew")
P = 0.3  # of the random masks
NOISES = (0.0, 0.3)  # share of labels that are drawn anew


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Average dropout over all masks, and train with it."""

    rates: Annotated[tuple[float, ...], Bounds(0, 1, open_low=True)] = (0.1, 0.3, 0.5, 0.7, 0.9)
    repetitions: Annotated[int, Bounds(2)] = 400  # of random masks
    draws: Annotated[int, Bounds(16)] = 1024  # of masks, in each
    rows: Annotated[int, Bounds(10, 600)] = 200  # digits to learn from
    seeds: Annotated[int, Bounds(2)] = 8
    epochs: Annotated[int, Bounds(EVERY)] = 150  # of the networks that learn from few


QUICK = Config(quick=True, rates=(0.5,), repetitions=100, draws=256, seeds=3, epochs=60)


def trained(config: Config) -> tuple[Any, Any, Any]:
    """Parameters of the small network, before and after its dropout, and 40 test digits."""
    data, net = bundles.digits(), fnn.Serial(BEFORE, fnn.Dropout(0.5), AFTER)
    k_init, k_fit = jax.random.split(jax.random.key(config.seed))
    plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(1e-2))
    start, rows = fnn.start(plan, k_fit, net.init(k_init)), (data.train.x / 16, data.train.label)
    state, _ = fnn.fit(plan, start, rows, epochs=30, batch_size=50)
    first, _, last = jax.tree.map(lambda a: np.asarray(a, float), state.params)
    return (first, last), data.test.x[:40].astype(float) / 16, np.eye(10)[data.test.label[:40]]


def sampled(config: Config) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Numbers n of random masks, the root mean square error of their mean, and facts."""
    a = jnp.arange(1.0, HIDDEN + 1)
    x = jnp.broadcast_to(a, (config.repetitions, config.draws, HIDDEN))

    def both(key):
        return [fnn.Dropout(P, inverted).forward((), x, key=key) for inverted in (True, False)]

    (z, cache), (standard, _) = jax.jit(both)(jax.random.key(config.seed))
    n = 2 ** np.arange(int(np.log2(config.draws)) + 1)
    means = np.cumsum(np.asarray(z, float), 1)[:, n - 1] / n[:, None]
    errors = np.sqrt((((means - a) / a) ** 2).mean((0, 2)))
    apart = float(abs(standard - (1 - P) * z).max())
    return n, errors, {"kept": float(cache.kept.mean()), "conventions": apart}


def learned(config: Config, rate: float) -> dict[str, np.ndarray]:
    """Name → scores [noises, seeds, periods] of networks that learn from few digits."""
    net = fnn.mlp([64, 128, 10], dropout=rate)
    k_data, k_learn = jax.random.split(jax.random.key(config.seed))
    keys = jax.random.split(k_data, config.seeds)
    each = [few.drawn_for(keys, config.rows, noise) for noise in NOISES]
    found = [few.trained(net, data, k_learn, config.epochs) for data in each]
    return {name: np.concatenate([f[name] for f in found]) for name in found[0]}


def measure(config: Config) -> Outcome:
    """All masks of the small network, random masks, and training on few digits."""
    start = trained(config)
    with jax.enable_x64(True):
        found = {
            (name, rate): jax.tree.map(float, exact(fnn.Dropout(rate, name == "inverted"), *start))
            for name in CONVENTIONS
            for rate in config.rates
        }
    worst = {key: max(f[key] for f in found.values()) for key in ("output", "loss", "gradient")}
    n, errors, facts = sampled(config)
    histories = [learned(config, rate) for rate in (0.0, 0.5)]
    accuracy, gap = (np.array([h[k][..., -1] for h in histories]) for k in ("accuracy", "gap"))
    seen = Seen(found, worst, n, errors, power(n, errors), facts, accuracy, gap)
    return Outcome(
        answer=answer(config, seen),
        findings=findings(config, seen),
        measured={
            "worst": worst,
            "slope": seen.slope,
            **facts,
            "accuracy": accuracy,
            "gap": gap,
            "all_masks": {f"{name} {rate}": f for (name, rate), f in found.items()},
        },
        figure=picture(found, n, errors, histories),
        tables=[table(config, seen)],
        rows=[
            {"epoch": EVERY * (j + 1), "noise": noise, "dropout": rate}
            | {k: v[i, :, j].mean() for k, v in history.items()}
            for rate, history in zip((0.0, 0.5), histories, strict=True)
            for i, noise in enumerate(NOISES)
            for j in range(history["gap"].shape[-1])
        ],
    )


class Seen(NamedTuple):
    """What all masks, random masks and training gave."""

    found: dict[tuple[str, float], dict[str, float]]  # (convention, p) → distances, all masks
    worst: dict[str, float]  # the largest of those distances that should be 0
    n: np.ndarray  # numbers of random masks
    errors: np.ndarray  # of their mean
    slope: float  # of these over n
    facts: dict[str, float]  # of single masks
    accuracy: np.ndarray  # on test digits [without and with dropout, noises, seeds]
    gap: np.ndarray  # risk − risk on the data, the same


def told_of(config: Config) -> float:
    """The rate p that the answer is about."""
    return config.rates[len(config.rates) // 2]


def findings(config: Config, seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    worst, facts, score = seen.worst, seen.facts, seen.accuracy.mean(-1)
    masks, theory = seen.found["inverted", told_of(config)], np.sqrt(P / (1 - P) / seen.n)
    return {
        "the mean over all masks is the test-time output": worst["output"] < 1e-11,
        "the mean loss is the test-time loss and p/(1 − p) a² w²": worst["loss"] < 1e-11,
        "the mean gradient is the gradient of the mean loss": worst["gradient"] < 1e-11,
        "it is not the gradient of the test-time network": masks["test gradient"] > 0.1,
        "behind softmax the mean is not the test-time output": all(
            f["probability"] > 0.001 for f in seen.found.values()
        ),
        "the error of the mean of n masks falls like 1/√n": abs(seen.slope + 0.5) < 0.04,
        "and is √(p/(1 − p)/n)": bool(np.all(abs(seen.errors / theory - 1) < 0.15)),
        "of the units 1 − p are kept": abs(facts["kept"] - (1 - P)) < 0.01,
        "the conventions differ by the factor q": facts["conventions"] < 1e-6,
        "with wrong labels dropout narrows the gap for every seed": bool(
            np.all(seen.gap[1, 1] < seen.gap[0, 1])
        ),
        "and reads more test digits": score[1, 1] > score[0, 1] + 0.02,
    }


def answer(config: Config, seen: Seen) -> str:
    """What was measured, in sentences."""
    rate, worst, score = told_of(config), seen.worst, seen.accuracy.mean(-1)
    masks, gap = seen.found["inverted", rate], seen.gap.mean(-1)
    narrower = 1 - gap[1, 1] / gap[0, 1]
    return (
        f"Up to the next nonlinearity it is the mean, in both conventions: over all 1024 "
        f"masks of ten hidden units the mean of the logits is the test-time logit, to "
        f"{worst['output']:.0e}, and the mean of the gradients is the gradient of the mean "
        f"loss, to {worst['gradient']:.0e}; it is not the gradient of the test-time network, "
        f"from which it differs by {masks['test gradient']:.0%} at p = {rate:g}. Behind "
        f"softmax the mean is only near: at p = {rate:g} the probability of some class is off "
        f"by {masks['probability']:.2f}, though {masks['same class']:.0%} of the predictions "
        f"agree. The error of the mean of n random masks falls like n^{seen.slope:.2f}. Dropout "
        f"helps little where {config.rows} digits have right labels (test accuracy "
        f"{score[0, 0]:.1%} without, {score[1, 0]:.1%} with) and much where 30 % of the labels "
        f"are drawn anew ({score[0, 1]:.1%} and {score[1, 1]:.1%}, with {narrower:.0%} less of "
        f"a gap between test and training loss)."
    )


def table(config: Config, seen: Seen) -> Table:
    """Where training on few digits ends, without and with dropout."""
    columns = ["labels", "accuracy", "with dropout", "gap", "with dropout"]
    rows = [
        [label, *(f"{a[j, i].mean():.3f}" for a in (seen.accuracy, seen.gap) for j in (0, 1))]
        for i, label in enumerate(LABELS)
    ]
    title = f"{config.rows} digits: test accuracy, and risk − risk on the data"
    return Table(title, columns, rows)


def picture(found: Any, n: Any, errors: Any, histories: Any) -> plots.Figure:
    """The error of means of masks, what softmax leaves of it, accuracy while training."""
    title = "The mean over dropout's masks is the test-time network, up to the nonlinearity"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(11, 3.8))
    rates = sorted({rate for _, rate in found})
    for i, name in enumerate(CONVENTIONS):
        for key, style in (("probability", "-"), ("output", ":")):
            values = [found[name, rate][key] for rate in rates]
            label = f"{'probabilities' if key == 'probability' else 'logits'}, {name}"
            left.plot(rates, values, style, marker=".", color=plots.COLORS[i], label=label)
    left.set(yscale="log", xlabel="p", ylabel="|mean over all masks − test time|", ylim=(1e-16, 10))
    left.set_title("1024 masks of ten units")
    middle.set(xscale="log", yscale="log", xlabel="n", ylabel="relative error of the mean")
    middle.plot(n, errors, ".-", color=plots.COLORS[0], label=f"measured, p = {P}")
    middle.plot(n, np.sqrt(P / (1 - P) / n), "--", color=plots.FAINT, label="√(p/(1 − p)/n)")
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5)
    middle.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    middle.tick_params(which="minor", labelleft=False)
    middle.set_title("n random masks")
    for i, label in enumerate(LABELS):
        for history, style, name in zip(histories, (":", "-"), ("without", "dropout"), strict=True):
            values = 100 * history["accuracy"][i].mean(0)
            epochs = EVERY * np.arange(1, len(values) + 1)
            right.plot(epochs, values, style, color=plots.COLORS[2 + i], label=f"{label}, {name}")
    low, high = right.get_ylim()
    right.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(low - 0.4 * (high - low), high))
    right.set_title("few digits to learn from")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=9, loc="lower left" if axes is right else "best")
    return figure
