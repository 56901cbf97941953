"""The run that all faults fall upon: small, its rows shuffled, dropped values drawn, a schedule.

It is made anew wherever it is needed, in other processes too: importing this computes nothing.
"""

import hashlib
import shutil
import warnings
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.faults.found import Found
from fnn.saving.folders import files_in, step_in

ROWS, BATCH, EPOCHS = 66, 4, 4  # 17 batches an epoch, the last of two rows
STEPS = EPOCHS * -(-ROWS // BATCH)
OPTIMIZERS = {
    "SGD": lambda: fnn.optim.SGD(0.1),
    "Adam": lambda: fnn.optim.Adam(0.01),
    "AdamW, cosine": lambda: fnn.optim.Scheduled(
        fnn.optim.AdamW(0.01), fnn.optim.CosineDecay(1.0, STEPS)
    ),
}


def plan(optimizer: str = "AdamW, cosine") -> fnn.Plan:
    """What is trained."""
    net = fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.3)
    how: Any = {"penalty": fnn.L2(0.1), "metrics": {"accuracy": fnn.accuracy}}
    return fnn.Plan(net, fnn.SoftmaxCrossEntropy(), OPTIMIZERS[optimizer](), **how)


def data(n: int = ROWS) -> tuple[Any, Any]:
    """(x, target) of n rows."""
    x = np.random.default_rng(0).normal(size=(n, 3))
    return jnp.asarray(x, float), jnp.asarray(x.sum(1) > 0, jnp.int32)


def batches(n: int = ROWS) -> Iterator[tuple[Any, Any]]:
    """The same rows in batches, each once."""
    x, target = map(np.asarray, data(n))
    for i in range(0, n, BATCH):
        yield x[i : i + BATCH], target[i : i + BATCH]


def run(
    folder: Path | None = None,
    *,
    every: int = 1,
    epochs: int = EPOCHS,
    optimizer: str = "AdamW, cosine",
    rows: int = ROWS,
    stream: bool = False,
    callback: Any = None,
) -> tuple[fnn.State, Any]:
    """(state, history): straight, or with its checkpoints in a folder, from the newest of them."""
    how: Any = {"epochs": epochs, "batch_size": BATCH, "callback": callback}
    given: Any = partial(batches, rows) if stream else data(rows)
    if folder is not None:
        how["checkpoint"] = fnn.Checkpointing(folder, every)
    ours = plan(optimizer)
    return fnn.fit(ours, fnn.start(ours, jax.random.key(2)), given, **how)


def sha(tree: Any) -> str:
    """SHA-256 of every array of a tree with its path, dtype and shape; keys by their numbers."""
    all_of_it = hashlib.sha256()
    for path, a in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a = jax.random.key_data(a)
        a = np.asarray(a)
        all_of_it.update(f"{jax.tree_util.keystr(path)} {a.dtype} {a.shape} ".encode())
        all_of_it.update(a.tobytes())
    return all_of_it.hexdigest()


@cache
def straight(**how: Any) -> str:
    """SHA-256 of a run that nothing happened to."""
    with TemporaryDirectory() as folder:
        return sha(run(Path(folder) / "run", every=10**6, **how))


def newest(folder: Path) -> int:
    """The step of the newest file, 0 where there is none."""
    return max(map(step_in, files_in(folder)), default=0)


def check_folder(found: Found, folder: Path, what: str, **how: Any) -> None:
    """Blame a folder from which the run does not go on, at once, to the end of the straight one.

    A copy of it goes on. A file that has to be passed over is wrong too: none may be half there.
    """
    copy = folder.with_name(f"{folder.name}.copy")
    shutil.rmtree(copy, ignore_errors=True)
    if folder.exists():
        shutil.copytree(folder, copy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            end = sha(run(copy, every=10**6, **how))
        left = [p.name for p in copy.glob("*.partial")]
    except Exception as error:
        found.blame(f"{what}: {type(error).__name__}: {error}")
        return
    if end != straight(**how):
        found.blame(f"{what}: another end, from step {newest(folder)}")
    if left:
        found.blame(f"{what}: {left} stayed")
