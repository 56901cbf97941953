"""What a checkpoint costs: how long a step waits for one, and what saving and loading take.

A step waits while its State comes off the device and is named; the rest happens in another thread.
Saving is the file on the disk, with its SHA-256 and the fsync; loading reads and checks it. The
disk is asked besides what the same bytes take alone, written and brought onto it.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.saving.packing import STATE, packed

MIB = 2**20
WIDTHS = {"MLP, 0.2 M": 256, "MLP, 3.1 M": 1024, "MLP, 12.6 M": 2048}  # 3 layers n → n


class Saving(NamedTuple):
    """A State: times in milliseconds."""

    name: str
    mib: float  # of its file
    step: float  # of training, batch 256
    wait: float  # of a step, where its State is saved
    save: float  # per MiB
    load: float  # per MiB
    disk: float  # per MiB, of the bytes alone


def savings(*, rounds: int = 7, quick: bool = False) -> list[Saving]:
    """Every row; the smallest alone where it is to be quick."""
    with tempfile.TemporaryDirectory() as folder:
        widths = list(WIDTHS.items())[: 1 if quick else None]
        return [measured(name, n, Path(folder) / "a", rounds) for name, n in widths]


def measured(name: str, n: int, path: Path, rounds: int) -> Saving:
    """One row: medians."""
    plan = fnn.Plan(fnn.mlp([n, n, n, n]), fnn.SquaredError(), fnn.optim.Adam(1e-3))
    state = fnn.start(plan, jax.random.key(0))
    x = jnp.ones((256, n))

    def step() -> Any:
        return jax.block_until_ready(fnn.step(plan, state, (x, x)))

    def wait() -> Any:
        return packed("fit", fresh.pop(), plan, None, STATE)

    def alone() -> None:
        with path.with_suffix(".raw").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    fnn.checkpoints.save(path, state, plan=plan)
    data, mib = path.read_bytes(), path.stat().st_size / MIB
    fresh = [jax.block_until_ready(jax.tree.map(jnp.copy, state)) for _ in range(rounds + 1)]
    step_ms, wait_ms = median(step, rounds), median(wait, rounds)
    save = median(lambda: fnn.checkpoints.save(path, state, plan=plan), rounds)
    load = median(lambda: jax.block_until_ready(fnn.checkpoints.load(path, plan)), rounds)
    each = [ms / mib for ms in (save, load, median(alone, rounds))]
    return Saving(name, mib, step_ms, wait_ms, *each)


def median(f: Callable[[], Any], rounds: int) -> float:
    """The median of the milliseconds that f takes, behind a first time."""
    f()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        f()
        found.append(1e3 * (time.perf_counter() - began))
    return float(np.median(found))
