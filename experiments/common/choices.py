"""What the names of a command line stand for (names.py has the names)."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

import fnn
from experiments.common import names

# where the class has no rate, or one that is slow for small networks
RATES = {"adam": 0.003, "adamw": 0.003, "momentum": 0.02, "nesterov": 0.02, "sgd": 0.1}


class Objective(NamedTuple):
    """A loss for classes, with what it compares: an output layer's y and a form of target."""

    loss: fnn.Loss[Any]
    output: fnn.Layer[Any, Any]
    target: Callable[[np.ndarray, int], np.ndarray]  # (labels [N], n classes) → target


def labels(label, n):
    """The class itself, [N]."""
    return label


def one_hot(label, n):
    """1 for the class, 0 for the others, [N, n]."""
    return np.eye(n, dtype=np.float32)[label]


def signs(label, n):
    """1 for the class, −1 for the others, [N, n]."""
    return 2 * one_hot(label, n) - 1


def objective(loss: fnn.Loss[Any]) -> Objective:
    """The first output and form of target that the loss accepts, plain scores before others.

    Raises:
        ValueError: where it accepts none.
    """
    scores, shares = np.array([[-1.5, 0.5, 2.0]]), np.array([[0.2, 0.3, 0.5]])
    for output, y, form in (
        (fnn.Identity(), scores, labels), (fnn.Softmax(), shares, labels),
        (fnn.Identity(), scores, one_hot), (fnn.Sigmoid(), shares, one_hot),
        (fnn.Identity(), scores, signs),
    ):  # fmt: skip
        target: Any = form(np.array([1]), 3)
        try:
            loss.check(y, target)
        except (TypeError, ValueError):
            continue
        return Objective(loss, output, form)
    raise ValueError(f"{loss} takes more than one row of scores.")


ACTIVATIONS: dict[str, fnn.Layer[Any, Any]] = {
    name: getattr(fnn, cls)() for name, cls in names.ACTIVATIONS.items()
}
LOSSES: dict[str, Objective] = {
    name: objective(getattr(fnn, cls)()) for name, cls in names.LOSSES.items()
}
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    name: getattr(fnn.optim, cls) for name, cls in names.OPTIMIZERS.items()
}
OPTIMIZERS |= {"nesterov": functools.partial(fnn.optim.Momentum, nesterov=True)}
SCHEDULES: dict[str, type[Any]] = {
    name: getattr(fnn.optim, cls) for name, cls in names.SCHEDULES.items()
}


def schedule(name: str, rate: float, n: int) -> fnn.optim.Schedule:
    """The schedule of this name over n steps: a tenth to warm up, a tenth left after a third."""
    numbers = {
        "rate": rate, "n_steps": n, "n_warmup": n // 10, "factor": 0.1, "every": max(n // 3, 1)
    }  # fmt: skip
    cls = SCHEDULES[name]
    return cls(**{f.name: numbers[f.name] for f in fields(cls) if f.name in numbers})


def optimizer(name: str, learning_rate: float | None, schedule_name: str, n_steps: int) -> Any:
    """The optimizer of these names; without a rate, that of the table or of its class."""
    make, rate = OPTIMIZERS[name], RATES.get(name) if learning_rate is None else learning_rate
    inner = make() if rate is None else make(rate)
    return fnn.optim.Scheduled(inner, schedule(schedule_name, inner.learning_rate, n_steps))


def penalty(l1: float, l2: float) -> tuple[Any, ...]:
    """The penalties of these strengths; 0 is none."""
    return (fnn.L1(l1),) * (l1 > 0) + (fnn.L2(l2),) * (l2 > 0)
