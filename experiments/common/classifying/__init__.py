"""A classifier, from its data to its folder: what digits and cnn have in common.

`run` checks the hand-written gradient of the first batch against jax.grad, trains, saves
the network, judges it on every part of the data and draws; with --load it judges a saved
network instead. A run that was stopped goes on by the same command with its folder as --out. An
experiment says what the network is and draws what only it has:

    prepare    (settings, dataset) → Problem
    draw       (checkpoint, dataset) → name of a picture → Figure
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import checkpoints, choices, insides, plots, portraits, runs, sources
from experiments.common.checkpoints import Checkpoint
from experiments.common.classifying import judging
from experiments.common.classifying.gradients import gradient_errors
from experiments.common.classifying.training import Watch, insides_of, probe, right
from experiments.common.data import Dataset, Standardizer
from experiments.common.progress import table
from experiments.common.settings import ClassifierSettings

CHECKPOINTS, SAVED = "checkpoints", 20  # where a run is saved until it ends, and how often
INSIDES = (
    fnn.rules.gradient_norms, fnn.rules.update_ratios, fnn.rules.dead_units, fnn.rules.saturation,
)  # fmt: skip


S = TypeVar("S", bound=ClassifierSettings)


class Problem(NamedTuple):
    """What is to be learned, from what."""

    net: fnn.Serial
    loss: fnn.Loss[Any]
    penalty: tuple[Any, ...]
    standardize: Standardizer
    train: tuple[Any, Any]  # (x, target)
    validation: tuple[Any, Any]


def posed(
    settings: ClassifierSettings,
    dataset: Dataset,
    net: fnn.Serial,
    standardize: Standardizer,
    objective: choices.Objective = choices.LOSSES["softmax-cross-entropy"],
) -> Problem:
    """The network and its loss, with the standardised rows."""

    def ready(rows):
        target = objective.target(rows.label, len(dataset.classes))
        return jnp.asarray(standardize(rows.x)), jnp.asarray(target)

    penalty = choices.penalty(settings.l1, settings.l2)
    parts = ready(dataset.train), ready(dataset.validation)
    return Problem(net, objective.loss, penalty, standardize, *parts)


def run(
    settings: S,
    name: str,
    read: Callable[[], Dataset],
    prepare: Callable[[S, Dataset], Problem],
    draw: judging.Draw,
) -> None:
    """Check the gradient, train, evaluate, draw; or evaluate a file."""
    began = time.perf_counter()
    if settings.load is not None:
        evaluate_file(settings, settings.load, name, read, draw)
        return
    path = runs.folder(settings.out, name, settings)
    goes_on, dataset = runs.unfinished(path, settings), read()
    if settings.data != "digits":
        print(sources.described(dataset))
    problem = prepare(settings, dataset)
    k_init, k_check, k_train = jax.random.split(jax.random.key(settings.seed), 3)
    params = jax.jit(problem.net.init)(k_init)
    with runs.Run(path, settings, resumed=goes_on) as run:
        errors = check_gradients(settings, problem, params, k_check)
        x, target = problem.train
        norms = probe(problem.net, problem.loss, x[:256], target[:256])
        watch = Watch(run, settings.epochs, norms, params)
        params, history = train(settings, problem, params, k_train, watch, run.path / CHECKPOINTS)
        notes = asdict(settings) | sources.names_of(dataset)
        checkpoint = Checkpoint(problem.net, params, problem.standardize, notes)
        said = judging.said(checkpoint, dataset)
        checkpoints.save(run.path / "params.safetensors", checkpoint)
        judging.pictures(run.path, said, checkpoint, dataset, draw)
        curves = portraits.curves(history, bool(problem.penalty), dataset.name)
        plots.save(curves, run.path / "curves.png")
        flow = portraits.gradient_flow(range(len(watch.times) + 1), watch.norms)
        plots.save(flow, run.path / "gradient_flow.png")
        figure = insides.picture_of(*insides_of(problem.net, history["watch"]))
        plots.save(figure, run.path / "insides.png")
        speed = watch.speed(steps_of(settings, problem))
        results = judging.accuracies(said, dataset) | errors | speed
        results |= {"seconds": time.perf_counter() - began}
        run.summary(results | {"jax": jax.__version__, "device": jax.default_backend()})
        shutil.rmtree(run.path / CHECKPOINTS)
    report(results)
    print(f"written to {run.path}/")


def check_gradients(
    settings: ClassifierSettings, problem: Problem, params: Any, key: Any
) -> dict[str, float]:
    """Print, parameter by parameter, how far the gradient of one batch is from jax.grad."""
    x, target = (a[: settings.batch_size] for a in problem.train)

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


def train(
    settings: ClassifierSettings,
    problem: Problem,
    params: Any,
    key: Any,
    watch: Watch,
    folder: Path,
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """The trained parameters, and the history of the run, which goes on from what `folder` has."""
    names = settings.optimizer, settings.learning_rate, settings.schedule
    steps = steps_of(settings, problem)
    optimizer = choices.optimizer(*names, settings.epochs * steps)
    plan = fnn.Plan(
        problem.net, problem.loss, optimizer, penalty=problem.penalty, metrics={"accuracy": right},
        watch=fnn.Watch(*INSIDES, every=10),
    )  # fmt: skip
    how: Any = {"batch_size": settings.batch_size, "validation": problem.validation}
    how["checkpoint"] = fnn.Checkpointing(folder, max(settings.epochs * steps // SAVED, 1))
    with checkpoints.refused(), watch:
        newest = fnn.checkpoints.latest(folder)
        watch.restore(0 if newest is None else int(newest.stem) // steps)
        try:
            state, history = fnn.fit(
                plan, fnn.start(plan, key, params), problem.train, epochs=settings.epochs,
                callback=watch, **how,
            )  # fmt: skip
        except fnn.Interrupted:
            print(f"the same command with --out {folder.parent} goes on")
            raise
    return state.params, history


def steps_of(settings: ClassifierSettings, problem: Problem) -> int:
    """How many steps an epoch has."""
    return -(-len(problem.train[1]) // settings.batch_size)


def evaluate_file(
    settings: ClassifierSettings,
    file: Path,
    name: str,
    read: Callable[[], Dataset],
    draw: judging.Draw,
) -> None:
    """Print the accuracies of a saved network; with --out, write and draw them too."""
    path = None if settings.out is None else runs.folder(settings.out, name)
    checkpoint = checkpoints.load(file)
    dataset = read()
    sources.check_fit(file, checkpoint, settings.data, dataset)
    said = judging.said(checkpoint, dataset)
    results = judging.accuracies(said, dataset)
    if path is None:
        report(results)
        return
    with runs.Run(path, settings) as run:
        judging.pictures(run.path, said, checkpoint, dataset, draw)
        run.summary(results)
    report(results)
    print(f"written to {run.path}/")


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
