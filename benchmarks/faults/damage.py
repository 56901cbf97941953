"""Files of which a bit, several bytes or the end is not as it was written."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jax
import numpy as np

import fnn
from benchmarks.faults import task
from benchmarks.faults.found import Found
from benchmarks.faults.resumes import stopped_at
from experiments.common import checkpoints as nets
from experiments.common.cli import DataError
from experiments.common.data import Standardizer
from fnn.checkpoints import CheckpointError
from fnn.saving.folders import files_in

BEHIND = 1, 8, 2**20  # bytes


class Kind(NamedTuple):
    """A kind of file: how it is read, and the error that it may end in."""

    name: str
    path: Path
    read: Callable[[Path], Any]
    error: type[Exception] = CheckpointError


def kinds(folder: Path) -> list[Kind]:
    """A small file of every kind."""
    folder.mkdir(exist_ok=True)
    ours, run = task.plan(), folder / "run"
    state = fnn.start(ours, jax.random.key(1))
    tree = {"w": np.arange(3, dtype=np.float16), "é": np.array(True), "key": jax.random.key(1)}
    fnn.checkpoints.save(folder / "tree", tree, notes={"é": 1})
    fnn.checkpoints.save(folder / "state", state, plan=ours)
    with stopped_at(20):
        task.run(run, every=20)
    standardize = Standardizer(np.zeros(3, np.float32), np.ones(3, np.float32))
    net = nets.Checkpoint(ours.net, state.params, standardize, {"seed": 0})
    nets.save(folder / "net", net)
    paths = {"tree": folder / "tree", "State": folder / "state", "run": files_in(run)[0]}
    return [
        *[
            Kind(name, path, partial(fnn.checkpoints.load, like=tree if name == "tree" else ours))
            for name, path in paths.items()
        ],
        Kind("net", folder / "net", lambda path: nets.load(path)[1:], DataError),
    ]


def damage(every: int, folder: Path, seed: int = 0) -> Found:
    """Of every kind of file every bit, every end, 1, 8 and 2²⁰ bytes behind it, 100,000 mixtures.

    `every`: only the so-manieth of each.
    """
    with Found("damaged files") as found:
        for kind in kinds(folder / "kinds"):
            good, want = kind.path.read_bytes(), task.sha(kind.read(kind.path))
            found.figures[f"bytes of a {kind.name}"] = len(good)
            for i, (what, data) in enumerate(damaged(good, Random(seed))):
                if i % every == 0:
                    judge(found, kind, what, data, want)
    return found


def damaged(good: bytes, draw: Random) -> Iterator[tuple[str, bytes]]:
    """(what it is, the bytes), again and again."""
    for n in BEHIND:
        yield "more behind it", good + draw.randbytes(n)
    for i in range(8 * len(good)):
        data = bytearray(good)
        data[i // 8] ^= 1 << i % 8
        yield "a bit", bytes(data)
    for n in range(len(good)):
        yield "cut off", good[:n]
    for _ in range(25_000):
        data = bytearray(good)
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        yield "several bytes", bytes(data)


def judge(found: Found, kind: Kind, what: str, data: bytes, want: str) -> None:
    """Count what reading makes of these bytes: an error of its own, or the same numbers."""
    path = kind.path.with_name("damaged")
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same = task.sha(kind.read(path)) == want
    except kind.error as error:
        found.note(f"{what}: refused")
        if str(path) not in str(error):
            found.blame(f"{kind.name}, {what}: an error without the path: {error}")
    except Exception as error:
        found.note(f"{what}: crashed")
        found.blame(f"{kind.name}, {what}: {type(error).__name__}: {error}")
    else:
        found.note(f"{what}: {'the same' if same else 'other'} numbers")
        if not same:
            found.blame(f"{kind.name}, {what}: other numbers came back")


def passed_over(n: int, folder: Path, seed: int = 0) -> Found:
    """n times a bit of the newest file of a folder: the run goes on from the one before it."""
    draw, whole, run = Random(seed), folder / "whole", folder / "passed over"
    task.run(whole, every=50)
    with Found("a damaged newest file") as found:
        for _ in range(n):
            shutil.copytree(whole, run)
            path = files_in(run)[0]
            data = bytearray(path.read_bytes())
            i = draw.randrange(8 * len(data))
            data[i // 8] ^= 1 << i % 8
            path.write_bytes(data)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                try:
                    end = task.sha(task.run(run, every=50))
                except Exception as error:
                    end = f"{type(error).__name__}: {error}"
            if end != task.straight() or path.name not in "".join(f"{w.message}" for w in told):
                found.blame(f"bit {i}: {end}")
            found.note("passed over, named, and the same end")
            shutil.rmtree(run)
    return found
