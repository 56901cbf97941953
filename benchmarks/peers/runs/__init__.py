"""One whole training run: 64-64-10 with ReLU by Adam (rate 0.001), batches of 32.

A way to run a peer is run(x, target, epochs, seed) → accuracy, on the rows of DATA.npz;
accuracy() is that on the training rows after the last epoch, and not timed. Every turn
has another seed.
"""

import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import serve

HIDDEN, BATCH, RATE = 64, 32, 1e-3
Run = Callable[[Any, Any, int, int], Callable[[], float]]


def main(runs: Sequence[Run]) -> None:
    """One run from new weights whenever asked."""
    path, epochs = sys.argv[1], int(sys.argv[2])
    with np.load(path) as data:
        x, target = data["x"], data["target"]
    serve([functools.partial(timed, run, x, target, epochs, itertools.count()) for run in runs])


def timed(run: Run, x: Any, target: Any, epochs: int, seeds: Iterator[int]) -> dict[str, float]:
    """Seconds of one run, and its accuracy."""
    start = time.perf_counter()
    accuracy = run(x, target, epochs, next(seeds))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": accuracy()}
