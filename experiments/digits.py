"""A network learns to read handwritten digits by hand-written gradients.

    uv run python -m experiments.digits

Claim: backpropagation written out by hand equals jax.grad, to rounding, and trains a
multilayer perceptron to more than 97 % right on digits that it never saw.

First the gradient of the first batch is compared with jax.grad. Then `fnn.fit` trains,
and a folder receives the settings, the metrics of every epoch, the results, the trained
parameters (params.safetensors, which --load evaluates) and five pictures.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles, checkpoints, choices, cli, data, plots, portraits, runs
from experiments.common.checkpoints import Checkpoint
from experiments.common.cli import Bounds, UserError
from experiments.common.data import Dataset
from experiments.common.gradients import gradient_errors
from experiments.common.progress import table
from experiments.common.training import Watch, probe, right

SHARE = Bounds(0, 1)


@dataclass(frozen=True)
class Config:
    """Train a network on handwritten digits by hand-written gradients."""

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
    standardize: data.Standardizer
    train: tuple[Any, Any]  # (x, target)
    validation: tuple[Any, Any]


def main(config: Config) -> None:
    """Check the gradient, train, evaluate, draw."""
    began = time.perf_counter()
    if config.load is not None:
        evaluate_file(config)
        return
    path = runs.folder(config.out, "digits")
    dataset = bundles.digits()
    problem = prepare(config, dataset)
    k_init, k_check, k_train = jax.random.split(jax.random.key(config.seed), 3)
    params = jax.jit(problem.net.init)(k_init)
    with runs.Run(path, config) as run:
        errors = check_gradients(config, problem, params, k_check)
        x, target = problem.train
        norms = probe(problem.net, problem.loss, x[:256], target[:256])
        watch = Watch(run, config.epochs, norms, params)
        params = train(config, problem, params, k_train, watch)
        checkpoint = Checkpoint(problem.net, params, problem.standardize, asdict(config))
        checkpoints.save(path / "params.safetensors", checkpoint)
        accuracies = judge(path, checkpoint, dataset)
        plots.save(portraits.curves(watch.history, bool(problem.penalty)), path / "curves.png")
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
    standardize = data.Standardizer.of(dataset.train.x)

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


def judge(path: Path | None, checkpoint: Checkpoint, dataset: Dataset) -> dict[str, float]:
    """The accuracy on every part; in `path`, pictures of how the test digits are read."""
    net, params = fnn.inference(checkpoint.net, checkpoint.params)
    parts = dataset.parts()
    x = checkpoint.standardize(np.concatenate([rows.x for rows in parts.values()]))
    y = jax.jit(lambda params, x: net.forward(params, x)[0])(params, x)
    ends = np.cumsum([len(rows.x) for rows in parts.values()])
    said = dict(zip(parts, np.split(np.asarray(y).argmax(-1), ends[:-1]), strict=True))
    if path is not None:
        draw(path, params[0].w, said["test"], dataset)
    return {
        f"{name}_accuracy": float((said[name] == rows.label).mean()) for name, rows in parts.items()
    }


def draw(path: Path, w: Any, said: np.ndarray, dataset: Dataset) -> None:
    """confusion.png, mistakes.png and weights.png."""
    x, label = dataset.test
    counts = np.zeros((len(dataset.classes),) * 2, int)
    np.add.at(counts, (label, said), 1)
    plots.save(portraits.confusion(counts, dataset.classes), path / "confusion.png")
    wrong = np.flatnonzero(said != label)
    names = [f"{dataset.classes[label[i]]} → {dataset.classes[said[i]]}" for i in wrong]
    images = x[wrong].reshape(-1, *dataset.shape)
    plots.save(portraits.mistakes(images, names, len(x), most=40), path / "mistakes.png")
    constant = (dataset.train.x == dataset.train.x[0]).all(0)
    figure = portraits.weights(np.asarray(w), dataset.shape, constant, most=60)
    plots.save(figure, path / "weights.png")


def evaluate_file(config: Config) -> None:
    """Print the accuracies of a saved network; with --out, write and draw them too."""
    assert config.load is not None
    path = None if config.out is None else runs.folder(config.out, "digits")
    checkpoint = checkpoints.load(config.load)
    dataset = bundles.digits()
    n = dataset.train.x.shape[1], len(dataset.classes)
    got = checkpoints.ends(checkpoint)
    if got != n:
        message = f"{config.load} maps {got[0]} numbers to {got[1]}; digits need {n[0]} to {n[1]}."
        raise UserError(message, cli.DATA)
    if path is None:
        report(judge(None, checkpoint, dataset))
        return
    with runs.Run(path, config) as run:
        results = judge(path, checkpoint, dataset)
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
