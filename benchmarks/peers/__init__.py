"""One training run, once for every peer: each file is a program of its own.

    python -m benchmarks.peers.NAME DATA.npz EPOCHS REPEATS

trains 64-64-10 with ReLU by Adam (rate 0.001), batches of 32, on the rows of DATA.npz,
and prints one line of JSON: seconds (the median of REPEATS runs, after one that is not
counted) and accuracy (on the training rows, after the last epoch, not timed). The one of
PyTorch needs PyTorch and numpy only, so that it runs in an environment without jax.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

HIDDEN, BATCH, RATE = 64, 32, 1e-3
Run = Callable[[Any, Any, int, int], Callable[[], float]]  # (x, target, epochs, seed) → accuracy


def main(runs: Sequence[Run]) -> None:
    """Time every way to run this peer and print the fastest: it is given its best."""
    path, epochs, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with np.load(path) as data:
        x, target = data["x"], data["target"]
    results = []
    for run in runs:
        times, accuracy = [], run(x, target, epochs, 0)
        accuracy()
        for seed in range(1, repeats + 1):
            start = time.perf_counter()
            accuracy = run(x, target, epochs, seed)
            times.append(time.perf_counter() - start)
        results.append({"seconds": statistics.median(times), "accuracy": accuracy()})
    print(json.dumps(min(results, key=lambda r: r["seconds"])))
