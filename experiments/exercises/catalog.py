"""The exercises in their order, which is their numbering, and where to find one."""

from experiments.common.cli import UserError, nearest
from experiments.exercises.exercise import Exercise
from experiments.exercises.problems import (
    adam,
    attention,
    binary_cross_entropy,
    dense,
    dense_bias,
    dense_weights,
    embedding,
    layer_norm,
    lstm,
    mean_squared_error,
    relu,
    residual,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    softplus,
    tanh,
    two_layers,
)

MODULES = (
    *(sigmoid, tanh, relu, softplus),
    *(mean_squared_error, dense_weights, dense_bias),
    *(dense, softmax, layer_norm),
    *(binary_cross_entropy, softmax_cross_entropy),
    *(two_layers, residual, adam),
    *(embedding, lstm, attention),
)
EXERCISES = {f"{i:02}_{m.EXERCISE.name}": m.EXERCISE for i, m in enumerate(MODULES, 1)}


def by_number(number: int) -> tuple[str, Exercise]:
    """The id and the exercise of this number.

    Raises:
        UserError: where there is none.
    """
    if not 1 <= number <= len(EXERCISES):
        raise UserError(f"there is no exercise {number}; they are 1 to {len(EXERCISES)}.")
    return list(EXERCISES.items())[number - 1]


def by_id(name: str, file: object) -> Exercise:
    """The exercise of this id, which stands in `file`.

    Raises:
        UserError: where there is none.
    """
    if name not in EXERCISES:
        hint = nearest(name, EXERCISES)
        raise UserError(f'{file}: EXERCISE = "{name}" is no exercise.{hint}')
    return EXERCISES[name]
