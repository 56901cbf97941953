"""A whole training run, against peers that each have a process of their own."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.turns import Ratio, take_turns

PEERS = {  # name in the table → module of benchmarks.peers.runs
    "fnn.fit": "hand_written",
    "optax, jitted step in a Python loop": "optax_loop",
    "scikit-learn MLPClassifier": "scikit_learn",
    "PyTorch eager": "pytorch",
}
TARGETS = {"optax_loop": 0.6, "scikit_learn": 0.25}  # of our time in theirs


class Run(NamedTuple):
    """One peer: ratios are fnn / peer, None where it is not installed."""

    name: str
    ratio: float | None
    low: float | None
    high: float | None
    seconds: float | None
    accuracy: float | None
    target: float | None


def training_runs(*, rounds: int = 15, epochs: int = 20) -> list[Run]:
    """Digits, 64-64-10, Adam, batch 32: 56 steps per epoch."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "digits.npz"
        save_digits(data)
        arguments = [str(data), str(epochs)]
        ratios = take_turns("runs", list(PEERS.values()), arguments, rounds)
    return [summarized(name, module, ratios.get(module)) for name, module in PEERS.items()]


def summarized(name: str, module: str, ratio: Ratio | None) -> Run:
    """A row of the table."""
    if ratio is None:
        return Run(name, None, None, None, None, None, None)
    middle, low, high, seconds, answers = ratio
    accuracy = float(np.median([a["accuracy"] for a in answers[1:]]))
    return Run(name, middle, low, high, seconds, accuracy, TARGETS.get(module))


def save_digits(path: Path) -> None:
    """1,792 standardised digits: 56 full batches, so that all peers take equal steps."""
    from sklearn.datasets import load_digits

    x, target = load_digits(return_X_y=True)
    x, target = x[:1792], target[:1792]
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-8)
    np.savez(path, x=x.astype(np.float32), target=target.astype(np.int32))
