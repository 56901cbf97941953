"""A network learns to read handwritten digits by hand-written gradients.

    uv run python -m experiments.digits

Question: Can backpropagation written out by hand be right to rounding, and does it train a
network that reads digits which it never saw?

Answer: Yes, both. On the first batch it differs from jax.grad by at most 1.1e-16 in float64
and 3.0e-08 in float32, where the entries of the gradient go up to 0.35. After 40 epochs the
network reads 265 of 269 test digits right, 98.5 %.

The digits are 8 × 8 pixels, ten classes. 70 % of them train, 15 % are watched during
training and choose nothing, 15 % are the test. The difference is the largest over all
weights and biases; the two gradients are compiled apart. With seeds 1, 2 and 3 the network
reads 265 digits right too. A folder receives the settings, the metrics of every epoch, the
results, the trained parameters (params.safetensors, which --load evaluates) and five
pictures.

Data of one's own are trained on in the same way:

    --data mnist:FOLDER                   four IDX files, plain or .gz
    --data csv:FILE --target COLUMN       a table of numbers and one column of classes

Source: Rumelhart, Hinton & Williams (1986), Nature 323; the digits, Alpaydin & Kaynak (1998).
Equations: bp.training-cycle.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import (
    checkpoints,
    choices,
    cli,
    judging,
    plots,
    portraits,
    runs,
    sources,
    tables,
)
from experiments.common.checkpoints import Checkpoint
from experiments.common.cli import Bounds
from experiments.common.data import Dataset, Standardizer
from experiments.common.gradients import gradient_errors
from experiments.common.progress import table
from experiments.common.training import Watch, probe, right

SHARE = Bounds(0, 1)


@dataclass(frozen=True)
class Config:
    """Train a network on handwritten digits, or on data of yours, by hand-written gradients."""

    data: str = "digits"  # digits, mnist:FOLDER (IDX files) or csv:FILE
    target: str | None = None  # of csv:FILE: the column that holds the classes
    missing: tables.Missing = (
        "error"  # of csv:FILE, for empty cells: stop, drop the row, take the mean
    )
    hidden: Annotated[tuple[int, ...], Bounds(1)] = (128, 64)  # sizes of the hidden layers
    activation: choices.Activation = "relu"  # after every hidden layer
    loss: choices.Loss = "softmax-cross-entropy"  # what training makes small
    optimizer: choices.Optimizer = "adam"  # how gradients become steps
    # None: one that suits the optimizer
    learning_rate: Annotated[float | None, Bounds(0, open_low=True)] = None
    schedule: choices.Schedule = "cosine"  # how the learning rate changes over the run
    epochs: Annotated[int, Bounds(1)] = 40  # passes over the training rows
    batch_size: Annotated[int, Bounds(1)] = 32  # rows per step
    dropout: Annotated[float, SHARE] = 0.2  # share of hidden values dropped in training
    l1: Annotated[float, Bounds(0)] = 0.0  # strength of the penalty λ Σ |w|
    l2: Annotated[float, Bounds(0)] = 0.01  # strength of the penalty (λ/2) Σ w²
    seed: Annotated[int, Bounds(0, 2**31)] = 0  # of initial weights, shuffling and dropout
    out: Path | None = None  # a new folder; None: runs/digits-<time>
    load: Path | None = None  # evaluate this file instead of training


class Problem(NamedTuple):
    """What is to be learned, from what."""

    net: fnn.Serial
    loss: fnn.Loss[Any]
    penalty: tuple[Any, ...]
    standardize: Standardizer
    train: tuple[Any, Any]  # (x, target)
    validation: tuple[Any, Any]


def main(config: Config) -> None:
    """Check the gradient, train, evaluate, draw."""
    began = time.perf_counter()
    read = sources.chosen(config.data, config.target, config.missing)
    if config.load is not None:
        evaluate_file(config, config.load, read)
        return
    path = runs.folder(config.out, "digits")
    dataset = read()
    if config.data != "digits":
        print(sources.described(dataset))
    problem = prepare(config, dataset)
    k_init, k_check, k_train = jax.random.split(jax.random.key(config.seed), 3)
    params = jax.jit(problem.net.init)(k_init)
    with runs.Run(path, config) as run:
        errors = check_gradients(config, problem, params, k_check)
        x, target = problem.train
        norms = probe(problem.net, problem.loss, x[:256], target[:256])
        watch = Watch(run, config.epochs, norms, params)
        params = train(config, problem, params, k_train, watch)
        notes = asdict(config) | sources.names_of(dataset)
        checkpoint = Checkpoint(problem.net, params, problem.standardize, notes)
        checkpoints.save(path / "params.safetensors", checkpoint)
        accuracies = judging.judge(path, checkpoint, dataset)
        curves = portraits.curves(watch.history, bool(problem.penalty), dataset.name)
        plots.save(curves, path / "curves.png")
        flow = portraits.gradient_flow(range(len(watch.times) + 1), watch.norms)
        plots.save(flow, path / "gradient_flow.png")
        results = accuracies | errors | watch.speed() | {"seconds": time.perf_counter() - began}
        run.summary(results | {"jax": jax.__version__, "device": jax.default_backend()})
    report(results)
    print(f"written to {path}/")


def prepare(config: Config, dataset: Dataset) -> Problem:
    """The network, its loss, and the standardised rows."""
    objective = choices.LOSSES[config.loss]
    n_classes = len(dataset.classes)
    sizes = [dataset.train.x.shape[1], *config.hidden, n_classes]
    activation = choices.ACTIVATIONS[config.activation]
    net = fnn.mlp(sizes, activation, objective.output, config.dropout)
    standardize = Standardizer.of(dataset.train.x)

    def ready(rows):
        target = objective.target(rows.label, n_classes)
        return jnp.asarray(standardize(rows.x)), jnp.asarray(target)

    penalty = choices.penalty(config.l1, config.l2)
    parts = ready(dataset.train), ready(dataset.validation)
    return Problem(net, objective.loss, penalty, standardize, *parts)


def check_gradients(config: Config, problem: Problem, params: Any, key: Any) -> dict[str, float]:
    """Print, parameter by parameter, how far the gradient of one batch is from jax.grad."""
    x, target = (a[: config.batch_size] for a in problem.train)

    def errors(dtype):
        how = {"key": key, "penalty": problem.penalty, "dtype": dtype}
        return gradient_errors(problem.net, problem.loss, params, x, target, **how)

    with ThreadPoolExecutor() as pool:  # most of the time is compiling, twice
        double, single = pool.map(errors, (np.float64, np.float32))
    rows = [
        [name, f"{size:.1e}", f"{error:.1e}", f"{single[name][0]:.1e}"]
        for name, (error, size) in double.items()
    ]
    title = f"Hand-written gradient against jax.grad, first batch of {len(x)}"
    columns = ["parameter", "largest entry", "difference, float64", "float32"]
    table(title, columns, rows)
    return {
        "gradient_max_error": max(error for error, _ in double.values()),
        "gradient_max_error_float32": max(error for error, _ in single.values()),
    }


def train(config: Config, problem: Problem, params: Any, key: Any, watch: Watch) -> Any:
    """The trained parameters."""
    names = config.optimizer, config.learning_rate, config.schedule
    steps = -(-len(problem.train[1]) // config.batch_size)

    def fit(epochs, callback):
        return fnn.fit(
            problem.net, problem.loss, choices.optimizer(*names, config.epochs * steps), params,
            problem.train, epochs=epochs, batch_size=config.batch_size, key=key,
            penalty=problem.penalty, metrics={"accuracy": right},
            validation=problem.validation, callback=callback,
        )  # fmt: skip

    with watch.compiling():
        fit(1, lambda state, row: None)  # its result is thrown away
    with watch:
        state, _ = fit(config.epochs, watch)
    return state.params


def evaluate_file(config: Config, file: Path, read: Callable[[], Dataset]) -> None:
    """Print the accuracies of a saved network; with --out, write and draw them too."""
    path = None if config.out is None else runs.folder(config.out, "digits")
    checkpoint = checkpoints.load(file)
    dataset = read()
    sources.check_fit(file, checkpoint, config.data, dataset)
    if path is None:
        report(judging.judge(None, checkpoint, dataset))
        return
    with runs.Run(path, config) as run:
        results = judging.judge(path, checkpoint, dataset)
        run.summary(results)
    report(results)
    print(f"written to {path}/")


def report(results: dict[str, float]) -> None:
    """Print the results."""
    rows = [
        [name.replace("_", " "), f"{100 * results[name]:.2f} %"]
        for name in ("train_accuracy", "validation_accuracy", "test_accuracy")
    ]
    if "steps_per_second" in results:
        rows += [
            ["steps per second", f"{results['steps_per_second']:,.0f}"],
            ["compile time", f"{results['compile_seconds']:.2f} s"],
            ["whole run", f"{results['seconds']:.1f} s"],
        ]
    table("Results", ["", "value"], rows)


if __name__ == "__main__":
    sys.exit(cli.run(main, Config))
