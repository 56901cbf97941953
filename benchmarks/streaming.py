"""`fit` on a stream from memory against `fit` on the same data as arrays: steps per second.

The stream is a generator that slices the arrays. Both run some epochs from the same State, in
turn, in this process; a ratio is taken within a turn. The reader's thread shares the cores with
the steps.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import fnn

TARGET = 0.9  # of the steps per second of arrays, at 10 M parameters


class Streamed(NamedTuple):
    """One net: ratios are stream / arrays, of steps per second."""

    name: str
    parameters: int
    milliseconds: float  # of a step of arrays
    ratio: float
    low: float
    high: float
    target: float | None


SIZES = {  # name → (sizes of the layers, rows of a batch, steps of an epoch, epochs)
    "MLP, 64-64-10, batch 32": ((64, 64, 10), 32, 100, 20),
    "MLP, 64-64-10, batch 256": ((64, 64, 10), 256, 100, 10),
    "MLP, 784-256-10, batch 256": ((784, 256, 10), 256, 50, 4),
    "MLP, 784-1024-1024-10, batch 256": ((784, 1024, 1024, 10), 256, 20, 2),
    "MLP, 784-2800-2800-10, batch 256": ((784, 2800, 2800, 10), 256, 10, 1),
}


def streaming(*, rounds: int = 7, quick: bool = False, clock: Any = None) -> list[Streamed]:
    """Every size; `quick`: the first alone, hardly measured."""
    names = list(SIZES)[:1] if quick else list(SIZES)
    return [measured(name, 1 if quick else rounds, clock or time.perf_counter) for name in names]


def measured(name: str, rounds: int, clock: Callable[[], float]) -> Streamed:
    """One row."""
    sizes, batch, steps, epochs = SIZES[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch * steps, sizes[0]), dtype=np.float32)
    target = rng.integers(0, sizes[-1], len(x)).astype(np.int32)

    def batches():
        for i in range(0, len(x), batch):
            yield x[i : i + batch], target[i : i + batch]

    plan = fnn.Plan(fnn.mlp(sizes), fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(1e-3))
    state = fnn.start(plan, jax.random.key(0))
    rows = tuple(map(jax.numpy.asarray, (x, target)))

    def arrays():
        return fnn.fit(plan, state, rows, epochs=epochs, batch_size=batch)

    def stream():
        return fnn.fit(plan, state, batches, epochs=epochs)

    seconds = np.array([turn((arrays, stream), i, clock) for i in range(rounds + 1)])[1:]
    low, middle, high = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75))
    n = sum(a.size for a in jax.tree.leaves(state.params))
    one = 1e3 * float(np.median(seconds[:, 0])) / steps / epochs
    aim = TARGET if n > 10**7 else None
    return Streamed(name, n, one, float(middle), float(low), float(high), aim)


def turn(runs: tuple[Callable[[], Any], ...], i: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of each, another one first in every turn."""
    found = [0.0] * len(runs)
    for k in range(len(runs)):
        j = (i + k) % len(runs)
        began = clock()
        jax.block_until_ready(runs[j]())
        found[j] = clock() - began
    return found
