"""Many steps with many files: what has grown of memory and of live arrays."""

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.faults import task
from benchmarks.faults.found import Found

EVERY = 20  # steps from a file to the next
SETTLED = 0.02  # seconds in which a reader ahead of the steps has read what it may
GROWTH = 4.0  # MiB that are no growth: histories, what Python keeps


def steady(epochs: int, folder: Path, seed: int = 0) -> list[Found]:
    """Epochs of 17 steps from arrays, with their files, and from a stream."""
    del seed
    return [
        grown(epochs, "arrays", partial(task.run, folder / "steady", every=EVERY)),
        grown(epochs, "a stream", partial(task.run, stream=True)),
    ]


def grown(epochs: int, source: str, run: Callable[..., Any]) -> Found:
    """What there is in the middle third of the epochs is compared with the last one."""
    seen: list[tuple[float, int]] = []
    with Found(f"{epochs * task.STEPS // task.EPOCHS:,} steps from {source}") as found:

        def callback(state, row):
            time.sleep(SETTLED)
            gc.collect()
            seen.append((resident(), len(jax.live_arrays())))
            found.note("epochs")

        run(epochs=epochs, callback=callback)
        memory, arrays = (np.array(column) for column in zip(*seen, strict=True))
        third = len(seen) // 3
        found.figures["live arrays"] = arrays[-1]
        found.figures["memory, MiB"] = memory[-1]
        found.figures["grown by, MiB"] = more = float(np.median(memory[-third:]) - memory[third])
        before, after = arrays[third:-third].max(), arrays[-third:].min()
        if after > before:
            found.blame(f"from {before} to {after} live arrays")
        if more > GROWTH:
            found.blame(f"{more:.1f} MiB more memory")
    return found


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
