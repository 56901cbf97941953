"""A whole training run, against peers that each have a process of their own.

Two thread pools in one process slow each other down, so every run is a subprocess; the
peers take turns, round by round, and a ratio is taken within a round.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
PEERS = {  # name in the table → module of benchmarks.peers
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


def training_runs(*, rounds: int = 5, epochs: int = 20, repeats: int = 3) -> list[Run]:
    """Digits, 64-64-10, Adam, batch 32: 56 steps per epoch."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "digits.npz"
        save_digits(data)
        answers = [
            {module: answer(module, data, epochs, repeats) for module in order(i)}
            for i in range(rounds)
        ]
    return [summarized(name, module, answers) for name, module in PEERS.items()]


def order(i: int) -> list[str]:
    """The installed peers, starting with another one in every round."""
    found = [module for module in PEERS.values() if interpreter(module)]
    return found[i % len(found) :] + found[: i % len(found)]


def interpreter(module: str) -> str | None:
    """The Python that runs a peer: for PyTorch $FNN_TORCH_PYTHON, or this one if it can."""
    if module != "pytorch":
        return sys.executable
    here = sys.executable if importlib.util.find_spec("torch") else None
    return os.environ.get("FNN_TORCH_PYTHON") or here


def answer(module: str, data: Path, epochs: int, repeats: int) -> dict[str, float]:
    """What one run of a peer prints."""
    command = [str(interpreter(module)), "-m", f"benchmarks.peers.{module}", str(data)]
    done = subprocess.run(
        [*command, str(epochs), str(repeats)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarized(name: str, module: str, answers: list[dict[str, dict[str, float]]]) -> Run:
    """The median over the rounds."""
    if module not in answers[0]:
        return Run(name, None, None, None, None, None, None)
    seconds = np.array([a[module]["seconds"] for a in answers])
    ours = np.array([a["hand_written"]["seconds"] for a in answers])
    low, middle, high = (float(q) for q in np.quantile(ours / seconds, (0.25, 0.5, 0.75)))
    accuracy = float(np.median([a[module]["accuracy"] for a in answers]))
    mid = float(np.median(seconds))
    return Run(name, middle, low, high, mid, accuracy, TARGETS.get(module))


def save_digits(path: Path) -> None:
    """1,792 standardised digits: 56 full batches, so that all peers take equal steps."""
    from sklearn.datasets import load_digits

    x, target = load_digits(return_X_y=True)
    x, target = x[:1792], target[:1792]
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-8)
    np.savez(path, x=x.astype(np.float32), target=target.astype(np.int32))
