"""A transformer reads a string and writes it in another order.

    uv run python -m experiments.seq2seq

Question: Does an encoder-decoder whose gradients are all written out by hand learn to reverse and
to sort strings that it never saw, and where does it look while it writes?

The net reads the task and 4 to 9 letters and writes the letters in the other order, one by one,
then an end. An answer is right if it is so from its first letter to its end, written without
help: every letter is chosen in the light of those that the net itself chose before. A tenth of
all strings is held out by their hash and never learned from.

    p[t,s]      the weight, of all places s of the source, at place t of the answer
    next        Σ_t Σ_s p[t,s] 1{letter s of the source is letter t of the answer} / Σ_t 1

The weights are those of cross-attention in the decoder. Where the string is reversed, the letter
that comes next stands on the other diagonal. Of all heads the one is shown that has most
weight there, the mean of all held-out strings. Strings of different length share a batch, padded
behind masks on both sides. Shown are medians of the starts, with their range.

Source: Vaswani et al. (2017), arXiv:1706.03762; the task: Grefenstette, Hermann, Suleyman &
Blunsom (2015), arXiv:1506.02516, section 4.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import plots
from experiments.common.claims import Outcome, Table
from experiments.common.cli import Bounds
from experiments.common.progress import track
from experiments.common.settings import ClaimSettings
from experiments.common.stages import fit_in_stages
from experiments.seq2seq import answering, strings
from experiments.seq2seq.strings import N_SOURCE, N_TARGET, TASKS, Problems

BATCH = 32  # problems per step
LENGTHS = 4, 9  # letters of a string, at least and at most
ENOUGH = 0.95  # of the held-out strings answered rightly


@dataclass(frozen=True)
class Config(ClaimSettings):
    """Teach an encoder-decoder to reverse and to sort."""

    starts: Annotated[int, Bounds(1)] = 3  # initial weights
    rows: Annotated[int, Bounds(64)] = 8000  # problems to learn from
    epochs: Annotated[int, Bounds(1)] = 10
    held_out: Annotated[int, Bounds(10)] = 200  # strings to judge it by, by every task
    n: Annotated[int, Bounds(4)] = 32  # numbers that stand for a letter
    layers: Annotated[int, Bounds(1)] = 2  # blocks of each of the two nets
    learning_rate: Annotated[float, Bounds(0, open_low=True)] = 0.005  # the highest


QUICK = Config(quick=True, starts=1, epochs=6, held_out=50)


class Learned(NamedTuple):
    """One start."""

    right: Any  # after every epoch and before the first, [epochs + 1, tasks, strings]
    following: Any  # the weight on the next letter, [tasks, layers, heads]
    maps: Any  # of the first of the longest strings, [tasks, layers, heads, T, S]


def measure(config: Config) -> Outcome:
    """Train from every start; look where the attention goes."""
    rng = np.random.default_rng(config.seed)
    words = strings.drawn(rng, config.rows, LENGTHS, held=False)
    data = strings.posed(words, rng.integers(0, len(TASKS), config.rows), LENGTHS[1])
    words = strings.drawn(rng, config.held_out, LENGTHS, held=True)
    tasks = np.repeat(np.arange(len(TASKS)), config.held_out)
    held = strings.posed(words * len(TASKS), tasks, LENGTHS[1])
    plan = plan_of(config)
    keys = jax.random.split(jax.random.key(config.seed), config.starts)
    runs = [learned(plan, data, held, key, config.epochs) for key in track("trained", list(keys))]
    seen = Seen(held, config.rows // BATCH, [jax.tree.map(np.asarray, run) for run in runs])
    shapes = jax.eval_shape(plan.net.init, keys[0])
    size = sum(a.size for a in jax.tree.leaves(shapes))
    return Outcome(
        answer=answer(seen, size),
        findings=findings(seen),
        measured={
            "parameters": size,
            "right": {name: seen.ends(task) for task, name in enumerate(TASKS)},
            "next": {name: seen.best(task)[0] for task, name in enumerate(TASKS)},
        },
        figure=picture(seen),
        tables=[table(seen)],
        rows=points(seen),
    )


def plan_of(config: Config) -> fnn.Plan:
    """Adam behind a clipped gradient, at a rate that rises and falls."""
    net = fnn.encoder_decoder(
        N_TARGET, config.n, 4, config.layers, LENGTHS[1] + 1, n_source=N_SOURCE
    )
    steps = config.epochs * -(-config.rows // BATCH)
    schedule = fnn.optim.WarmupCosine(config.learning_rate, steps // 10, steps)
    adam = fnn.optim.Scheduled(fnn.optim.Adam(b2=0.98), schedule)
    optimizer = fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), adam)
    return fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), optimizer)


@partial(jax.jit, static_argnames="epochs")
def learned(plan: fnn.Plan, data: Problems, held: Problems, key: Any, epochs: int) -> Learned:
    """Train from one start, and answer the held-out problems before and after every epoch."""
    k_params, k_order = jax.random.split(key)

    def look(params):
        return answering.right(plan.net, params, held.x, held.answer).reshape(len(TASKS), -1)

    params = plan.net.init(k_params)
    before = look(params)
    params, after = fit_in_stages(
        plan, params, (data.x, data.answer), look,
        stages=epochs, epochs=1, batch_size=BATCH, key=k_order,
    )  # fmt: skip
    p = answering.weights(plan.net, params, held.x)
    p = p.reshape(*p.shape[:2], len(TASKS), -1, *p.shape[3:])  # [layers, heads, tasks, N, T, S]
    p = jnp.moveaxis(p, 2, 0)
    maps = p[:, :, :, held.length.argmax()]  # the strings of the first task are those of all
    return Learned(jnp.concatenate([before[None], after]), following(p, held), maps)


def following(p: Any, held: Problems) -> Any:
    """The weight on the letter that comes next, the mean over letters, [tasks, layers, heads]."""
    letters = jnp.asarray(held.answer != strings.EDGE) & held.x.mask
    fits = (held.answer[:, :, None] == held.x.memory.x[:, None]) & held.x.memory.mask[:, None]
    fits = (fits & letters[:, :, None]).reshape(p.shape[0], *p.shape[3:])
    n = letters.reshape(p.shape[0], -1).sum(1).astype(p.dtype)
    return jnp.where(fits[:, None, None], p, 0).sum((3, 4, 5)) / n[:, None, None]


class Seen(NamedTuple):
    """What was measured."""

    held: Problems
    steps: int  # per epoch
    runs: list[Learned]

    def shares(self) -> np.ndarray:
        """The share of right answers, [starts, epochs + 1, tasks]."""
        return np.stack([run.right.mean(-1) for run in self.runs])

    def ends(self, task: int) -> np.ndarray:
        """The share of right answers at the end, of every start."""
        return self.shares()[:, -1, task]

    def by_length(self, task: int) -> np.ndarray:
        """The share of right answers at the end, [lengths, starts]."""
        length = self.held.length.reshape(len(TASKS), -1)[task]
        right = np.stack([run.right[-1, task] for run in self.runs])
        return np.stack([right[:, length == size].mean(1) for size in np.unique(length)])

    def best(self, task: int) -> tuple[np.ndarray, int, int]:
        """Of every start the most weight on the next letter; of the first the layer and head."""
        most = np.array([run.following[task].max() for run in self.runs])
        layer, head = np.unravel_index(
            self.runs[0].following[task].argmax(), self.runs[0].following[task].shape
        )
        return most, int(layer), int(head)


def findings(seen: Seen) -> dict[str, bool]:
    """What is claimed."""
    before, ends = seen.shares()[:, 0], seen.shares()[:, -1]
    return {
        "before training no answer is right": bool((before == 0).all()),
        "every start answers 95 % of the held-out problems of both tasks": bool(
            (ends >= ENOUGH).all()
        ),
        "of the longest strings it answers as many, too": all(
            (seen.by_length(task)[-1] >= ENOUGH - 0.05).all() for task in range(len(TASKS))
        ),
        "one head has most of its weight on the letter that comes next": all(
            (seen.best(task)[0] > 0.5).all() for task in range(len(TASKS))
        ),
    }


def percent(values: np.ndarray) -> str:
    """The values of all starts, in percent."""
    return ", ".join(f"{100 * v:.1f}" for v in values)


def answer(seen: Seen, size: int) -> str:
    """What was measured, in sentences."""
    n, steps = len(seen.held.task) // len(TASKS), seen.steps * (seen.runs[0].right.shape[0] - 1)
    half = np.median(seen.shares(), 0) >= 0.5
    first = [seen.steps * int(half[:, task].argmax()) for task in range(len(TASKS))]
    most = [float(np.median(seen.best(task)[0])) for task in range(len(TASKS))]
    plural = "s" * (len(seen.runs) > 1)
    return (
        f"It does. After {steps:,} steps {size:,} parameters reverse {percent(seen.ends(0))} % of "
        f"{n} held-out strings without a mistake and sort {percent(seen.ends(1))} % of them "
        f"({len(seen.runs)} start{plural}); half of them after {first[0]:,} and {first[1]:,} "
        "steps. One head of the decoder looks at the letter that it is about to write, with "
        f"{100 * most[0]:.0f} % of its weight when it reverses and {100 * most[1]:.0f} % when it "
        "sorts."
    )


def table(seen: Seen) -> Table:
    """Right answers of every start."""
    columns = ["", *(f"start {i}" for i in range(1, len(seen.runs) + 1))]
    rows = [[name, *(f"{v:.3f}" for v in seen.ends(task))] for task, name in enumerate(TASKS)]
    return Table("Share of held-out strings answered rightly", columns, rows)


def points(seen: Seen) -> list[dict[str, Any]]:
    """Right answers by step, the median of the starts."""
    middle = np.median(seen.shares(), 0)
    return [
        {"step": seen.steps * i} | dict(zip(TASKS, map(float, row), strict=True))
        for i, row in enumerate(middle)
    ]


def picture(seen: Seen) -> plots.Figure:
    """Right answers by step and by length, and where one head looks."""
    title = "A transformer learns to reverse and to sort, and looks at the letter that it writes"
    figure, ((steps, lengths), below) = plots.picture(title, 2, 2, (10, 8.4))
    at, sizes = seen.steps * np.arange(len(seen.shares()[0])), np.unique(seen.held.length)
    for (task, name), color in zip(enumerate(TASKS), plots.COLORS, strict=False):
        plots.band(steps, at, 100 * seen.shares()[:, :, task].T, color, name, 1)
        plots.band(lengths, list(sizes), 100 * seen.by_length(task), color, name, 1)
    steps.set(xlabel="step", ylabel="right answers, %", ylim=(0, 103))
    steps.set_title("Held-out strings, answered without a mistake")
    lengths.set(xlabel="letters of the string", ylabel="right answers, %", ylim=(0, 103))
    lengths.set_title("The same at the end, by length")
    for axes in (steps, lengths):
        axes.legend(frameon=False, loc="lower right")
    tasks = zip(below, enumerate(TASKS), strict=True)
    maps = [look(axes, seen, task, name) for axes, (task, name) in tasks]
    figure.colorbar(maps[0], ax=list(below), label="weight", shrink=0.8, aspect=30)
    return figure


def look(axes: Any, seen: Seen, task: int, name: str) -> Any:
    """The weights of the head that looks most at the next letter, for one string."""
    _, layer, head = seen.best(task)
    rows = len(seen.held.task) // len(TASKS)
    row = task * rows + int(seen.held.length[:rows].argmax())
    n = int(seen.held.length[row])
    p = seen.runs[0].maps[task, layer, head, : n + 1, : n + 1]
    word = strings.written(seen.held.x.memory.x[row, 1 : n + 1])
    said = strings.written(seen.held.answer[row])
    drawn = axes.imshow(p, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(n + 1), ["task", *word])
    axes.set_yticks(range(n + 1), [*said, "end"])
    axes.set(xlabel="source: the task, then the letters", ylabel="what comes next in the answer")
    axes.set_title(f"{name}: {word} → {said} (layer {layer + 1}, head {head + 1})")
    return drawn
