"""The settings that several experiments have.

Nothing here, nor what it imports, imports jax: --help and mistakes wait for no import (ahead.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from experiments.common.cli import Bounds
from experiments.common.names import Optimizer, Schedule

EVERY = 5  # epochs from one judgement to the next, where a few digits are learned (few.py)


@dataclass(frozen=True, kw_only=True)
class ClaimSettings:
    """The settings that every claim has."""

    seed: Annotated[int, Bounds(0, 2**31)] = 0  # of everything random
    quick: bool = False  # a smaller run, in seconds
    out: Path | None = None  # a new folder; None: runs/NAME-<time>


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """The settings that every classifier has."""

    data: str = "digits"
    optimizer: Optimizer = "adam"  # how gradients become steps
    # None: one that suits the optimizer
    learning_rate: Annotated[float | None, Bounds(0, open_low=True)] = None
    schedule: Schedule = "cosine"  # how the learning rate changes over the run
    epochs: Annotated[int, Bounds(1)] = 40  # passes over the training rows
    batch_size: Annotated[int, Bounds(1)] = 32  # rows per step
    dropout: Annotated[float, Bounds(0, 1)] = 0.2  # share of hidden values dropped in training
    l1: Annotated[float, Bounds(0)] = 0.0  # strength of the penalty λ Σ |w|
    l2: Annotated[float, Bounds(0)] = 0.0  # strength of the penalty (λ/2) Σ w²
    seed: Annotated[int, Bounds(0, 2**31)] = 0  # of initial weights, shuffling and dropout
    out: Path | None = None  # a new folder; None: runs/NAME-<time>
    load: Path | None = None  # evaluate this file instead of training
