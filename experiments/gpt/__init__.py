"""A transformer learns to write source code by hand-written gradients.

    uv run python -m experiments.gpt

Question: Does a transformer whose gradients are all written out by hand learn to write source
code, and how well does it predict code that it never saw?

Answer: It does. With --quick, 136,448 parameters and 2,000 steps in one minute, a byte of
the held-out modules takes 2.28, 2.25 and 2.26 bits (seeds 0, 1 and 2), where before
training it took 8 to 9. Bytes by their frequency take 4.56 bits, by the byte before them
3.52; gzip needs 2.06 and xz 1.77, which look back much further than the 64 bytes that this
net sees. A byte of the text that it learned from takes 2.24, 2.23 and 2.23 bits, hardly
fewer.

The text is the source of Python's own standard library, 10.2 million bytes of modules, and 0.5
million of other modules held out (Python 3.11; other versions have other text), or --text
FILE, which may be larger than memory. A byte is a token, and nearly every byte of it a
character; bits per byte are the cross-entropy over log 2. Every evaluation looks at the same
windows of both parts, the last one at all that is held out; each window begins without context.
Every evaluation also prints a sample and adds a checkpoint to those in the run's folder (the one
before it stays, should the newest be damaged), from which

    --resume FOLDER               goes on, to the same parameters bit for bit; with --text FILE
                                  where the text has another place now
    --load FILE --prompt "def "   writes, with --temperature, --top-k and --length

Its folder gets two pictures: what the net has learned, and norms of gradients and updates of every
layer. Without --quick the net has 4.9 million parameters and wants a faster machine.

Source: Radford et al. (2019), Language models are unsupervised multitask learners; the
measure: Shannon (1951), Bell System Technical Journal 30.
"""

import dataclasses
import math
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax

import fnn
from experiments.common import checkpoints, cli, plots, runs, writing
from experiments.common.cli import DATA, Bounds, UserError
from experiments.common.insides import by_layer
from experiments.common.progress import Progress, table
from experiments.gpt import corpus, pictures, sampling, states
from experiments.gpt.corpus import Corpus, Drawn
from experiments.gpt.states import Saved
from fnn.named import by_name

LOOK = 2**14  # bytes of each part that every evaluation looks at
ROWS = 64  # windows that are evaluated at a time
CHECKPOINTS = "checkpoints"  # the folder of these, in that of the run
ROW = {"step", "train", "held_out", "seconds", "sample"}  # what an evaluation notes, and insides
INSIDES = fnn.rules.gradient_norms, fnn.rules.update_ratios
MOST = 50_000  # evaluations: the checkpoint holds what they measured


@dataclass(frozen=True)
class Config:
    """Train a GPT, byte by byte, on Python's own source code or on a text of yours."""

    text: Path | None = None  # a file to learn from; None: the standard library's source
    n: Annotated[int, Bounds(1)] = 256  # numbers that stand for a byte
    heads: Annotated[int, Bounds(1)] = 8  # of every attention; they divide n
    layers: Annotated[int, Bounds(1)] = 6  # blocks of attention and feed-forward net
    context: Annotated[int, Bounds(1)] = 256  # bytes that it sees at most
    steps: Annotated[int, Bounds(1)] = 6000  # of the optimizer, AdamW
    batch_size: Annotated[int, Bounds(1)] = 32  # windows per step
    dropout: Annotated[float, Bounds(0, 1)] = 0.0  # share of every block's values dropped
    # the highest, after a warm-up of a tenth of the steps
    learning_rate: Annotated[float, Bounds(0, open_low=True)] = 0.001
    precision: Literal["float32", "bfloat16"] = "float32"  # of all but parameters and sums
    evaluate_every: Annotated[int, Bounds(1)] = 250  # steps; a sample and a checkpoint, too
    devices: Annotated[int, Bounds(1)] = 1  # that share all (FSDP); a CPU pretends to be so many
    seed: Annotated[int, Bounds(0, 2**31)] = 0  # of initial weights, windows and samples
    prompt: str = "def "  # what samples go on from
    length: Annotated[int, Bounds(1)] = 200  # bytes of a sample
    temperature: Annotated[float, Bounds(0)] = 0.8  # of samples; 0: always the likeliest byte
    top_k: Annotated[int | None, Bounds(1)] = (
        None  # choose among this many of the likeliest bytes; None: all
    )
    quick: bool = False  # a smaller net and fewer steps: minutes on two CPU cores
    out: Path | None = None  # a new folder; None: runs/gpt-<time>
    resume: Path | None = None  # the folder of a run that was stopped: go on with it
    load: Path | None = None  # a checkpoint: write a sample instead of training


QUICK = Config(
    quick=True, n=64, heads=4, layers=2, context=64, steps=2000, batch_size=16,
    learning_rate=0.003, evaluate_every=200,
)  # fmt: skip
BESIDE = {  # the flags that these leave a choice
    "load": {"load", "prompt", "length", "temperature", "top_k", "seed"},
    "resume": {"resume", "text", "devices"},
}


class Problem(NamedTuple):
    """What is to be learned from."""

    windows: Drawn  # of every step
    looks: dict[str, corpus.Pair]  # train, held_out: of every evaluation
    k_samples: Any  # of what is written


def main(config: Config) -> None:
    """Train, evaluate, write, draw; or write only."""
    check(config)
    if config.devices > 1:
        jax.config.update("jax_num_cpu_devices", config.devices)
    if config.load is not None:
        write_from(config, config.load)
        return
    path, config, saved = begun(config)
    text = corpus.read(config.text, config.context)
    if saved is not None and saved.config.get("sha256") != text.fingerprint():
        raise UserError(f"{text.name}: not the text that the run in {path} learns from.", DATA)
    print(f"{text.name}: {len(text.train):,} bytes, and {len(text.held_out):,} held out")
    problem, fresh = prepared(config, text)
    if saved is not None:
        fresh = fresh._replace(state=saved.state, history=saved.history)
    fresh = fresh._replace(state=spread(config, fresh))
    with runs.Run(path, config, resumed=saved is not None) as run:
        end = train(config, problem, fresh, run)
        baselines = corpus.baselines(text)
        results = judged(end, problem, text) | speed(config, end)
        runs.check_finite("at the end", results, {})
        figure = pictures.picture_of(end.history, results["held_out"], baselines)
        plots.save(figure, run.path / "curves.png")
        if figure := pictures.insides_of(end.history):
            plots.save(figure, run.path / "insides.png")
        more = {"baselines": baselines, "jax": jax.__version__, "device": jax.default_backend()}
        run.summary(results | more)
    report(results, baselines)
    print(f"written to {run.path}/")


def begun(config: Config) -> tuple[Path, Config, Saved | None]:
    """Where the run writes, its settings, and how far it is where it goes on; nothing is created.

    The text is found again from any folder: its path is absolute.
    """
    text = None if config.text is None else config.text.absolute()
    if config.resume is None:
        path = runs.folder(config.out, "gpt")
        return path, dataclasses.replace(config, text=text), None
    folder = config.resume / CHECKPOINTS
    saved = states.newest(folder, plan_of)
    with writing.refusals(f"--resume {config.resume}"):
        runs.check_writable(config.resume)
    settled = settings(folder, saved)
    text = text or settled.text
    return config.resume, dataclasses.replace(settled, text=text, devices=config.devices), saved


def check(config: Config) -> None:
    """Raise a UserError for flags that do not go together."""
    for flag, free in BESIDE.items():
        if getattr(config, flag) is not None and (more := sorted(given(config) - free)):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in more)
            raise UserError(f"{names} cannot stand beside --{flag}, where this is settled.")
    if config.n % config.heads:
        raise UserError(f"--heads must divide --n, got {config.heads} and {config.n}.")
    if not config.prompt:
        raise UserError("--prompt must have at least one letter.")
    if config.steps // config.evaluate_every > MOST:
        least = -(-config.steps // MOST)
        raise UserError(
            f"--evaluate-every must be at least {least} for --steps {config.steps}, got "
            f"{config.evaluate_every}: at most {MOST} evaluations are kept."
        )


def given(config: Config) -> set[str]:
    """The names of the flags that were changed."""
    before = QUICK if config.quick else Config()
    names = {field.name for field in dataclasses.fields(config)}
    changed = {name for name in names if getattr(config, name) != getattr(before, name)}
    return changed | ({"quick"} if config.quick else set())


def settings(file: Path, saved: Saved) -> Config:
    """The Config that a checkpoint holds, checked like one that was typed."""
    values = saved.config
    with checkpoints.understood(file, "holds no settings of a run"):
        names = {f.name for f in dataclasses.fields(Config)} - {"load", "resume", "devices"}
        known: dict[str, Any] = {name: values[name] for name in names}
        for name in ("text", "out"):
            known[name] = None if known[name] is None else Path(known[name])
        config = Config(**known)
        try:
            cli.check_settings(config)
            check(config)
        except UserError as error:
            raise ValueError(f"{error}") from None
        if any(row.keys() - {"insides"} != ROW for row in saved.history):
            raise ValueError(f"a row of its history must have {', '.join(sorted(ROW))}")
        if saved.plan.net != network(config):
            raise ValueError("they describe another network than the one that it holds")
    return config


def network(config: Config) -> fnn.Layer[Any, Any]:
    """The net to train."""
    sizes = config.n, config.heads, config.layers, config.context
    net = fnn.gpt(corpus.N_BYTES, *sizes, dropout=config.dropout)
    return net if config.precision == "float32" else fnn.Cast(net, config.precision)


def plan_of(net: fnn.Layer[Any, Any], values: dict[str, Any]) -> fnn.Plan:
    """AdamW behind a clipped gradient, at a rate that rises and falls."""
    rate, steps = values["learning_rate"], values["steps"]
    schedule = fnn.optim.WarmupCosine(rate, steps // 10, steps, final=rate / 10)
    adamw = fnn.optim.Scheduled(fnn.optim.AdamW(b2=0.99, weight_decay=0.1), schedule)
    optimizer = fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), adamw)
    watch = fnn.Watch(*INSIDES, every=piece_of(values["evaluate_every"]))
    return fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), optimizer, watch=watch)


def piece_of(evaluate_every: int) -> int:
    """How many steps run between two looks at the loss, in one of which the net is watched."""
    return max(evaluate_every // 10, 1)


def prepared(config: Config, text: Corpus) -> tuple[Problem, Saved]:
    """The problem, and the run before its first step."""
    k_params, k_samples, k_dropout = jax.random.split(jax.random.key(config.seed), 3)
    values = asdict(config) | {"sha256": text.fingerprint()}
    plan = plan_of(network(config), values)
    most = max(LOOK // config.context, 1)
    looks = {
        "train": corpus.spread(text.train, config.context, most),
        "held_out": corpus.spread(text.held_out, config.context, most),
    }
    state = fnn.start(plan, k_dropout, jax.jit(plan.net.init)(k_params))
    windows = Drawn(text.train, config.context, config.batch_size, config.seed)
    return Problem(windows, looks, k_samples), Saved(plan, state, values, [])


def spread(config: Config, saved: Saved) -> fnn.State:
    """The State, on as many devices as are asked for."""
    if config.devices == 1:
        return saved.state
    try:
        mesh = fnn.devices.mesh(config.devices)
    except ValueError as error:
        raise UserError(f"--devices {config.devices}: {error}") from None
    return fnn.devices.place(saved.plan, saved.state, mesh, "fsdp")


def train(config: Config, problem: Problem, saved: Saved, run: runs.Run) -> Saved:
    """The run at its end, with a look at it, a sample and a checkpoint on the way."""
    run.rows([figures(row) for row in saved.history])
    every = config.evaluate_every
    with Progress(config.steps, "step") as bar:
        if not saved.history:
            saved = noted(config, problem, saved, 0.0, {}, run, bar)
        if int(saved.state.step) < config.steps:  # compiled here, for seconds without it
            fnn.fit(saved.plan, saved.state, problem.windows, epochs=1, steps=1)
        while (step := int(saved.state.step)) < config.steps:
            until = min(step - step % every + every, config.steps)
            state, seconds, seen = advanced(config, problem, saved, until, bar)
            saved = noted(config, problem, saved._replace(state=state), seconds, seen, run, bar)
    return saved


def advanced(
    config: Config, problem: Problem, saved: Saved, until: int, bar: Progress
) -> tuple[fnn.State, float, dict[str, Any]]:
    """The State after `until` steps, written where it stood; their seconds; what was seen last."""
    seen, state, began = {}, saved.state, time.perf_counter()

    def look(state, row):
        step = int(state.step)
        runs.check_finite(f"after step {step}", {"loss": row["loss"]}, {})
        bar.move(step, loss=row["loss"] / math.log(2))
        seen.update(told(saved.plan.net, fnn.watched(row["watch"])))

    while (step := int(state.step)) < until:
        n = min(piece_of(config.evaluate_every), until - step)
        windows = dataclasses.replace(problem.windows, begin=step)
        state, _ = fnn.fit(
            saved.plan, state, windows, epochs=(until - step) // n, steps=n,
            callback=look, donate=True,
        )  # fmt: skip
    return state, time.perf_counter() - began, seen


def told(net: fnn.Layer[Any, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """What the last watched step saw, {"step": t, name: {layer: number}}; {} where none was."""
    if not len(seen["step"]):
        return {}

    def numbers(found):
        return {layer: float(a[-1]) for layer, a in by_layer(net, found).items()}

    names = [name for name in seen if name != "step"]
    return {"step": int(seen["step"][-1]), **{name: numbers(seen[name]) for name in names}}


def noted(
    config: Config, problem: Problem, saved: Saved, seconds: float, seen: dict[str, Any],
    run: runs.Run, bar: Progress,
) -> Saved:  # fmt: skip
    """Evaluate, write a sample, tell both, and save the run with them."""
    step = int(saved.state.step)
    bits = {name: evaluated(saved, look) for name, look in problem.looks.items()}
    runs.check_finite(f"after step {step}", bits, by_name(saved.state))
    sample = written(config, saved, jax.random.fold_in(problem.k_samples, step))
    row = {"step": step, **bits, "seconds": seconds, "sample": sample}
    row["insides"] = seen
    saved = saved._replace(history=[*saved.history, row])
    run.row(**figures(row))
    states.save(run.path / CHECKPOINTS, saved)
    bar.report(step, train=bits["train"], held_out=bits["held_out"])
    print(textwrap.indent(sample, "    "), flush=True)
    return saved


def figures(row: dict[str, Any]) -> dict[str, float]:
    """What metrics.csv has of a row."""
    return {name: value for name, value in row.items() if name not in ("sample", "insides")}


def evaluated(saved: Saved, look: corpus.Pair | Iterator[corpus.Pair]) -> float:
    """Bits per byte of windows, or of a stream of them."""
    row = fnn.evaluate(saved.plan, saved.state, look, batch_size=ROWS)
    return float(row["loss"]) / math.log(2)


def written(config: Config, saved: Saved, key: Any) -> str:
    """The prompt and what the net writes behind it."""
    net, params = saved.plan.net, fnn.devices.gathered(saved.state.params)
    prompt = config.prompt.encode()
    how = {"temperature": config.temperature, "top_k": config.top_k}
    more = sampling.generate(net, params, prompt, config.length, config.context, key, **how)
    return sampling.printable(prompt + more)


def write_from(config: Config, file: Path) -> None:
    """Print a sample of a saved net."""
    saved = states.load(file, plan_of)
    config = dataclasses.replace(config, context=settings(file, saved).context)
    print(written(config, saved, jax.random.key(config.seed)))


def judged(saved: Saved, problem: Problem, text: Corpus) -> dict[str, float]:
    """Bits per byte at the end: what the evaluations saw of the training text, all held out."""
    look = corpus.all_windows(text.held_out, problem.windows.context, ROWS)
    return {
        "train": saved.history[-1]["train"],
        "held_out": evaluated(saved, look),
        "parameters": sum(a.size for a in jax.tree.leaves(saved.state.params)),
    }


def speed(config: Config, saved: Saved) -> dict[str, float]:
    """Steps and bytes per second, without compiling and evaluating."""
    rate = config.steps / max(sum(row["seconds"] for row in saved.history), 1e-9)
    return {
        "steps_per_second": rate,
        "bytes_per_second": rate * config.batch_size * config.context,
    }


def report(results: dict[str, float], baselines: dict[str, float]) -> None:
    """Print the results."""
    rows = [[name, f"{value:.3f}"] for name, value in baselines.items()]
    rows += [["net", f"{results['held_out']:.3f}"]]
    rows += [["net, of the text that it learned from", f"{results['train']:.3f}"]]
    table("Bits per byte of the held-out text", ["", "value"], rows)
    print(
        f"{results['parameters']:,} parameters, {results['steps_per_second']:.1f} steps and "
        f"{results['bytes_per_second']:,.0f} bytes per second"
    )
