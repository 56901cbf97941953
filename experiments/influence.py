"""Which training digits made a mistake, and which of them have a wrong label.

    uv run python -m experiments.influence

Question: Do the gradients of single digits tell which training digits made the network misread
another one, and which training digits have a wrong label?

A step of descent on the gradient g_b of digit b changes the loss of digit c by −η ⟨g_b, g_c⟩, to
first order. Along a training with rate η,

    influence         I(b, c) = η Σ_k ⟨g_b, g_c⟩        at the params after each epoch k
    self-influence    I(b, b) = η Σ_k ‖g_b‖²

Mistakes: c is a test digit that is read wrong. Training digits with the least I(b, c) raised its
loss most, all of them found in one pass per epoch (fnn.rules.example_slopes). To see whether they
made the mistake, training is repeated without the first of them, all else equal; and without as
many that are nearest to c, pixel by pixel, among those of the class that was said; and without as
many of that class at random.

Wrong labels: a share of the training labels is exchanged for others. The backward pass of each step
gives, with its gradient, the ‖g_b‖² of its digits (fnn.rules.example_norms) and the ⟨g_b, g⟩ with
the gradient g of the validation digits, whose labels are right. Summed over the epochs, they rank
the digits: the largest first, of ⟨g_b, g⟩ the least. So do the losses of the same passes, which
need no gradient, and the losses of the trained network. The figure of merit is average precision:
how many of those in front have a wrong label, at every such digit, in the mean.

Source: Pruthi, Liu, Kale & Sundararajan (2020), arXiv:2002.08484, sections 3.3 and 4.1; Koh & Liang
(2017), arXiv:1703.04730, section 5.4, for training without the digits that are found.
"""

import functools
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
from experiments.common.portraits import cells
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.common.timing import in_turn

NET, LOSS = fnn.mlp([64, 128, 10]), fnn.SoftmaxCrossEntropy()
N = 1258  # training digits
WAYS = FOUND, NEAREST, RANDOM = "by gradients", "nearest", "at random"  # who is left out
NORMS, SLOPES, LOSSES, END = "norms", "products", "losses", "losses at the end"


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Find the digits that made mistakes, and those with a wrong label."""

    batch_size: Annotated[int, Bounds(1)] = 32
    learning_rate: Annotated[float, Bounds(1e-6, 10)] = 0.1  # η, with right labels
    epochs: Annotated[int, Bounds(1)] = 40  # the same
    left_out: Annotated[tuple[int, ...], Bounds(1, 100)] = (20, 40)  # training digits, of 1,258
    share: Annotated[float, Bounds(0, 0.5, open_low=True)] = 0.1  # of wrong labels
    wrong_rate: Annotated[float, Bounds(1e-6, 10)] = 0.3  # η, with wrong labels
    wrong_epochs: Annotated[int, Bounds(2)] = 100  # the same
    seeds: Annotated[int, Bounds(2)] = 4
    rounds: Annotated[int, Bounds(3)] = 41  # of timing


QUICK = Config(quick=True, epochs=15, left_out=(40,), wrong_epochs=60, seeds=2, rounds=5)


def ready(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Pixels of 0 to 1, [n, 64], and labels."""
    return jnp.asarray(rows.x / 16), jnp.asarray(rows.label)


def plan_of(config: Config) -> fnn.Plan:
    """What is trained."""
    return fnn.Plan(NET, LOSS, fnn.optim.SGD(config.learning_rate))


@functools.partial(jax.jit, static_argnums=0)
def trained(config: Config, key: Any, train: Any, weights: Any) -> tuple[Any, Any]:
    """The params after the last epoch, and those after each, of digits with these weights."""
    plan = plan_of(config)

    def body(state, _):
        data = (*train, weights)
        state, _ = fnn.epoch(plan, state, data, batch_size=config.batch_size)
        return state, state.params

    state, every = jax.lax.scan(body, fnn.start(plan, key), None, length=config.epochs)
    return state.params, every


@jax.jit
def read(params: Any, x: Any, label: Any) -> tuple[Any, Any]:
    """The losses of digits, and what they are read as."""
    y, _ = NET.forward(params, x)
    return LOSS.forward(y, label)[0], y.argmax(-1)


@jax.jit
def influences(every: Any, train: Any, x: Any, label: Any) -> Any:
    """Σ_k ⟨g_b, g_c⟩ of the training digits b with the digit c, x [64], [N]."""

    def at(params):
        _, g = fnn.value_and_grad(NET, LOSS, params, x[None], label[None])
        rule = fnn.rules.example_slopes.given(g)
        return fnn.rules.total(fnn.fold(NET, LOSS, params, *train, rule=rule).result)

    return jax.vmap(at)(every).sum(0)


class Mistake(NamedTuple):
    """A test digit that is read wrong."""

    seed: int
    digit: int  # its number among the test digits
    said: int
    loss: float
    influence: np.ndarray  # of every training digit, over η, [N]


def mistakes(config: Config, key: Any, seed: int) -> list[Mistake]:
    """All test digits that are read wrong after training from this key."""
    train, test = ready(bundles.digits().train), ready(bundles.digits().test)
    params, every = trained(config, key, train, jnp.ones(N))
    losses, said = map(np.asarray, read(params, *test))
    wrong = np.flatnonzero(said != bundles.digits().test.label)
    found = [np.asarray(influences(every, train, *(a[i] for a in test))) for i in wrong]
    return [
        Mistake(seed, int(i), int(said[i]), float(losses[i]), influence)
        for i, influence in zip(wrong, found, strict=True)
    ]


def suspects(mistake: Mistake, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The n training digits that each way leaves out."""
    train, test = bundles.digits().train, bundles.digits().test
    alike = np.flatnonzero(train.label == mistake.said)
    far = ((train.x[alike] - test.x[mistake.digit]) ** 2).sum(1)
    return {
        FOUND: np.argsort(mistake.influence)[:n],
        NEAREST: alike[np.argsort(far)[:n]],
        RANDOM: rng.choice(alike, min(n, len(alike)), replace=False),
    }


def repeated(config: Config, n: int, keys: Any, found: list[Mistake]) -> dict[str, np.ndarray]:
    """Whether every mistake is read right without the n digits that each way leaves out."""
    rng, train = np.random.default_rng(config.seed), ready(bundles.digits().train)
    x, label = (a[np.array([m.digit for m in found])] for a in ready(bundles.digits().test))
    out = [suspects(m, n, rng) for m in found]
    starts = keys[np.array([m.seed for m in found])]
    again = jax.vmap(lambda key, w: trained(config, key, train, w)[0])
    one = jax.vmap(lambda params, x, label: read(params, x[None], label[None])[1][0])
    right: dict[str, np.ndarray] = {}
    for way in track(f"training again without {n}", WAYS):
        weights = np.ones((len(found), N), np.float32)
        for row, left in zip(weights, out, strict=True):
            row[left[way]] = 0
        said = one(again(starts, jnp.asarray(weights)), x, label)
        right[way] = np.asarray(said == label)
    return right


class Traces(NamedTuple):
    """What every training digit was seen to have, epoch by epoch, [seeds, epochs, N]."""

    wrong: Any  # whether its label is, [seeds, N]
    norms: Any  # ‖g_b‖²
    slopes: Any  # ⟨g_b, g⟩
    losses: Any
    end: Any  # the loss after training, [seeds, N]


def mislabelled(key: Any, share: float, right: Any) -> tuple[Any, Any]:
    """Labels of which a share is wrong, and which are."""
    k_which, k_label = jax.random.split(key)
    wrong = jax.random.permutation(k_which, N) < round(share * N)
    other = (right + jax.random.randint(k_label, (N,), 1, 10)) % 10
    return jnp.where(wrong, other, right), wrong


def looking(params: Any, batch: Any, held: Any) -> fnn.Pass:
    """One pass: gradient, norms, and products with the gradient of what is held out."""
    _, g = fnn.value_and_grad(NET, LOSS, params, *held)
    rules = fnn.rules
    rule = rules.backprop, rules.example_norms, rules.example_slopes.given(g)
    return fnn.fold(NET, LOSS, params, *batch, rule=rule)


@functools.partial(jax.jit, static_argnums=0)
def watched(config: Config, key: Any, train: Any, held: Any) -> Traces:
    """Train with wrong labels, and keep what the passes show of every digit."""
    k_label, k_start, k_rows = jax.random.split(key, 3)
    x, right = train
    label, wrong = mislabelled(k_label, config.share, right)
    optimizer, total = fnn.optim.SGD(config.wrong_rate), fnn.rules.total
    size = config.batch_size
    params = NET.init(k_start)

    def step(carried, rows):
        params, state = carried
        done = looking(params, (x[rows], label[rows]), held)
        grads, norms, slopes = done.result
        updates, state = optimizer.update(grads, state, params)
        seen = total(norms), total(slopes), done.losses
        return (fnn.optim.apply_updates(params, updates), state), seen

    def epoch(carried, key):  # the rest of a permutation is not seen in it
        rows = jax.random.permutation(key, N)[: N // size * size].reshape(-1, size)
        carried, seen = jax.lax.scan(step, carried, rows)
        return carried, [jnp.zeros(N).at[rows].add(a) for a in seen]

    keys = jax.random.split(k_rows, config.wrong_epochs)
    (params, _), (norms, slopes, losses) = jax.lax.scan(
        epoch, (params, optimizer.init(params)), keys
    )
    return Traces(wrong, norms, slopes, losses, read(params, x, label)[0])


def precisions(score: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Behind every wrong label in the order of falling scores: the share of wrong ones so far."""
    ranks = np.flatnonzero(wrong[np.argsort(-score, kind="stable")]) + 1
    return np.arange(1, len(ranks) + 1) / ranks


def rankings(traces: Traces, epochs: int) -> dict[str, np.ndarray]:
    """The precisions of each way to rank, after so many epochs, [seeds, wrong labels]."""
    upto = {NORMS: traces.norms, SLOPES: -traces.slopes, LOSSES: traces.losses}
    scores = {name: a[:, :epochs].sum(1) for name, a in upto.items()} | {END: traces.end}
    return {
        name: np.stack([precisions(*pair) for pair in zip(score, traces.wrong, strict=True)])
        for name, score in scores.items()
    }


def cost(config: Config) -> float:
    """The time of a pass with all three rules, over that of the gradient alone."""
    params, direction = NET.init(jax.random.key(0)), NET.init(jax.random.key(1))
    batch = tuple(a[: config.batch_size] for a in ready(bundles.digits().train))

    def alone(params, direction, batch):
        return fnn.value_and_grad(NET, LOSS, params, *batch)

    def three(params, direction, batch):
        rules = fnn.rules
        rule = rules.backprop, rules.example_norms, rules.example_slopes.given(direction)
        return fnn.fold(NET, LOSS, params, *batch, rule=rule)[:2]

    seconds = in_turn([three, alone], (params, direction, batch), config.rounds)
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def measure(config: Config) -> Outcome:
    """Find the digits behind mistakes, and those with wrong labels."""
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    found = [m for i in track("seeds", range(config.seeds)) for m in mistakes(config, keys[i], i)]
    right = {n: repeated(config, n, keys, found) for n in config.left_out}
    train, held = ready(bundles.digits().train), ready(bundles.digits().validation)
    seen = jax.vmap(lambda key: watched(config, key, train, held))(keys)
    traces = Traces(*map(np.asarray, seen))
    return concluded(config, found, right, traces, cost(config))


def concluded(
    config: Config, found: list[Mistake], right: Any, traces: Traces, times: float
) -> Outcome:
    """What was found."""
    undone = {n: {way: int(a.sum()) for way, a in seen.items()} for n, seen in right.items()}
    ranked = rankings(traces, config.wrong_epochs)
    merit = {name: float(p.mean()) for name, p in ranked.items()}
    findings = {
        "without digits that gradients blame more mistakes are undone than at random": all(
            each[FOUND] > each[RANDOM] for each in undone.values()
        ),
        "norms summed along training find most wrong labels": merit[NORMS] > 0.9,
        "norms find more than the losses of the trained network": merit[NORMS] > merit[END],
        "norms find more than products with held-out digits": merit[NORMS] > merit[SLOPES],
        "norms find no more than losses summed along training": merit[NORMS] <= merit[LOSSES],
    }
    measured = {
        "mistakes": len(found), "undone": undone, "average precision": merit,
        "time of the pass": times,
    }  # fmt: skip
    rows = [
        {"ranked by": name, "found": i + 1, "precision": p}
        for name, each in ranked.items()
        for i, p in enumerate(each.mean(0))
    ]
    answer = answered(config, len(found), undone, merit, times)
    figure, shown = pictured(config, found, traces, ranked), tables(len(found), undone, ranked)
    return Outcome(answer, findings, measured, figure, shown, rows)


def answered(config: Config, n: int, undone: Any, merit: dict[str, float], times: float) -> str:
    """In words."""

    def counts(way):
        return " and ".join(str(each[way]) for each in undone.values())

    return (
        f"To a part. Of {n} mistakes of {config.seeds} networks {counts(FOUND)} are read right "
        f"without the {' and '.join(map(str, undone))} training digits that gradients blame, "
        f"{counts(RANDOM)} without as many at random of the class that was said, but "
        f"{counts(NEAREST)} without those of it that look most alike, which takes no gradient. Of "
        f"{100 * config.share:g} % wrong labels gradient norms, summed over "
        f"{config.wrong_epochs} epochs, find nearly all (average precision {merit[NORMS]:.3f}); "
        f"so do the losses of the same passes ({merit[LOSSES]:.3f}), those of the trained network "
        f"no longer ({merit[END]:.3f}): it knows wrong labels by heart. Products with held-out "
        f"digits do worse ({merit[SLOPES]:.3f}; at random {config.share:.3f}). A pass with norms "
        f"and products takes {times:.2f} times as long as one with the gradient alone."
    )


def tables(n: int, undone: Any, ranked: Any) -> list[Table]:
    """Mistakes and wrong labels."""
    mistaken = [[way, *(str(each[way]) for each in undone.values())] for way in WAYS]
    spread = [
        [name, *(f"{f(p.mean(1)):.3f}" for f in (np.mean, np.min, np.max))]
        for name, p in ranked.items()
    ]
    return [
        Table(f"Of {n} mistakes read right without", ("digits", *map(str, undone)), mistaken),
        Table("Average precision of wrong labels", ("ranked by", "mean", "least", "most"), spread),
    ]


def pictured(config: Config, found: list[Mistake], traces: Traces, ranked: Any) -> plots.Figure:
    """Mistakes with the digits behind them, and how wrong labels are found."""
    title = "Digits that made others be misread, and digits with wrong labels"
    figure, ((left, middle, right),) = plots.picture(title, 1, 3, size=(13, 4.6))
    left.get_gridspec().set_width_ratios([1.5, 1, 1])
    portray(left, [m for m in found if m.seed == found[0].seed][:7])
    colors: dict[str, str] = dict(zip((NORMS, SLOPES, LOSSES, END), plots.COLORS, strict=False))
    for name, p in ranked.items():
        recall = np.arange(1, p.shape[1] + 1) / p.shape[1]
        style = "--" if name in (LOSSES, END) else "-"
        middle.plot(100 * recall, 100 * p.mean(0), style, color=colors[name], label=name)
    middle.axhline(100 * config.share, color=plots.FAINT, zorder=0)
    middle.text(100, 100 * config.share + 1, "at random", ha="right", fontsize=9)
    middle.set(xlabel="wrong labels that are found, %", ylabel="found labels that are wrong, %")
    middle.set(ylim=(0, 103))
    middle.set_title(f"wrong labels, after {config.wrong_epochs} epochs")
    middle.legend(frameon=False, loc=(0.02, 0.13), fontsize=9)
    epochs = np.unique(np.geomspace(1, config.wrong_epochs, 25).round().astype(int))
    merits = [
        {name: p.mean() for name, p in rankings(traces, e).items() if name != END} for e in epochs
    ]
    alone = [
        np.mean([precisions(*pair).mean() for pair in zip(a, traces.wrong, strict=True)])
        for a in traces.losses.swapaxes(0, 1)[epochs - 1]
    ]
    for name in merits[0]:
        style = "--" if name == LOSSES else "-"
        right.plot(epochs, [m[name] for m in merits], style, color=colors[name], label=name)
    right.plot(epochs, alone, ":", color=colors[END], label="losses of this epoch alone")
    right.set(xscale="log", xlabel="epochs so far (log scale)", ylabel="average precision")
    right.xaxis.set_major_formatter("{x:g}")
    right.set(ylim=(0, 1.03))
    right.set_title("summed along training")
    right.legend(frameon=False, loc="lower right", fontsize=9)
    return figure


def portray(axes: Any, shown: list[Mistake], n: int = 6) -> None:
    """A row for each mistake: the digit, n that raised its loss most, n that lowered it most."""
    images, names, digits = [], [], bundles.digits()
    for m in shown:
        order = np.argsort(m.influence)
        rows = [*order[:n], *order[::-1][:n]]
        blank = np.full((1, 8, 8), np.nan)
        train = digits.train.x[rows].reshape(-1, 8, 8)
        test = digits.test.x[m.digit].reshape(1, 8, 8)
        images.append(np.concatenate([test, blank, train[:n], blank, train[n:]]))
        said = f"{digits.test.label[m.digit]} → {m.said}"
        labels = [str(digits.train.label[i]) for i in rows]
        names.append([said, "", *labels[:n], "", *labels[n:]])
    axes.imshow(cells(np.stack(images), 4, 1), cmap="Greys", vmin=0, vmax=16)
    for i, row in enumerate(names):
        for j, name in enumerate(row):
            axes.text(9 * j + 3.5, 12 * i + 9.3, name, ha="center", va="center", fontsize=8)
    for text, j in (("misread", 0), ("raised its loss most", 2), ("lowered its loss most", 3 + n)):
        axes.text(9 * j - 0.5, -1.5, text, fontsize=9)
    axes.set_axis_off()


if __name__ == "__main__":
    sys.exit(claims.run(measure, QUICK))
