"""Many steps with many files: what has grown of memory and of live arrays."""

import gc
from pathlib import Path

import jax
import numpy as np

from benchmarks.faults import task
from benchmarks.faults.found import Found

EVERY = 20  # steps from a file to the next
GROWTH = 4.0  # MiB that are no growth: histories, what Python keeps


def steady(epochs: int, folder: Path, seed: int = 0) -> Found:
    """Epochs of 17 steps; what there is behind a third of them is compared with the end."""
    del seed
    batches = task.STEPS // task.EPOCHS
    seen: list[tuple[float, int]] = []
    with Found(f"{batches * epochs:,} steps from arrays") as found:

        def callback(state, row):
            gc.collect()
            seen.append((resident(), len(jax.live_arrays())))
            found.note("epochs")

        task.run(folder / "steady", every=EVERY, epochs=epochs, callback=callback)
        memory, arrays = (np.array(column) for column in zip(*seen, strict=True))
        third = len(seen) // 3
        found.figures["live arrays"] = arrays[-1]
        found.figures["memory, MiB"] = memory[-1]
        found.figures["grown by, MiB"] = grown = float(np.median(memory[-third:]) - memory[third])
        if arrays[-1] > arrays[third]:
            found.blame(f"from {arrays[third]} to {arrays[-1]} live arrays")
        if grown > GROWTH:
            found.blame(f"{grown:.1f} MiB more memory")
    return found


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
