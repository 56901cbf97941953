"""What can be chosen by name on a command line, and what the names stand for."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

import fnn

Activation = Literal[
    "elu", "gelu", "hard-tanh", "identity", "leaky-relu", "mish", "relu",
    "selu", "sigmoid", "silu", "softplus", "softsign", "tanh",
]  # fmt: skip
Loss = Literal[
    "absolute-error", "binary-cross-entropy", "cross-entropy", "hinge", "huber",
    "sigmoid-binary-cross-entropy", "softmax-cross-entropy", "squared-error",
]  # fmt: skip
Optimizer = Literal[
    "adadelta", "adagrad", "adam", "adamw", "momentum", "nesterov", "rmsprop", "sgd"
]
Schedule = Literal["constant", "cosine", "exponential", "step", "warmup-cosine"]

ACTIVATIONS: dict[str, fnn.Layer[Any, Any]] = {
    "elu": fnn.ELU(),
    "gelu": fnn.GELU(),
    "hard-tanh": fnn.HardTanh(),
    "identity": fnn.Identity(),
    "leaky-relu": fnn.LeakyReLU(),
    "mish": fnn.Mish(),
    "relu": fnn.ReLU(),
    "selu": fnn.SELU(),
    "sigmoid": fnn.Sigmoid(),
    "silu": fnn.SiLU(),
    "softplus": fnn.Softplus(),
    "softsign": fnn.Softsign(),
    "tanh": fnn.Tanh(),
}


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


LOSSES: dict[str, Objective] = {
    "absolute-error": Objective(fnn.AbsoluteError(), fnn.Identity(), one_hot),
    "binary-cross-entropy": Objective(fnn.BinaryCrossEntropy(), fnn.Sigmoid(), one_hot),
    "cross-entropy": Objective(fnn.CrossEntropy(), fnn.Softmax(), labels),
    "hinge": Objective(fnn.Hinge(), fnn.Identity(), signs),
    "huber": Objective(fnn.Huber(), fnn.Identity(), one_hot),
    "sigmoid-binary-cross-entropy": Objective(
        fnn.SigmoidBinaryCrossEntropy(), fnn.Identity(), one_hot
    ),
    "softmax-cross-entropy": Objective(fnn.SoftmaxCrossEntropy(), fnn.Identity(), labels),
    "squared-error": Objective(fnn.SquaredError(), fnn.Identity(), one_hot),
}

# name → (optimizer of a learning rate, the rate if none is given)
OPTIMIZERS: dict[str, tuple[Callable[[float], fnn.optim.Optimizer[Any]], float]] = {
    "adadelta": (lambda rate: fnn.optim.AdaDelta(rate), 1.0),
    "adagrad": (lambda rate: fnn.optim.AdaGrad(rate), 0.02),
    "adam": (lambda rate: fnn.optim.Adam(rate), 0.003),
    "adamw": (lambda rate: fnn.optim.AdamW(rate), 0.003),
    "momentum": (lambda rate: fnn.optim.Momentum(rate), 0.02),
    "nesterov": (lambda rate: fnn.optim.Momentum(rate, nesterov=True), 0.02),
    "rmsprop": (lambda rate: fnn.optim.RMSProp(rate), 0.001),
    "sgd": (lambda rate: fnn.optim.SGD(rate), 0.1),
}

# name → schedule of (learning rate, steps in all)
SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, n: fnn.optim.Constant(rate),
    "cosine": lambda rate, n: fnn.optim.CosineDecay(rate, n),
    "exponential": lambda rate, n: fnn.optim.ExponentialDecay(rate, 0.01, n),
    "step": lambda rate, n: fnn.optim.StepDecay(rate, 0.1, max(n // 3, 1)),
    "warmup-cosine": lambda rate, n: fnn.optim.WarmupCosine(rate, n // 10, n),
}


def optimizer(name: str, learning_rate: float | None, schedule: str, n_steps: int) -> Any:
    """The optimizer of these names; without a rate, its own."""
    make, rate = OPTIMIZERS[name]
    rate = rate if learning_rate is None else learning_rate
    return fnn.optim.Scheduled(make(rate), SCHEDULES[schedule](rate, n_steps))


def penalty(l1: float, l2: float) -> tuple[Any, ...]:
    """The penalties of these strengths; 0 is none."""
    return (fnn.L1(l1),) * (l1 > 0) + (fnn.L2(l2),) * (l2 > 0)
